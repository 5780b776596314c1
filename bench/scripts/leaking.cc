// What a generation leaves behind if its script takes no care at all: memory of every kind, exceptions that are kept,
// coroutines that never end, locales with facets of its own, objects whose destructors are registered with each request.
// The bench and the tests reload it over and over, and nothing of it may stay in any process.

#include <kiln.h>

#include <atomic>
#include <coroutine>
#include <cstdlib>
#include <exception>
#include <iomanip>
#include <locale>
#include <regex>
#include <sstream>

namespace {

// The compiler leaves out what nobody can see.
const void* volatile last_leaked;
template <typename T>
T* leak(T* object) {
    last_leaked = object;
    return object;
}

// One of the script's own, so that its type information and destructor go with the image.
struct Failure : std::runtime_error {
    std::string details = std::string(500, 'd');
    using std::runtime_error::runtime_error;
};

struct Points : std::numpunct<char> {
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
};

// It is suspended in the middle, and nobody has it.
struct Forgotten {
    struct promise_type {
        Forgotten get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() {}
    };
};

Forgotten half_done(std::string text) {
    std::vector<std::string> locals(20, text);
    co_await std::suspend_always{};
    locals.clear();
}

std::vector<std::exception_ptr> kept_exceptions;
std::map<std::string, std::string> table{{"a", std::string(1000, 'a')}};
std::locale german(std::locale::classic(), new Points);

struct Local {
    std::vector<int> entries = std::vector<int>(100);
    ~Local() { entries.push_back(1); }
};
thread_local Local local;
thread_local std::string buffer(2000, 'b');

struct Registered {
    std::string name = std::string(100, 'r');
    ~Registered() { name.clear(); }
};

int exits = std::atexit([] { table.clear(); });

void keep_exceptions() {
    for (int i = 0; i < 5; ++i) {
        try {
            throw Failure("failure " + std::to_string(i));
        } catch (const Failure&) {
            kept_exceptions.push_back(std::current_exception());
            leak(new std::exception_ptr(std::current_exception()));
            try {
                std::rethrow_exception(kept_exceptions.back());
            } catch (...) {
                // A reference to an exception that was rethrown is an exception, too.
                leak(new std::exception_ptr(std::current_exception()));
            }
        }
    }
}

}  // namespace

kiln::Action on_request(kiln::Request& request) {
    static Registered registered;
    // 100 KB at least, touched.
    std::memset(leak(std::malloc(100'000)), 1, 100'000);
    leak(new std::string(1000, 'l'));
    keep_exceptions();
    half_done(std::string(request.path()) + std::string(100, 'c'));
    local.entries.push_back(exits);
    buffer += "more";
    std::atexit([] { kept_exceptions.clear(); });

    auto* expression = leak(new std::regex("([a-z]+)/([0-9]+)", std::regex::icase));
    auto* stream = leak(new std::ostringstream);
    stream->imbue(german);
    *stream << std::setprecision(10) << 1234567 << ' ' << 3.25 << ' ' << std::regex_search("abc/12", *expression);
    auto* shared = leak(new std::shared_ptr<std::function<int()>>(
        std::make_shared<std::function<int()>>([text = stream->str()] { return int(text.size()); })));
    return kiln::reply(200, stream->str() + " " + std::to_string((**shared)()) + "\n");
}
