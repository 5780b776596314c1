//! Response heads: what an origin answers, and how long the body is that comes with it.
//!
//! Read with the same strictness as requests: an origin that can be made to send a doubtful head is how
//! one client's bytes become another client's answer. Whatever is refused here is a 502 to the client.

use std::mem::MaybeUninit;

use crate::body::Framing;
use crate::error::ResponseError;
use crate::fields::{self, FieldSpan, Known, Span};
use crate::request::{FramingFields, Limits};
use crate::scan::Scan;
use crate::{FIELDS_MAX, Version};

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
    /// Whether the origin lets the connection live on after this response.
    pub is_persistent: bool,
    /// Names that `Connection` lists: these fields stay on this connection.
    pub connection_options: Vec<Span>,
}

impl ResponseHead {
    /// Parses the head that `bytes` start with, if all of it is there, and gives its length.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        scan: &mut Scan,
        limits: &Limits,
    ) -> Result<Option<usize>, ResponseError> {
        let end = scan.advance(bytes).map_err(|_| ResponseError::LineEnd)?;
        if scan.begin() != 0 {
            return Err(ResponseError::StatusLine);
        }
        let head_bytes = end.unwrap_or(bytes.len());
        if head_bytes > limits.head_bytes_max
            || (end.is_none() && head_bytes == limits.head_bytes_max)
        {
            return Err(ResponseError::TooLarge);
        }
        let Some(end) = end else { return Ok(None) };
        self.tokenise(&bytes[..end], limits)?;
        self.interpret_fields(bytes)?;
        Ok(Some(end))
    }

    /// Whether another response to the same request follows (RFC 9110, section 15.2).
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    /// How the end of the body is found (RFC 9112, section 6.3).
    pub fn framing(&self, answers_head: bool) -> Framing {
        if answers_head || self.is_interim() || matches!(self.status, 204 | 304) {
            return Framing::None;
        }
        match (self.is_chunked, self.content_length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::UntilClose,
        }
    }

    fn tokenise(&mut self, head: &[u8], limits: &Limits) -> Result<(), ResponseError> {
        self.fields.clear();
        self.connection_options.clear();
        let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, head, &mut slots) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(ResponseError::Field),
            Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLarge),
            Err(httparse::Error::Status | httparse::Error::Version) => {
                return Err(ResponseError::StatusLine);
            }
            Err(_) => return Err(ResponseError::Field),
        }
        self.status = parsed.code.filter(|code| (100..600).contains(code)).unwrap_or(0);
        if self.status == 0 {
            return Err(ResponseError::StatusLine);
        }
        self.reason = Span::locate(head, parsed.reason.unwrap_or_default().as_bytes());
        self.version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
        if parsed.headers.len() > limits.fields_max {
            return Err(ResponseError::TooLarge);
        }
        self.fields.extend(parsed.headers.iter().map(|field| FieldSpan {
            name: Span::locate(head, field.name.as_bytes()),
            value: Span::locate(head, fields::trim(field.value)),
            known: Known::of(field.name.as_bytes()),
        }));
        Ok(())
    }

    fn interpret_fields(&mut self, bytes: &[u8]) -> Result<(), ResponseError> {
        let mut framing = FramingFields::default();
        let mut closes = false;
        let mut keeps_alive = false;
        for field in &self.fields {
            let value = field.value.of(bytes);
            match field.known {
                Known::ContentLength => {
                    framing.add_content_length(value).map_err(|_| ResponseError::Framing)?;
                }
                Known::TransferEncoding => {
                    framing.add_transfer_encoding(value).map_err(|_| ResponseError::Framing)?;
                }
                Known::Connection => {
                    for option in fields::list(value) {
                        closes |= option.eq_ignore_ascii_case(b"close");
                        keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                        self.connection_options.push(Span::locate(bytes, option));
                    }
                }
                _ => {}
            }
        }
        let is_doubtful = framing.is_chunked
            && (framing.content_length.is_some() || self.version == Version::Http10);
        if is_doubtful {
            return Err(ResponseError::Framing);
        }
        self.content_length = framing.content_length;
        self.is_chunked = framing.is_chunked;
        self.is_persistent = match self.version {
            Version::Http11 => !closes,
            Version::Http10 => keeps_alive && !closes,
        };
        Ok(())
    }
}
