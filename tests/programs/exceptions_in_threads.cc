// Do threads throw at the same time without disturbing one another, and do futures carry exceptions?

#include <atomic>
#include <cstdio>
#include <exception>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct Error : std::runtime_error {
    int thread, round;
    Error(int thread, int round) : std::runtime_error("round"), thread(thread), round(round) {}
};

[[gnu::noinline]] int dig(int depth, int thread, int round) {
    std::string padding(static_cast<std::size_t>(depth), 'x');
    if (depth == 0) throw Error(thread, round);
    return dig(depth - 1, thread, round) + static_cast<int>(padding.size());
}

int main() {
    std::atomic<int> right{0}, wrong{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 8; ++thread)
        threads.emplace_back([&, thread] {
            for (int round = 0; round < 500; ++round) {
                try {
                    dig(round % 40, thread, round);
                } catch (const Error& error) {
                    (error.thread == thread && error.round == round ? right : wrong)++;
                }
            }
        });
    for (auto& thread : threads) thread.join();
    std::printf("%d %d\n", right.load(), wrong.load());

    auto failing = std::async(std::launch::async, []() -> int { throw std::domain_error("away"); });
    try {
        failing.get();
    } catch (const std::domain_error& error) {
        std::printf("from a future: %s\n", error.what());
    }
    std::promise<int> promise;
    auto future = promise.get_future().share();
    std::thread([promise = std::move(promise)]() mutable {
        promise.set_exception(std::make_exception_ptr(Error(1, 2)));
    }).join();
    for (int i = 0; i < 2; ++i) {
        try {
            future.get();
        } catch (const Error& error) {
            std::printf("shared %d %d\n", error.thread, error.round);
        }
    }
    std::future<void> broken = std::promise<void>().get_future();
    try {
        broken.get();
    } catch (const std::future_error& error) {
        std::printf("broken promise: %d\n",
                    error.code() == std::make_error_code(std::future_errc::broken_promise));
    }
}
