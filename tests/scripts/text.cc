// Can a hook use streams in memory, and the C functions over text and time?
// request: GET /stream HTTP/1.1
// status: 200
// body: 42 ff 3.14 true|0007|12 words
// request: GET /c HTTP/1.1
// status: 200
// body: snprintf 07|x, strtol 31, 1 3 5, tolower q, 1970-01-02

#include <kiln.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iomanip>
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
    return kiln::reply(200, request.path() == "/stream" ? stream() : c_library());
}
