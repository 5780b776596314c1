//! What is wrong between values of `kiln.toml` that are each right: addresses, upstreams and paths.
//!
//! What the command line says in their place counts here as well, so that a file is not refused for what
//! never comes to be.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use settings::{Faults, File, Limits, own_listener};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Given;
use super::check::{Check, Value, nearest, number, offer, table, text};
use super::document::beside;
use super::machine::local_addresses;

/// Bytes of the longest path that a socket may have: `sun_path` of unix(7), less its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl Check<'_, '_> {
    /// What the file listens on, and the servers that are there.
    pub(super) fn addresses(&mut self, root: &DeTable<'_>, given: &Given<'_>) {
        let own = match given.listen {
            [] => self.listen(root),
            given => given.to_vec(),
        };
        let local = local_addresses();
        for (name, server) in servers(root) {
            let Some(address) = text(server) else { continue };
            if let Some(listener) = own_listener(address, &own, &local) {
                self.document.error(server.span(), own_server(name, address, listener));
            }
        }
    }

    /// The addresses of `listen`, and what is wrong with them together.
    fn listen(&mut self, root: &DeTable<'_>) -> Vec<SocketAddr> {
        let Some(list) = root.get("listen").and_then(|listen| listen.get_ref().as_array()) else {
            return File::default().listen;
        };
        if list.is_empty() {
            let span = root["listen"].span();
            self.document.error(span, "listen: there is no address, as in [\"0.0.0.0:8080\"]");
        }
        let mut listen: Vec<SocketAddr> = Vec::new();
        for value in list.iter() {
            let Some(address) = text(value).and_then(|text| text.parse::<SocketAddr>().ok()) else {
                continue;
            };
            // Each port 0 becomes another one.
            if address.port() != 0 && listen.contains(&address) {
                let written = text(value).unwrap_or_default();
                self.document.error(value.span(), format!("listen: {written:?} is given twice"));
            }
            listen.push(address);
        }
        for (value, address) in list.iter().filter_map(|it| Some((it, text(it)?.parse().ok()?))) {
            self.tell_ipv6_alone(value, address, &listen);
        }
        listen
    }

    /// Whoever comes from HAProxy, or from other programs under Linux, expects IPv4 as well.
    fn tell_ipv6_alone(&mut self, value: &Value<'_>, address: SocketAddr, listen: &[SocketAddr]) {
        let port = address.port();
        let has_ipv4 = listen.iter().any(|other| other.is_ipv4() && other.port() == port);
        if address.is_ipv6() && address.ip().is_unspecified() && !has_ipv4 {
            let message = format!(
                "listen: \"{address}\" is for IPv6 alone; \"0.0.0.0:{port}\" beside it is for IPv4"
            );
            self.document.note(value.span(), message);
        }
    }

    /// Where requests go that a script has failed at.
    pub(super) fn open_policy(&mut self, root: &DeTable<'_>, given: &Given<'_>) {
        let Some(faults) = table(root, "faults") else { return };
        let upstreams = table(root, "upstreams").into_iter().flatten();
        let mut names: Vec<&str> = upstreams.map(|(key, _)| &**key.get_ref()).collect();
        names.extend(given.upstreams.iter().map(|name| &**name));
        names.sort_unstable();
        names.dedup();
        let named = faults.get("upstream").filter(|value| text(value).is_some());
        let opens = faults.get("policy").filter(|value| text(value) == Some("open"));
        match (named, opens) {
            (Some(value), _) if !names.iter().any(|name| Some(*name) == text(value)) => {
                let name = text(value).unwrap_or_default();
                let mut message = format!("faults.upstream: there is no upstream {name:?}");
                offer(&mut message, nearest(name, names.iter().copied()));
                self.document.error(value.span(), message);
            }
            (None, Some(value)) if names.len() != 1 => {
                let message = match names.len() {
                    0 => "faults.policy = \"open\" forwards requests, and there is no upstream"
                        .into(),
                    count => format!(
                        "faults.policy = \"open\" forwards requests to one of {count} upstreams: name it \
                         with faults.upstream"
                    ),
                };
                self.document.error(value.span(), message);
            }
            _ => {}
        }
    }

    /// Budgets of which another one is used up first.
    pub(super) fn budgets(&mut self, root: &DeTable<'_>) {
        let (faults, limits) = (Faults::default(), Limits::default());
        let memory = ("limits", "script_memory_bytes", limits.script_memory_bytes);
        for (name, default, (outer_table, outer_name, outer_default)) in [
            ("hook_cpu_ms", faults.hook_cpu_ms, ("faults", "hook_wall_ms", faults.hook_wall_ms)),
            ("request_memory_bytes", faults.request_memory_bytes, memory),
        ] {
            let outer_place = table(root, outer_table);
            let outer =
                outer_place.map_or(outer_default, |it| number(it, outer_name, outer_default));
            let Some(place) = table(root, "faults") else { continue };
            let inner = number(place, name, default);
            if let (true, Some(value)) = (inner > outer, place.get(name)) {
                let message = format!(
                    "faults.{name} = {inner} is never reached: {outer_table}.{outer_name} = {outer} is \
                     less"
                );
                self.document.warning(value.span(), message);
            }
        }
    }

    /// Paths of what the master makes.
    pub(super) fn paths(&mut self, root: &DeTable<'_>) {
        let Some(value) = root.get("control") else { return };
        let Some(control) = text(value) else { return };
        if control.starts_with('@') {
            let message = format!(
                "control: {control:?} would be an abstract socket, and Kiln's is a file: write \
                 \"./{control}\" for one of this name"
            );
            self.document.error(value.span(), message);
        }
        // As the master has it, which knows where its file is.
        let file = std::path::absolute(self.document.path()).unwrap_or_default();
        let path = beside(&file, Path::new(control));
        let bytes = path.as_os_str().as_bytes().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            let message = format!(
                "control: the path {} has {bytes} bytes, and that of a socket {SOCKET_PATH_BYTES_MAX} \
                 at most",
                path.display()
            );
            self.document.error(value.span(), message);
        }
        let is_same = root.get("pid_file").and_then(text) == Some(control);
        if is_same {
            self.document.error(value.span(), "control and pid_file are the same path");
        }
    }
}

/// What is said of a server that is this Kiln.
pub(super) fn own_server(upstream: &str, server: &str, listener: SocketAddr) -> String {
    format!(
        "upstream {upstream}: {server:?} is this Kiln itself, which listens on {listener}: a request would \
         go round without end"
    )
}

/// Every server with the name of its upstream, however it is written.
fn servers<'a, 't>(
    root: &'a DeTable<'t>,
) -> impl Iterator<Item = (&'a str, &'a Spanned<DeValue<'t>>)> {
    let upstreams = table(root, "upstreams").into_iter().flatten();
    upstreams.flat_map(|(key, value)| {
        let listed = match value.get_ref() {
            DeValue::Table(upstream) => upstream.get("servers"),
            _ => Some(value),
        };
        let list = listed.and_then(|listed| listed.get_ref().as_array()).into_iter().flatten();
        list.filter_map(move |server| match server.get_ref() {
            DeValue::Table(server) => Some((&**key.get_ref(), server.get("address")?)),
            _ => Some((&**key.get_ref(), server)),
        })
    })
}
