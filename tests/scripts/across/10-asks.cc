// Are types, exceptions, statics and thread-locals of a shared header the same in every script of a folder?
// request: GET /types HTTP/1.1
// status: 200
// body: disc 27 3 1 0 1
// request: GET /throw HTTP/1.1
// status: 200
// body: Deep: from below 7 3 frames, again as Failure 7, unknown: 1
// request: GET /statics HTTP/1.1
// status: 200
// body: 101 1 1 the same 100
// request: GET /statics HTTP/1.1
// status: 200
// body: 102 2 1 the same 100

#include <kiln.h>

#include <typeinfo>

#include "helpers.h"

static int unwound = 0;
struct Frame {
    ~Frame() { ++unwound; }
};
[[gnu::noinline]] static int through(int depth) {
    Frame frame;
    return depth == 0 ? fail(2) : through(depth - 1) + 1;
}

static std::string types() {
    std::unique_ptr<Named> named(make_disc());
    auto* flat = dynamic_cast<Flat*>(named.get());
    auto* round = dynamic_cast<Round*>(flat);
    bool same = typeid(*named) == typeid(Disc);
    Named plain("plain");
    bool wrong = dynamic_cast<Disc*>(&plain) != nullptr;
    bool whole = dynamic_cast<void*>(round) == dynamic_cast<Disc*>(named.get());
    return named->name + " " + std::to_string(flat->area()) + " " + std::to_string(round->radius) + " " +
           std::to_string(same) + " " + std::to_string(wrong) + " " + std::to_string(whole);
}

static std::string throws() {
    std::string text;
    std::exception_ptr kept;
    unwound = 0;
    try {
        through(2);
    } catch (const Deep& failure) {
        text = "Deep: " + std::string(failure.what()) + " " + std::to_string(failure.code) + " " +
               std::to_string(unwound) + " frames";
        kept = std::current_exception();
    }
    try {
        std::rethrow_exception(kept);
    } catch (const Failure& failure) {
        text += ", again as Failure " + std::to_string(failure.code);
    }
    try {
        fail(0);
    } catch (const std::exception&) {
        text += ", a standard exception";
    } catch (...) {
        text += ", unknown: 1";
    }
    return text;
}

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/types") return kiln::reply(200, types());
    if (request.path() == "/throw") return kiln::reply(200, throws());
    ++uses();
    ++mine<int>();
    return kiln::next();
}
