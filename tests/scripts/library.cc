// Can a hook use the parts of the standard library that need no system: streams in memory, regex, sorting?
// request: GET /stream HTTP/1.1
// status: 200
// body: 42 ff 3.14 true|0007|12 words
// request: GET /regex?q=user-123 HTTP/1.1
// status: 200
// body: user 123 [user]-[123]
// request: GET /regex?q=nothing HTTP/1.1
// status: 200
// body: no match
// request: GET /sort HTTP/1.1
// status: 200
// body: alpha beta delta gamma
// request: GET /numbers HTTP/1.1
// status: 200
// body: 255 2.5 1e+100 -9 340282366920938463463 1.4142135624 3.0
// request: GET /variant HTTP/1.1
// status: 200
// body: int string none any:5 function:49
// request: GET /chrono HTTP/1.1
// status: 200
// body: steady 1, now after 2020: 1, 90 minutes, 2024-02-29
// request: GET /random HTTP/1.1
// status: 200
// body: differ 1, twister 4123659995
// request: GET /c HTTP/1.1
// status: 200
// body: snprintf 07|x, strtol 31, 1 3 5, tolower q, 1970-01-02
// request: GET /pmr HTTP/1.1
// status: 200
// body: 1000 999

#include <kiln.h>

#include <any>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <iomanip>
#include <memory_resource>
#include <random>
#include <ranges>
#include <regex>
#include <set>
#include <sstream>

static std::string stream() {
    std::ostringstream out;
    out << 42 << ' ' << std::hex << 255 << std::dec << ' ' << std::setprecision(3) << 3.14159 << ' ' << std::boolalpha << true
        << '|' << std::setw(4) << std::setfill('0') << 7;
    std::istringstream in("12 words");
    int number = 0;
    std::string word;
    in >> number >> word;
    out << '|' << number << ' ' << word;
    return out.str();
}

static std::string match(std::string_view text) {
    static const std::regex pattern("([a-z]+)-([0-9]+)");
    std::cmatch parts;
    if (!std::regex_match(text.begin(), text.end(), parts, pattern)) return "no match";
    return parts[1].str() + " " + parts[2].str() + " " +
           std::regex_replace(std::string(text), pattern, std::string("[$1]-[$2]"));
}

static std::string numbers() {
    unsigned value = 0;
    const char* hex = "ff";
    std::from_chars(hex, hex + 2, value, 16);
    char digits[64];
    auto* end = std::to_chars(digits, digits + sizeof digits, 2.5).ptr;
    std::string text = std::to_string(value) + " " + std::string(digits, end);
    end = std::to_chars(digits, digits + sizeof digits, 1e100).ptr;
    text += " " + std::string(digits, end) + " " + std::to_string(std::strtol("-9", nullptr, 10));
    unsigned __int128 wide = ~static_cast<unsigned __int128>(0) / 1000000000000000000u;
    std::string decimal;
    for (; wide != 0; wide /= 10) decimal.insert(decimal.begin(), static_cast<char>('0' + static_cast<int>(wide % 10)));
    std::snprintf(digits, sizeof digits, " %.10f %.1Lf", std::sqrt(std::stod("2")), std::cbrt(27.0L));
    return text + " " + decimal + digits;
}

static std::string variants() {
    std::string text;
    using Value = std::variant<std::monostate, int, std::string>;
    for (Value value : {Value(1), Value("s"), Value()})
        text += std::visit(
            [](auto& held) -> std::string {
                using T = std::decay_t<decltype(held)>;
                return std::is_same_v<T, int> ? "int " : std::is_same_v<T, std::string> ? "string " : "none ";
            },
            value);
    std::any any = 5;
    std::function<int(int)> square = [offset = 0](int x) { return x * x + offset; };
    return text + "any:" + std::to_string(std::any_cast<int>(any)) + " function:" + std::to_string(square(7));
}

static std::string times() {
    using namespace std::chrono;
    auto first = steady_clock::now();
    auto later = steady_clock::now();
    bool recent = system_clock::now() > sys_days(2020y / 1 / 1);
    year_month_day leap = sys_days(2024y / 2 / 28) + days(1);
    char text[100];
    std::snprintf(text, sizeof text, "steady %d, now after 2020: %d, %ld minutes, %d-%02u-%02u", later >= first, recent,
                  static_cast<long>(duration_cast<minutes>(hours(1) + minutes(30)).count()), static_cast<int>(leap.year()),
                  static_cast<unsigned>(leap.month()), static_cast<unsigned>(leap.day()));
    return text;
}

static std::string c_library() {
    char text[64];
    std::snprintf(text, sizeof text, "snprintf %02d|%s", 7, "x");
    int sorted[] = {5, 1, 3};
    std::qsort(sorted, 3, sizeof(int),
               [](const void* a, const void* b) { return *static_cast<const int*>(a) - *static_cast<const int*>(b); });
    std::time_t day = 86400;
    std::tm parts{};
    gmtime_r(&day, &parts);
    char date[16];
    std::strftime(date, sizeof date, "%Y-%m-%d", &parts);
    return std::string(text) + ", strtol " + std::to_string(std::strtol("0x1f", nullptr, 0)) + ", " + std::to_string(sorted[0]) +
           " " + std::to_string(sorted[1]) + " " + std::to_string(sorted[2]) + ", tolower " +
           static_cast<char>(std::tolower('Q')) + ", " + date;
}

kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    if (path == "/stream") return kiln::reply(200, stream());
    if (path == "/regex") return kiln::reply(200, match(request.query("q")));
    if (path == "/numbers") return kiln::reply(200, numbers());
    if (path == "/variant") return kiln::reply(200, variants());
    if (path == "/chrono") return kiln::reply(200, times());
    if (path == "/c") return kiln::reply(200, c_library());
    if (path == "/sort") {
        std::vector<std::string> words{"gamma", "alpha", "delta", "beta"};
        std::ranges::sort(words);
        std::string text;
        for (auto& word : words) text += (text.empty() ? "" : " ") + word;
        return kiln::reply(200, text);
    }
    if (path == "/random") {
        std::mt19937 twister;
        twister.discard(9999);
        return kiln::reply(200, "differ " + std::to_string(kiln::random() != kiln::random()) + ", twister " +
                                    std::to_string(twister()));
    }
    std::pmr::monotonic_buffer_resource buffer;
    std::pmr::set<int> set(&buffer);
    for (int i = 0; i < 1000; ++i) set.insert(i);
    return kiln::reply(200, std::to_string(set.size()) + " " + std::to_string(*set.rbegin()));
}
