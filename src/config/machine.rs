//! Whether this machine has what a configuration names: scripts, users, folders, addresses. Only
//! `kiln config check` asks; a start and a reload find out by using them.
//!
//! What a start or a reload would refuse is an error here. What may yet come to be there is a warning.
//! No name is looked up.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use fence::{Identity, NoIdentity, Unreadable};
use nix::ifaddrs::getifaddrs;
use nix::unistd::{AccessFlags, access, geteuid};
use settings::{File, Process};
use toml::de::DeTable;

use super::check::{Value, table};
use super::document::Document;

/// Rights in a mode, for others; the group's are three bits higher, the owner's six.
const MAY_READ: u32 = 0o4;
const MAY_ENTER: u32 = 0o1;

/// The addresses of this machine's interfaces.
pub(super) fn local_addresses() -> BTreeSet<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    addresses.collect()
}

/// Notes what of a file that is right in itself this machine does not have.
pub(super) fn look(document: &mut Document<'_>, root: &DeTable<'_>, file: &File) {
    let identity = identities(document, root, &file.process);
    scripts(document, root, file, identity);
    folders(document, root, file);
    addresses(document, root, file);
    if let Some(value) = in_table(root, "compile", "cpu")
        && let Err(error) = jit::check_cpu(&file.compile.cpu)
    {
        document.error(value.span(), format!("compile.cpu: {error}"));
    }
    if let (Some(value), Some(cache)) = (in_table(root, "compile", "cache"), &file.compile.cache) {
        let user = identity.map_or_else(geteuid, |identity| identity.user);
        if let Err(error) = cache::Folder::open_for(cache, user) {
            document.warning(value.span(), error.to_string());
        }
    }
}

/// Users and groups. Whoever checks need not be root, who alone may become them.
fn identities(
    document: &mut Document<'_>,
    root: &DeTable<'_>,
    process: &Process,
) -> Option<Identity> {
    let mut tell = |name: &str, error: NoIdentity| {
        if let Some(value) = in_table(root, "process", name) {
            document.error(value.span(), error.to_string());
        }
    };
    if let Some(name) = &process.control_group
        && let Err(error) = fence::find_group("process.control_group", name)
    {
        tell("control_group", error);
    }
    match Identity::find(process.user.as_deref(), process.group.as_deref()) {
        Ok(identity) => return identity,
        Err(NoIdentity::NotRoot(_)) => {}
        Err(error @ NoIdentity::Group { .. }) => tell("group", error),
        Err(error) => tell("user", error),
    }
    None
}

fn scripts(
    document: &mut Document<'_>,
    root: &DeTable<'_>,
    file: &File,
    identity: Option<Identity>,
) {
    let (Some(value), Some(path)) = (root.get("script"), &file.script) else { return };
    match (jit::Scripts { path, include: &[] }).list() {
        Ok(scripts) => {
            let wrong = scripts.iter().find_map(|script| Some((script, wrong(script, identity)?)));
            if let Some((script, why)) = wrong {
                document.error(value.span(), format!("script: {} {why}", script.display()));
            }
        }
        Err(error) => {
            let message = format!("script: {}: {error}", path.display());
            document.error(value.span(), message);
        }
    }
    for passed_over in jit::passed_over(path) {
        let message = format!("script: {} {}", passed_over.path.display(), passed_over.why);
        document.warning(value.span(), message);
    }
}

/// What is wrong with a script as a file, for whoever compiles it.
fn wrong(script: &Path, identity: Option<Identity>) -> Option<String> {
    let denied = || denied(script, identity).map(|why| format!("cannot be read: {why}"));
    match Unreadable::of(script, |_| true) {
        Some(why @ (Unreadable::Dangling { .. } | Unreadable::Loop { .. })) => {
            Some(why.predicate(script, "scripts"))
        }
        _ => denied(),
    }
}

/// Why whoever compiles may not read a script; none if he may.
fn denied(script: &Path, identity: Option<Identity>) -> Option<String> {
    let Some(identity) = identity else {
        return access(script, AccessFlags::R_OK).err().map(|error| error.desc().to_owned());
    };
    let script = std::path::absolute(script).ok()?;
    let refuses = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        let right = if path == script { MAY_READ } else { MAY_ENTER };
        let shift = match () {
            () if found.uid() == identity.user.as_raw() => 6,
            () if found.gid() == identity.group.as_raw() => 3,
            () => 0,
        };
        let may = identity.user.is_root() || found.mode() >> shift & right != 0;
        (!may).then(|| {
            format!(
                "{} gives user {} and group {}, whom process.user and process.group name, no right to",
                path.display(),
                identity.user,
                identity.group
            )
        })
    };
    script.ancestors().find_map(refuses)
}

/// Where the master makes files.
fn folders(document: &mut Document<'_>, root: &DeTable<'_>, file: &File) {
    for (name, path) in [("pid_file", &file.pid_file), ("control", &file.control)] {
        let (Some(value), Some(path)) = (root.get(name), path) else { continue };
        let shown = path.display();
        let absolute = std::path::absolute(path).unwrap_or_default();
        if let Some(folder) = absolute.parent()
            && !folder.is_dir()
        {
            let folder = folder.display();
            let message = format!("{name}: there is no folder {folder}, and a start needs it");
            document.warning(value.span(), message);
        }
        let Ok(found) = fs::symlink_metadata(path) else { continue };
        let kind = found.file_type();
        let wrong = match name {
            "control" if !kind.is_socket() => "is there, and is no socket",
            "pid_file" if !kind.is_file() => "is there, and is no regular file",
            _ => continue,
        };
        document.error(value.span(), format!("{name}: {shown} {wrong}"));
    }
}

fn addresses(document: &mut Document<'_>, root: &DeTable<'_>, file: &File) {
    let Some(list) = root.get("listen").and_then(|listen| listen.get_ref().as_array()) else {
        return;
    };
    let local = local_addresses();
    for (value, address) in list.iter().zip(&file.listen) {
        let ip = address.ip();
        if !ip.is_unspecified() && !ip.is_loopback() && !local.contains(&ip) {
            let message = format!(
                "listen: {ip} is no address of this machine now: `ip address` lists those that are"
            );
            document.warning(value.span(), message);
        }
    }
}

fn in_table<'a, 't>(root: &'a DeTable<'t>, outer: &str, name: &str) -> Option<&'a Value<'t>> {
    table(root, outer)?.get(name)
}
