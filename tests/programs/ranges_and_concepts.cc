// Do ranges, views, projections, concepts and constrained templates compute what they should?

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdio>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

template <class T>
concept Sized = requires(const T& t) {
    { t.size() } -> std::convertible_to<std::size_t>;
};
template <class T>
concept Named = Sized<T> && requires(T t) { t.substr(0, 1); };

template <class T>
constexpr const char* kind(const T&) {
    return "plain";
}
template <Sized T>
constexpr const char* kind(const T&) {
    return "sized";
}
template <Named T>
constexpr const char* kind(const T&) {
    return "named";
}

struct Person {
    std::string name;
    int age;
    auto operator<=>(const Person&) const = default;
};

constexpr int sum(std::span<const int> numbers) {
    int total = 0;
    for (int number : numbers) total += number;
    return total;
}
constexpr std::array table = {1, 2, 3, 4};
static_assert(sum(table) == 10);

consteval unsigned long hash(std::string_view text) {
    unsigned long value = 14695981039346656037u;
    for (char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211u;
    return value;
}

template <auto... values>
struct List {
    static constexpr auto total = (values + ... + 0);
};
template <std::size_t N>
struct Text {
    char chars[N];
    constexpr Text(const char (&text)[N]) { std::copy_n(text, N, chars); }
};
template <Text text>
const char* literal() {
    return text.chars;
}

int main() {
    namespace views = std::views;
    auto squares = views::iota(1) | views::filter([](int i) { return i % 3 == 0; }) |
                   views::transform([](int i) { return i * i; }) | views::drop(2) | views::take(5);
    for (int square : squares) std::printf("%d ", square);
    std::puts("");

    std::vector<Person> people{{"Ada", 36}, {"Alan", 41}, {"Grace", 85}, {"Edsger", 72}, {"Ada", 12}};
    std::ranges::sort(people, std::greater{}, &Person::age);
    for (const auto& [name, age] : people) std::printf("%s %d, ", name.c_str(), age);
    std::ranges::stable_sort(people, {}, [](const Person& p) { return p.name.size(); });
    for (std::string_view name : people | views::transform(&Person::name) | views::reverse)
        std::printf("%.*s ", static_cast<int>(name.size()), name.data());
    std::printf("\n%s\n", (*std::ranges::min_element(people)).name.c_str());

    std::string_view sentence = "the quick brown fox";
    for (auto word : sentence | views::split(' ')) {
        std::string text(word.begin(), word.end());
        std::printf("%s/", text.c_str());
    }
    std::vector<std::vector<int>> nested{{1, 2}, {}, {3}};
    for (int value : nested | views::join) std::printf("%d", value);
    std::puts("");
    std::array<int, 6> numbers{5, 3, 1, 4, 2, 0};
    std::span<int> middle(numbers.begin() + 1, 4);
    std::ranges::sort(middle);
    std::printf("%d %d %d %zu\n", numbers[0], middle.front(), middle.back(), middle.size_bytes());
    auto found = std::ranges::lower_bound(middle, 3);
    std::printf("%td %s %s %s\n", found - middle.begin(), kind(1), kind(numbers),
                kind(std::string()));
    std::printf("%lx %d %s\n", hash("kiln"), List<1, 2, 3>::total, literal<"text as a parameter">());
    auto tuple = std::tuple_cat(std::tuple(1, 2.5), std::tuple("three"));
    std::apply([](auto... parts) { std::printf("%zu %d\n", sizeof...(parts), (sizeof(parts) + ... + 0) > 0); },
               tuple);
    std::printf("%d %d\n", people[0] < people[1], (people[0] <=> people[0]) == 0);
}
