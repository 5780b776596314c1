// Do thread-locals of every kind live and die with their thread, in the order of the language?

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

struct Logger {
    std::string lines;
    ~Logger() { std::printf("%s~Logger\n", lines.c_str()); }
    void add(const char* line) { lines += line; }
};
thread_local Logger logger;

// Its destructor uses another thread-local, which was made before it and so is still alive.
struct User {
    int number;
    explicit User(int number) : number(number) { logger.add("User\n"); }
    ~User() { logger.add(("~User " + std::to_string(number) + "\n").c_str()); }
};
thread_local std::unique_ptr<User> user;

struct InClass {
    static thread_local int counter;
    static inline thread_local std::vector<int> numbers{1, 2, 3};
};
thread_local int InClass::counter = 40;

// Its destructor brings a thread-local to life that was never used before.
struct Reviver {
    ~Reviver();
};
thread_local Reviver reviver;
struct Revived {
    const char* text = "revived";
    ~Revived() { std::puts("~Revived"); }
};
thread_local Revived revived;
Reviver::~Reviver() { std::puts(revived.text); }

thread_local char large[1 << 20];
struct alignas(4096) Page {
    int words[1024];
};
thread_local Page page = {{1, 2, 3}};
thread_local const int initialised = 5;
extern thread_local long declared_first;
thread_local long declared_first = 123456789012;

template <class T>
T& slot() {
    thread_local T value{};
    return value;
}

[[gnu::noinline]] int function_local() {
    static thread_local int calls = 100;
    return ++calls;
}

static void work(int number) {
    user = std::make_unique<User>(number);
    InClass::counter += number;
    InClass::numbers.push_back(number);
    logger.add(("counter " + std::to_string(InClass::counter) + " of " +
                std::to_string(InClass::numbers.size()) + "\n")
                   .c_str());
    (void)&reviver;
    large[number] = 1;
    int set = 0;
    for (char c : large) set += c;
    slot<int>() += number;
    slot<double>() += number;
    function_local();
    std::printf("%d %d %d %d %d %ld %d %.1f %d\n", set, page.words[2],
                reinterpret_cast<std::uintptr_t>(&page) % 4096 == 0, initialised, page.words[5],
                declared_first, slot<int>(), slot<double>(), function_local());
}

int main() {
    work(1);
    for (int i = 2; i < 6; ++i) std::thread(work, i).join();
    int* mine = &InClass::counter;
    std::thread([&] {
        int* theirs = &InClass::counter;
        std::printf("%d %d\n", mine != theirs, *theirs);
        *mine = 9;
    }).join();
    std::printf("%d\n", InClass::counter);
    std::puts("end of main");
}
