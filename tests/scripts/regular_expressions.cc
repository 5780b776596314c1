// Can a hook use <regex>?
// request: GET /regex?q=user-123 HTTP/1.1
// status: 200
// body: user 123 [user]-[123]
// request: GET /regex?q=nothing HTTP/1.1
// status: 200
// body: no match

#include <kiln.h>

#include <regex>

static std::string match(std::string_view text) {
    static const std::regex pattern("([a-z]+)-([0-9]+)");
    std::cmatch parts;
    if (!std::regex_match(text.begin(), text.end(), parts, pattern)) return "no match";
    return parts[1].str() + " " + parts[2].str() + " " +
           std::regex_replace(std::string(text), pattern, std::string("[$1]-[$2]"));
}

kiln::Action on_request(kiln::Request& request) { return kiln::reply(200, match(request.query("q"))); }
