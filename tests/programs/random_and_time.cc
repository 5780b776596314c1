// Do the random engines and distributions, <chrono> and its calendar give the standard's values?

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <ratio>
#include <thread>
#include <vector>

int main() {
    std::mt19937 twister;
    twister.discard(9999);
    std::printf("%lu\n", static_cast<unsigned long>(twister()));  // 4123659995 by the standard
    std::mt19937_64 wide(42);
    std::minstd_rand small(1);
    std::ranlux24 luxury;
    luxury.discard(9999);
    std::printf("%lu %lu %lu\n", static_cast<unsigned long>(wide()), static_cast<unsigned long>(small()),
                static_cast<unsigned long>(luxury()));
    std::seed_seq seeds{1, 2, 3};
    std::mt19937 seeded(seeds);
    std::vector<int> numbers(10);
    for (int i = 0; i < 10; ++i) numbers[static_cast<std::size_t>(i)] = i;
    std::shuffle(numbers.begin(), numbers.end(), seeded);
    for (int number : numbers) std::printf("%d ", number);
    std::uniform_int_distribution<int> dice(1, 6);
    std::normal_distribution<double> bell(100, 15);
    std::poisson_distribution<int> rare(3.5);
    std::discrete_distribution<int> weighted({1, 5, 2});
    for (int i = 0; i < 3; ++i)
        std::printf("%d %.9f %d %d, ", dice(seeded), bell(seeded), rare(seeded), weighted(seeded));
    std::puts("");
    std::random_device device;
    std::printf("%d\n", device() != device() || device() != device());

    using namespace std::chrono;
    using namespace std::chrono_literals;
    auto began = steady_clock::now();
    std::this_thread::sleep_for(5ms);
    std::printf("%d\n", steady_clock::now() - began >= 5ms);
    std::printf("%d\n", system_clock::now() > sys_days(2020y / January / 1));
    year_month_day leap = 2024y / February / last;
    std::printf("%u %d\n", static_cast<unsigned>(leap.day()), (leap + months(12)).ok());
    sys_days day = 2026y / 3 / 1;
    weekday name(day);
    std::printf("%u %ld\n", name.c_encoding(), static_cast<long>(day.time_since_epoch().count()));
    hh_mm_ss parts(3h + 25min + 45s + 250ms);
    std::printf("%ld %ld %ld %ld\n", static_cast<long>(parts.hours().count()), static_cast<long>(parts.minutes().count()),
                static_cast<long>(parts.seconds().count()), static_cast<long>(parts.subseconds().count()));
    std::printf("%ld %g\n", static_cast<long>(duration_cast<minutes>(1.5h).count()),
                duration<double, std::ratio<1, 3>>(2s).count());
}
