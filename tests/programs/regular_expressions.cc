// Does <regex> match, capture, replace and refuse?

#include <cstdio>
#include <regex>
#include <string>

int main() {
    std::regex url(R"((https?)://([^/:]+)(?::(\d+))?(/[^?#]*)?(?:\?(.*))?)", std::regex::icase);
    std::smatch parts;
    for (std::string text : {"http://example.org:8080/a/b?x=1", "HTTPS://kiln/", "ftp://no"}) {
        bool matched = std::regex_match(text, parts, url);
        std::printf("%d", matched);
        for (const auto& part : parts) std::printf(" [%s]", part.str().c_str());
        std::puts("");
    }
    std::string text = "one two  three";
    std::puts(std::regex_replace(text, std::regex("(\\w+)\\s+(\\w+)"), "$2 $1").c_str());
    std::regex word("\\b\\w");
    int count = 0;
    for (std::sregex_iterator it(text.begin(), text.end(), word), end; it != end; ++it) ++count;
    std::printf("%d\n", count);
    try {
        std::regex bad("(unclosed");
    } catch (const std::regex_error& error) {
        std::printf("%d\n", error.code() == std::regex_constants::error_paren);
    }
}
