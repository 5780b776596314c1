// Does what of the C++ library needs no file and no thread work?
// request: GET /path HTTP/1.1
// status: 200
// body: /a/c/report | report | .txt | ../c/report | true
// request: GET /conversions HTTP/1.1
// status: 200
// body: 3 wide, 5 bytes, 2001-09-09 01:46:40, 2001
// request: GET /random HTTP/1.1
// status: 200
// body: it differs, 32 bits, no such source
// request: GET /pools HTTP/1.1
// status: 200
// body: a text that is longer than a short one 10
// request: GET /arithmetic?n=7 HTTP/1.1
// status: 200
// body: 3.5 49 3 18446744073709551615

#include <kiln.h>

#include <codecvt>
#include <complex>
#include <ctime>
#include <filesystem>
#include <iomanip>
#include <locale>
#include <memory_resource>
#include <random>
#include <sstream>
#include <string>
#include <strstream>
#include <vector>

std::string path() {
    namespace fs = std::filesystem;
    fs::path path = fs::path("/a") / "b/../c" / "report.txt";
    path = path.lexically_normal();
    std::string extension = path.extension();
    std::ostringstream text;
    text << path.parent_path().string() + "/" + path.stem().string() << " | " << path.stem().string()
         << " | " << extension << " | "
         << fs::path("/a/c/report").lexically_relative("/a/b").generic_string() << " | "
         << std::boolalpha << (hash_value(path) == hash_value(fs::path("/a/c/report.txt")));
    return text.str();
}

std::string conversions() {
    std::wstring_convert<std::codecvt_utf8<wchar_t>> utf8;
    std::wstring wide = utf8.from_bytes("a\xc3\xa4\xc3\xb6");
    std::time_t time = 1000000000;
    std::tm date{};
    gmtime_r(&time, &date);
    std::ostringstream text;
    text << wide.size() << " wide, " << utf8.to_bytes(wide).size() << " bytes, "
         << std::put_time(&date, "%Y-%m-%d %H:%M:%S");
    std::tm read{};
    std::istringstream("2001-09-09") >> std::get_time(&read, "%Y-%m-%d");
    std::wostringstream wider;
    wider << L", " << read.tm_year + 1900;
    return text.str() + utf8.to_bytes(wider.str());
}

std::string random_numbers() {
    std::random_device device;
    std::vector<unsigned> values;
    for (int i = 0; i < 8; i++) values.push_back(device());
    bool differs = false;
    for (unsigned value : values) differs |= value != values.front();
    std::string said = differs ? "it differs" : "it is the same";
    said += ", " + std::to_string(static_cast<int>(device.entropy())) + " bits, ";
    try {
        std::random_device("/etc/passwd");
    } catch (const std::runtime_error&) {
        said += "no such source";
    }
    return said;
}

std::string pools() {
    std::pmr::synchronized_pool_resource pool;
    std::pmr::string text("a text that is longer than a short one ", &pool);
    std::pmr::vector<int> numbers(10, 1, &pool);
    return std::string(text) + std::to_string(numbers.size());
}

std::string arithmetic(std::string_view digits) {
    __float128 number = digits.front() - '0';
    __float128 half = number / 2;
    unsigned __int128 all = ~static_cast<unsigned __int128>(0);
    std::ostringstream text;
    text << static_cast<double>(half) << ' ' << static_cast<int>(number * number) << ' '
         << static_cast<long>(half) << ' ' << static_cast<unsigned long>(all / (all >> 64) >> 1 | all >> 64);
    return text.str();
}

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/path") return kiln::reply(200, path());
    if (request.path() == "/conversions") return kiln::reply(200, conversions());
    if (request.path() == "/random") return kiln::reply(200, random_numbers());
    if (request.path() == "/pools") return kiln::reply(200, pools());
    return kiln::reply(200, arithmetic(request.query("n")));
}
