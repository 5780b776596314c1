//! Response heads: what an origin answers, and how long the body is that comes with it.
//!
//! Read with the same strictness as requests: an origin that can be made to send a doubtful head is how
//! one client's bytes become another client's answer. Whatever is refused here is a 502 to the client.

use std::mem::MaybeUninit;

use crate::Version;
use crate::body::Framing;
use crate::connection::{self, ConnectionFields};
use crate::error::ResponseError;
use crate::fields::{self, FieldSpan, Known, Span};
use crate::lines::{self, Unsplit};
use crate::request::FramingFields;
use crate::scan::Scan;

/// What a response's head may cost.
#[derive(Clone, Copy, Debug)]
pub struct ResponseLimits {
    /// Bytes of a head, with its empty line.
    pub head_bytes_max: usize,
    /// Field lines; at most [`crate::FIELDS_MAX`].
    pub fields_max: usize,
}

/// A parsed response head. Spans are offsets into the bytes that it was parsed from.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// Status code, 100 to 599.
    pub status: u16,
    /// Reason phrase; may be empty.
    pub reason: Span,
    /// Version of the response.
    pub version: Version,
    /// Field lines in the order of arrival.
    pub fields: Vec<FieldSpan>,
    /// The length that `Content-Length` gives, which an answer to `HEAD` has without a body.
    pub content_length: Option<u64>,
    /// Whether the body is chunked.
    pub is_chunked: bool,
    /// Where the framing fields contradict each other or are malformed, so that nobody can tell where a
    /// body ends: which of them. A response that never has a body stands all the same.
    pub doubt: Option<ResponseError>,
    /// Whether the origin lets the connection live on after this response.
    pub is_persistent: bool,
    /// Whether the origin switches to another protocol: a 101 with the fields that belong to it. A 101
    /// without them is nothing to pass on.
    pub switches: bool,
    /// Whether the origin asks for a switch: a 426 with the fields that belong to it.
    pub requires_upgrade: bool,
    /// Names that `Connection` lists: these fields stay on this connection.
    pub connection_options: Vec<Span>,
}

