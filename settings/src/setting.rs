//! What there is to know about a setting, and the macro that declares a table of them.

use std::ops::RangeInclusive;

/// One setting.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Name, as in `kiln.toml`.
    pub name: &'static str,
    /// What it decides, in a sentence or two, with the reason for its default.
    pub sentence: &'static str,
    /// What a value may be.
    pub kind: Kind,
}

/// Whether a string is a value, and if not, what is wrong: the end of a sentence that begins with the
/// string.
pub type Check = fn(&str) -> Result<(), String>;

/// What a value may be. A default that is no constant is in words.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A whole number.
    Number {
        /// What counts if nothing is said.
        default: u64,
        /// What is taken.
        range: RangeInclusive<u64>,
        /// What is counted.
        unit: &'static str,
    },
    /// A whole number whose default is not one number.
    OptionalNumber {
        /// What counts if nothing is said, in words.
        default: &'static str,
        /// What is taken.
        range: RangeInclusive<u64>,
        /// What is counted.
        unit: &'static str,
    },
    /// `true` or `false`.
    Flag {
        /// What counts if nothing is said.
        default: bool,
    },
    /// One of a few words.
    Word {
        /// What counts if nothing is said.
        default: &'static str,
        /// All of them.
        words: &'static [&'static str],
    },
    /// A string.
    Text {
        /// What counts if nothing is said, as it would be written or in words.
        default: &'static str,
        /// What the string is.
        takes: &'static str,
        /// Whether it is that.
        check: Check,
    },
    /// A list of strings.
    List {
        /// What counts if nothing is said, as it would be written.
        default: &'static str,
        /// What each string is.
        takes: &'static str,
        /// Whether it is that.
        check: Check,
        /// What stands in a table that is written instead of a string; nothing where none may be.
        table: &'static [Setting],
        /// Most of them.
        length_max: usize,
    },
    /// A table, which may be left out.
    Table {
        /// What counts then, in words.
        default: &'static str,
        /// What is in it.
        settings: &'static [Setting],
    },
    /// A table of tables, each under a name of the operator's choice.
    Named {
        /// What is in each.
        settings: &'static [Setting],
        /// What a list means that is written instead of such a table.
        short_for: &'static str,
        /// Most of them.
        length_max: usize,
    },
}

impl Setting {
    /// What counts if nothing is said, as it would be written or in words.
    pub fn default(&self) -> String {
        match &self.kind {
            Kind::Number { default, .. } => default.to_string(),
            Kind::Flag { default } => default.to_string(),
            Kind::Word { default, .. } => format!("\"{default}\""),
            Kind::OptionalNumber { default, .. }
            | Kind::Text { default, .. }
            | Kind::List { default, .. }
            | Kind::Table { default, .. } => (*default).to_owned(),
            Kind::Named { .. } => "none".to_owned(),
        }
    }

    /// What can be written, in words.
    pub fn takes(&self) -> String {
        match &self.kind {
            Kind::Number { range, unit, .. } | Kind::OptionalNumber { range, unit, .. } => {
                format!("{} to {} {unit}", range.start(), range.end())
            }
            Kind::Flag { .. } => "true or false".to_owned(),
            Kind::Word { words, .. } => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                words.join(", ")
            }
            Kind::Text { takes, .. } => (*takes).to_owned(),
            Kind::List { takes, length_max, .. } => {
                format!("a list of {takes}, {length_max} at most")
            }
            Kind::Table { .. } => "a table".to_owned(),
            Kind::Named { length_max, .. } => format!("tables by name, {length_max} at most"),
        }
    }
}

/// For strings of which all but the empty one say something.
pub(crate) fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
}

/// For users and groups, by name or number.
pub(crate) fn identity(text: &str) -> Result<(), String> {
    // setresuid(2) takes -1 for "as before": who is to be nobody would be root.
    match text.parse() {
        Ok(u32::MAX) => Err("is the number by which the kernel means no change".to_owned()),
        _ => not_empty(text),
    }
}

/// For names of field lines (RFC 9110, section 5.1).
pub(crate) fn field_name(text: &str) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_token) {
        true => Ok(()),
        false => Err("is not the name of a field, as in user-agent".to_owned()),
    }
}

/// For paths, which no system call takes with a zero byte in it.
pub(crate) fn path(text: &str) -> Result<(), String> {
    match text.contains('\0') {
        true => Err("has a zero byte, which no path may have".to_owned()),
        false => not_empty(text),
    }
}

/// Declares a table of `kiln.toml`: numbers first, then everything else.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $number:ident: $default:expr, $range:expr, $unit:literal;
            )*
        }
        $({
            $(
                $(#[doc = $other_doc:literal])+
                $(#[serde($($serde:tt)*)])?
                $other:ident: $type:ty = $other_default:expr, $kind:expr;
            )*
        })?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $number: u64, )*
            $($(
                $(#[doc = $other_doc])+
                $(#[serde($($serde)*)])?
                pub $other: $type,
            )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $( $number: $default, )*
                    $($( $other: $other_default, )*)?
                }
            }
        }

        impl $name {
            /// Every setting of this table, in the order of the reference.
            pub const SETTINGS: &[Setting] = &[
                $(
                    Setting {
                        name: stringify!($number),
                        sentence: concat!($($doc),+).trim_ascii(),
                        kind: Kind::Number { default: $default, range: $range, unit: $unit },
                    },
                )*
                $($(
                    Setting {
                        name: stringify!($other),
                        sentence: concat!($($other_doc),+).trim_ascii(),
                        kind: $kind,
                    },
                )*)?
            ];
        }
    };
}
pub(crate) use table;
