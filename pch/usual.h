// Templates of the C++ library that scripts often use: they are made when Kiln is built.
//
// No script includes this. What is made here is part of Kiln's binary, and a script that uses the same
// calls it there instead of compiling it again. This changes no meaning, only the time that a reload
// takes; what is not used here works all the same. A macro that a script defines for such a header is
// without effect on it: `_GLIBCXX_REGEX_STATE_LIMIT` keeps its default.
#pragma once

#include "kiln.h"

#include <iomanip>
#include <regex>
#include <set>
#include <sstream>
#include <unordered_set>

namespace kiln::usual {

using std::string;
using std::string_view;

// Keeps the compiler from knowing a value.
template <typename T>
T& any(T& value) {
    asm volatile("" : : "r"(&value) : "memory");
    return value;
}

template <typename T>
void vector_of(const T& value) {
    using Vector = std::vector<T>;
    Vector all = {value, value}, other(all), third;
    all.reserve(other.size());
    all.push_back(value);
    all.push_back(T(value));
    all.emplace_back(value);
    all.emplace_back(any(third).emplace_back());
    all.insert(all.begin(), value);
    all.insert(all.end(), other.begin(), other.end());
    all.erase(all.begin());
    all.erase(all.begin(), all.begin() + 1);
    all.erase(std::remove(all.begin(), all.end(), value), all.end());
    all.pop_back();
    all.resize(all.size() + 1);
    third = all;
    third = std::move(other);
    third = {value};
    third.assign(all.begin(), all.end());
    third.swap(all);
    bool same = all == third && all.at(0) == third.front() && all.back() == third[0];
    std::sort(all.begin(), all.end());
    std::sort(all.begin(), all.end(), std::greater<>());
    std::reverse(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    same |= std::find(all.begin(), all.end(), value) != all.end();
    same |= std::find(third.cbegin(), third.cend(), value) != third.cend();
    same |= std::count(all.begin(), all.end(), value) > 0;
    same |= std::binary_search(all.begin(), all.end(), value);
    same |= std::max_element(all.begin(), all.end()) == std::lower_bound(all.begin(), all.end(), value);
    for (const T& one : std::as_const(all)) same |= one == value;
    any(same);
    all.clear();
    all.shrink_to_fit();
}

template <typename Set, typename Key>
void set_of(const Key& key) {
    Set all = {key}, other(all), third;
    any(all).insert(key);
    all.insert(Key(key));
    all.emplace(key);
    bool found = all.contains(key) || all.count(key) > 0 || all.find(key) != all.end();
    found |= std::as_const(all).find(key) != std::as_const(all).end();
    for (const Key& one : all) found |= one == key;
    any(found);
    all.erase(key);
    if (!all.empty()) all.erase(all.begin());
    third = other;
    third = std::move(other);
    all.clear();
}

template <typename Map, typename Key, typename Value>
void map_of(const Key& key, const Value& value) {
    Map all = {{key, value}}, other(all), third;
    any(all)[key] = value;
    all[Key(key)] = value;
    all.at(key) = std::as_const(all).at(key);
    all.insert({key, value});
    all.insert_or_assign(key, value);
    all.emplace(key, value);
    all.emplace(Key(key), Value(value));
    all.try_emplace(key, value);
    all.try_emplace(Key(key), Value(value));
    bool found = all.contains(key) || all.count(key) > 0 || all.find(key) != all.end();
    found |= std::as_const(all).find(key) != std::as_const(all).end();
    for (const auto& [name, held] : all) found |= name == key;
    any(found);
    all.erase(key);
    if (!all.empty()) all.erase(all.begin());
    third = other;
    third = std::move(other);
    all.clear();
}

template <typename Key, typename Value>
void maps_of(const Key& key, const Value& value) {
    map_of<std::map<Key, Value>>(key, value);
    map_of<std::unordered_map<Key, Value>>(key, value);
}

inline void strings(string text, string_view view, char c, std::size_t n) {
    string copy(text), of_view(view), filled(n, c), range(view.begin(), view.end()), literal("text");
    copy = text + view.data() + c + text;
    copy = "text" + text + "text" + std::move(of_view);
    copy = c + text + string(view) + view.data();
    copy = text + std::move(filled) + std::move(range) + c;
    copy = std::move(literal) + c + "text" + text;
    copy = view.data();
    copy = view;
    copy = c;
    copy.append(text).append(view).append(view.data()).append(n, c).append(text, n, n);
    ((((copy += text) += view) += view.data()) += c).push_back(c);
    copy.assign(view).assign(n, c).insert(0, text).insert(n, "text").insert(n, n, c);
    copy.erase(n).replace(n, n, text).replace(n, n, "text").replace(n, n, view);
    copy.erase(copy.begin());
    copy.pop_back();
    copy.reserve(n);
    copy.resize(n);
    std::transform(copy.begin(), copy.end(), copy.begin(), detail::lower);
    std::reverse(copy.begin(), copy.end());
    std::replace(copy.begin(), copy.end(), c, 'c');
    n += copy.find(text) + copy.find(view) + copy.find("text") + copy.find(c) + copy.rfind(c);
    n += copy.find_first_of("text") + copy.find_last_of("text") + copy.rfind("text");
    n += copy.find_first_not_of("text") + copy.find_last_not_of("text") + copy.compare(text);
    n += view.find(view) + view.find("text") + view.find(c) + view.rfind(c) + view.rfind("text");
    n += view.find_first_of("text") + view.find_last_of("text") + view.compare(text);
    n += view.find_first_not_of("text") + view.find_last_not_of("text");
    n += static_cast<std::size_t>(std::count(view.begin(), view.end(), c));
    n += std::hash<string>()(text) + std::hash<string_view>()(view);
    bool is = text == copy || text == view || text == "text" || view == "text" || text < copy;
    is |= view == string_view(copy) || view < string_view(copy) || copy.starts_with("text");
    is |= copy.ends_with(view) || view.starts_with("text") || view.ends_with(view) || text.empty();
    copy = text.substr(n) + string(view.substr(n, n)) + text.c_str() + text.at(n);
    copy = std::to_string(static_cast<int>(n)) + std::to_string(static_cast<unsigned>(n)) +
           std::to_string(static_cast<long>(n)) + std::to_string(n) +
           std::to_string(static_cast<double>(n)) + std::to_string(static_cast<long long>(n)) +
           std::to_string(static_cast<unsigned long long>(n));
    n += static_cast<std::size_t>(std::stoi(text) + std::stol(text)) + std::stoul(text);
    n += static_cast<std::size_t>(std::stod(text));
    any(copy).swap(text);
    any(is);
    any(n);
}

template <typename Number>
void number(string_view text, Number value) {
    char digits[64];
    std::from_chars(text.data(), text.data() + text.size(), value);
    std::to_chars(digits, digits + sizeof digits, value);
    if constexpr (std::is_integral_v<Number>) {
        std::from_chars(text.data(), text.data() + text.size(), value, 16);
        std::to_chars(digits, digits + sizeof digits, value, 16);
    }
    std::ostringstream out;
    out << std::setw(2) << std::setfill('0') << std::hex << value << std::dec << std::setprecision(2);
    any(value);
    any(digits);
}

inline void streams(string text, string_view view) {
    std::ostringstream out;
    out << text << view << "text" << 'c' << true << std::fixed << std::endl;
    std::istringstream in(out.str());
    int value = 0;
    in >> text >> value;
    std::getline(in, text);
    std::getline(in, text, ',');
    std::stringstream both(text);
    both << value << view << text;
    both >> text;
    out.str(both.str());
    any(text);
}

inline void optionals(std::optional<string> one, std::optional<string_view> two, string text) {
    std::optional<string> copy = one, other(text), third(std::move(one));
    copy = text;
    copy = std::nullopt;
    copy = std::move(third);
    copy.emplace(text);
    text = copy.value_or("text") + *other + copy.value() + string(two.value_or("text"));
    any(text);
}

template <typename Iterator>
void expressions_over(const std::regex& pattern, Iterator first, Iterator last) {
    std::match_results<Iterator> found;
    bool is = std::regex_match(first, last, found, pattern) || std::regex_match(first, last, pattern);
    is |= std::regex_search(first, last, found, pattern) || std::regex_search(first, last, pattern);
    string text = found.str() + found[1].str() + string(found.prefix()) + found.format("$1");
    for (const auto& part : found) text += part.str();
    using All = std::regex_iterator<Iterator>;
    for (All all(first, last, pattern), end; all != end; ++all) text += all->str(1);
    using Parts = std::regex_token_iterator<Iterator>;
    for (Parts all(first, last, pattern, -1), end; all != end; ++all) text += *all;
    for (Parts all(first, last, pattern), end; all != end; all++) text += all->str();
    std::regex_replace(std::back_inserter(text), first, last, pattern, "text");
    std::regex_replace(std::back_inserter(text), first, last, pattern, text);
    std::match_results<Iterator> copy(found), other;
    other = copy;
    other = std::move(copy);
    any(is);
    any(text);
}

inline void expressions(const string& text, string_view view) {
    constexpr auto options = std::regex::icase | std::regex::optimize;
    std::regex pattern("text"), of_text(text), of_range(view.begin(), view.end(), options), third;
    std::regex with_options("text", options), copy(text, options);
    third = pattern;
    third = std::move(of_text);
    third = std::move(of_range);
    third = "text";
    third = text;
    third.assign(text, options);
    third.swap(copy);
    std::smatch found;
    std::cmatch of_literal;
    bool is = std::regex_match(text, found, pattern) || std::regex_match(text, pattern);
    is |= std::regex_search(text, found, pattern) || std::regex_search(text, pattern);
    is |= std::regex_match("text", of_literal, pattern) || std::regex_match("text", pattern);
    is |= std::regex_search("text", of_literal, pattern) || std::regex_search("text", pattern);
    string replaced = std::regex_replace(text, pattern, "text") +
                      std::regex_replace(text, pattern, text) +
                      std::regex_replace("text", pattern, "text");
    expressions_over(pattern, text.begin(), text.end());
    expressions_over(pattern, view.begin(), view.end());
    any(is);
    any(replaced);
}

// Uses all of them; nobody calls it.
inline void all(const string& text, string_view view, double real) {
    strings(text, view, 'c', view.size());
    streams(text, view);
    expressions(text, view);
    optionals(text, view, text);
    number(view, 1);
    number(view, 1u);
    number(view, 1l);
    number(view, 1ul);
    number(view, real);
    vector_of(text);
    vector_of(view);
    vector_of(1);
    vector_of(1u);
    vector_of(1ul);
    vector_of(real);
    vector_of(std::pair<string, string>(text, text));
    vector_of(std::pair<string_view, string_view>(view, view));
    set_of<std::set<string>>(text);
    set_of<std::set<string_view>>(view);
    set_of<std::unordered_set<string>>(text);
    set_of<std::unordered_set<string_view>>(view);
    maps_of(text, text);
    maps_of(text, 1);
    maps_of(text, 1ul);
    maps_of(view, view);
    maps_of(view, text);
    maps_of(view, 1);
    map_of<std::map<string, string, std::less<>>>(text, text);
    map_of<std::unordered_map<string, std::vector<string>>>(text, std::vector<string>());
}

}  // namespace kiln::usual
