// Do the parts of the library that other cases leave out work: calendars, wide text, locales, allocators?

#include <any>
#include <atomic>
#include <bitset>
#include <cerrno>
#include <cfenv>
#include <charconv>
#include <chrono>
#include <clocale>
#include <cmath>
#include <codecvt>
#include <cstdio>
#include <cwchar>
#include <exception>
#include <functional>
#include <iomanip>
#include <iostream>
#include <locale>
#include <memory_resource>
#include <optional>
#include <random>
#include <ratio>
#include <scoped_allocator>
#include <span>
#include <sstream>
#include <syncstream>
#include <system_error>
#include <typeindex>
#include <unordered_map>
#include <valarray>
#include <vector>

static void calendars() {
    using namespace std::chrono;
    constexpr auto day = 2024y / February / last;
    static_assert(day.day() == 29d);
    sys_days monday = 2026y / November / Monday[2];
    year_month_day when{monday};
    std::printf("%d-%u-%u %u\n", int(when.year()), unsigned(when.month()), unsigned(when.day()),
                weekday{monday}.iso_encoding());
    hh_mm_ss clock{milliseconds(45296789)};
    std::printf("%ld:%ld:%ld.%ld %ld\n", long(clock.hours().count()), long(clock.minutes().count()),
                long(clock.seconds().count()), long(clock.subseconds().count()),
                long(round<hours>(100min).count() + floor<days>(-1h).count()));
}

static void nested() {
    try {
        try {
            throw std::system_error(ENOENT, std::generic_category(), "inner");
        } catch (...) {
            std::throw_with_nested(std::runtime_error("outer"));
        }
    } catch (const std::exception& outer) {
        std::printf("%s: ", outer.what());
        try {
            std::rethrow_if_nested(outer);
        } catch (const std::system_error& inner) {
            std::printf("%s %d\n", inner.what(), inner.code() == std::errc::no_such_file_or_directory);
        }
    }
}

static void wide_text() {
    std::wostringstream wide;
    wide << L"wide " << 12 << L' ' << std::setw(6) << std::setfill(L'*') << 3.5 << L" narrow";
    std::wstring text = wide.str();
    std::wprintf(L"");
    std::printf("%zu %ls %d\n", text.size(), text.c_str(), std::wcscmp(L"a", L"b") < 0);
    std::wstring_convert<std::codecvt_utf8<wchar_t>> converter;
    std::string bytes = converter.to_bytes(L"\u20ac\u00e9");
    std::printf("%zu %d\n", bytes.size(), converter.from_bytes(bytes) == L"\u20ac\u00e9");
    wchar_t buffer[32];
    std::swprintf(buffer, 32, L"%d-%ls-%.2f", 5, L"x", 1.5);
    std::printf("%ls %lu %ld\n", buffer, std::wcstoul(L"0xff", nullptr, 0), long(std::mbstowcs(nullptr, "abc", 0)));
}

// Groups digits by two, separated by an apostrophe.
struct Grouping : std::numpunct<char> {
    char do_thousands_sep() const override { return '\''; }
    std::string do_grouping() const override { return "\2"; }
    std::string do_truename() const override { return "yes"; }
};

static void locales() {
    std::ostringstream plain, own;
    own.imbue(std::locale(std::locale::classic(), new Grouping));
    for (std::ostream* out : {static_cast<std::ostream*>(&plain), static_cast<std::ostream*>(&own)})
        *out << std::boolalpha << true << ' ' << 1234567 << ' ' << std::put_money(123456.0) << ' ' << 2.5;
    std::printf("%s | %s | %s\n", plain.str().c_str(), own.str().c_str(), std::setlocale(LC_ALL, nullptr));
    std::tm parts{};
    std::istringstream("2026-11-24 18:30:00") >> std::get_time(&parts, "%Y-%m-%d %H:%M:%S");
    std::ostringstream time;
    time << std::put_time(&parts, "%A %d %B %Y %j");
    std::printf("%d %d %s\n", parts.tm_year, parts.tm_hour, time.str().c_str());
}

static void errors_of_mathematics() {
    volatile double negative = -1, large = 1000;
    for (auto call : {+[](double x) { return std::log(x); }, +[](double x) { return std::exp(-x * 1000); },
                      +[](double x) { return std::sqrt(x); }, +[](double x) { return std::pow(0.0, x); }}) {
        errno = 0;
        std::feclearexcept(FE_ALL_EXCEPT);
        double result = call(negative);
        int error = errno;
        std::printf("%g %d %d\n", result, error,
                    std::fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW));
    }
    errno = 0;
    long double tiny = std::exp(-static_cast<long double>(large) * 20);
    std::printf("%d %Lg %Lg\n", errno, tiny, std::nextafter(1.0L, 2.0L) - 1);
    long long parsed = 0;
    auto [end, failed] = std::from_chars("9223372036854775808", "9223372036854775808" + 19, parsed);
    std::printf("%d\n", failed == std::errc::result_out_of_range);
}

static void the_rest() {
    using namespace std::placeholders;
    auto bound = std::bind([](int a, int b, int c) { return a * 100 + b * 10 + c; }, _2, 7, _1);
    std::printf("%d %d\n", bound(1, 2), std::invoke(std::not_fn(std::logical_and<>{}), true, false));
    std::valarray<int> numbers{1, 2, 3, 4, 5, 6};
    std::valarray<int> every = numbers[std::slice(0, 3, 2)];
    std::printf("%d %d %d\n", every.sum(), (numbers * 2).max(), std::valarray<int>(numbers[numbers > 4]).min());
    std::printf("%s %zu\n", (std::bitset<12>(0xabc) >> 2).to_string().c_str(), std::bitset<12>("1011").count());
    static_assert(std::ratio_add<std::ratio<1, 3>, std::ratio<1, 6>>::den == 2);
    int target = 5;
    std::atomic_ref(target).fetch_add(3);
    std::any box = std::vector{1, 2};
    std::optional<int> none;
    std::printf("%d %zu %d %d\n", target, std::any_cast<std::vector<int>&>(box).size(), none.value_or(9),
                std::type_index(typeid(target)) == std::type_index(box.type()));
    std::array<std::byte, 4096> room;
    std::pmr::monotonic_buffer_resource pool(room.data(), room.size(), std::pmr::null_memory_resource());
    std::pmr::unordered_map<std::pmr::string, std::pmr::vector<int>> table(&pool);
    table["a key that is longer than a short string"].assign({1, 2, 3});
    std::printf("%d\n", table.begin()->second.get_allocator().resource() == &pool);
    std::mt19937_64 engine(42);
    std::printf("%llu %d\n", static_cast<unsigned long long>(engine()),
                std::uniform_int_distribution<>(1, 6)(engine));
    std::span<const int, 2> last = std::span<const int>(std::begin(numbers), 6).last<2>();
    std::printf("%d %d\n", last.front(), last.back());
    std::fflush(stdout);
    std::osyncstream(std::cout) << "synchronised " << std::hex << std::showbase << 255 << std::endl;
}

int main() {
    calendars();
    nested();
    wide_text();
    locales();
    errors_of_mathematics();
    the_rest();
}
