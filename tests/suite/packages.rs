//! Where the programs come from, and which of them one file, fixed options and no library can build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// A Debian package with programs.
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: &'static str,
    /// How many of its programs are judged.
    pub(crate) count: usize,
    find: fn() -> anyhow::Result<Vec<Found>>,
}

/// A program, or the rule that leaves it out.
pub(crate) type Found = Result<Program, &'static str>;

/// One file with a `main`.
#[derive(Debug)]
pub(crate) struct Program {
    /// Package that it is from.
    pub(crate) package: &'static str,
    /// Its file's name, from the folder of the package's programs.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: PathBuf,
    /// Options of both compilers: folders of headers and macros.
    pub(crate) options: Vec<String>,
    /// A folder whose files it finds where it runs.
    pub(crate) data: Option<PathBuf>,
}

/// Compile times differ by an order of magnitude, hence the numbers: the whole takes half an hour.
pub(crate) const PACKAGES: [Package; 5] = [
    Package { name: "headers", count: 200, find: headers },
    Package { name: "gcc-12-source", count: 260, find: libstdcxx_tests },
    Package { name: "cppreference-doc-en-html", count: 160, find: reference_examples },
    Package { name: "libboost1.74-doc", count: 60, find: boost_examples },
    Package { name: "nlohmann-json3-dev", count: 20, find: json_examples },
];

const OPTIONS: &str = "it needs options that say more than folders and macros";
const STANDARD: &str = "it is for another standard or system";
const PARTS: &str = "it has no main: it is a part of a program";

impl Package {
    /// Its programs, in the order of their names.
    pub(crate) fn programs(&self) -> anyhow::Result<Vec<Found>> {
        (self.find)().with_context(|| format!("programs of {}; is it installed?", self.name))
    }
}

/// The run-time tests of GCC's C++ library.
fn libstdcxx_tests() -> anyhow::Result<Vec<Found>> {
    let unpacked = made("gcc-12-source")?;
    let tests = unpacked.join("libstdc++-v3/testsuite");
    if !tests.is_dir() {
        let archives = files(Path::new("/usr/src/gcc-12"), &["tar.xz"])?;
        let archive = archives.iter().find(|path| path.to_string_lossy().contains("/gcc-12."));
        let mut tar = Command::new("tar");
        tar.arg("xf").arg(archive.context("no archive")?).arg("-C").arg(&unpacked);
        tar.args(["--strip-components=1", "--wildcards", "*/libstdc++-v3/testsuite"]);
        ensure!(tar.status()?.success(), "tar failed");
    }
    let mut found = Vec::new();
    for path in files(&tests, &["cc"])? {
        // A few hold bytes that are no UTF-8.
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let Some(how) = directives(&text, "dg-do").find(|how| how.starts_with("run")) else {
            continue;
        };
        found.push(libstdcxx_test(&tests, path, &text, how));
    }
    Ok(found)
}

fn libstdcxx_test(tests: &Path, path: PathBuf, text: &str, how: &str) -> Found {
    if ["c++23", "only", "!", "mingw"].iter().any(|foreign| how.contains(foreign)) {
        return Err(STANDARD);
    }
    let mut options = vec![include(&tests.join("util")), include(tests)];
    for words in directives(text, "dg-options").chain(directives(text, "dg-additional-options")) {
        let (words, target) = words.rsplit_once('"').ok_or(OPTIONS)?;
        if target.contains("simulator") {
            continue;
        }
        for word in words.trim_start_matches('"').split_whitespace() {
            match word {
                "-std=gnu++2a" | "-std=gnu++20" | "-std=c++2a" | "-std=c++20" | "-pthread" => {}
                _ if word.starts_with("-std=") => return Err(STANDARD),
                _ if word.starts_with("-D") => options.push(word.to_owned()),
                // What they change is what is warned of, or how fast it is.
                _ if word.starts_with("-W") || word.starts_with("-O") => {}
                _ => return Err(OPTIONS),
            }
        }
    }
    let data = Some(tests.join("data"));
    Ok(Program { package: "gcc-12-source", name: name(&path, tests), path, options, data })
}

/// What DejaGnu directives of this kind say: the words of `{ KIND WORDS }`.
fn directives<'a>(text: &'a str, kind: &str) -> impl Iterator<Item = &'a str> {
    let opening = format!("{{ {kind} ");
    let lines = text.lines().filter_map(move |line| line.split_once(opening.as_str()));
    lines.map(|(_, rest)| rest.rsplit_once('}').map_or(rest, |(words, _)| words).trim())
}

