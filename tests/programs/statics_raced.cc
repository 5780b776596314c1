// Is a function-local static made once when threads race for it, and retried when its initialiser throws?

#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

std::atomic<int> made, attempts, failed, waiting;

struct Slow {
    int value;
    Slow() {
        ++made;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        value = 33;
    }
};

int shared() {
    static Slow object;
    return object.value;
}

struct Moody {
    Moody() {
        if (attempts++ < 3) throw std::runtime_error("not yet");
    }
};

bool moody() {
    try {
        static Moody object;
        return true;
    } catch (const std::runtime_error&) {
        ++failed;
        return false;
    }
}

int main() {
    std::atomic<int> right{0}, succeeded{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 12; ++i)
        threads.emplace_back([&] {
            ++waiting;
            while (waiting < 12) std::this_thread::yield();
            right += shared() == 33;
            while (!moody()) {}
            ++succeeded;
        });
    for (auto& thread : threads) thread.join();
    std::printf("%d %d %d %d %d\n", made.load(), right.load(), attempts.load(), failed.load(),
                succeeded.load());
}
