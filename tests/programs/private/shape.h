// A private header of several_files.cc.
#pragma once

#include "counter.h"

class Shape {
public:
    virtual ~Shape() = default;
    virtual double area() const = 0;
    static inline Counter counter{"shapes"};

protected:
    Shape() { counter.add(); }
};
