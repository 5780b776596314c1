//! The grammar of HTTP/1.1 messages once more, in the plainest way: whole buffers, no state, no limits.
//!
//! It shares nothing with the crate that it is compared with, knows only shapes and no meaning, and is
//! strict where RFC 9112 lets a recipient be lenient: line ends are CR LF alone.

/// A field line's name and value, without the blanks around it.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// A head, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// Of a request line: method, target, version. Of a status line: version, status, reason.
    pub start: [&'a [u8]; 3],
    /// Field lines, in their order.
    pub fields: Vec<Field<'a>>,
    /// What comes after the empty line.
    pub rest: &'a [u8],
}

impl<'a> Head<'a> {
    /// The values of the fields of this name.
    pub fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let is_it = |field: &&Field<'_>| field.0.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(is_it).map(|field| field.1).collect()
    }
}

/// Takes a request's head apart, if `bytes` begin with one.
pub fn request(bytes: &[u8]) -> Option<Head<'_>> {
    let (line, rest) = line(bytes)?;
    let mut parts = line.split(|&byte| byte == b' ');
    let start = [parts.next()?, parts.next()?, parts.next()?];
    let [method, target, version] = start;
    let is_one = parts.next().is_none()
        && is_token(method)
        && !target.is_empty()
        && target.iter().all(|&byte| (0x21..=0x7e).contains(&byte) && byte != b'#')
        && is_version(version);
    if is_one { fields(start, rest) } else { None }
}

/// Takes a response's head apart, if `bytes` begin with one. The space before an empty reason may be
/// missing.
pub fn response(bytes: &[u8]) -> Option<Head<'_>> {
    let (line, rest) = line(bytes)?;
    let (version, line) = line.split_at_checked(8)?;
    let (status, reason) = line.strip_prefix(b" ")?.split_at_checked(3)?;
    let reason = if reason.is_empty() { reason } else { reason.strip_prefix(b" ")? };
    let is_one = is_version(version)
        && (b'1'..=b'5').contains(&status[0])
        && status.iter().all(u8::is_ascii_digit)
        && is_value(reason);
    if is_one { fields([version, status, reason], rest) } else { None }
}

/// What a chunked body comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunked<'a> {
    /// Content, and what comes after the body.
    Whole(Vec<u8>, &'a [u8]),
    /// Content so far; more bytes could complete the body.
    Begun(Vec<u8>),
    /// No bytes could make it a body.
    Wrong,
}

/// Of the ways in which a size line can be unfinished, each is finished by one of these: without a digit,
/// after an equals sign, after a blank or a semicolon, in quotes, after a backslash in them.
const SIZE_LINE_ENDS: [&[u8]; 6] = [b"", b"0", b"a", b";a", b"\"", b"\"\""];

/// The same of a trailer line: in its name, which may be longer than one that is forbidden, or anywhere
/// else.
const TRAILER_ENDS: [&[u8]; 3] = [b"", b":", b"_:"];

/// What no trailer may be, as CGI would write it (RFC 9110, section 6.5.1).
const NEVER_TRAILERS: [&str; 12] = [
    "HOST",
    "EXPECT",
    "MAX-FORWARDS",
    "CONTENT_LENGTH",
    "TRANSFER_ENCODING",
    "CONNECTION",
    "UPGRADE",
    "TE",
    "TRAILER",
    "KEEP_ALIVE",
    "PROXY_CONNECTION",
    "HTTP2_SETTINGS",
];

/// Takes a chunked body apart.
pub fn chunked(bytes: &[u8]) -> Chunked<'_> {
    let mut content = Vec::new();
    let mut rest = bytes;
    loop {
        let Some((line, after)) = line(rest) else {
            let is_line = |line: &[u8]| size_line(line).is_some();
            return begun(rest, content, is_line, &SIZE_LINE_ENDS);
        };
        let Some(size) = size_line(line) else { return Chunked::Wrong };
        rest = after;
        if size == 0 {
            break;
        }
        let available = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        content.extend_from_slice(&rest[..available]);
        rest = &rest[available..];
        match rest {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Chunked::Begun(content),
            _ => return Chunked::Wrong,
        }
    }
    loop {
        let Some((line, after)) = line(rest) else {
            return begun(rest, content, is_trailer, &TRAILER_ENDS);
        };
        rest = after;
        if line.is_empty() {
            return Chunked::Whole(content, rest);
        }
        if !is_trailer(line) {
            return Chunked::Wrong;
        }
    }
}

