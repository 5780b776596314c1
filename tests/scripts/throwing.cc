// Is an exception that leaves the hook 500, told by type and message, and the next request fine?
// request: GET /runtime_error HTTP/1.1
// status: 500
// log: it threw std::runtime_error: it went wrong
// request: GET /fine HTTP/1.1
// status: 200
// body: fine
// request: GET /own HTTP/1.1
// status: 500
// log: it threw shop::OutOfStock: nothing is left
// request: GET /int HTTP/1.1
// status: 500
// log: it threw int
// request: GET /text HTTP/1.1
// status: 500
// log: it threw char const*
// request: GET /library HTTP/1.1
// status: 500
// log: it threw std::out_of_range: map::at
// request: GET /stoi HTTP/1.1
// status: 500
// log: it threw std::invalid_argument: stoi
// request: GET /deep HTTP/1.1
// status: 500
// log: it threw std::length_error: from 500 frames down
// request: GET /caught HTTP/1.1
// status: 200
// body: caught shop::Error by its base; destroyed 2
// request: GET /nested HTTP/1.1
// status: 200
// body: outer < inner
// request: GET /number HTTP/1.1
// status: 500
// log: kiln: not a valid header
// request: GET /memory HTTP/1.1
// status: 500
// log: it threw std::bad_alloc
// request: GET /fine HTTP/1.1
// status: 200
// body: fine

#include <kiln.h>

namespace shop {
struct Error : std::exception {
    const char* what() const noexcept override { return "an error of the shop"; }
};
struct OutOfStock : Error {
    const char* what() const noexcept override { return "nothing is left"; }
};
struct Counted {
    int& count;
    ~Counted() { ++count; }
};
}  // namespace shop

static int deep(int depth) {
    std::string local(100, 'x');
    if (depth == 0) throw std::length_error("from 500 frames down");
    return deep(depth - 1) + static_cast<int>(local.size());
}

kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    if (path == "/runtime_error") throw std::runtime_error("it went wrong");
    if (path == "/own") throw shop::OutOfStock();
    if (path == "/int") throw 5;
    if (path == "/text") throw "text";
    if (path == "/library") return kiln::reply(std::map<int, int>{}.at(5));
    if (path == "/stoi") return kiln::reply(std::stoi("not a number"));
    if (path == "/deep") return kiln::reply(deep(500));
    if (path == "/number") request.set_header("a b", "");
    if (path == "/memory") {
        volatile long many = -1;
        static char* kept = nullptr;
        kept = new char[static_cast<std::size_t>(many) / 2];
        return kiln::reply(200, std::string_view(kept, 1));
    }
    if (path == "/caught") {
        int destroyed = 0;
        try {
            shop::Counted one{destroyed};
            try {
                shop::Counted two{destroyed};
                throw shop::OutOfStock();
            } catch (const std::logic_error&) {
                return kiln::reply(500);
            }
        } catch (const shop::Error&) {
            return kiln::reply(200, "caught shop::Error by its base; destroyed " + std::to_string(destroyed));
        }
    }
    if (path == "/nested") {
        try {
            try {
                throw std::runtime_error("inner");
            } catch (...) {
                std::throw_with_nested(std::runtime_error("outer"));
            }
        } catch (const std::exception& outer) {
            try {
                std::rethrow_if_nested(outer);
            } catch (const std::exception& inner) {
                return kiln::reply(200, std::string(outer.what()) + " < " + inner.what());
            }
        }
    }
    return kiln::reply(200, "fine");
}
