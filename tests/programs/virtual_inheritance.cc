// Are virtual bases, covariant returns, side casts and construction order as the language says?

#include <cstdio>
#include <memory>
#include <typeindex>
#include <typeinfo>
#include <unordered_map>

struct Root {
    int id;
    explicit Root(int id) : id(id) { std::printf("Root(%d) %s\n", id, name()); }
    virtual ~Root() { std::printf("~Root %s\n", name()); }
    virtual const char* name() const { return "Root"; }
    virtual Root* clone() const { return new Root(*this); }
    Root(const Root&) = default;
};
struct Readable : virtual Root {
    long padding[3] = {1, 2, 3};
    Readable() : Root(-1) { std::printf("Readable %s %d\n", name(), id); }
    ~Readable() override { std::printf("~Readable %s\n", name()); }
    const char* name() const override { return "Readable"; }
    virtual int read() = 0;
};
struct Writable : virtual Root {
    char padding[5] = "abcd";
    Writable() : Root(-2) { std::printf("Writable %s %d\n", name(), id); }
    ~Writable() override { std::printf("~Writable %s\n", name()); }
    const char* name() const override { return "Writable"; }
    virtual void write(int value) = 0;
};
struct Stream final : Readable, Writable {
    int last = 0;
    Stream() : Root(7) { std::printf("Stream %s %d\n", name(), id); }
    ~Stream() override { std::printf("~Stream %s\n", name()); }
    const char* name() const override { return "Stream"; }
    int read() override { return last; }
    void write(int value) override { last = value; }
    Stream* clone() const override { return new Stream(*this); }
};

struct Visitor;
struct Shape {
    virtual void accept(Visitor&) const = 0;
    virtual ~Shape() = default;
};
struct Circle;
struct Square;
struct Visitor {
    virtual void visit(const Circle&) = 0;
    virtual void visit(const Square&) = 0;
};
struct Circle : Shape {
    void accept(Visitor& visitor) const override { visitor.visit(*this); }
};
struct Square : Shape {
    void accept(Visitor& visitor) const override { visitor.visit(*this); }
};
struct Printer : Visitor {
    void visit(const Circle&) override { std::puts("circle"); }
    void visit(const Square&) override { std::puts("square"); }
};

int main() {
    {
        auto stream = std::make_unique<Stream>();
        Writable* writable = stream.get();
        writable->write(11);
        auto* readable = dynamic_cast<Readable*>(writable);  // sideways
        std::printf("%d %d\n", readable != nullptr, readable->read());
        std::printf("%d\n", dynamic_cast<void*>(writable) == stream.get());
        Root* root = writable;
        std::unique_ptr<Root> copy(root->clone());
        std::printf("%s %d %d\n", copy->name(), copy->id, dynamic_cast<Stream&>(*copy).last);
        std::printf("%d\n", typeid(*copy) == typeid(Stream));
        int Root::*member = &Root::id;
        const char* (Root::*function)() const = &Root::name;
        std::printf("%d %s\n", root->*member, (root->*function)());
    }
    const Shape& shapes = Circle();
    Printer printer;
    shapes.accept(printer);
    Square().accept(printer);
    std::unordered_map<std::type_index, int> types{{typeid(int), 1}, {typeid(Root), 2}};
    types[typeid(Stream)] = 3;
    std::printf("%d %d %s\n", types.at(typeid(Stream)), types.at(typeid(int)), typeid(Root).name());
}
