// Does a script have hundreds of megabytes that start as zeroes, and tables of tens of megabytes?
//
// request: GET /?at=7 HTTP/1.1
// status: 200
// body: 1 1 1 1 0 1 8 1\n
// request: GET /?at=7 HTTP/1.1
// status: 200
// body: 2 2 2 2 0 2 8 2\n
// request: GET /?at=523999999 HTTP/1.1
// status: 200
// body: 1 1 1 1 0 1 0 1\n

#include <kiln.h>

#include <charconv>

static char hundreds[500u << 20];
static int counts[1 << 20];
alignas(1 << 21) static char aligned[3 << 20];
struct Wide {
    long first;
    char middle[100u << 20];
    long last[64];
};
// Shared by name, and its address stands in another variable.
inline Wide wide;
static long* const inside = wide.last;
static thread_local char local[2 << 20];

// 32 MB in the image's file, as most of it is no variable's start.
static const int table[1 << 23] = {1, 2, 3, 4, 5, 6, 7, 8};

kiln::Action on_request(kiln::Request& request) {
    static char in_function[64u << 20];
    std::string_view text = request.query("at");
    std::size_t at = 0;
    std::from_chars(text.data(), text.data() + text.size(), at);
    int seen = ++hundreds[at];
    int counted = ++counts[at % std::size(counts)];
    int within = ++in_function[at % sizeof in_function];
    long last = ++inside[at % std::size(wide.last)];
    int mine = ++local[at % sizeof local];
    ++aligned[at % sizeof aligned];
    int shifted = static_cast<int>(reinterpret_cast<std::uintptr_t>(&aligned) % (1 << 21));
    int constant = table[at % std::size(table)];
    std::string answer;
    for (long value : {long(seen), long(counted), long(within), last, long(shifted), long(mine),
                       long(constant), long(aligned[at % sizeof aligned])})
        answer += (answer.empty() ? "" : " ") + std::to_string(value);
    return kiln::reply(200, answer + "\n");
}
