// Do deep template recursion, constexpr evaluation, fold expressions, CRTP and lambdas hold?

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

template <int N>
struct Deep {
    static constexpr long value = Deep<N - 1>::value + N;
    static long run(long x) { return Deep<N - 1>::run(x ^ N) + 1; }
};
template <>
struct Deep<0> {
    static constexpr long value = 0;
    static long run(long x) { return x; }
};

constexpr bool is_prime(int n) {
    for (int i = 2; i * i <= n; ++i)
        if (n % i == 0) return false;
    return n > 1;
}
template <std::size_t... I>
constexpr auto primes(std::index_sequence<I...>) {
    return std::array{is_prime(static_cast<int>(I))...};
}

template <class Self>
struct Counted {
    static inline int alive = 0;
    Counted() { ++alive; }
    Counted(const Counted&) { ++alive; }
    ~Counted() { --alive; }
    const char* describe() const { return static_cast<const Self*>(this)->name(); }
};
struct Apple : Counted<Apple> {
    const char* name() const { return "apple"; }
};
struct Pear : Counted<Pear> {
    const char* name() const { return "pear"; }
};

template <class... Ts>
struct Tuple;
template <>
struct Tuple<> {};
template <class T, class... Rest>
struct Tuple<T, Rest...> : Tuple<Rest...> {
    T value;
    Tuple(T value, Rest... rest) : Tuple<Rest...>(rest...), value(value) {}
};
template <std::size_t I, class T, class... Rest>
auto& get(Tuple<T, Rest...>& tuple) {
    if constexpr (I == 0)
        return tuple.value;
    else
        return get<I - 1>(static_cast<Tuple<Rest...>&>(tuple));
}

template <class F, class... Fs>
auto compose(F f, Fs... fs) {
    if constexpr (sizeof...(Fs) == 0)
        return f;
    else
        return [=](auto x) { return f(compose(fs...)(x)); };
}

template <class T>
auto dispatch(T value) -> std::enable_if_t<std::is_integral_v<T>, const char*> {
    return value ? "integral" : "zero";
}
template <class T>
auto dispatch(T) -> std::enable_if_t<std::is_floating_point_v<T>, const char*> {
    return "floating";
}
template <template <class...> class Container, class... Ts>
int arity(const Container<Ts...>&) {
    return sizeof...(Ts);
}
struct Tracked {
    int moves = 0, copies = 0;
    Tracked() = default;
    Tracked(Tracked&& o) noexcept : moves(o.moves + 1), copies(o.copies) {}
    Tracked(const Tracked& o) : moves(o.moves), copies(o.copies + 1) {}
};
template <class... Args>
Tracked forwarded(Args&&... args) {
    return Tracked(std::forward<Args>(args)...);
}
template <class T>
constexpr T pi = T(3.1415926535897932385L);
template <class T>
struct Guide {
    T value;
};
Guide(const char*) -> Guide<std::string>;

int main() {
    std::printf("%ld %ld\n", Deep<800>::value, Deep<400>::run(5));
    constexpr auto sieve = primes(std::make_index_sequence<100>());
    int count = 0;
    for (bool prime : sieve) count += prime;
    static_assert(sieve[97]);
    std::printf("%d\n", count);
    {
        Apple a, b = a;
        Pear c;
        std::printf("%d %d %s %s\n", Apple::alive, Pear::alive, a.describe(), c.describe());
    }
    std::printf("%d\n", Apple::alive);
    Tuple<int, const char*, double> tuple(1, "two", 3.5);
    get<0>(tuple) += 9;
    std::printf("%d %s %g\n", get<0>(tuple), get<1>(tuple), get<2>(tuple));
    auto composed = compose([](auto x) { return x + 1; }, [](auto x) { return x * 2; }, [](auto x) { return x - 3; });
    std::printf("%d %g\n", composed(10), composed(10.5));
    std::printf("%s %s %s %d\n", dispatch(1), dispatch(false), dispatch(1.5f), arity(std::tuple(1, 'c', 2.0)));
    Tracked source;
    auto copied = forwarded(source);
    auto moved = forwarded(std::move(source));
    std::printf("%d%d %d%d %g %s\n", copied.copies, copied.moves, moved.copies, moved.moves, pi<double>, Guide{"guided"}.value.c_str());
    auto counter = [n = 0]() mutable { return ++n; };
    counter();
    auto twin = counter;
    std::printf("%d %d %d\n", counter(), counter(), twin());
    auto recursive = [](auto&& self, int n) -> long { return n < 2 ? n : self(self, n - 1) + self(self, n - 2); };
    int (*plain)(int) = [](int x) { return x * x; };
    std::printf("%ld %d\n", recursive(recursive, 25), plain(12));
    auto all = [](auto... values) { return (values && ...) ? (values + ...) : -1; };
    std::printf("%d %d\n", all(1, 2, 3), all(1, 0, 3));
    []<class T, std::size_t N>(const T (&array)[N]) { std::printf("%zu %zu\n", N, sizeof(T)); }("array");
}
