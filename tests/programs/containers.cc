// Do the containers, their allocators and their iterators hold up under many operations?

#include <bitset>
#include <cstdio>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <numeric>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

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
}
