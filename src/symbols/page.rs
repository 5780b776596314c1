//! `kiln check --symbols --markdown`: the page that says what of the C++ library scripts may not use,
//! header by header.
//!
//! What each header has stands here; whether scripts may use it is the symbol list's to say, and why not
//! `pch/workers.refused`'s. So what is allowed tomorrow leaves the page by itself, and what is
//! refused and in no header of the table stands at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jit::{demangled, matches};

const HEAD: &str = "# What scripts may not use

Scripts may use what C++20 and libstdc++ offer, but for what stands here: it blocks, opens, starts or ends \
something, or writes outside of the script's memory.
A script that uses it is refused when it is loaded, with file and line.
What is not refused works as in any program with one thread: a lock that is free is taken, and one that is not is a fault at once, since waiting for it would never end.

`kiln check --symbols --markdown` prints this page from the list of symbols; `kiln check --symbols NAME` says the same about any name, those of POSIX and Linux included.
";

/// What nobody has given a reason for.
const NO_REASON: &str = "it is not among what scripts need";

/// Names of a header: as people write them, and the symbols that stand for them.
type Names = &'static [(&'static str, &'static str)];

/// Headers of the C++ library, with what of them needs the library.
#[rustfmt::skip] // One column of names.
const CXX: &[(&str, Names)] = &[
    ("<atomic>", &[("`wait()`", "_ZNSt8__detail*__platform_wait*")]),
    ("<barrier>", &[("`wait()`, `arrive_and_wait()`", "_ZNSt8__detail*__platform_wait*")]),
    ("<condition_variable>", &[
        ("`wait()`, `wait_for()`, `wait_until()`", "_ZNSt18condition_variable4wait* _ZNSt22condition_variable_any*"),
        ("`std::notify_all_at_thread_exit()`", "_ZSt25notify_all_at_thread_exit*"),
    ]),
    ("<exception>", &[("`std::set_terminate()`, `std::get_terminate()`", "_ZSt13set_terminate* _ZSt13get_terminatev")]),
    ("<filesystem>", &[
        ("all but `std::filesystem::path` and `std::filesystem::filesystem_error`: `exists()`, `status()`, `remove()`, `absolute()`, `directory_iterator` and so on", "_ZNSt10filesystem* _ZNKSt10filesystem*"),
    ]),
    ("<fstream>", &[
        ("`std::filebuf`, `std::ifstream`, `std::ofstream`, `std::fstream` and their wide forms", "_ZNSt13basic_filebuf* _ZNSt14basic_ifstream* _ZNSt14basic_ofstream* _ZNSt13basic_fstream*"),
    ]),
    ("<future>", &[
        ("`std::future`, `std::promise`, `std::packaged_task`, `std::async()`", "_ZNSt13__future_base*"),
        ("`wait()` of a future", "_ZNSt28__atomic_futex_unsigned_base*"),
    ]),
    ("<iostream>", &[
        ("`std::cin`, `std::cout`, `std::cerr`, `std::clog` and their wide forms", "_ZSt3cin _ZSt4cout"),
        ("`std::ios_base::sync_with_stdio()`", "_ZNSt8ios_base15sync_with_stdioEb"),
    ]),
    ("<latch>", &[("`wait()`, `arrive_and_wait()`", "_ZNSt8__detail*__platform_wait*")]),
    ("<locale>", &[
        ("`std::locale::global()`", "_ZNSt6locale6globalERKS_"),
        ("`std::locale(name)`, facets by name such as `std::numpunct_byname`, `std::messages`", "_ZNSt6localeC1EPKc _ZN*St*_byname* _ZNSt7__cxx118messages*"),
    ]),
    ("<new>", &[("`std::set_new_handler()`, `std::get_new_handler()`", "_ZSt15set_new_handlerPFvvE _ZSt15get_new_handlerv")]),
    ("<semaphore>", &[("`acquire()`, `try_acquire_for()`, `try_acquire_until()`", "_ZNSt8__detail*__platform_wait*")]),
    ("<stop_token>", &[("`std::stop_callback`, which waits for a call of itself", "_ZNSt8__detail*__platform_wait*")]),
    ("<thread>", &[
        ("`std::thread`, `std::jthread`", "_ZNSt6thread*"),
        ("`std::this_thread::sleep_for()`, `std::this_thread::sleep_until()`", "_ZNSt11this_thread11__sleep_for*"),
    ]),
];

