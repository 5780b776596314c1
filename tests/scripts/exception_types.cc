// Can a script throw, catch and describe what the standard library throws, and describe an errno?
// request: GET / HTTP/1.1
// status: 200
// body: bad_weak_ptr\nbad any_cast\nbad optional access\nbad_function_call\nstd::get: wrong index for variant\ntrue\nNo such file or directory

#include <kiln.h>

#include <any>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <variant>

template <typename Failure, typename Call> static std::string what(Call call) {
    try {
        call();
        return "nothing\n";
    } catch (const Failure& failure) {
        return std::string(failure.what()) + "\n";
    }
}

kiln::Action on_request(kiln::Request&) {
    struct Own : std::enable_shared_from_this<Own> {};
    std::string text = what<std::bad_weak_ptr>([] { std::shared_ptr<int> gone{std::weak_ptr<int>{}}; });
    text += what<std::bad_any_cast>([] { (void)std::any_cast<int>(std::any{"text"}); });
    text += what<std::bad_optional_access>([] { (void)std::optional<int>{}.value(); });
    text += what<std::bad_function_call>([] { std::function<void()>{}(); });
    text += what<std::bad_variant_access>([] { (void)std::get<1>(std::variant<int, float>{1}); });
    Own unowned;
    text += what<std::exception>([&] { (void)unowned.shared_from_this(); }) == "bad_weak_ptr\n" ? "true\n" : "false\n";
    char room[64];
    text += strerror_r(ENOENT, room, sizeof room);
    return kiln::reply(200, text);
}
