//! What can be wrong with a message. The type names the culprit: the client sends requests
//! ([`RequestError`]), the origin sends responses ([`ResponseError`]), and either sends a body.

use thiserror::Error;

/// Why a request head is refused. The client is the culprit; [`RequestError::status`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// A line that ends in LF alone, or a CR that does not end a line.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// Not `method SP target SP version`.
    #[error("the request line is malformed")]
    RequestLine,
    /// HTTP/2 and later, or earlier than 1.0.
    #[error("the protocol version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// A form of target that this method does not take, a byte that no target has, or a path that two
    /// readers would not take for the same.
    #[error("the request target is malformed")]
    Target,
    /// The request line is longer than the limit, in its target.
    #[error("the request target is too long")]
    TargetTooLong,
    /// A field line that is no `name: value`, is folded, or has a forbidden byte.
    #[error("a field line is malformed")]
    Field,
    /// The head is longer than the limit.
    #[error("the request head is too large")]
    HeadTooLarge,
    /// More field lines than the limit.
    #[error("the request has too many fields")]
    FieldsTooMany,
    /// `Host` is missing from a 1.1 request, repeated, or no host (RFC 9112, section 3.2).
    #[error("the Host field is missing, repeated or malformed")]
    Host,
    /// `Content-Length` is no number, or there are several.
    #[error("the Content-Length is malformed or repeated")]
    ContentLength,
    /// `Transfer-Encoding` beside `Content-Length`, in a 1.0 request, or not ending in one `chunked`.
    #[error("the Transfer-Encoding leaves the length of the body in doubt")]
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    #[error("the transfer coding is not implemented")]
    TransferCoding,
    /// `CONNECT` where Kiln opens no tunnels, or a method longer than a request line may be.
    #[error("the method is not implemented")]
    Method,
    /// Content that comes with `TRACE`, or a field of its framing with `CONNECT`.
    #[error("a request of this method has no content")]
    Content,
    /// A `Connection` option that is no token, or more of them than anybody needs.
    #[error("the Connection options are malformed or too many")]
    Connection,
    /// `Max-Forwards` is no number, or repeated, where it counts.
    #[error("the Max-Forwards is malformed or repeated")]
    MaxForwards,
    /// An `Expect` other than `100-continue`.
    #[error("the expectation cannot be met")]
    Expectation,
}

impl RequestError {
    /// Status code that the client gets.
    pub fn status(self) -> u16 {
        match self {
            Self::LineEnd | Self::RequestLine | Self::Target | Self::Field => 400,
            Self::Host | Self::ContentLength | Self::TransferEncoding => 400,
            Self::Content | Self::Connection | Self::MaxForwards => 400,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge | Self::FieldsTooMany => 431,
            Self::TransferCoding | Self::Method => 501,
            Self::Version => 505,
        }
    }
}

/// Why a response head is refused. The origin is the culprit and the client gets a 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// A line that ends in LF alone, or a CR that does not end a line.
    #[error("a line does not end with CR LF")]
    LineEnd,
    /// Not `version SP status SP reason`, or a status outside 100 to 599.
    #[error("the status line is malformed")]
    StatusLine,
    /// A field line that is no `name: value`, is folded, or has a forbidden byte.
    #[error("a field line is malformed")]
    Field,
    /// A `Connection` option that is no token, or more of them than anybody needs.
    #[error("the Connection options are malformed or too many")]
    Connection,
    /// The head is longer than the limit.
    #[error("the response head is too large")]
    HeadTooLarge,
    /// More field lines than the limit.
    #[error("the response has too many fields")]
    FieldsTooMany,
    /// `Content-Length` is no number, or there are several, or it announces content where there is
    /// none.
    #[error("the Content-Length is malformed, repeated or out of place")]
    ContentLength,
    /// `Transfer-Encoding` beside `Content-Length`, in a 1.0 response, other than one `chunked`, or
    /// where there is no content.
    #[error("the Transfer-Encoding leaves the length of the body in doubt")]
    TransferEncoding,
    /// A switch to a protocol that was not offered.
    #[error("the response switches to a protocol that was not asked for")]
    Switch,
}

impl ResponseError {
    /// Whether it is a limit of ours that the response is beyond, and nothing is known to be wrong
    /// with it.
    pub fn is_limit(self) -> bool {
        matches!(self, Self::HeadTooLarge | Self::FieldsTooMany)
    }
}

/// Why a chunked body is refused, whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// A chunk size that is no hexadecimal number, or one that no body has.
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// Chunk data that is not followed by CR LF, or a line that ends in LF alone.
    #[error("a chunk does not end with CR LF")]
    ChunkEnd,
    /// Chunk extensions or trailers with forbidden bytes.
    #[error("a chunk extension or a trailer is malformed")]
    Malformed,
    /// A trailer that frames a message, routes it or manages its connection (RFC 9110, section 6.5.1).
    #[error("a trailer has the name of a field that only a head may have")]
    Trailer,
    /// Chunk extensions, trailers or zeros before a size longer than any honest sender's.
    #[error("chunk extensions, trailers or zeros before a chunk size are too long")]
    TooLong,
}
