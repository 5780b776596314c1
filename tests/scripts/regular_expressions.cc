// Can a hook use <regex>?
// request: GET /regex?q=user-123 HTTP/1.1
// status: 200
// body: user 123 [user]-[123]
// request: GET /regex?q=nothing HTTP/1.1
// status: 200
// body: no match
// request: GET /all?q=one1,two22;three HTTP/1.1
// status: 200
// body: one two three |1 22 |one1 two22 three |<one>1,<two>22;<three>|error

#include <kiln.h>

#include <regex>

static std::string match(std::string_view text) {
    static const std::regex pattern("([a-z]+)-([0-9]+)");
    std::cmatch parts;
    if (!std::regex_match(text.begin(), text.end(), parts, pattern)) return "no match";
    return parts[1].str() + " " + parts[2].str() + " " +
           std::regex_replace(std::string(text), pattern, std::string("[$1]-[$2]"));
}

// Every kind of iterator, and what throws on the other side of the border.
static std::string all(const std::string& text) {
    static const std::regex word("[a-z]+", std::regex::icase), number("[[:digit:]]+"), between("[,;]");
    std::string said;
    for (std::sregex_iterator it(text.begin(), text.end(), word), end; it != end; ++it)
        said += it->str() + ' ';
    said += '|';
    const char* literal = text.c_str();
    for (std::cregex_iterator it(literal, literal + text.size(), number), end; it != end; ++it)
        said += it->str() + ' ';
    said += '|';
    for (std::sregex_token_iterator it(text.begin(), text.end(), between, -1), end; it != end; ++it)
        said += it->str() + ' ';
    said += '|' + std::regex_replace(text, word, "<$&>");
    try {
        std::regex broken(text + "(");
        said += "|none";
    } catch (const std::regex_error& error) {
        said += error.code() == std::regex_constants::error_paren ? "|error" : "|another";
    }
    return said;
}

kiln::Action on_request(kiln::Request& request) {
    std::string_view text = request.query("q");
    return kiln::reply(200, request.path() == "/all" ? all(std::string(text)) : match(text));
}