impl ResponseHead {
    /// Parses the head that `bytes` start with, if all of it is there, and gives its length.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        scan: &mut Scan,
        limits: &ResponseLimits,
    ) -> Result<Option<usize>, ResponseError> {
        // As with requests, what a head is refused for does not depend on the pieces that it came in.
        let within_limit = &bytes[..bytes.len().min(limits.head_bytes_max)];
        let scanned = scan.advance(within_limit);
        if scan.begin() != 0 {
            return Err(ResponseError::StatusLine);
        }
        let end = scanned.map_err(|_| ResponseError::LineEnd)?;
        let (Some(end), Some(line_end)) = (end, scan.first_line_end()) else {
            return match bytes.len() >= limits.head_bytes_max {
                true => Err(ResponseError::HeadTooLarge),
                false => Ok(None),
            };
        };
        self.interpret_line(&bytes[..line_end]).ok_or(ResponseError::StatusLine)?;
        self.tokenise(&bytes[..end], line_end, limits)?;
        self.interpret_fields(bytes)?;
        Ok(Some(end))
    }

    /// Whether another response to the same request follows (RFC 9110, section 15.2). None follows a
    /// 101: the connection speaks another protocol then.
    pub fn is_interim(&self) -> bool {
        self.is_informational() && self.status != 101
    }

    fn is_informational(&self) -> bool {
        (100..200).contains(&self.status)
    }

    /// Whether every protocol that it switches to was offered in the head that went to the origin, which
    /// [`crate::encode::upstream_request`] wrote (RFC 9110, section 7.8).
    pub fn switches_as_offered(&self, bytes: &[u8], sent: &[u8]) -> bool {
        self.switches && connection::are_offered(&self.fields, bytes, sent)
    }

    /// How the end of the body is found (RFC 9112, section 6.3). An answer to `HEAD`, a 1xx, a 204 and a
    /// 304 end with their heads, whatever fields say.
    pub fn framing(&self, answers_head: bool) -> Result<Framing, ResponseError> {
        if answers_head || self.is_informational() || matches!(self.status, 204 | 304) {
            return Ok(Framing::None);
        }
        if let Some(doubt) = self.doubt {
            return Err(doubt);
        }
        match (self.is_chunked, self.content_length) {
            (true, _) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::UntilClose),
        }
    }

    /// What the status line says: `version SP status SP reason`. Some servers leave the last space out
    /// where there is no reason; there is one way to read that.
    fn interpret_line(&mut self, line: &[u8]) -> Option<()> {
        let (version, rest) = line.strip_suffix(b"\r\n")?.split_at_checked(b"HTTP/1.1".len())?;
        let (status, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
        let reason = match rest {
            [] => rest,
            [b' ', reason @ ..] => reason,
            _ => return None,
        };
        self.version = Version::of(version)?;
        self.status = fields::decimal(status).and_then(|status| u16::try_from(status).ok())?;
        self.reason = Span::locate(line, reason);
        let is_valid = (100..600).contains(&self.status)
            && reason.iter().all(|&byte| fields::is_value_byte(byte));
        is_valid.then_some(())
    }

    fn tokenise(
        &mut self,
        head: &[u8],
        line_end: usize,
        limits: &ResponseLimits,
    ) -> Result<(), ResponseError> {
        lines::with_room(limits.fields_max, ResponseError::FieldsTooMany, |room| {
            self.tokenise_in(head, line_end, limits, room)
        })
    }

    fn tokenise_in<'h>(
        &mut self,
        head: &'h [u8],
        line_end: usize,
        limits: &ResponseLimits,
        room: &mut [MaybeUninit<httparse::Header<'h>>],
    ) -> Result<(), ResponseError> {
        self.fields.clear();
        self.connection_options.clear();
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, head, room) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {
                self.keep(head, parsed.headers, limits)
            }
            Ok(_) => Err(ResponseError::Field),
            Err(httparse::Error::TooManyHeaders) => Err(ResponseError::FieldsTooMany),
            // A later minor version, which httparse does not know.
            Err(httparse::Error::Version) => {
                match lines::of_later_version(&head[line_end..], limits.fields_max) {
                    Ok(parsed) => self.keep(head, &parsed, limits),
                    Err(Unsplit::TooMany) => Err(ResponseError::FieldsTooMany),
                    Err(Unsplit::Malformed) => Err(ResponseError::Field),
                }
            }
            Err(_) => Err(ResponseError::Field),
        }
    }

    fn keep(
        &mut self,
        head: &[u8],
        parsed: &[httparse::Header<'_>],
        limits: &ResponseLimits,
    ) -> Result<(), ResponseError> {
        if parsed.len() > limits.fields_max {
            return Err(ResponseError::FieldsTooMany);
        }
        self.fields.extend(parsed.iter().map(|field| FieldSpan::of(head, field)));
        Ok(())
    }

    fn interpret_fields(&mut self, bytes: &[u8]) -> Result<(), ResponseError> {
        let mut framing = FramingFields::default();
        let mut connection = ConnectionFields::default();
        let mut doubt = None;
        for field in &self.fields {
            let value = field.value.of(bytes);
            match field.known {
                Known::ContentLength => {
                    let added = framing.add_content_length(value);
                    doubt = doubt.or(added.err().map(|_| ResponseError::ContentLength));
                }
                Known::TransferEncoding => {
                    let added = framing.add_transfer_encoding(value);
                    doubt = doubt.or(added.err().map(|_| ResponseError::TransferEncoding));
                }
                Known::Connection => connection
                    .add(bytes, value, &mut self.connection_options)
                    .map_err(|_| ResponseError::Connection)?,
                _ => {}
            }
        }
        let is_either = framing.content_length.is_some() || self.version == Version::Http10;
        if framing.is_chunked && is_either {
            doubt = Some(ResponseError::TransferEncoding);
        }
        if self.is_informational() {
            // It ends with its head (RFC 9112, section 6.3, rule 1), and must not have such fields (RFC
            // 9110, section 8.6; RFC 9112, section 6.1). If content follows all the same, that is no
            // response, and refused as what should be one.
            (framing, doubt) = (FramingFields::default(), None);
        }
        let has_body =
            framing.is_chunked || framing.content_length.is_some_and(|length| length > 0);
        self.content_length = framing.content_length.filter(|_| doubt.is_none());
        self.is_chunked = framing.is_chunked;
        self.doubt = doubt;
        // Whether content follows a 204 that announces some, or a head whose fields are in doubt, nobody
        // but the origin knows: nothing that comes after it is read.
        let ends_for_sure = doubt.is_none() && (self.status != 204 || !has_body);
        self.is_persistent = connection.is_persistent(self.version) && ends_for_sure;
        let names_protocols = matches!(self.status, 101 | 426)
            && connection.names_protocols(self.version, &self.fields, bytes);
        self.switches = names_protocols && self.status == 101;
        self.requires_upgrade = names_protocols && self.status == 426;
        Ok(())
    }
}
