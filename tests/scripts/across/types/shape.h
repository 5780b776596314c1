#pragma once

#include <stdexcept>
#include <string>

// A diamond: its types must be the same types in every script.
struct Named {
    std::string name;
    explicit Named(std::string name) : name(std::move(name)) {}
    virtual ~Named() = default;
};
struct Flat : virtual Named {
    Flat() : Named("flat") {}
    virtual int area() const = 0;
};
struct Round : virtual Named {
    Round() : Named("round") {}
    int radius = 3;
};
struct Disc final : Flat, Round {
    Disc() : Named("disc") {}
    int area() const override { return 3 * radius * radius; }
};

struct Failure : std::runtime_error {
    int code;
    Failure(const std::string& what, int code) : std::runtime_error(what), code(code) {}
};
struct Deep final : Failure {
    using Failure::Failure;
};

// One object, whoever asks for it first.
inline int& uses() {
    static int count = 100;
    return count;
}
template <class T>
T& mine() {
    thread_local T value{};
    return value;
}
inline const std::string motto = "the same " + std::to_string(uses());