/// Functions of the C library, by their headers in C++ (C++20, [headers]).
#[rustfmt::skip] // One column of names.
const C: &[(&str, &str)] = &[
    ("<cctype>", "isalnum isalpha isblank iscntrl isdigit isgraph islower isprint ispunct isspace isupper isxdigit tolower toupper"),
    ("<cinttypes>", "imaxabs imaxdiv strtoimax strtoumax wcstoimax wcstoumax"),
    ("<clocale>", "localeconv setlocale"),
    ("<csetjmp>", "longjmp"),
    ("<csignal>", "raise signal"),
    ("<cstdio>", "clearerr fclose feof ferror fflush fgetc fgetpos fgets fopen fprintf fputc fputs fread freopen fscanf fseek fsetpos ftell fwrite getc getchar perror printf putc putchar puts remove rename rewind scanf setbuf setvbuf snprintf sprintf sscanf tmpfile tmpnam ungetc vfprintf vfscanf vprintf vscanf vsnprintf vsprintf vsscanf"),
    ("<cstdlib>", "_Exit abort abs aligned_alloc at_quick_exit atexit atof atoi atol atoll bsearch calloc div exit free getenv labs ldiv llabs lldiv malloc mblen mbstowcs mbtowc qsort quick_exit rand realloc srand strtod strtof strtol strtold strtoll strtoul strtoull system wcstombs wctomb"),
    ("<cstring>", "memchr memcmp memcpy memmove memset strcat strchr strcmp strcoll strcpy strcspn strerror strlen strncat strncmp strncpy strpbrk strrchr strspn strstr strtok strxfrm"),
    ("<ctime>", "asctime clock ctime difftime gmtime localtime mktime strftime time timespec_get"),
    ("<cuchar>", "c16rtomb c32rtomb mbrtoc16 mbrtoc32"),
    ("<cwchar>", "btowc fgetwc fgetws fputwc fputws fwide fwprintf fwscanf getwc getwchar mbrlen mbrtowc mbsinit mbsrtowcs putwc putwchar swprintf swscanf ungetwc vfwprintf vfwscanf vswprintf vswscanf vwprintf vwscanf wcrtomb wcscat wcschr wcscmp wcscoll wcscpy wcscspn wcsftime wcslen wcsncat wcsncmp wcsncpy wcspbrk wcsrchr wcsrtombs wcsspn wcsstr wcstod wcstof wcstok wcstol wcstold wcstoll wcstoul wcstoull wcsxfrm wctob wmemchr wmemcmp wmemcpy wmemmove wmemset wprintf wscanf"),
    ("<cwctype>", "iswalnum iswalpha iswblank iswcntrl iswctype iswdigit iswgraph iswlower iswprint iswpunct iswspace iswupper iswxdigit towctrans towlower towupper wctrans wctype"),
];

/// What libstdc++ has for programs that were compiled long ago ("Dual ABI" in its manual), where it is not
/// told by a name of its own, and what only it uses. No header leads there.
const OF_NO_HEADER: [&str; 34] = [
    "Catalogs",
    "bad_array_length",
    "bad_exception",
    "chrono",
    "collate",
    "ctype_base",
    "domain_error",
    "error_code",
    "exception",
    "filesystem",
    "get_catalogs",
    "get_unexpected",
    "invalid_argument",
    "istringstream",
    "length_error",
    "locale",
    "logic_error",
    "messages",
    "money_base",
    "numeric_limits",
    "numpunct",
    "ostringstream",
    "out_of_range",
    "overflow_error",
    "pmr",
    "random_device",
    "range_error",
    "runtime_error",
    "setfill",
    "string",
    "string_view",
    "stringstream",
    "tr1",
    "underflow_error",
];

