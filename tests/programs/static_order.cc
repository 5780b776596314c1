// Are static objects built by priority and then in order, and destroyed the other way round?

#include <cstdio>
#include <cstdlib>

struct Static {
    const char* name;
    explicit Static(const char* name) : name(name) { std::printf("+%s\n", name); }
    ~Static() { std::printf("-%s\n", name); }
};

Static first("first");
__attribute__((init_priority(300))) Static late("priority 300");
__attribute__((init_priority(200))) Static early("priority 200");
static Static second("second");

namespace {
Static in_namespace("in a namespace");
}
template <int N>
struct Holder {
    static inline Static object{N == 1 ? "template 1" : "template 2"};
};
template struct Holder<1>;
inline Static inline_object("inline");

__attribute__((constructor)) void by_attribute() { std::puts("constructor"); }
__attribute__((constructor(150))) void by_attribute_150() { std::puts("constructor 150"); }
__attribute__((destructor)) void down() { std::puts("destructor"); }
__attribute__((destructor(150))) void down_150() { std::puts("destructor 150"); }

constinit int constant = 5;
int dynamic = std::atoi("6") + constant;

Static& lazy() {
    static Static object("lazy");
    return object;
}

int main(int count, char**) {
    std::printf("main %d %d\n", count, dynamic);
    std::atexit([] { std::puts("atexit 1"); });
    lazy();
    std::atexit([] {
        std::puts("atexit 2");
        std::atexit([] { std::puts("atexit from atexit"); });
        static Static very_late("made while exiting");
    });
    static Static in_main("in main");
    std::printf("%s\n", Holder<2>::object.name);
}
