#pragma once

inline int counter = 0;

template <class T>
struct Holder {
    static inline T value{};
};

struct Problem {
    int number;
};

void throw_it(int number);
