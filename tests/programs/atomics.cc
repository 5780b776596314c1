// Are atomics of every size atomic, those of 16 bytes and floating point included?
// link: -latomic

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

struct alignas(16) Pair {
    std::uint64_t low, high;
    bool operator==(const Pair&) const = default;
};
struct Odd {
    char bytes[24];
};

template <class F>
void race(F work) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(work, i);
    for (auto& thread : threads) thread.join();
}

int main() {
    std::atomic<std::uint8_t> byte{0};
    std::atomic<std::uint16_t> half{0};
    std::atomic<std::uint32_t> word{0};
    std::atomic<std::uint64_t> wide{0};
    std::atomic<double> real{0};
    std::atomic<int*> pointer{nullptr};
    race([&](int) {
        for (int i = 0; i < 5000; ++i) {
            byte.fetch_add(1);
            half.fetch_xor(1);
            word.fetch_add(3, std::memory_order_relaxed);
            wide.fetch_sub(1, std::memory_order_acq_rel);
            real.fetch_add(0.5);
            pointer.fetch_add(1);
        }
    });
    std::printf("%d %d %u %lu %.1f %ld\n", byte.load(), half.load(), word.load(),
                static_cast<unsigned long>(-wide.load()), real.load(),
                static_cast<long>(reinterpret_cast<std::intptr_t>(pointer.load())));

    std::atomic<Pair> pair{Pair{0, 0}};
    std::atomic<int> torn{0};
    race([&](int thread) {
        for (int i = 0; i < 5000; ++i) {
            Pair seen = pair.load();
            if (seen.low != seen.high) ++torn;
            while (!pair.compare_exchange_weak(seen, Pair{seen.low + 1, seen.high + 1})) {}
            if (thread == 0 && i % 100 == 0) {
                Pair before = pair.exchange(pair.load());
                if (before.low != before.high) ++torn;
            }
        }
    });
    std::printf("pair: torn %d, equal %d\n", torn.load(), pair.load().low == pair.load().high);

    alignas(16) unsigned __int128 big = 0;
    race([&](int) {
        for (int i = 0; i < 5000; ++i)
            __atomic_fetch_add(&big, (static_cast<unsigned __int128>(1) << 64) + 1,
                               __ATOMIC_SEQ_CST);
    });
    std::printf("128 bits: %lu %lu\n", static_cast<unsigned long>(big),
                static_cast<unsigned long>(big >> 64));

    std::atomic<Odd> odd{Odd{"twenty-three letters..."}};
    Odd copy = odd.load();
    copy.bytes[0] = 'T';
    odd.store(copy);
    std::printf("%s %d\n", odd.load().bytes, odd.is_lock_free());

    std::atomic<std::shared_ptr<int>> shared{std::make_shared<int>(0)};
    race([&](int) {
        for (int i = 0; i < 500; ++i) {
            auto seen = shared.load();
            while (!shared.compare_exchange_weak(seen, std::make_shared<int>(*seen + 1))) {}
        }
    });
    std::printf("shared %d\n", *shared.load());

    std::atomic<int> turn{0};
    std::thread other([&] {
        turn.wait(0);
        turn = 2;
        turn.notify_all();
    });
    turn = 1;
    turn.notify_all();
    turn.wait(1);
    other.join();
    std::atomic_flag flag;
    std::printf("%d %d %d\n", turn.load(), flag.test_and_set(), flag.test_and_set());
}
