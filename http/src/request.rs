//! Request heads: what a client wants, and how long the body is that comes with it.
//!
//! Tokenising is httparse's; every rule that the RFCs put on top of the grammar is here, in the order
//! in which [`RequestHead::parse`] applies them. Nothing is repaired on the way.

use std::mem::MaybeUninit;

use crate::Version;
use crate::body::Framing;
use crate::connection::ConnectionFields;
use crate::error::RequestError;
use crate::fields::{self, FieldSpan, Known, Span};
use crate::lines::{self, Unsplit};
use crate::scan::Scan;
use crate::target::{self, Target};

/// What a request's head may cost, and what of it is taken.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Bytes of a head, with its empty line.
    pub head_bytes_max: usize,
    /// Bytes of a request line.
    pub line_bytes_max: usize,
    /// Field lines; at most [`crate::FIELDS_MAX`].
    pub fields_max: usize,
    /// Whether `CONNECT` is a method like others, rather than one that is refused.
    pub takes_connect: bool,
    /// Whether fields of requests with a `_` in their names are kept. Those that some origins take for
    /// a field which Kiln acts on are dropped in either case ([`Known::Disguised`]).
    pub takes_underscores: bool,
}

/// A parsed request head. Spans are offsets into the bytes that it was parsed from.
///
/// Made once and parsed into again and again, so that its vectors are allocated once.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// Method, case-sensitive.
    pub method: Span,
    /// Target as it stood in the request line.
    pub target: Span,
    /// Path of the target; `*` for the asterisk form, empty for the authority form, and if an absolute
    /// form has none.
    pub path: Span,
    /// Query of the target, without its question mark.
    pub query: Span,
    /// Host that the request is for, from the target or else from `Host`; may be empty in 1.0.
    pub authority: Span,
    /// Version of the request.
    pub version: Version,
    /// Field lines in the order of arrival, without those that are dropped for their names.
    pub fields: Vec<FieldSpan>,
    /// How the end of the body is found.
    pub framing: Framing,
    /// Whether the client lets the connection live on after this request.
    pub is_persistent: bool,
    /// Whether the client holds its body back until it is told to go on.
    pub expects_continue: bool,
    /// Whether the client asks to switch to a protocol that may be offered to an origin. Those that may
    /// not are other versions of HTTP, and TLS.
    pub wants_upgrade: bool,
    /// How many more intermediaries may pass a `TRACE` or `OPTIONS` on; other methods have no such limit.
    pub max_forwards: Option<u64>,
    /// Names that `Connection` lists: these fields stay on this connection.
    pub connection_options: Vec<Span>,
}

/// What framing fields say, gathered over the head.
#[derive(Default)]
pub(crate) struct FramingFields {
    pub(crate) content_length: Option<u64>,
    pub(crate) is_chunked: bool,
}

