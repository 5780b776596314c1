// Does printf print, and scanf read, everything that they can?

#include <charconv>
#include <cinttypes>
#include <clocale>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <cwchar>
#include <string>

int main() {
    std::printf("%d %5d %-5d| %05d %+d % d %x %#X %o %u %c %%\n", -1, 42, 42, 42, 42, 42, 255, 255, 8, 3000000000u, 'c');
    std::printf("%hhd %hd %ld %lld %zu %td %jd %p\n", static_cast<signed char>(-1), static_cast<short>(-2), -3L, -4LL,
                sizeof(int), static_cast<std::ptrdiff_t>(-5), static_cast<std::intmax_t>(-6), nullptr);
    std::printf("%f %.0f %.10e %g %G %a %Lf %10.3f|%-10.2f|\n", 3.14159, 2.5, 1e-10, 1e20, 1e-20, 0.1, 1.5L, 2.71828, 2.71828);
    std::printf("%s|%10s|%-10s|%.3s|%*.*f|%ls\n", "text", "right", "left", "truncated", 8, 2, 1.005, L"wide");
    std::printf("%2$s %1$s %3$" PRIx64 "\n", "second", "first", static_cast<std::uint64_t>(0xabcdef));
    int written = 0;
    std::printf("count%n", &written);
    std::printf(" %d\n", written);
    char buffer[20];
    std::printf("%d %s\n", std::snprintf(buffer, sizeof buffer, "%s", "longer than the buffer is"), buffer);
    int i = 0;
    float f = 0;
    char word[10], set[10];
    std::printf("%d ", std::sscanf("12 3.5 word [abc]", "%d %f %9s [%9[a-c]]", &i, &f, word, set));
    std::printf("%d %g %s %s\n", i, static_cast<double>(f), word, set);
    std::printf("%ld %lu %g %d\n", std::strtol("-0x1F", nullptr, 0), std::strtoul("777", nullptr, 8), std::strtod("1e3x", nullptr),
                std::atoi("99 bottles"));
    char digits[32];
    auto end = std::to_chars(digits, digits + 32, 0.1).ptr;
    std::printf("%s %s ", std::string(digits, end).c_str(), std::to_string(1e6).c_str());
    double parsed = 0;
    const char* number = "6.25e2";
    std::from_chars(number, number + std::strlen(number), parsed);
    std::printf("%g %d\n", parsed, std::stoi("7f", nullptr, 16));
    std::time_t moment = 86400 * 365;
    std::tm parts = *std::gmtime(&moment);
    char date[40];
    std::strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S %a %j", &parts);
    std::printf("%s %s", date, std::asctime(&parts));
    char list[] = "a,b;c";
    for (char* token = std::strtok(list, ",;"); token; token = std::strtok(nullptr, ",;")) std::printf("<%s>", token);
    std::printf(" %s %s\n", std::strerror(2), std::setlocale(LC_ALL, "C"));
    std::wprintf(L"never mixed\n");
    std::string large(100000, 'x');
    std::printf("%s\n", (large + "end").substr(99990).c_str());
    std::puts("puts");
    std::putchar('!');
    std::fwrite("raw\0\n", 1, 5, stdout);
}
