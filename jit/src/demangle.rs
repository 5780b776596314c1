//! Linker names as people write them.

use cpp_demangle::{DemangleOptions, Symbol};

/// Templates of the library that have a name of their own for `char`.
const OF_CHAR: [&str; 13] = [
    "string",
    "string_view",
    "ios",
    "istream",
    "ostream",
    "iostream",
    "ifstream",
    "ofstream",
    "fstream",
    "filebuf",
    "istringstream",
    "ostringstream",
    "stringstream",
];

/// A C++ name as people write it, with its parameters; any other as it is.
pub fn demangled(symbol: &str) -> String {
    demangle(symbol, DemangleOptions::new())
}

/// The same without parameters, for functions of a library, which everybody knows by name.
pub(crate) fn demangled_name(symbol: &str) -> String {
    demangle(symbol, DemangleOptions::new().no_params())
}

fn demangle(symbol: &str, options: DemangleOptions) -> String {
    // A name of C is left alone: `f` is not `float`.
    let name = Some(symbol)
        .filter(|symbol| symbol.starts_with("_Z"))
        .and_then(|symbol| Symbol::new(symbol).ok()?.demangle_with_options(&options).ok());
    let Some(mut name) = name else { return symbol.to_owned() };
    // Versions of the library, and parameters that nobody writes.
    for noise in ["__cxx11::", "_V2::", ", std::char_traits<char>", ", std::allocator<char>"] {
        name = name.replace(noise, "");
    }
    for of_char in OF_CHAR {
        for end in ["<char >", "<char>"] {
            name = name.replace(&format!("basic_{of_char}{end}"), of_char);
        }
    }
    name
}