/// The page.
pub(crate) fn markdown() -> String {
    let names = |groups: Vec<jit::SymbolGroup>| -> BTreeSet<&'static str> {
        groups.into_iter().flat_map(|group| group.names).collect()
    };
    let allowed = names(jit::worker_groups());
    let refused: Vec<&str> =
        names(jit::program_groups()).into_iter().filter(|name| !allowed.contains(name)).collect();
    let mut sections: BTreeMap<&str, Vec<(String, &str)>> = BTreeMap::new();
    for (header, names) in CXX {
        for (written, patterns) in *names {
            // What only headers have is in no library: its name is in the list of reasons.
            let is_reason = |pattern: &&str| jit::refused_symbol(pattern).is_some();
            let found = patterns.split(' ').find_map(|pattern| {
                let symbol = refused.iter().find(|symbol| matches(pattern, symbol)).copied();
                symbol.or_else(|| Some(pattern).filter(is_reason))
            });
            if let Some(symbol) = found {
                sections.entry(header).or_default().push(((*written).to_owned(), symbol));
            }
        }
    }
    for (header, names) in C {
        for name in names.split(' ').filter(|name| !allowed.contains(name)) {
            sections.entry(header).or_default().push((format!("`{name}()`"), name));
        }
    }
    let mut page = HEAD.to_owned();
    for (header, names) in sections {
        section(&mut page, header, &names);
    }
    let others = elsewhere(&refused);
    if !others.is_empty() {
        writeln!(
            page,
            "\n## Elsewhere\n\n`{}`",
            others.into_iter().collect::<Vec<_>>().join("`, `")
        )
        .expect(WRITABLE);
    }
    page
}

const WRITABLE: &str = "a string is writable";

/// A header with what is refused of it, by reason.
fn section(page: &mut String, header: &str, names: &[(String, &str)]) {
    let mut by_reason: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for (written, symbol) in names {
        let why = jit::refused_symbol(symbol);
        let reason = why.map_or(NO_REASON, |why| why.reason);
        let instead = why.and_then(|why| why.instead).unwrap_or_default();
        match by_reason.iter_mut().find(|(known, _, _)| *known == reason) {
            Some((_, _, names)) => names.push(written),
            None => by_reason.push((reason, instead, vec![written])),
        }
    }
    writeln!(page, "\n## `{header}`\n\n| what | why not | instead |\n|---|---|---|")
        .expect(WRITABLE);
    for (reason, instead, names) in by_reason {
        writeln!(page, "| {} | {reason} | {instead} |", names.join(", ")).expect(WRITABLE);
    }
}

/// What of namespace `std` is refused for no reason that anybody wrote down, and stands in no header of
/// the table. Names that begin with an underscore are the library's own.
fn elsewhere(refused: &[&'static str]) -> BTreeSet<String> {
    let patterns = || CXX.iter().flat_map(|(_, names)| *names).flat_map(|(_, it)| it.split(' '));
    // Tables of bases under construction, flags of variables and such belong to what has a name.
    let is_function = |symbol: &str| symbol.starts_with("_ZNSt") || symbol.starts_with("_ZSt");
    let unknown = refused.iter().filter(|symbol| is_function(symbol)).filter(|symbol| {
        !patterns().any(|pattern| matches(pattern, symbol)) && jit::refused_symbol(symbol).is_none()
    });
    let names = unknown.filter_map(|symbol| {
        let name = demangled(symbol);
        let name = name.split('(').next()?.rsplit(' ').next()?.to_owned();
        let first = name.strip_prefix("std::")?.split([':', '<', '>']).next()?.to_owned();
        (!first.starts_with('_') && !OF_NO_HEADER.contains(&&*first))
            .then(|| format!("std::{first}"))
    });
    names.collect()
}