/// The outcome where the last line has not ended: whether one of `ends` makes a line of it, or, where
/// its CR has come, whether it is one.
fn begun<'a>(
    rest: &[u8],
    content: Vec<u8>,
    is_line: impl Fn(&[u8]) -> bool,
    ends: &[&[u8]],
) -> Chunked<'a> {
    let is_begun = match rest {
        [line @ .., b'\r'] => is_line(line),
        line => ends.iter().any(|end| is_line(&[line, end].concat())),
    };
    if is_begun { Chunked::Begun(content) } else { Chunked::Wrong }
}

/// The size that a whole line gives, if it is one: hexadecimal digits, then extensions.
fn size_line(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 {
        return None;
    }
    let text = std::str::from_utf8(&line[..digits]).ok()?;
    let size = u128::from_str_radix(text.trim_start_matches('0'), 16);
    let size = if text.bytes().all(|digit| digit == b'0') { 0 } else { size.ok()? };
    let size = u64::try_from(size).ok().filter(|size| *size < 1 << 60)?;
    extensions(&line[digits..]).then_some(size)
}

/// Whether `text` is `*( BWS ";" BWS name [ BWS "=" BWS value ] )`.
fn extensions(mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let Some(rest) = blanks(text).strip_prefix(b";") else { return false };
        let Some(rest) = token(blanks(rest)) else { return false };
        text = rest;
        if let Some(rest) = blanks(rest).strip_prefix(b"=") {
            let rest = blanks(rest);
            let Some(rest) = quoted(rest).or_else(|| token(rest)) else { return false };
            text = rest;
        }
    }
    true
}

fn is_trailer(line: &[u8]) -> bool {
    let is_forbidden = |name: &[u8]| {
        let name = name.to_ascii_uppercase();
        let underscored =
            name.iter().map(|byte| if byte.is_ascii_alphanumeric() { *byte } else { b'_' });
        let names = [name.clone(), underscored.collect()];
        names.iter().any(|name| NEVER_TRAILERS.iter().any(|never| name == never.as_bytes()))
    };
    line.is_empty() || field(line).is_some_and(|(name, _)| !is_forbidden(name))
}

fn blanks(text: &[u8]) -> &[u8] {
    let count = text.iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
    &text[count..]
}

/// What follows a token.
fn token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|&&byte| is_token(&[byte])).count();
    if length == 0 { None } else { Some(&text[length..]) }
}

/// What follows a quoted string.
fn quoted(text: &[u8]) -> Option<&[u8]> {
    let mut text = text.strip_prefix(b"\"")?;
    loop {
        text = match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] if is_value(&[*byte]) => rest,
            [byte, rest @ ..] if *byte != b'\\' && is_value(&[*byte]) => rest,
            _ => return None,
        }
    }
}

fn fields<'a>(start: [&'a [u8]; 3], mut rest: &'a [u8]) -> Option<Head<'a>> {
    let mut fields = Vec::new();
    loop {
        let (line, after) = line(rest)?;
        rest = after;
        if line.is_empty() {
            return Some(Head { start, fields, rest });
        }
        fields.push(field(line)?);
    }
}

fn field(line: &[u8]) -> Option<Field<'_>> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = (&line[..colon], blanks(&line[colon + 1..]));
    let blanks_behind =
        value.iter().rev().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
    let is_one = is_token(name) && is_value(value);
    is_one.then_some((name, &value[..value.len() - blanks_behind]))
}

/// A line without its CR LF, and what follows. There is none before a CR or LF that is alone.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| b"\r\n".contains(byte))?;
    bytes[end..].strip_prefix(b"\r\n").map(|rest| (&bytes[..end], rest))
}

fn is_version(text: &[u8]) -> bool {
    text.len() == 8 && text.starts_with(b"HTTP/1.") && text[7].is_ascii_digit()
}

fn is_token(text: &[u8]) -> bool {
    let is_one = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_one)
}

fn is_value(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
}
