// Are all the ways to get memory there, with the alignment and the zeroes that they promise, and no more of it than the limit?
// request: GET /functions HTTP/1.1
// status: 200
// body: malloc calloc realloc aligned_alloc posix_memalign nothrow array over-aligned resource
// request: GET /limit HTTP/1.1
// status: 200
// body: bad_alloc null null bad_alloc kept
// request: GET /exceptions HTTP/1.1
// status: 200
// body: 40 caught while nothing was left
// request: GET /limit HTTP/1.1
// status: 200
// body: bad_alloc null null bad_alloc kept
// request: GET /sorted HTTP/1.1
// status: 200
// body: stable, thrown, 7 read, EINVAL
// request: GET /functions HTTP/1.1
// status: 200
// body: malloc calloc realloc aligned_alloc posix_memalign nothrow array over-aligned resource

#include <kiln.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory_resource>

static bool is_aligned(void* place, std::size_t align) {
    return place != nullptr && reinterpret_cast<std::uintptr_t>(place) % align == 0;
}

struct alignas(256) Wide {
    char bytes[256];
};

struct Counting : std::pmr::memory_resource {
    int count = 0;
    void* do_allocate(std::size_t size, std::size_t align) override {
        ++count;
        return std::pmr::new_delete_resource()->allocate(size, align);
    }
    void do_deallocate(void* place, std::size_t size, std::size_t align) override {
        std::pmr::new_delete_resource()->deallocate(place, size, align);
    }
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }
};

// The compiler leaves out allocations that nobody can see.
static volatile std::size_t large = 300 << 20;
static const void* volatile seen;
template <typename T>
static T* see(T* place) {
    seen = place;
    return place;
}

static std::string functions() {
    std::string found;
    char* text = static_cast<char*>(std::malloc(100));
    std::strcpy(text, "malloc ");
    found += text;
    text = static_cast<char*>(std::realloc(text, 100000));
    if (std::string_view(text) == "malloc ") {
        auto* zeroes = static_cast<char*>(std::calloc(1000, 10));
        if (std::all_of(zeroes, zeroes + 10000, [](char byte) { return byte == 0; })) found += "calloc ";
        std::free(zeroes);
        found += "realloc ";
    }
    std::free(text);
    std::free(nullptr);
    void* page = std::aligned_alloc(4096, 8192);
    if (is_aligned(page, 4096)) found += "aligned_alloc ";
    std::free(page);
    void* line = nullptr;
    if (posix_memalign(&line, 64, 10) == 0 && is_aligned(line, 64) && posix_memalign(&line, 3, 10) == EINVAL)
        found += "posix_memalign ";
    std::free(line);
    delete see(new (std::nothrow) int);
    found += "nothrow ";
    auto strings = std::make_unique<std::string[]>(3);
    strings[2] = "array ";
    found += strings[2];
    auto wide = std::make_unique<Wide>();
    auto several = std::make_unique<Wide[]>(3);
    if (is_aligned(wide.get(), 256) && is_aligned(several.get(), 256)) found += "over-aligned ";
    Counting counting;
    auto* before = std::pmr::set_default_resource(&counting);
    {
        std::pmr::vector<int> numbers(100);
        std::pmr::string name(100, 'x');
    }
    if (std::pmr::set_default_resource(before) == &counting && counting.count == 2 &&
        std::pmr::get_default_resource() == std::pmr::new_delete_resource())
        found += "resource";
    return found;
}

static std::string limit() {
    std::string found;
    try {
        delete[] see(new char[large]);
    } catch (const std::bad_alloc&) {
        found += "bad_alloc ";
    }
    found += see(std::malloc(large)) == nullptr && errno == ENOMEM ? "null " : "given ";
    found += see(new (std::nothrow) char[large]) == nullptr ? "null " : "given ";
    std::string kept(100, 'k');
    try {
        kept.reserve(large);
    } catch (const std::bad_alloc&) {
        found += "bad_alloc ";
    }
    return found + (kept == std::string(100, 'k') ? "kept" : "lost");
}

struct Block {
    Block* next;
};

// Takes all there is, down to the last block that an exception would fit.
static std::string exceptions() {
    Block* blocks = nullptr;
    for (std::size_t size = 64 << 20; size >= 16; size /= 2)
        while (auto* block = static_cast<Block*>(std::malloc(size))) blocks = new (block) Block{blocks};
    static std::exception_ptr kept[40];
    int caught = 0;
    for (auto& one : kept) {
        try {
            throw std::bad_alloc();
        } catch (const std::bad_alloc&) {
            one = std::current_exception();
            ++caught;
        }
    }
    while (blocks != nullptr) std::free(std::exchange(blocks, blocks->next));
    for (auto& one : kept) one = nullptr;
    return std::to_string(caught) + " caught while nothing was left";
}

struct Item {
    int key, place;
};

static std::string sorted() {
    std::vector<Item> items;
    for (int i = 0; i < 1000; ++i) items.push_back({i * 7919 % 13, i});
    auto by_key = [](const void* one, const void* other) {
        return static_cast<const Item*>(one)->key - static_cast<const Item*>(other)->key;
    };
    std::qsort(items.data(), items.size(), sizeof(Item), by_key);
    bool is_stable = true;
    for (std::size_t i = 1; i < items.size(); ++i) {
        const Item &one = items[i - 1], &other = items[i];
        is_stable &= one.key < other.key || (one.key == other.key && one.place < other.place);
    }
    std::string found = is_stable ? "stable, " : "not stable, ";
    try {
        std::qsort(items.data(), items.size(), sizeof(Item), [](const void*, const void*) -> int { throw 1; });
    } catch (int) {
        found += "thrown, ";
    }
    int number = 0;
    std::sscanf("7 text", "%d %*s", &number);
    found += std::to_string(number) + " read, ";
    char* text = nullptr;
    int read = std::sscanf("text", "%ms", &text);
    return found + (read == EOF && errno == EINVAL && text == nullptr ? "EINVAL" : "allocated");
}

kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    if (path == "/functions") return kiln::reply(200, functions());
    if (path == "/limit") return kiln::reply(200, limit());
    if (path == "/exceptions") return kiln::reply(200, exceptions());
    return kiln::reply(200, sorted());
}
