// Can a hook use containers, smart pointers, variants and algorithms?
// request: GET /sort HTTP/1.1
// status: 200
// body: alpha beta delta gamma
// request: GET /variant HTTP/1.1
// status: 200
// body: int string none any:5 function:49
// request: GET /pmr HTTP/1.1
// status: 200
// body: 1000 999
// request: GET /shared HTTP/1.1
// status: 200
// body: 2 expired 1
// request: GET /sequences HTTP/1.1
// status: 200
// body: 90 0 99 42 11

#include <kiln.h>

#include <any>
#include <deque>
#include <list>
#include <memory_resource>
#include <queue>
#include <ranges>
#include <set>

static std::string variants() {
    std::string text;
    using Value = std::variant<std::monostate, int, std::string>;
    for (Value value : {Value(1), Value("s"), Value()})
        text += std::visit(
            [](auto& held) -> std::string {
                using T = std::decay_t<decltype(held)>;
                return std::is_same_v<T, int> ? "int " : std::is_same_v<T, std::string> ? "string " : "none ";
            },
            value);
    std::any any = 5;
    std::function<int(int)> square = [offset = 0](int x) { return x * x + offset; };
    return text + "any:" + std::to_string(std::any_cast<int>(any)) + " function:" + std::to_string(square(7));
}

static std::string shared() {
    struct Node {
        std::vector<std::shared_ptr<Node>> children;
        std::weak_ptr<Node> parent;
    };
    auto root = std::make_shared<Node>();
    root->children.push_back(std::make_shared<Node>());
    root->children[0]->parent = root;
    std::weak_ptr<Node> watched = root->children[0];
    long used = root.use_count() + watched.use_count();
    root.reset();
    return std::to_string(used) + " expired " + std::to_string(watched.expired());
}

static std::string sequences() {
    std::deque<int> deque;
    std::list<int> list;
    std::priority_queue<int> heap;
    std::unordered_map<int, std::string> hashed;
    for (int i = 0; i < 100; ++i) {
        deque.push_front(i), list.push_back((i * 37) % 100), heap.push(i);
        hashed[i * 1000] = std::to_string(i);
    }
    list.sort();
    std::vector<int> stable(list.begin(), list.end());
    std::stable_sort(stable.begin(), stable.end(), [](int a, int b) { return a % 10 < b % 10; });
    return std::to_string(deque[9]) + " " + std::to_string(list.front()) + " " + std::to_string(heap.top()) + " " +
           hashed.at(42000) + " " + std::to_string(stable[11]);
}

kiln::Action on_request(kiln::Request& request) {
    auto path = request.path();
    if (path == "/variant") return kiln::reply(200, variants());
    if (path == "/shared") return kiln::reply(200, shared());
    if (path == "/sequences") return kiln::reply(200, sequences());
    if (path == "/sort") {
        std::vector<std::string> words{"gamma", "alpha", "delta", "beta"};
        std::ranges::sort(words);
        std::string text;
        for (auto& word : words) text += (text.empty() ? "" : " ") + word;
        return kiln::reply(200, text);
    }
    std::pmr::monotonic_buffer_resource buffer;
    std::pmr::set<int> set(&buffer);
    for (int i = 0; i < 1000; ++i) set.insert(i);
    return kiln::reply(200, std::to_string(set.size()) + " " + std::to_string(*set.rbegin()));
}
