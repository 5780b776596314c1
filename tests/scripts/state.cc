// Do statics, function-local statics and thread-locals keep their values from request to request?
// request: GET / HTTP/1.1
// status: 200
// body: 1 11 101 initialised once of 3
// request: GET / HTTP/1.1
// status: 200
// body: 2 12 102 initialised once of 3
// request: GET /throw HTTP/1.1
// status: 500
// log: it threw char const*
// request: GET / HTTP/1.1
// status: 200
// body: 4 13 103 initialised once of 3

#include <kiln.h>

static int initialisations = 0;
struct Table {
    std::unordered_map<std::string, int> entries{{"a", 1}, {"b", 2}, {"c", 3}};
    Table() { ++initialisations; }
};
static const Table table;
static int requests = 0;
thread_local std::vector<int> mine = {8, 9, 10};

kiln::Action on_request(kiln::Request& request) {
    ++requests;
    if (request.path() == "/throw") throw "away";
    static int local = 100;
    static std::string text = [] { return std::string("initialised "); }();
    ++local;
    mine.push_back(mine.back() + 1);
    return kiln::reply(200, std::to_string(requests) + " " + std::to_string(mine.back()) + " " + std::to_string(local) + " " +
                                text + (initialisations == 1 ? "once of " : "often of ") + std::to_string(table.entries.size()));
}
