//! Black-box tests of `kiln serve`, `kiln reload` and `kiln status`: real processes, real sockets.
//!
//! One module for each behaviour. Every test has a Kiln of its own on a port of its own.

mod adversity;
mod attribution;
mod badinput;
mod bodies;
mod cache;
mod compile_limits;
mod config;
mod config_command;
mod config_machine;
mod control;
mod crash;
mod departures;
mod draining;
mod faults;
mod fences;
mod generations;
mod heads;
mod hygiene;
mod identity;
mod links;
mod names;
mod origins;
mod outages;
mod proxies;
mod reasons;
mod refusals;
mod reload;
mod request;
mod signals;
mod upstreams;

use tests::FORWARDING;

/// A script that answers everything with this text.
fn replying(text: &str) -> String {
    format!(
        "#include <kiln.h>
kiln::Action on_request(kiln::Request&) {{ return kiln::reply(200, \"{text}\"); }}
"
    )
}

/// A script that keeps Clang busy for a second or more, so that a test can look at it meanwhile.
fn slow_to_compile() -> String {
    let mut script = replying("slow");
    script +=
        "struct Key { int x; bool operator<(const Key& other) const { return x < other.x; } };
template class std::map<Key, std::string>;
template class std::map<std::string, Key>;
template class std::vector<Key>;
";
    script
}
