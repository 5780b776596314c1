// Can a program include private headers beside it, by either form of path, and ask what there is?

#include "private/shape.h"
#include "private/../private/counter.h"

#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#if __has_include("private/none.h") || __has_include(<private/shape.h>)
#error "found what is not there"
#endif
#if !__has_include("private/shape.h") || !__has_include(<vector>)
#error "did not find what is there"
#endif

struct Square : Shape {
    double side;
    explicit Square(double side) : side(side) {}
    double area() const override { return side * side; }
};

int main() {
    std::vector<std::unique_ptr<Shape>> shapes;
    for (int i = 1; i < 4; ++i) shapes.push_back(std::make_unique<Square>(i));
    double total = 0;
    for (auto& shape : shapes) total += shape->area();
    std::printf("%g %s %d\n", total, Shape::counter.name, Shape::counter.value);
    const char* name = std::strrchr(__FILE__, '/');
    std::printf("%s %d %s\n", name ? name + 1 : __FILE__, __LINE__, __func__);
    std::printf("%ld %d\n", __cplusplus, __clang_major__);
}
