// Do the containers, their allocators and their iterators hold up under many operations?

#include <any>
#include <bitset>
#include <cstdio>
#include <deque>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <numeric>
#include <optional>
#include <queue>
#include <set>
#include <stack>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};

struct Node : std::enable_shared_from_this<Node> {
    std::weak_ptr<Node> parent;
    std::vector<std::shared_ptr<Node>> children;
    int value;
    explicit Node(int value) : value(value) {}
    ~Node() { std::printf("~%d ", value); }
    std::shared_ptr<Node> add(int child) {
        children.push_back(std::make_shared<Node>(child));
        children.back()->parent = shared_from_this();
        return children.back();
    }
};

class Counting : public std::pmr::memory_resource {
public:
    std::size_t now = 0, most = 0;

private:
    void* do_allocate(std::size_t bytes, std::size_t align) override {
        now += bytes;
        most = std::max(most, now);
        return std::pmr::new_delete_resource()->allocate(bytes, align);
    }
    void do_deallocate(void* place, std::size_t bytes, std::size_t align) override {
        now -= bytes;
        std::pmr::new_delete_resource()->deallocate(place, bytes, align);
    }
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
};

int main() {
    std::map<std::string, int> ordered;
    std::unordered_map<std::string, int> hashed;
    unsigned state = 1;
    auto random = [&] { return state = state * 1664525u + 1013904223u; };
    for (int i = 0; i < 20000; ++i) {
        std::string key = "key " + std::to_string(random() % 3000);
        if (random() % 3 == 0) {
            if (ordered.erase(key) != hashed.erase(key)) std::puts("differ");
        } else {
            ++ordered[key], ++hashed[key];
        }
    }
    bool same = ordered.size() == hashed.size();
    for (auto& [key, value] : ordered) same = same && hashed.at(key) == value;
    std::printf("%zu %d %s\n", ordered.size(), same, ordered.begin()->first.c_str());
    auto node = ordered.extract(ordered.begin());
    node.key() = "zzz";
    ordered.insert(std::move(node));
    std::printf("%s\n", ordered.rbegin()->first.c_str());

    std::list<int> list(10);
    std::iota(list.begin(), list.end(), 0);
    list.splice(list.begin(), list, std::next(list.begin(), 7), list.end());
    list.remove_if([](int i) { return i % 4 == 0; });
    list.sort(std::greater<>());
    for (int i : list) std::printf("%d ", i);
    std::deque<std::string> deque;
    for (int i = 0; i < 1000; ++i) {
        deque.push_front(std::to_string(i));
        if (i % 3 == 0) deque.pop_back();
    }
    std::printf("%zu %s %s\n", deque.size(), deque.front().c_str(), deque.back().c_str());
    std::priority_queue<int, std::vector<int>, std::greater<>> heap;
    for (int i = 0; i < 100; ++i) heap.push(static_cast<int>(random() % 1000));
    int last = -1, sorted = 1;
    for (; !heap.empty(); heap.pop()) sorted &= heap.top() >= std::exchange(last, heap.top());
    std::multiset<int> multi{3, 1, 3, 2, 3};
    std::bitset<100> bits(0b1011);
    std::printf("%d %zu %zu %s\n", sorted, multi.count(3), (bits << 90).count(),
                std::bitset<8>(0xa5).to_string().c_str());

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
    {
        auto root = std::make_shared<Node>(1);
        auto leaf = root->add(2)->add(3);
        std::weak_ptr<Node> watched = root;
        std::printf("%ld %d ", root.use_count(), leaf->parent.lock()->value);
        root.reset();
        std::printf("expired %d %d ", watched.expired(), leaf->parent.expired());
    }
    std::puts("");
    Counting counting;
    {
        std::pmr::monotonic_buffer_resource buffer(1024, &counting);
        std::pmr::unsynchronized_pool_resource pool(&buffer);
        std::pmr::map<int, std::pmr::string> map(&pool);
        for (int i = 0; i < 500; ++i) map.emplace(i, "a string too long to be stored inside");
        std::printf("%d %zu\n", map[499].get_allocator().resource() == &pool, map.size());
    }
    std::printf("%zu %d\n", counting.now, counting.most > 10000);
    struct Close {
        void operator()(FILE* file) const { std::printf("closed %d\n", std::fclose(file)); }
    };
    std::unique_ptr<FILE, Close> file(std::tmpfile());
    auto freed = std::shared_ptr<int[]>(new int[3]{1, 2, 3}, [](int* p) {
        std::puts("array freed");
        delete[] p;
    });
    std::shared_ptr<int> alias(freed, &freed[1]);
    freed.reset();
    std::printf("%d\n", *alias);
}
