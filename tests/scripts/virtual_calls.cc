// Do virtual calls, casts and plug-ins that register themselves work in a hook?
// request: GET /upper?text=abc HTTP/1.1
// status: 200
// body: upper: ABC
// request: GET /reverse?text=abc HTTP/1.1
// status: 200
// body: reverse (twice cba|abc): cba
// request: GET /none HTTP/1.1
// status: 404
// body: 3 plug-ins: count reverse upper
// request: GET /count?text=abcd HTTP/1.1
// status: 200
// body: count: 4

#include <kiln.h>

#include <typeinfo>

struct Plugin {
    virtual ~Plugin() = default;
    virtual std::string run(std::string_view text) const = 0;
};
struct Twice : virtual Plugin {
    virtual std::string again(std::string_view text) const { return run(text) + "|" + run(run(text)); }
};

static std::map<std::string, std::unique_ptr<Plugin>, std::less<>>& plugins() {
    static std::map<std::string, std::unique_ptr<Plugin>, std::less<>> all;
    return all;
}
template <class T>
struct Registered {
    explicit Registered(const char* name) { plugins().emplace(name, std::make_unique<T>()); }
};

struct Upper final : Plugin {
    std::string run(std::string_view text) const override {
        std::string result(text);
        for (char& c : result) c = static_cast<char>(std::toupper(c));
        return result;
    }
};
struct Reverse final : Twice {
    std::string run(std::string_view text) const override { return {text.rbegin(), text.rend()}; }
};
struct Count final : Plugin {
    std::string run(std::string_view text) const override { return std::to_string(text.size()); }
};
static Registered<Upper> upper("upper");
static Registered<Reverse> reverse_("reverse");
static Registered<Count> count("count");

kiln::Action on_request(kiln::Request& request) {
    auto name = request.path().substr(1);
    auto found = plugins().find(name);
    if (found == plugins().end()) {
        std::string text = std::to_string(plugins().size()) + " plug-ins:";
        for (auto& [known, plugin] : plugins()) text += " " + known;
        return kiln::reply(404, text);
    }
    std::string text(name);
    if (auto* twice = dynamic_cast<const Twice*>(found->second.get()))
        text += " (twice " + twice->again(request.query("text")) + ")";
    return kiln::reply(200, text + ": " + found->second->run(request.query("text")));
}
