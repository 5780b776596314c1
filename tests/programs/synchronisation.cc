// Do the tools of <mutex>, <condition_variable>, <semaphore>, <latch>, <barrier> and <stop_token> work?

#include <barrier>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <latch>
#include <mutex>
#include <numeric>
#include <queue>
#include <semaphore>
#include <shared_mutex>
#include <thread>
#include <vector>

template <class T>
class Queue {
public:
    void push(T value) {
        {
            std::lock_guard guard(lock);
            items.push(std::move(value));
        }
        ready.notify_one();
    }
    T pop() {
        std::unique_lock guard(lock);
        ready.wait(guard, [&] { return !items.empty(); });
        T value = std::move(items.front());
        items.pop();
        return value;
    }

private:
    std::mutex lock;
    std::condition_variable ready;
    std::queue<T> items;
};

int main() {
    {
        Queue<int> queue;
        long sum = 0;
        std::thread consumer([&] {
            for (int value; (value = queue.pop()) >= 0;) sum += value;
        });
        std::vector<std::thread> producers;
        for (int p = 0; p < 4; ++p)
            producers.emplace_back([&] {
                for (int i = 0; i < 1000; ++i) queue.push(i);
            });
        for (auto& producer : producers) producer.join();
        queue.push(-1);
        consumer.join();
        std::printf("queue %ld\n", sum);
    }
    {
        std::once_flag flag;
        int calls = 0, attempts = 0;
        std::mutex lock;
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; ++i)
            threads.emplace_back([&] {
                for (;;) {
                    try {
                        std::call_once(flag, [&] {
                            std::lock_guard guard(lock);
                            if (attempts++ == 0) throw 1;
                            ++calls;
                        });
                        return;
                    } catch (int) {
                    }
                }
            });
        for (auto& thread : threads) thread.join();
        std::printf("once %d of %d\n", calls, attempts);
    }
    {
        std::latch start(3);
        std::counting_semaphore<2> two(2);
        int phases = 0;
        std::barrier phase(3, [&]() noexcept { ++phases; });
        std::atomic<int> inside{0}, most{0};
        auto work = [&] {
            start.arrive_and_wait();
            for (int i = 0; i < 50; ++i) {
                two.acquire();
                int now = ++inside;
                for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {}
                --inside;
                two.release();
                phase.arrive_and_wait();
            }
        };
        std::thread a(work), b(work), c(work);
        a.join(), b.join(), c.join();
        std::printf("barrier %d, inside at most two: %d\n", phases, most.load() <= 2);
    }
    {
        int rounds = 0, stopped = 0;
        std::binary_semaphore running(0);
        {
            std::jthread worker([&](std::stop_token token) {
                std::stop_callback callback(token, [&] { stopped = 1; });
                while (!token.stop_requested()) {
                    if (++rounds == 1) running.release();
                    std::this_thread::yield();
                }
            });
            running.acquire();
        }
        std::printf("jthread %d %d\n", rounds > 0, stopped);
    }
    {
        std::shared_mutex lock;
        long value = 0;
        std::vector<std::jthread> threads;
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back([&] {
                for (int k = 0; k < 200; ++k) std::unique_lock(lock), ++value;
            });
            threads.emplace_back([&] {
                for (int k = 0; k < 200; ++k) {
                    std::shared_lock guard(lock);
                    if (value < 0) std::puts("never");
                }
            });
        }
        threads.clear();
        std::printf("shared %ld\n", value);
    }
    {
        std::mutex a, b;
        std::recursive_timed_mutex r;
        int count = 0;
        auto work = [&](std::mutex& x, std::mutex& y) {
            for (int i = 0; i < 500; ++i) {
                std::scoped_lock guard(x, y);
                ++count;
            }
        };
        std::thread one([&] { work(a, b); }), two([&] { work(b, a); });
        one.join(), two.join();
        std::scoped_lock twice(r);
        std::printf("scoped %d, again: %d\n", count, r.try_lock_for(std::chrono::milliseconds(1)));
    }
    {
        std::vector<int> numbers(10000);
        std::iota(numbers.begin(), numbers.end(), 1);
        auto half = [&](std::size_t from, std::size_t to) {
            return std::accumulate(numbers.begin() + static_cast<long>(from),
                                   numbers.begin() + static_cast<long>(to), 0L);
        };
        auto low = std::async(std::launch::async, half, 0, 5000);
        auto high = std::async(std::launch::deferred, half, 5000, 10000);
        std::packaged_task<int(int)> task([](int x) { return x * x; });
        auto square = task.get_future();
        std::jthread(std::move(task), 12).join();
        std::printf("async %ld %ld %d\n", low.get(), high.get(), square.get());
    }
    std::mutex lock;
    std::condition_variable_any any;
    std::unique_lock guard(lock);
    auto in_vain = any.wait_for(guard, std::chrono::milliseconds(2), [] { return false; });
    std::printf("timeout %d\n", in_vain);
}