impl RequestHead {
    /// Parses the head that `bytes` start with, if all of it is there, and gives its length.
    ///
    /// `scan` is of this message: the default for its first bytes, and the same again with more of
    /// them. A request line that is wrong is refused before the rest of the head has come.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        scan: &mut Scan,
        limits: &RequestLimits,
    ) -> Result<Option<usize>, RequestError> {
        // Faults are found in the order of their bytes, so that what a message is refused for does
        // not depend on the pieces that it came in.
        let within_limit = &bytes[..bytes.len().min(limits.head_bytes_max)];
        let scanned = scan.advance(within_limit);
        let is_whole = matches!(scanned, Ok(Some(_)));
        let line = check_begun(&bytes[..scan.scanned()], scan, limits, is_whole)?;
        let end = scanned.map_err(|_| RequestError::LineEnd)?;
        let (Some(end), Some(line)) = (end, &line) else {
            return match bytes.len() >= limits.head_bytes_max {
                true if scan.first_line_end().is_none() => {
                    Err(too_long(&within_limit[scan.begin()..]))
                }
                true => Err(RequestError::HeadTooLarge),
                false => Ok(None),
            };
        };
        self.interpret_line(bytes, line, limits)?;
        self.tokenise(&bytes[..end], line, scan, limits)?;
        self.interpret_fields(bytes)?;
        Ok(Some(end))
    }

    /// The request line as it was received, without its line end.
    pub(crate) fn line<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let version_bytes = " HTTP/1.1".len();
        &bytes[self.method.start()..self.target.end() + version_bytes]
    }

    /// Whether the method is `method`.
    pub fn is_method(&self, bytes: &[u8], method: &str) -> bool {
        self.method.of(bytes) == method.as_bytes()
    }

    /// Whether sending the request twice does what sending it once does (RFC 9110, section 9.2.2).
    pub fn is_idempotent(&self, bytes: &[u8]) -> bool {
        matches!(
            self.method.of(bytes),
            b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
        )
    }

    fn tokenise(
        &mut self,
        head: &[u8],
        line: &RequestLine<'_>,
        scan: &Scan,
        limits: &RequestLimits,
    ) -> Result<(), RequestError> {
        lines::with_room(limits.fields_max, RequestError::FieldsTooMany, |room| {
            self.tokenise_in(head, line, scan, limits, room)
        })
    }

    fn tokenise_in<'h>(
        &mut self,
        head: &'h [u8],
        line: &RequestLine<'_>,
        scan: &Scan,
        limits: &RequestLimits,
        room: &mut [MaybeUninit<httparse::Header<'h>>],
    ) -> Result<(), RequestError> {
        self.fields.clear();
        self.connection_options.clear();
        let mut parsed = httparse::Request::new(&mut []);
        // httparse knows two versions; a later minor one is read as the latest that we know
        // (RFC 9110, section 2.5), so what it gets to see is the request line's own text only then.
        let message = &head[scan.begin()..];
        match parsed.parse_with_uninit_headers(message, room) {
            Ok(httparse::Status::Complete(length)) if length == message.len() => {
                self.keep(head, parsed.headers, limits)
            }
            Ok(_) => Err(RequestError::Field),
            Err(httparse::Error::TooManyHeaders) => Err(RequestError::FieldsTooMany),
            Err(httparse::Error::Version) => {
                match lines::of_later_version(&head[line.end..], limits.fields_max) {
                    Ok(parsed) => self.keep(head, &parsed, limits),
                    Err(Unsplit::TooMany) => Err(RequestError::FieldsTooMany),
                    Err(Unsplit::Malformed) => Err(RequestError::Field),
                }
            }
            Err(_) => Err(RequestError::Field),
        }
    }

    fn keep(
        &mut self,
        head: &[u8],
        parsed: &[httparse::Header<'_>],
        limits: &RequestLimits,
    ) -> Result<(), RequestError> {
        if parsed.len() > limits.fields_max {
            return Err(RequestError::FieldsTooMany);
        }
        let is_dropped = |field: &FieldSpan, name: &[u8]| {
            field.known.is_disguised() || !limits.takes_underscores && fields::has_underscore(name)
        };
        let mut are_some_dropped = false;
        self.fields.extend(parsed.iter().map(|parsed| {
            let field = FieldSpan::of(head, parsed);
            are_some_dropped |= is_dropped(&field, parsed.name.as_bytes());
            field
        }));
        if are_some_dropped {
            self.fields.retain(|field| !is_dropped(field, field.name.of(head)));
        }
        Ok(())
    }

    /// What the request line says.
    fn interpret_line(
        &mut self,
        bytes: &[u8],
        line: &RequestLine<'_>,
        limits: &RequestLimits,
    ) -> Result<(), RequestError> {
        if line.method == b"CONNECT" && !limits.takes_connect {
            return Err(RequestError::Method);
        }
        self.method = Span::locate(bytes, line.method);
        self.target = Span::locate(bytes, line.target);
        self.version = line.version;
        let Target { path, query, authority } = target::parse(line.method, line.target)?;
        self.path = Span::locate(bytes, path);
        self.query = Span::locate(bytes, query);
        self.authority = Span::locate(bytes, authority);
        Ok(())
    }

    /// Everything that fields say about the message itself.
    fn interpret_fields(&mut self, bytes: &[u8]) -> Result<(), RequestError> {
        let mut framing = FramingFields::default();
        let mut connection = ConnectionFields::default();
        let mut host: Option<Span> = None;
        let counts_forwards = matches!(self.method.of(bytes), b"TRACE" | b"OPTIONS");
        self.expects_continue = false;
        self.max_forwards = None;
        for field in &self.fields {
            let value = field.value.of(bytes);
            match field.known {
                Known::Host if host.is_some() || !target::is_host(value) => {
                    return Err(RequestError::Host);
                }
                Known::Host => host = Some(field.value),
                Known::ContentLength => framing.add_content_length(value)?,
                Known::TransferEncoding => framing.add_transfer_encoding(value)?,
                Known::Connection => connection
                    .add(bytes, value, &mut self.connection_options)
                    .map_err(|_| RequestError::Connection)?,
                // 1.0 has no expectations; a proxy in between may have left one (RFC 9110, 10.1.1).
                Known::Expect if self.version == Version::Http10 => {}
                Known::Expect if value.eq_ignore_ascii_case(b"100-continue") => {
                    self.expects_continue = true;
                }
                Known::Expect => return Err(RequestError::Expectation),
                Known::MaxForwards if counts_forwards => {
                    let count = fields::decimal_or_max(value).ok_or(RequestError::MaxForwards)?;
                    if self.max_forwards.replace(count).is_some() {
                        return Err(RequestError::MaxForwards);
                    }
                }
                _ => {}
            }
        }
        match host {
            None if self.version == Version::Http11 => return Err(RequestError::Host),
            Some(host) if self.authority.is_empty() => self.authority = host,
            _ => {}
        }
        self.is_persistent = connection.is_persistent(self.version);
        self.check_content(bytes, &framing)?;
        self.framing = framing.of_request(self.version)?;
        // A client without a body has nothing to hold back.
        self.expects_continue &= !matches!(self.framing, Framing::None | Framing::Length(0));
        self.wants_upgrade = self.framing == Framing::None
            && !self.is_method(bytes, "CONNECT")
            && connection.wants_upgrade(self.version, &self.fields, bytes);
        Ok(())
    }

    /// Two methods never have content: it would be reflected by one (RFC 9110, section 9.3.8), and be
    /// the first bytes of a tunnel to some and content to others for the other (section 9.3.6).
    fn check_content(&self, bytes: &[u8], framing: &FramingFields) -> Result<(), RequestError> {
        let is_refused = match self.method.of(bytes) {
            b"TRACE" => {
                framing.is_chunked || framing.content_length.is_some_and(|length| length > 0)
            }
            b"CONNECT" => framing.is_chunked || framing.content_length.is_some(),
            _ => false,
        };
        if is_refused { Err(RequestError::Content) } else { Ok(()) }
    }
}

