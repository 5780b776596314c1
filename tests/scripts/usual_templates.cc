// Do templates that Kiln's build has made already do what they do when a script compiles them?
// request: GET /throw HTTP/1.1
// status: 200
// body: vector::_M_range_check map::at unordered_map::at basic_string::append vector::reserve 7 alive
// request: GET /hold HTTP/1.1
// status: 200
// body: 3000 a-2999 b-0 b-2999
// request: GET /order HTTP/1.1
// status: 200
// body: alpha beta gamma|1:one 2:two|x=1 y=2 z=3
// request: GET /numbers HTTP/1.1
// status: 200
// body: 255 ff 12.5 -7 42 bad

#include <kiln.h>

#include <set>
#include <sstream>

// The word before the first ':' of what() says which function threw; of others, the first word.
template <typename Function>
static std::string thrown(Function function) {
    try {
        function();
    } catch (const std::exception& error) {
        std::string_view what = error.what();
        return std::string(what.substr(0, what.find_first_of(" (")));
    }
    return "nothing";
}

// Counts what lives, so that a container that unwinds without destroying is found out.
struct Counted {
    static inline int alive = 0;
    std::string name;
    explicit Counted(std::string n) : name(std::move(n)) { ++alive; }
    Counted(const Counted& other) : name(other.name) { ++alive; }
    ~Counted() { --alive; }
};

static std::string throw_all() {
    std::vector<std::string> names = {"a", "b"};
    std::map<std::string, std::string> ordered;
    std::unordered_map<std::string, std::string> hashed;
    std::string text(10, 'x');
    std::string said = thrown([&] { names.at(2); }).substr(0, 22);
    if (said.ends_with(':')) said.pop_back();
    said += " " + thrown([&] { ordered.at("none"); });
    said += " " + thrown([&] { hashed.at("none"); });
    said += " " + thrown([&] { text.append(text.data(), text.max_size()); });
    said += " " + thrown([&] { names.reserve(names.max_size() + 1); });
    int alive = 0;
    try {
        Counted one("one");
        std::vector<Counted> many(6, one);
        alive = Counted::alive;
        names.at(9);
    } catch (const std::out_of_range&) {
    }
    return said + " " + std::to_string(alive) + (Counted::alive == 0 ? " alive" : " leaked");
}

// Outlives a request, grows on both sides of the border and is freed on this one.
static std::unordered_map<std::string, std::vector<std::string>> held;

static std::string hold() {
    held.clear();
    for (int i = 0; i < 3000; ++i) {
        held["a"].push_back("a-" + std::to_string(i));
        held["b"].insert(held["b"].begin(), "b-" + std::to_string(2999 - i));
    }
    auto copy = held;
    held = std::move(copy);
    return std::to_string(held["a"].size()) + " " + held["a"].back() + " " + held["b"].front() + " " +
           held["b"].back();
}

static std::string order() {
    std::vector<std::string> names = {"gamma", "alpha", "beta", "alpha"};
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    std::string said;
    for (const std::string& name : names) said += (said.empty() ? "" : " ") + name;
    std::map<int, std::string> numbered = {{2, "two"}, {1, "one"}};
    said += '|';
    for (auto& [number, name] : numbered)
        said += std::to_string(number) + ":" + name + (number == 1 ? " " : "|");
    std::map<std::string, int> counts;
    for (std::string_view name : {"z", "y", "z", "x", "z", "y"}) ++counts[std::string(name)];
    std::set<std::string> keys;
    for (auto& [name, count] : counts) keys.insert(name + "=" + std::to_string(count));
    std::ostringstream out;
    for (const std::string& key : keys) out << (key == *keys.begin() ? "" : " ") << key;
    return said + out.str();
}

static std::string numbers() {
    char digits[32];
    auto text = [&](auto value, auto... base) {
        return std::string(digits, std::to_chars(digits, digits + sizeof digits, value, base...).ptr);
    };
    std::string said = text(255) + " " + text(255u, 16) + " " + text(12.5);
    std::string_view source = "-7";
    int number = 0;
    std::from_chars(source.begin(), source.end(), number);
    said += " " + std::to_string(number) + " " + std::to_string(std::stoul("42"));
    return said + " " + (thrown([] { (void)std::stoi("none"); }) == "stoi" ? "bad" : "good");
}

kiln::Action on_request(kiln::Request& request) {
    if (request.path() == "/throw") return kiln::reply(200, throw_all());
    if (request.path() == "/hold") return kiln::reply(200, hold());
    if (request.path() == "/order") return kiln::reply(200, order());
    return kiln::reply(200, numbers());
}
