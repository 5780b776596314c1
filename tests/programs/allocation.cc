// Are operator new and delete replaceable, aligned allocation aligned, and malloc's relatives whole?

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <memory>
#include <new>
#include <string>
#include <vector>

static long news, deletes, aligned_news;

void* operator new(std::size_t size) {
    ++news;
    if (void* place = std::malloc(size ? size : 1)) return place;
    throw std::bad_alloc();
}
void operator delete(void* place) noexcept {
    ++deletes;
    std::free(place);
}
void operator delete(void* place, std::size_t) noexcept {
    ++deletes;
    std::free(place);
}
void* operator new(std::size_t size, std::align_val_t align) {
    ++aligned_news;
    return std::aligned_alloc(static_cast<std::size_t>(align), (size + static_cast<std::size_t>(align) - 1) & -static_cast<std::size_t>(align));
}
void operator delete(void* place, std::align_val_t) noexcept { std::free(place); }
void operator delete(void* place, std::size_t, std::align_val_t) noexcept { std::free(place); }

struct alignas(256) Wide {
    char bytes[300];
};
struct Own {
    static void* operator new(std::size_t size) {
        std::printf("Own::new %zu\n", size);
        return std::malloc(size);
    }
    static void operator delete(void* place) {
        std::puts("Own::delete");
        std::free(place);
    }
    virtual ~Own() = default;
    long value = 0;
};
struct Derived : Own {
    long more[3];
};

int main() {
    long before = news;
    {
        std::vector<std::string> strings(100, std::string(50, 'x'));
        auto* object = new int(5);
        asm volatile("" : : "r"(object) : "memory");
        delete object;
    }
    std::printf("%ld %d\n", news - before, news - deletes == 0 || news > deletes);
    auto wide = std::make_unique<Wide[]>(3);
    asm volatile("" : : "r"(wide.get()) : "memory");
    std::printf("%d %ld\n", reinterpret_cast<std::uintptr_t>(wide.get()) % 256 == 0, aligned_news);
    std::unique_ptr<Own> own = std::make_unique<Derived>();
    own.reset(new Own);
    alignas(std::string) char place[sizeof(std::string)];
    auto* text = new (place) std::string("placed into memory of the caller, and long");
    std::printf("%s\n", text->c_str());
    text->~basic_string();
    int* nothing = new (std::nothrow) int[0];
    delete[] nothing;
    void* grown = std::calloc(10, 10);
    grown = std::realloc(grown, 100000);
    std::printf("%d %d\n", static_cast<char*>(grown)[99], malloc_usable_size(grown) >= 100000);
    std::free(grown);
    std::set_new_handler([] {
        std::puts("new handler");
        std::set_new_handler(nullptr);
    });
    std::printf("%d\n", std::get_new_handler() != nullptr);
}