/// A program for each header of the C and C++ libraries, of Linux and of the processor, which includes
/// that header and nothing else.
fn headers() -> anyhow::Result<Vec<Found>> {
    let written = made("headers")?;
    let packages = ["libc6-dev", "linux-libc-dev", "libstdc++-12-dev", "libclang-common-19-dev"];
    let listing = Command::new("dpkg").arg("-L").args(packages).output()?;
    ensure!(listing.status.success(), "dpkg: {}", String::from_utf8_lossy(&listing.stderr));
    let mut found = Vec::new();
    for path in String::from_utf8(listing.stdout)?.lines() {
        let folders = [
            "/usr/lib/llvm-19/lib/clang/19/include/",
            "/usr/include/x86_64-linux-gnu/c++/12/",
            "/usr/include/x86_64-linux-gnu/",
            "/usr/include/c++/12/",
            "/usr/include/",
        ];
        let Some(header) = folders.iter().find_map(|folder| path.strip_prefix(folder)) else {
            continue;
        };
        // Of Clang's own, those of x86 processors are called so.
        let is_clangs = path.starts_with(folders[0]);
        let is_foreign = is_clangs && !header.ends_with("intrin.h") && !header.starts_with("std");
        if !Path::new(path).is_file() || header.ends_with(".modulemap") {
            continue;
        }
        if is_foreign {
            found.push(Err(STANDARD));
            continue;
        }
        let path = written.join(header.replace('/', "-") + ".cpp");
        fs::write(&path, format!("#include <{header}>\nint main() {{}}\n"))?;
        let (package, name) = ("headers", header.to_owned());
        found.push(Ok(Program { package, name, path, options: vec![], data: None }));
    }
    Ok(found)
}

/// The examples of cppreference.com that it lets its readers run.
fn reference_examples() -> anyhow::Result<Vec<Found>> {
    let pages = Path::new("/usr/share/cppreference/doc/html/en/cpp");
    let written = made("cppreference-doc-en-html")?;
    let mut found = Vec::new();
    for page in files(pages, &["html"])? {
        let text = fs::read_to_string(&page)?;
        for (number, part) in text.split("class=\"t-example-live-link\"").skip(1).enumerate() {
            let code = part.split_once("<pre class=\"de1\">").and_then(|(_, code)| {
                let (code, _) = code.split_once("</pre>")?;
                Some(plain(code))
            });
            let Some(code) = code else { continue };
            let stem = name(&page.with_extension(""), pages).replace('/', "-");
            let path = written.join(format!("{stem}-{number}.cpp"));
            fs::write(&path, &code)?;
            found.push(with_main(&code, || Program {
                package: "cppreference-doc-en-html",
                name: name(&path, &written),
                path: path.clone(),
                options: vec![],
                data: None,
            }));
        }
    }
    Ok(found)
}

/// The text of HTML that only colours it.
fn plain(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text += part.split_once('>').map_or(part, |(_, after)| after);
    }
    let spaces = text.replace("&#160;", " ").replace("&nbsp;", " ").replace('\u{a0}', " ");
    let quotes = spaces.replace("&quot;", "\"").replace("&#39;", "'").replace("&#40;", "(");
    quotes.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The examples of Boost's libraries. Most of those that need a compiled library both refuse.
fn boost_examples() -> anyhow::Result<Vec<Found>> {
    examples("libboost1.74-doc", "/usr/share/doc/libboost1.74-doc/examples", &["cpp", "cc"])
}

/// The examples of nlohmann's JSON library.
fn json_examples() -> anyhow::Result<Vec<Found>> {
    examples("nlohmann-json3-dev", "/usr/share/doc/nlohmann-json3-dev/examples", &["cpp"])
}

/// Programs of a folder that include headers from each other's folders and from /usr/include.
fn examples(package: &'static str, folder: &str, ends: &[&str]) -> anyhow::Result<Vec<Found>> {
    let folder = Path::new(folder);
    let mut found = Vec::new();
    for path in files(folder, ends)? {
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        found.push(with_main(&text, || Program {
            package,
            name: name(&path, folder),
            path: path.clone(),
            options: vec![include(folder), include(Path::new("/usr/include"))],
            data: None,
        }));
    }
    Ok(found)
}

fn with_main(text: &str, program: impl FnOnce() -> Program) -> Found {
    if text.contains("main(") || text.contains("main (") { Ok(program()) } else { Err(PARTS) }
}

fn include(folder: &Path) -> String {
    format!("-I{}", folder.display())
}

fn name(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// A folder for what is unpacked, beside what cargo builds.
fn made(package: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suite").join(package);
    fs::create_dir_all(&folder)?;
    Ok(fs::canonicalize(folder)?)
}

/// Files below a folder whose names end so, sorted.
fn files(folder: &Path, ends: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.to_string_lossy();
            if path.is_dir() {
                folders.push(path);
            } else if ends.iter().any(|end| name.ends_with(&format!(".{end}"))) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
