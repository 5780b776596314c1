// May thread-locals be used in one another's destructors, by static objects, and for the first time there?
// exit: 3

#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

static const char* who = "main";

struct Trace {
    const char* name;
    std::string text;
    explicit Trace(const char* name) : name(name), text(std::string("text of ") + name) {
        std::printf("%s: +%s\n", who, name);
    }
    ~Trace() { std::printf("%s: -%s (%s)\n", who, name, text.c_str()); }
};

// Lives longer than every thread-local of the main thread, and is used by their destructors.
static Trace shared("static");

Trace& late() {
    thread_local Trace late("first used in a destructor");
    return late;
}
struct UsesLate {
    ~UsesLate() { std::printf("%s: %s\n", who, late().text.c_str()); }
};

struct Chain {
    int depth = 0;
    ~Chain();
};
template <int number>
Chain& chain() {
    thread_local Chain link;
    return link;
}
// Each one's destructor brings the next to life.
template <int number>
void use_next() {
    if constexpr (number < 5) {
        chain<number>().depth = number + 1;
        std::printf("%s: chain %d\n", who, number);
    }
}
Chain::~Chain() {
    switch (depth) {
        case 1: use_next<1>(); break;
        case 2: use_next<2>(); break;
        case 3: use_next<3>(); break;
        default: std::printf("%s: end of chain at %d\n", who, depth);
    }
}

thread_local int plain = 7;
thread_local std::string words = "words";

// A static object whose destructor uses thread-locals: those without destructors are still there.
struct UsesPlain {
    ~UsesPlain() { std::printf("%s: plain is %d\n", who, ++plain); }
} uses_plain;

struct UsesShared {
    ~UsesShared() { std::printf("%s: %s\n", who, shared.text.c_str()); }
};

static void work() {
    thread_local UsesShared uses_shared;
    thread_local UsesLate uses_late;
    (void)&uses_shared;
    (void)&uses_late;
    use_next<0>();
    words += " of " + std::string(who);
    plain += 10;
    std::printf("%s: %s %d\n", who, words.c_str(), plain);
}

static void at_exit() {
    // After the main thread's own thread-locals, before what was registered earlier.
    std::printf("%s: plain at exit is %d\n", who, plain);
    thread_local Trace last("first used at exit");
    std::printf("%s: %s\n", who, last.text.c_str());
}

int main() {
    std::atexit(at_exit);
    who = "thread";
    std::thread(work).join();
    who = "main";
    work();
    std::exit(3);
}
