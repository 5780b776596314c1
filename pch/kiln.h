// Kiln's script API.
//
// A script defines hooks: plain functions in no namespace, that the load balancer finds by name and
// type. There is one, called for each request once its head has arrived. Scripts in one folder are
// asked in the order of their file names, until one decides:
//
//     kiln::Action on_request(kiln::Request& request) {
//         if (request.path() == "/hello") return kiln::reply(200, "hello world\n");
//         return kiln::next();
//     }
//
// Reading a request makes no call: everything is a view over the parsed head. A view lives until the
// hook returns; copy into a std::string what must live longer. A C++ exception that leaves a hook
// fails that one request with 500 and harms no other.
//
// Every script has this header and what it includes, with or without `#include <kiln.h>`; the line is
// for editors and other compilers.
#pragma once

#include "abi.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace kiln {

namespace detail {

inline std::string_view view(kiln_str text) { return {text.data, text.size}; }
inline kiln_str borrow(std::string_view text) { return {text.data(), text.size()}; }

// Out of line and cold: what throws should not weigh on what does not.
[[gnu::noinline, gnu::cold, noreturn]] inline void refuse_effect() {
    throw std::logic_error("kiln: there is no request while static objects are initialised");
}

[[gnu::noinline, gnu::cold, noreturn]] inline void refuse_header(std::string_view name) {
    throw std::invalid_argument("kiln: not a valid header: " + std::string(name));
}

inline const kiln_host& host() {
    if (kiln_current == nullptr) refuse_effect();
    return *kiln_current->host;
}

// Bytes of the request's arena; of the heap, for good, while static objects are initialised.
inline void* allocate(std::size_t size) {
    size = (size + 15) & ~std::size_t{15};
    kiln_context* context = kiln_current;
    if (context == nullptr) return ::operator new(size);
    if (static_cast<std::size_t>(context->arena_end - context->arena_next) >= size) {
        void* bytes = context->arena_next;
        context->arena_next += size;
        return bytes;
    }
    void* bytes = context->host->allocate(size);
    if (bytes == nullptr) throw std::bad_alloc();
    return bytes;
}

inline kiln_str keep(std::string_view text) {
    if (text.empty()) return {nullptr, 0};
    char* bytes = static_cast<char*>(allocate(text.size()));
    std::memcpy(bytes, text.data(), text.size());
    return {bytes, text.size()};
}

// Field names are ASCII and compare without case (RFC 9110, section 5.1).
constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

constexpr bool same_name(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (lower(a[i]) != lower(b[i])) return false;
    return true;
}

// Where `c` is first, or the size. A loop and not find(), as the next one is not ==: the library
// calls memchr() and memcmp(), out of the image.
constexpr std::size_t position(std::string_view text, char c) {
    std::size_t i = 0;
    while (i < text.size() && text[i] != c) ++i;
    return i;
}

constexpr bool same_text(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
        if (a[i] != b[i]) return false;
    return true;
}

}  // namespace detail

/// Field names that need no search: `request.header(kiln::Field::cookie)`.
enum class Field : std::uint8_t {
    host = KILN_FIELD_HOST,
    user_agent = KILN_FIELD_USER_AGENT,
    accept = KILN_FIELD_ACCEPT,
    accept_encoding = KILN_FIELD_ACCEPT_ENCODING,
    accept_language = KILN_FIELD_ACCEPT_LANGUAGE,
    authorization = KILN_FIELD_AUTHORIZATION,
    cookie = KILN_FIELD_COOKIE,
    content_type = KILN_FIELD_CONTENT_TYPE,
    content_length = KILN_FIELD_CONTENT_LENGTH,
    referer = KILN_FIELD_REFERER,
    x_forwarded_for = KILN_FIELD_X_FORWARDED_FOR,
};

/// One field line of a request.
struct Header {
    std::string_view name;   ///< as the client spelt it
    std::string_view value;  ///< without whitespace around it
};

/// What to do with a request. Made by forward(), reply(), close() and next().
class [[nodiscard("an action does nothing until the hook returns it")]] Action {
public:
    /// Adds a field to a reply. Throws std::invalid_argument for anything but a reply. The request fails if
    /// it is a field that Request::set_header() refuses, or `Date`, which Kiln writes.
    Action header(std::string_view name, std::string_view value) const {
        if (raw_.kind != KILN_ACTION_REPLY)
            throw std::invalid_argument("kiln: only a reply has headers of its own");
        Action action = *this;
        void* place = detail::allocate(sizeof(kiln_reply_field));
        action.raw_.fields = new (place)
            kiln_reply_field{{detail::keep(name), detail::keep(value)}, raw_.fields};
        return action;
    }

    /// Says by what an upstream that balances by hash chooses a server: requests of one key go to one
    /// server, while that is there. Without it that is the client's address. Throws
    /// std::invalid_argument for anything but a forward.
    Action key(std::string_view key) const {
        if (raw_.kind != KILN_ACTION_FORWARD)
            throw std::invalid_argument("kiln: only a forward has a key");
        Action action = *this;
        action.raw_.key = detail::keep(key);
        return action;
    }

private:
    explicit constexpr Action(kiln_action raw) : raw_(raw) {}
    friend Action reply(int, std::string_view);
    friend Action forward(std::string_view);
    friend constexpr Action close();
    friend constexpr Action next();

    kiln_action raw_;
};

/// Answers the request without an upstream: status 200 to 599, and content (copied).
inline Action reply(int status, std::string_view body = {}) {
    return Action({KILN_ACTION_REPLY, static_cast<std::uint32_t>(status), detail::keep(body),
                   nullptr, {nullptr, 0}});
}

