//! How origins fail: what each failure is told as, and what it says of the server.

use heritage::Reason;
use http::{BodyError, ResponseError};

use crate::close_reason::CloseReason;
use crate::reasons;
use crate::upstreams::Deed;

/// How an origin fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginFault {
    /// The connection could not be opened.
    Refused,
    /// It did not open in time.
    ConnectTimeout,
    /// It ended before the response's head.
    Ended,
    /// The response's head is refused.
    Malformed(ResponseError),
    /// There was no room for the response's head.
    NoRoom,
    /// No response head in time.
    HeadTimeout,
    /// It took nothing of the request's body for too long.
    UploadTimeout,
    /// The exchange took too long, and there was no head yet.
    ExchangeTimeout,
    /// The connection ended before the body did, which has a length.
    CutLength,
    /// The connection ended before the last chunk of the body.
    CutChunks,
    /// The body is refused.
    BodyMalformed(BodyError),
    /// The body stalled.
    BodyTimeout,
    /// The exchange took too long, and its body was on its way.
    BodyOverdue,
}

impl OriginFault {
    /// What the client is told, if it has no answer yet, and the operator in any case.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::ConnectRefused,
            Self::ConnectTimeout => Reason::ConnectTimeout,
            Self::Ended => Reason::ResponseMissing,
            Self::Malformed(error) => reasons::of_response(error),
            Self::NoRoom => Reason::ResponseHeadRoom,
            Self::HeadTimeout => Reason::ResponseHeadTimeout,
            Self::UploadTimeout => Reason::UploadTimeout,
            Self::ExchangeTimeout | Self::BodyOverdue => Reason::ExchangeTimeout,
            Self::CutLength => Reason::ResponseCutLength,
            Self::CutChunks => Reason::ResponseCutChunks,
            Self::BodyMalformed(error) => reasons::of_response_body(error),
            Self::BodyTimeout => Reason::ResponseBodyTimeout,
        }
    }

    /// Why the client's connection closes, where its answer has begun and can't be ended.
    pub(crate) fn cuts(self) -> Option<CloseReason> {
        match self {
            Self::CutLength | Self::CutChunks => Some(CloseReason::OriginTruncated),
            Self::BodyMalformed(_) => Some(CloseReason::OriginMalformed),
            Self::BodyTimeout | Self::BodyOverdue => Some(CloseReason::OriginTimeout),
            _ => None,
        }
    }

    /// What it says of the server, beyond this one exchange; nothing if it does not speak against it.
    pub(crate) fn deed(self) -> Option<Deed> {
        match self {
            Self::Refused | Self::ConnectTimeout => Some(Deed::Unreachable),
            // A body may stall for a client that is slow to send its own.
            Self::BodyTimeout | Self::BodyOverdue => None,
            // It is whole, as far as anybody looked, and the limit is Kiln's. If it counted, whoever
            // knows one heavy page could take the servers out one by one.
            Self::Malformed(error) if error.is_limit() => None,
            Self::NoRoom => None,
            _ => Some(Deed::Failed),
        }
    }
}
