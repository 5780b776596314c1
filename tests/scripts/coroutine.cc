// Can a hook run a coroutine to its end, with exceptions through it?
// request: GET /?n=30 HTTP/1.1
// status: 200
// body: 832040
// request: GET /?n=-1 HTTP/1.1
// status: 500
// log: it threw std::domain_error: negative
// request: GET /?n=3 HTTP/1.1
// status: 200
// body: 2

#include <kiln.h>

#include <coroutine>

class Numbers {
public:
    struct promise_type {
        long current = 0;
        std::exception_ptr error;
        Numbers get_return_object() { return Numbers(std::coroutine_handle<promise_type>::from_promise(*this)); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        std::suspend_always yield_value(long value) noexcept {
            current = value;
            return {};
        }
        void return_void() noexcept {}
        void unhandled_exception() { error = std::current_exception(); }
    };
    explicit Numbers(std::coroutine_handle<promise_type> handle) : handle(handle) {}
    Numbers(const Numbers&) = delete;
    ~Numbers() { handle.destroy(); }
    long next() {
        handle.resume();
        if (handle.promise().error) std::rethrow_exception(handle.promise().error);
        return handle.promise().current;
    }

private:
    std::coroutine_handle<promise_type> handle;
};

static Numbers fibonacci(int limit) {
    if (limit < 0) throw std::domain_error("negative");
    for (long a = 0, b = 1;; a = std::exchange(b, a + b)) co_yield a;
}

kiln::Action on_request(kiln::Request& request) {
    int n = std::stoi(std::string(request.query("n")));
    Numbers numbers = fibonacci(n);
    long last = numbers.next();
    for (int i = 0; i < n; ++i) last = numbers.next();
    return kiln::reply(200, std::to_string(last));
}
