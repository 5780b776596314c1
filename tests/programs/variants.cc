// Do variant, any, optional and function hold, give and refuse what they hold?

#include <any>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};

int main() {
    using Value = std::variant<int, std::string, std::vector<int>, std::monostate>;
    std::vector<Value> values{1, "text", std::vector{1, 2, 3}, std::monostate{}};
    for (auto& value : values)
        std::visit(Overloaded{[](int i) { std::printf("int %d, ", i); },
                              [](std::string& s) { std::printf("string %s, ", s.c_str()); },
                              [](std::vector<int>& v) { std::printf("vector %zu, ", v.size()); },
                              [](auto&&) { std::puts("nothing"); }},
                   value);
    try {
        (void)std::get<int>(values[1]);
    } catch (const std::bad_variant_access& error) {
        std::puts(error.what());
    }
    std::any any = std::string("anything");
    try {
        std::puts(std::any_cast<std::string&>(any).c_str());
        any = std::make_shared<int>(5);
        std::printf("%d\n", *std::any_cast<std::shared_ptr<int>>(any));
        std::any_cast<int>(any);
    } catch (const std::bad_any_cast& error) {
        std::puts(error.what());
    }
    std::optional<std::string> maybe;
    try {
        (void)maybe.value();
    } catch (const std::bad_optional_access& error) {
        std::puts(error.what());
    }
    std::function<int(int)> factorial = [&](int n) { return n < 2 ? 1 : n * factorial(n - 1); };
    std::function<void()> empty;
    try {
        std::printf("%d\n", factorial(10));
        empty();
    } catch (const std::bad_function_call& error) {
        std::puts(error.what());
    }
}
