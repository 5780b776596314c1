// Do smart pointers and memory resources free everything, once, in order?

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <memory_resource>
#include <string>
#include <vector>

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
