// Splits a URL into its parts, without copying it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

/// Views over `scheme://host/path?query`; the URL must outlive the parser.
class UrlParser {
public:
    explicit constexpr UrlParser(std::string_view url) {
        std::size_t colon = url.find("://");
        if (colon == std::string_view::npos || colon == 0) return;
        scheme_ = url.substr(0, colon);
        std::string_view rest = url.substr(colon + 3);
        rest = rest.substr(0, rest.find('#'));
        std::size_t host_end = std::min(rest.find_first_of("/?"), rest.size());
        host_ = rest.substr(0, host_end);
        rest.remove_prefix(host_end);
        std::size_t question = std::min(rest.find('?'), rest.size());
        path_ = rest.substr(0, question);
        query_ = rest.substr(std::min(question + 1, rest.size()));
    }

    constexpr bool valid() const { return !host_.empty(); }
    constexpr std::string_view scheme() const { return scheme_; }
    constexpr std::string_view host() const { return host_; }
    constexpr std::string_view path() const { return path_; }
    constexpr std::string_view query() const { return query_; }

    /// Part `index` of the path between its slashes; empty if there are fewer.
    constexpr std::string_view segment(std::size_t index) const {
        std::string_view rest = path_;
        while (!rest.empty()) {
            rest.remove_prefix(1);
            std::size_t end = std::min(rest.find('/'), rest.size());
            if (index-- == 0) return rest.substr(0, end);
            rest.remove_prefix(end);
        }
        return {};
    }

private:
    std::string_view scheme_, host_, path_, query_;
};

static_assert(UrlParser("https://a.example/profile/42?x=1").segment(1) == "42");
static_assert(UrlParser("https://a.example").path().empty());
static_assert(!UrlParser("no url").valid());
