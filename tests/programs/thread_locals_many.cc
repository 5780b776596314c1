// Do hundreds of threads, each with constructed thread-locals, run as many destructors as constructors?

#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

std::atomic<int> made, gone;
std::atomic<long> sum;

struct Counted {
    std::string text = "a text that does not fit into the object itself";
    Counted() { ++made; }
    ~Counted() {
        if (text.size() == 47) ++gone;
    }
};

thread_local Counted first, second;
thread_local long total;

struct Late {
    ~Late() { sum += total; }  // plain data: still there while destructors run
};
thread_local Late late;

int main() {
    for (int batch = 0; batch < 20; ++batch) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 20; ++i)
            threads.emplace_back([i] {
                first.text[0] = 'A';
                (void)&second;
                (void)&late;
                for (int k = 0; k <= i; ++k) total += k;
            });
        for (auto& thread : threads) thread.join();
    }
    std::printf("%d %d %ld\n", made.load(), gone.load(), sum.load());
}
