// Do coroutines suspend, resume, carry values and exceptions, and destroy what they hold?

#include <coroutine>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

template <class T>
class Generator {
public:
    struct promise_type {
        const T* current = nullptr;
        std::exception_ptr error;
        Generator get_return_object() { return Generator(Handle::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(const T& value) noexcept {
            current = &value;
            return {};
        }
        void return_void() noexcept {}
        void unhandled_exception() { error = std::current_exception(); }
    };
    using Handle = std::coroutine_handle<promise_type>;
    explicit Generator(Handle handle) : handle(handle) {}
    Generator(Generator&& other) noexcept : handle(std::exchange(other.handle, {})) {}
    ~Generator() {
        if (handle) handle.destroy();
    }
    std::optional<T> next() {
        handle.resume();
        if (handle.promise().error) std::rethrow_exception(handle.promise().error);
        if (handle.done()) return std::nullopt;
        return *handle.promise().current;
    }

private:
    Handle handle;
};

struct Held {
    std::string name;
    ~Held() { std::printf("~%s\n", name.c_str()); }
};

Generator<long> fibonacci() {
    Held held{"fibonacci"};
    for (long a = 0, b = 1;; a = std::exchange(b, a + b)) co_yield a;
}

Generator<std::string> words(std::string text) {
    std::string word;
    for (char c : text) {
        if (c != ' ') {
            word += c;
            continue;
        }
        co_yield word;
        word.clear();
    }
    if (word == "bad") throw std::runtime_error("bad word");
    co_yield word;
}

// A lazy task with symmetric transfer: a million of them in a row need no stack.
template <class T>
class Task {
public:
    struct promise_type {
        std::coroutine_handle<> caller;
        std::exception_ptr error;
        std::optional<T> value;
        Task get_return_object() {
            return Task(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        auto final_suspend() noexcept {
            struct Back {
                bool await_ready() noexcept { return false; }
                std::coroutine_handle<>
                await_suspend(std::coroutine_handle<promise_type> self) noexcept {
                    auto caller = self.promise().caller;
                    return caller ? caller : std::noop_coroutine();
                }
                void await_resume() noexcept {}
            };
            return Back{};
        }
        void return_value(T result) { value = std::move(result); }
        void unhandled_exception() { error = std::current_exception(); }
    };
    explicit Task(std::coroutine_handle<promise_type> handle) : handle(handle) {}
    Task(Task&& other) noexcept : handle(std::exchange(other.handle, {})) {}
    ~Task() {
        if (handle) handle.destroy();
    }
    bool await_ready() { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) {
        handle.promise().caller = caller;
        return handle;
    }
    T await_resume() {
        if (handle.promise().error) std::rethrow_exception(handle.promise().error);
        return std::move(*handle.promise().value);
    }
    T run() {
        handle.resume();
        return await_resume();
    }

private:
    std::coroutine_handle<promise_type> handle;
};

Task<int> one() { co_return 1; }
Task<int> many(int count) {
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += co_await one();
    co_return sum;
}
Task<std::string> fails(int depth) {
    Held held{"frame " + std::to_string(depth)};
    if (depth == 0) throw std::logic_error("from the bottom");
    std::string deeper = co_await fails(depth - 1);
    co_return deeper + "never";
}
Task<int> catches() {
    try {
        co_await fails(3);
    } catch (const std::logic_error& error) {
        std::printf("caught %s\n", error.what());
    }
    auto lambda = [](std::unique_ptr<int> value) -> Task<int> { co_return *value * 2; };
    co_return co_await lambda(std::make_unique<int>(21));
}

struct Fire {
    struct promise_type {
        static void* operator new(std::size_t size) {
            std::puts("frame allocated");
            return ::operator new(size);
        }
        static void operator delete(void* frame) {
            std::puts("frame freed");
            ::operator delete(frame);
        }
        Fire get_return_object() { return {}; }
        std::suspend_never initial_suspend() { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() {}
    };
};
struct Parked {
    static inline std::vector<std::coroutine_handle<>> waiting;
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> handle) { waiting.push_back(handle); }
    int await_resume() { return static_cast<int>(waiting.size()); }
};
Fire fire(const char* name) {
    std::printf("%s starts\n", name);
    int seen = co_await Parked{};
    std::printf("%s goes on with %d\n", name, seen);
}

int main() {
    {
        auto numbers = fibonacci();
        for (int i = 0; i < 50; ++i) numbers.next();
        std::printf("%ld\n", *numbers.next());
    }
    auto fine = words("some words here");
    while (auto word = fine.next()) std::printf("[%s]\n", word->c_str());
    auto bad = words("a bad");
    try {
        while (auto word = bad.next()) std::printf("[%s]\n", word->c_str());
    } catch (const std::runtime_error& error) {
        std::puts(error.what());
    }
    std::printf("%d\n", many(1000000).run());
    std::printf("%d\n", catches().run());
    fire("a");
    fire("b");
    auto waiting = Parked::waiting;
    for (auto handle : waiting) handle.resume();
}
