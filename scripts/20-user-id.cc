// Parses a URL, and tells the origin whose page it is.
//
//   curl 'http://127.0.0.1:8080/user?url=https://example.org/profile/42?tab=photos'
#include <kiln.h>

#include "lib/url_parser.h"

namespace {

// The number after /profile/, or nothing.
std::optional<unsigned> getID(std::string_view url) {
    UrlParser parser(url);
    if (!parser.valid() || parser.segment(0) != "profile") return std::nullopt;
    std::string_view digits = parser.segment(1);
    unsigned id = 0;
    auto [end, error] = std::from_chars(digits.begin(), digits.end(), id);
    if (error != std::errc{} || end != digits.end()) return std::nullopt;
    return id;
}

}  // namespace

kiln::Action on_request(kiln::Request& request) {
    if (request.path() != "/user") return kiln::next();

    std::optional<unsigned> id = getID(kiln::decode(request.query("url")));
    if (!id) return kiln::reply(400, "url must be like https://example.org/profile/42\n");
    request.set_header("x-user-id", std::to_string(*id));
    return kiln::forward("web");
}