impl FramingFields {
    /// A second `Content-Length` is refused even if it agrees with the first (RFC 9112, section 6.3,
    /// leaves the choice): somebody put it there, and honest senders do not.
    pub(crate) fn add_content_length(&mut self, value: &[u8]) -> Result<(), RequestError> {
        let length = fields::decimal(value).ok_or(RequestError::ContentLength)?;
        match self.content_length.replace(length) {
            None => Ok(()),
            Some(_) => Err(RequestError::ContentLength),
        }
    }

    pub(crate) fn add_transfer_encoding(&mut self, value: &[u8]) -> Result<(), RequestError> {
        let mut is_empty = true;
        for coding in fields::list(value) {
            is_empty = false;
            // Chunked comes last and once.
            if self.is_chunked {
                return Err(RequestError::TransferEncoding);
            }
            if !coding.eq_ignore_ascii_case(b"chunked") {
                let is_coding = coding.iter().all(|&byte| fields::is_token_byte(byte));
                return Err(match is_coding {
                    true => RequestError::TransferCoding,
                    false => RequestError::TransferEncoding,
                });
            }
            self.is_chunked = true;
        }
        if is_empty { Err(RequestError::TransferEncoding) } else { Ok(()) }
    }

    fn of_request(self, version: Version) -> Result<Framing, RequestError> {
        match (self.is_chunked, self.content_length) {
            (true, Some(_)) => Err(RequestError::TransferEncoding),
            (true, None) if version == Version::Http10 => Err(RequestError::TransferEncoding),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }
}

/// A request line taken apart.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
    /// Where it ends, past its CR LF.
    end: usize,
}

/// What can be said before the head is whole: a first byte that begins no method, a line that is too
/// long, a line that is wrong. So a TLS hello or an HTTP/2 preface need not run into the timeout.
/// Gives the line when it has just come, and again with all of the head: if it gave it with each piece
/// between, many small pieces after a long line would cost the square of its length.
fn check_begun<'a>(
    bytes: &'a [u8],
    scan: &mut Scan,
    limits: &RequestLimits,
    is_whole: bool,
) -> Result<Option<RequestLine<'a>>, RequestError> {
    let begun = &bytes[scan.begin()..];
    let starts_well =
        begun.first().is_none_or(|&byte| fields::is_token_byte(byte) || byte == b'\r');
    if !starts_well {
        return Err(RequestError::RequestLine);
    }
    let line_bytes = scan.first_line_end().map_or(begun.len(), |end| end - scan.begin());
    if line_bytes > limits.line_bytes_max {
        return Err(too_long(&begun[..limits.line_bytes_max]));
    }
    match scan.first_line_end() {
        Some(end) if scan.takes_first_line() || is_whole => {
            request_line(bytes, scan.begin(), end).map(Some)
        }
        _ => Ok(None),
    }
}

/// What is wrong with a request line that is too long, of which these are the first bytes, as many as a
/// line may have: a method longer than any that is implemented (RFC 9112, section 3), a target that is
/// too long, or what is no request line at all.
#[cold]
fn too_long(begun: &[u8]) -> RequestError {
    let mut parts = begun.split(|&byte| byte == b' ');
    let mut part = || parts.next().unwrap_or_default();
    let (method, target, version) = (part(), part(), part());
    let is_line =
        fields::is_token(method) && version.len() < "HTTP/1.1\r\n".len() && parts.next().is_none();
    match is_line {
        false => RequestError::RequestLine,
        true if method.len() > target.len() => RequestError::Method,
        true => RequestError::TargetTooLong,
    }
}

/// Takes apart the line that begins and ends, past its CR LF, at these places.
fn request_line(bytes: &[u8], begin: usize, end: usize) -> Result<RequestLine<'_>, RequestError> {
    let mut parts = bytes[begin..end - 2].split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(RequestError::RequestLine);
    };
    if !fields::is_token(method) {
        return Err(RequestError::RequestLine);
    }
    if target.is_empty() || target.contains(&b'\r') {
        return Err(RequestError::RequestLine);
    }
    let version = match (Version::of(version), version) {
        (Some(version), _) => version,
        (None, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) => {
            return Err(RequestError::Version);
        }
        _ => return Err(RequestError::RequestLine),
    };
    Ok(RequestLine { method, target, version, end })
}