/// Sends the request, with the changes made to it, to a server of this upstream.
inline Action forward(std::string_view upstream) {
    return Action({KILN_ACTION_FORWARD, 0, detail::keep(upstream), nullptr, {nullptr, 0}});
}

/// Closes the client's connection without an answer.
constexpr Action close() {
    return Action({KILN_ACTION_CLOSE, 0, {nullptr, 0}, nullptr, {nullptr, 0}});
}

/// Leaves the decision to the next script; after the last one, to the only upstream there is.
constexpr Action next() {
    return Action({KILN_ACTION_NEXT, 0, {nullptr, 0}, nullptr, {nullptr, 0}});
}

/// A request whose head has arrived.
class Request {
public:
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    std::string_view method() const { return detail::view(raw_.method); }
    /// The request target as it stood in the request line.
    std::string_view target() const { return detail::view(raw_.target); }
    /// The path of the target, as it was sent (still percent-encoded).
    std::string_view path() const { return detail::view(raw_.path); }
    /// The query of the target without the `?`; empty if there is none.
    std::string_view query() const { return detail::view(raw_.query); }
    /// Host that the request is for, with the port if the client gave one.
    std::string_view host() const { return detail::view(raw_.authority); }
    /// Address of the client, without the port.
    std::string_view client_address() const { return detail::view(raw_.client_address); }
    std::uint16_t client_port() const { return raw_.client_port; }

    /// Value of the first parameter of this name in the query, as it was sent (see kiln::decode);
    /// empty if there is none.
    std::string_view query(std::string_view name) const {
        std::string_view rest = query();
        while (!rest.empty()) {
            std::size_t end = detail::position(rest, '&');
            std::string_view parameter = rest.substr(0, end);
            std::size_t equals = detail::position(parameter, '=');
            if (detail::same_text(parameter.substr(0, equals), name))
                return parameter.substr(std::min(equals + 1, parameter.size()));
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
        return {};
    }

    /// Value of the first field of this name, compared without case; empty if there is none.
    std::string_view header(std::string_view name) const {
        for (std::uint32_t i = 0; i < raw_.fields_count; ++i)
            if (detail::same_name(detail::view(raw_.fields[i].name), name))
                return detail::view(raw_.fields[i].value);
        return {};
    }

    /// The same without a search.
    std::string_view header(Field name) const {
        std::uint16_t place = raw_.common[static_cast<std::size_t>(name)];
        return place == 0 ? std::string_view{} : detail::view(raw_.fields[place - 1].value);
    }

    /// Whether there is a field of this name, be it empty.
    bool has_header(std::string_view name) const {
        for (std::uint32_t i = 0; i < raw_.fields_count; ++i)
            if (detail::same_name(detail::view(raw_.fields[i].name), name)) return true;
        return false;
    }

    std::size_t header_count() const { return raw_.fields_count; }

    /// Field line `index`, below header_count(), in the order of arrival.
    Header header_at(std::size_t index) const {
        if (index >= raw_.fields_count) throw std::out_of_range("kiln: no such header");
        return {detail::view(raw_.fields[index].name), detail::view(raw_.fields[index].value)};
    }

    /// Replaces every field of this name in the request that goes upstream, however the client spelt it:
    /// `X_User` is `X-User` to many servers. Reading still shows what the client sent. Throws
    /// std::invalid_argument for what may not stand in a field line, for a `Host` that is none, and for
    /// the fields that Kiln itself writes: Connection, Content-Length, Expect, HTTP2-Settings, Keep-Alive,
    /// Proxy-Connection, TE, Trailer, Transfer-Encoding and Upgrade.
    void set_header(std::string_view name, std::string_view value) {
        edit(KILN_EDIT_SET, name, value);
    }
    /// Adds a field, whatever there is of that name.
    void add_header(std::string_view name, std::string_view value) {
        edit(KILN_EDIT_ADD, name, value);
    }
    /// Removes every field of this name.
    void remove_header(std::string_view name) { edit(KILN_EDIT_REMOVE, name, {}); }

private:
    Request() = default;

    static void edit(kiln_edit_kind kind, std::string_view name, std::string_view value) {
        if (!detail::host().edit(kind, detail::borrow(name), detail::borrow(value)))
            detail::refuse_header(name);
    }

    kiln_request raw_;
};

/// Writes a line to Kiln's log, with the request's generation and worker beside it.
inline void log(std::string_view text, kiln_log_level level = KILN_LOG_INFO) {
    detail::host().log(level, detail::borrow(text));
}

/// Nanoseconds of a clock that never jumps.
inline std::uint64_t monotonic_ns() { return detail::host().monotonic_ns(); }

/// Nanoseconds since 1970-01-01 00:00 UTC.
inline std::uint64_t realtime_ns() { return detail::host().realtime_ns(); }

/// 64 uniform random bits; not for secrets.
inline std::uint64_t random() { return detail::host().random(); }

/// Percent-decodes a part of a query (`+` is a space); malformed escapes stay as they are.
inline std::string decode(std::string_view text) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned byte = 0;
        const char* hex = text.data() + i + 1;
        if (text[i] == '%' && i + 2 < text.size() &&
            std::from_chars(hex, hex + 2, byte, 16).ptr == hex + 2) {
            decoded += static_cast<char>(byte);
            i += 2;
        } else {
            decoded += text[i] == '+' ? ' ' : text[i];
        }
    }
    return decoded;
}

}  // namespace kiln
