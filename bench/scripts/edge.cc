// What the reload figures of the bench compile: a script of usual length, with the library that such
// scripts use. It decides for a shop: who may come in, how often, into which experiment, and where to.
#include <kiln.h>

namespace {

using Parameters = std::unordered_map<std::string, std::string>;

constexpr std::size_t clients_max = 10'000;  // whose buckets are remembered
constexpr double burst = 200'000;            // requests at once
constexpr double requests_per_second = 50'000;

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        std::size_t end = std::min(text.find(separator), text.size());
        if (end > 0) parts.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

std::string lower(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(), kiln::detail::lower);
    return result;
}

std::string_view trim(std::string_view text) {
    std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

template <typename Number>
std::optional<Number> number(std::string_view text) {
    Number value{};
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

Parameters parameters_of(std::string_view query) {
    Parameters parameters;
    for (std::string_view part : split(query, '&')) {
        std::size_t equals = std::min(part.find('='), part.size());
        std::string name = lower(kiln::decode(part.substr(0, equals)));
        parameters[name] = kiln::decode(part.substr(std::min(equals + 1, part.size())));
    }
    return parameters;
}

std::optional<std::string> cookie(const kiln::Request& request, std::string_view name) {
    for (std::string_view part : split(request.header(kiln::Field::cookie), ';')) {
        part = trim(part);
        if (part.size() > name.size() && part.starts_with(name) && part[name.size()] == '=')
            return std::string(part.substr(name.size() + 1));
    }
    return std::nullopt;
}

// One bucket a client: it fills with time, and each request takes one drop.
class Limiter {
public:
    bool takes(const std::string& client, std::uint64_t now_ns) {
        if (buckets_.size() > clients_max) forget(now_ns);
        auto [found, is_new] = buckets_.try_emplace(client, Bucket{burst, now_ns});
        Bucket& bucket = found->second;
        double seconds = static_cast<double>(now_ns - bucket.filled_ns) * 1e-9;
        bucket.drops = std::min(burst, bucket.drops + seconds * requests_per_second);
        bucket.filled_ns = now_ns;
        if (bucket.drops < 1) return false;
        bucket.drops -= 1;
        return true;
    }

    int wait_s(const std::string& client) const {
        auto found = buckets_.find(client);
        if (found == buckets_.end()) return 0;
        return 1 + static_cast<int>((1 - found->second.drops) / requests_per_second);
    }

private:
    struct Bucket {
        double drops;
        std::uint64_t filled_ns;
    };

    void forget(std::uint64_t now_ns) {
        std::erase_if(buckets_, [&](const auto& entry) {
            return now_ns - entry.second.filled_ns > 10'000'000'000;
        });
    }

    std::unordered_map<std::string, Bucket> buckets_;
};

struct Experiment {
    std::string name;
    unsigned percent;
    std::vector<std::string> languages;
};

struct Route {
    std::string_view prefix;
    std::string_view upstream;
    bool (*accepts)(const kiln::Request&);
};

Limiter limiter;

const std::vector<Experiment> experiments = {
    {"new-checkout", 20, {"de", "en"}},
    {"fast-search", 50, {}},
    {"dark-mode", 5, {"en"}},
};

const std::unordered_map<std::string_view, std::string_view> moved = {
    {"/about.html", "/about"},
    {"/shop/index.php", "/shop"},
    {"/terms.php", "/legal/terms"},
};

constexpr std::array<std::string_view, 6> methods = {"GET", "HEAD", "POST",
                                                     "PUT", "DELETE", "OPTIONS"};

bool is_mobile(const kiln::Request& request) {
    std::string agent = lower(request.header(kiln::Field::user_agent));
    return agent.find("mobile") != std::string::npos || agent.find("android") != std::string::npos;
}

// The longest prefix first.
constexpr Route routes[] = {
    {"/api/v2/", "api-next", [](const kiln::Request& r) { return r.header("x-preview") == "yes"; }},
    {"/static/", "static", [](const kiln::Request& r) { return r.method() == "GET"; }},
    {"/api/", "api", [](const kiln::Request&) { return true; }},
    {"/", "mobile", is_mobile},
    {"/", "web", [](const kiln::Request&) { return true; }},
};

// The languages that the client takes, the one that it likes best first.
std::vector<std::string> languages(const kiln::Request& request) {
    struct Weighed {
        double weight;
        std::string name;
    };
    std::vector<Weighed> weighed;
    for (std::string_view part : split(request.header(kiln::Field::accept_language), ',')) {
        std::vector<std::string_view> pieces = split(part, ';');
        if (pieces.empty()) continue;
        double weight = 1;
        if (pieces.size() > 1 && trim(pieces[1]).starts_with("q="))
            weight = number<double>(trim(pieces[1]).substr(2)).value_or(0);
        weighed.push_back({weight, lower(trim(pieces[0]).substr(0, 2))});
    }
    std::sort(weighed.begin(), weighed.end(),
              [](const Weighed& a, const Weighed& b) { return a.weight > b.weight; });
    std::vector<std::string> names;
    for (Weighed& language : weighed)
        if (std::find(names.begin(), names.end(), language.name) == names.end())
            names.push_back(std::move(language.name));
    return names;
}

std::string experiments_of(std::string_view visitor, const std::vector<std::string>& spoken) {
    std::string joined;
    for (const Experiment& experiment : experiments) {
        std::size_t drawn = std::hash<std::string>{}(experiment.name + ':' + std::string(visitor));
        bool speaks = experiment.languages.empty() ||
                      std::any_of(spoken.begin(), spoken.end(), [&](const std::string& language) {
                          const auto& wanted = experiment.languages;
                          return std::count(wanted.begin(), wanted.end(), language) > 0;
                      });
        if (!speaks || drawn % 100 >= experiment.percent) continue;
        if (!joined.empty()) joined += ',';
        joined += experiment.name;
    }
    return joined;
}

std::string trace_id() {
    char digits[16];
    auto [end, error] = std::to_chars(digits, digits + sizeof digits, kiln::random(), 16);
    std::string text(digits, end);
    return std::string(sizeof digits - text.size(), '0') + text;
}

kiln::Action refuse(int status, const std::string& reason) {
    std::string body = "{\"status\":" + std::to_string(status) + ",\"reason\":\"" + reason + "\"}\n";
    return kiln::reply(status, body).header("content-type", "application/json");
}

}  // namespace

kiln::Action on_request(kiln::Request& request) {
    if (std::find(methods.begin(), methods.end(), request.method()) == methods.end())
        return refuse(405, "no such method");
    std::string client(request.client_address());
    if (!limiter.takes(client, kiln::monotonic_ns()))
        return refuse(429, "slow down").header("retry-after", std::to_string(limiter.wait_s(client)));
    if (auto found = moved.find(request.path()); found != moved.end())
        return kiln::reply(301).header("location", found->second);

    Parameters parameters = parameters_of(request.query());
    if (auto page = parameters.find("page"); page != parameters.end()) {
        auto wanted = number<unsigned>(page->second);
        if (!wanted || *wanted > 1000) return refuse(400, "there is no page " + page->second);
    }
    std::string visitor = cookie(request, "visitor").value_or(client);
    std::vector<std::string> spoken = languages(request);
    request.set_header("x-trace", trace_id());
    request.set_header("x-language", spoken.empty() ? "en" : spoken.front());
    if (std::string chosen = experiments_of(visitor, spoken); !chosen.empty())
        request.set_header("x-experiments", chosen);

    if (request.path() == "/ping") return kiln::reply(200, "pong\n");
    for (const Route& route : routes)
        if (request.path().starts_with(route.prefix) && route.accepts(request))
            return kiln::forward(route.upstream).key(visitor);
    return refuse(404, "nothing is here");
}
