// Can a hook compute, and use <chrono> and <random>?
// request: GET /numbers HTTP/1.1
// status: 200
// body: 255 2.5 1e+100 -9 340282366920938463463 1.4142135624 3.0
// request: GET /chrono HTTP/1.1
// status: 200
// body: steady 1, now after 2020: 1, 90 minutes, 2024-02-29
// request: GET /random HTTP/1.1
// status: 200
// body: differ 1, twister 4123659995

#include <kiln.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>

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

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/numbers") return kiln::reply(200, numbers());
    if (request.path() == "/chrono") return kiln::reply(200, times());
    std::mt19937 twister;
    twister.discard(9999);
    return kiln::reply(200, "differ " + std::to_string(kiln::random() != kiln::random()) + ", twister " +
                                std::to_string(twister()));
}
