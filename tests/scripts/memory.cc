// Does a request get memory far beyond its first block, again and again, and alignment as promised?
// request: GET /arena HTTP/1.1
// status: 200
// body-length: 52000000
// request: GET /arena HTTP/1.1
// status: 200
// body-length: 52000000
// request: GET /heap HTTP/1.1
// status: 200
// body: 100000 100 1
// request: GET /stack HTTP/1.1
// status: 200
// body: 20000
// request: GET /large-stack HTTP/1.1
// status: 200
// body: 65536
// request: GET /bss HTTP/1.1
// status: 200
// body: 20971520 1

#include <kiln.h>

static char zeroes[20 << 20];

struct alignas(64) Line {
    char bytes[64];
};

static int down(int depth) {
    volatile int here = depth;
    return depth == 0 ? 0 : down(depth - 1) + (here == depth);
}

kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    if (path == "/arena") return kiln::reply(200, std::string(52000000, 'x'));
    if (path == "/heap") {
        std::vector<std::unique_ptr<std::string>> strings;
        for (int i = 0; i < 100000; ++i) strings.push_back(std::make_unique<std::string>(100, 'x'));
        auto line = std::make_unique<Line[]>(10);
        bool aligned = reinterpret_cast<std::uintptr_t>(line.get()) % 64 == 0;
        return kiln::reply(200, std::to_string(strings.size()) + " " + std::to_string(strings.back()->size()) + " " +
                                    std::to_string(aligned));
    }
    if (path == "/stack") return kiln::reply(200, std::to_string(down(20000) == 20000 ? 20000 : 0));
    if (path == "/large-stack") {
        volatile char large[65536];
        for (std::size_t i = 0; i < sizeof large; i += 512) large[i] = 1;
        return kiln::reply(200, std::to_string(sizeof large));
    }
    long set = 0;
    for (char& zero : zeroes) set += zero;
    zeroes[set] = 1;
    return kiln::reply(200, std::to_string(sizeof zeroes) + " " + std::to_string(zeroes[0]));
}
