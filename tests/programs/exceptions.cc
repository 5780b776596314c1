// Do exceptions find their handlers through many frames, by base class, nested and carried away?

#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <vector>

struct Trace {
    const char* name;
    explicit Trace(const char* name) : name(name) { std::printf("+%s\n", name); }
    ~Trace() { std::printf("-%s uncaught=%d\n", name, std::uncaught_exceptions()); }
};

// A diamond: caught by any of the bases, and only through the public ones.
struct Base {
    int code = 1;
    virtual ~Base() = default;
};
struct Left : virtual Base {};
struct Right : virtual Base {};
struct Diamond : Left, Right {
    explicit Diamond(int c) { code = c; }
};
struct Hidden : private std::runtime_error {
    Hidden() : std::runtime_error("hidden") {}
};
// Two bases that are not virtual: ambiguous, so a handler of Base2 does not match.
struct Base2 {};
struct A : Base2 {};
struct B : Base2 {};
struct Ambiguous : A, B {};

[[gnu::noinline]] void descend(int depth) {
    Trace trace(depth % 10 == 0 ? "tenth" : "frame");
    if (depth == 0) throw Diamond(42);
    descend(depth - 1);
}

struct ThrowsInConstructor {
    Trace member{"member"};
    std::unique_ptr<Trace> owned = std::make_unique<Trace>("owned");
    ThrowsInConstructor() { throw std::out_of_range("constructor"); }
    ~ThrowsInConstructor() { std::puts("never"); }
};

ThrowsInConstructor* function_try() try {
    return new ThrowsInConstructor[3];
} catch (const std::logic_error& error) {
    std::printf("function try: %s\n", error.what());
    throw;
}

void rethrow_nested(int level) {
    try {
        if (level == 0) throw std::invalid_argument("root");
        rethrow_nested(level - 1);
    } catch (...) {
        std::throw_with_nested(std::runtime_error("level " + std::to_string(level)));
    }
}

void print_nested(const std::exception& error, int depth) {
    std::printf("%*s%s\n", depth * 2, "", error.what());
    try {
        std::rethrow_if_nested(error);
    } catch (const std::exception& inner) {
        print_nested(inner, depth + 1);
    }
}

// A destructor that throws and catches while another exception unwinds.
struct Careful {
    ~Careful() {
        try {
            throw 7;
        } catch (int value) {
            std::printf("inside a destructor: %d uncaught=%d\n", value, std::uncaught_exceptions());
        }
    }
};

template <class T>
const char* kind_of(T&& thrown) {
    try {
        throw static_cast<std::decay_t<T>>(std::forward<T>(thrown));
    } catch (int) {
        return "int";
    } catch (const char*) {
        return "text";
    } catch (long double) {
        return "long double";
    } catch (void*) {
        return "pointer";
    } catch (std::vector<int>& v) {
        return v.size() == 3 ? "vector of 3" : "vector";
    } catch (...) {
        return "else";
    }
}

enum class Colour { red };

int main() {
    try {
        descend(12);
    } catch (const Base& caught) {
        std::printf("base %d, really %s\n", caught.code, typeid(caught).name());
    }
    try {
        function_try();
    } catch (const std::exception& error) {
        std::printf("again: %s\n", error.what());
    }
    try {
        try {
            throw Hidden();
        } catch (const std::exception&) {
            std::puts("wrong: private base");
        }
    } catch (const Hidden&) {
        std::puts("hidden by itself");
    }
    try {
        throw Ambiguous();
    } catch (const Base2&) {
        std::puts("wrong: ambiguous base");
    } catch (const A&) {
        std::puts("unambiguous part");
    }
    try {
        rethrow_nested(4);
    } catch (const std::exception& error) {
        print_nested(error, 0);
    }

    std::exception_ptr kept;
    try {
        Careful careful;
        throw std::string("carried");
    } catch (...) {
        kept = std::current_exception();
    }
    for (int i = 0; i < 2; ++i) {
        try {
            std::rethrow_exception(kept);
        } catch (std::string& text) {
            std::printf("%s %d\n", text.c_str(), i);
            text += "!";
        }
    }
    std::exception_ptr made = std::make_exception_ptr(std::bad_alloc());
    try {
        std::rethrow_exception(made);
    } catch (const std::bad_alloc& error) {
        std::puts(error.what());
    }

    int local = 0;
    std::printf("%s %s %s %s %s %s\n", kind_of(1), kind_of("text"), kind_of(1.0L), kind_of(&local),
                kind_of(std::vector<int>{1, 2, 3}), kind_of(Colour::red));
    try {
        Base* nothing = nullptr;
        std::puts(typeid(*nothing).name());
    } catch (const std::bad_typeid&) {
        std::puts("bad_typeid");
    }
    try {
        Left left;
        (void)dynamic_cast<Right&>(static_cast<Base&>(left));
    } catch (const std::bad_cast&) {
        std::puts("bad_cast");
    }
    try {
        volatile std::size_t many = static_cast<std::size_t>(-1) / 8;
        delete[] new long[many];
    } catch (const std::bad_alloc&) {
        std::puts("bad_alloc");
    }
    long sum = 0;
    for (int i = 0; i < 20000; ++i) {
        try {
            if (i % 3 == 0) throw i;
            if (i % 3 == 1) throw static_cast<long>(i);
            throw 0.5;
        } catch (int value) {
            sum += value;
        } catch (long value) {
            sum -= value;
        } catch (double) {
            sum += 1;
        }
    }
    std::printf("%ld %d\n", sum, std::uncaught_exceptions());
}
