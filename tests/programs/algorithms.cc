// Do the algorithms agree with one another over a lot of data?

#include <algorithm>
#include <cstdio>
#include <functional>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

int main() {
    std::vector<unsigned> data(200000);
    unsigned state = 7;
    std::generate(data.begin(), data.end(), [&] { return (state = state * 1664525u + 1013904223u) >> 8; });
    auto sorted = data;
    std::sort(sorted.begin(), sorted.end());
    auto stable = data;
    std::stable_sort(stable.begin(), stable.end());
    auto heaped = data;
    std::make_heap(heaped.begin(), heaped.end());
    std::sort_heap(heaped.begin(), heaped.end());
    auto merged = data;
    auto middle = merged.begin() + 77777;
    std::sort(merged.begin(), middle), std::sort(middle, merged.end());
    std::inplace_merge(merged.begin(), middle, merged.end());
    std::printf("%d %d %d\n", sorted == stable, sorted == heaped, sorted == merged);
    auto nth = data;
    std::nth_element(nth.begin(), nth.begin() + 1000, nth.end());
    auto partial = data;
    std::partial_sort(partial.begin(), partial.begin() + 50, partial.end());
    std::printf("%d %d\n", nth[1000] == sorted[1000], std::equal(partial.begin(), partial.begin() + 50, sorted.begin()));
    std::printf("%d %td\n", std::binary_search(sorted.begin(), sorted.end(), data[5]),
                std::upper_bound(sorted.begin(), sorted.end(), 1u << 23) - sorted.begin());
    auto unique = sorted;
    unique.erase(std::unique(unique.begin(), unique.end()), unique.end());
    std::printf("%zu %td\n", unique.size(), std::count_if(data.begin(), data.end(), [](unsigned u) { return u % 7 == 0; }));
    std::rotate(sorted.begin(), sorted.begin() + 12345, sorted.end());
    std::reverse(sorted.begin(), sorted.end());
    auto boundary = std::partition(sorted.begin(), sorted.end(), [](unsigned u) { return u & 1; });
    std::printf("%td %u\n", boundary - sorted.begin(), std::accumulate(data.begin(), data.end(), 0u));
    std::vector<unsigned long> sums(data.size());
    std::inclusive_scan(data.begin(), data.end(), sums.begin(), std::plus<unsigned long>(), 0ul);
    std::printf("%lu %lu\n", sums.back(), std::transform_reduce(data.begin(), data.end(), 0ul, std::plus<>(), [](unsigned long u) { return u * u; }));
    std::string text = "abcdeedcba";
    std::string permuted = "abcd";
    int permutations = 0;
    do ++permutations;
    while (std::next_permutation(permuted.begin(), permuted.end()));
    std::printf("%d %d %s\n", permutations, std::equal(text.begin(), text.begin() + 5, text.rbegin()), permuted.c_str());
    std::vector<int> a{1, 2, 3, 4, 5}, b{3, 4, 5, 6}, out;
    std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
    for (int i : out) std::printf("%d ", i);
    auto found = std::search(text.begin(), text.end(), std::boyer_moore_searcher(permuted.begin(), permuted.begin() + 3));
    std::printf("%td %d\n", found - text.begin(), std::clamp(15, 1, 10));
    std::vector<std::string> moved{"one", "two", "three"}, target;
    std::move(moved.begin(), moved.end(), std::back_inserter(target));
    std::printf("%s %zu %s\n", target[2].c_str(), moved[2].size(), std::accumulate(target.begin(), target.end(), std::string()).c_str());
}
