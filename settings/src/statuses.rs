//! Status codes, alone or as a range, as in `503` or `500-599`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Final status codes from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(RangeInclusive<u16>);

/// Why a text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStatuses;

impl fmt::Display for NotStatuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is neither a status from 200 to 599 nor a range, as in 500-599")
    }
}

impl Statuses {
    /// Whether this status is among them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.contains(&status)
    }
}

impl FromStr for Statuses {
    type Err = NotStatuses;

    fn from_str(text: &str) -> Result<Self, NotStatuses> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (status(first)?, status(last)?);
        if first <= last { Ok(Statuses(first..=last)) } else { Err(NotStatuses) }
    }
}

/// Three digits: `parse` would take a sign as well.
fn status(text: &str) -> Result<u16, NotStatuses> {
    let is_written = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let status = text.parse().map_err(|_| NotStatuses)?;
    if is_written && (200..600).contains(&status) { Ok(status) } else { Err(NotStatuses) }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}-{}", self.0.start(), self.0.end()))
    }
}

/// From a text, or from a number as people write one status.
impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(|wrong| serde::de::Error::custom(format!("{text:?} {wrong}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_or_a_range_is_taken_and_nothing_else() {
        let check = |text: &str, expect: Option<RangeInclusive<u16>>| {
            assert_eq!(text.parse().ok(), expect.map(Statuses), "{text}");
        };
        check("503", Some(503..=503));
        check("500-599", Some(500..=599));
        for text in ["", "5xx", "99", "600", "+50", "599-500", "500-", "500-599-600", " 500"] {
            check(text, None);
        }
    }

    #[test]
    fn they_arrive_as_they_were_and_numbers_are_taken() {
        let read = |json: &str| serde_json::from_str::<Vec<Statuses>>(json);
        let written = read(r#"[503, "500-599"]"#).unwrap();
        assert_eq!(written, [Statuses(503..=503), Statuses(500..=599)]);
        assert_eq!(read(&serde_json::to_string(&written).unwrap()).unwrap(), written);
        assert!(read("[1000]").is_err());
    }
}
