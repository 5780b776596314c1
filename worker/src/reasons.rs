//! What a parser or an origin did, as a reason of Kiln's.

use heritage::Reason;
use http::{BodyError, RequestError, ResponseError};

/// Why a request head is refused.
pub(crate) fn of_request(error: RequestError) -> Reason {
    match error {
        RequestError::LineEnd => Reason::RequestLineEnd,
        RequestError::RequestLine => Reason::RequestLine,
        RequestError::Version => Reason::RequestVersion,
        RequestError::Target => Reason::RequestTarget,
        RequestError::TargetTooLong => Reason::RequestTargetTooLong,
        RequestError::Field => Reason::RequestField,
        RequestError::HeadTooLarge => Reason::RequestHeadTooLarge,
        RequestError::FieldsTooMany => Reason::RequestFieldsTooMany,
        RequestError::Host => Reason::RequestHost,
        RequestError::ContentLength => Reason::RequestContentLength,
        RequestError::TransferEncoding => Reason::RequestTransferEncoding,
        RequestError::TransferCoding => Reason::RequestTransferCoding,
        RequestError::Method => Reason::RequestMethod,
        RequestError::Content => Reason::RequestContent,
        RequestError::Connection => Reason::RequestConnection,
        RequestError::MaxForwards => Reason::RequestMaxForwards,
        RequestError::Expectation => Reason::RequestExpectation,
    }
}

/// Why a response head is refused.
pub(crate) fn of_response(error: ResponseError) -> Reason {
    match error {
        ResponseError::LineEnd => Reason::ResponseLineEnd,
        ResponseError::StatusLine => Reason::ResponseStatusLine,
        ResponseError::Field => Reason::ResponseField,
        ResponseError::Connection => Reason::ResponseConnection,
        ResponseError::HeadTooLarge => Reason::ResponseHeadTooLarge,
        ResponseError::FieldsTooMany => Reason::ResponseFieldsTooMany,
        ResponseError::ContentLength => Reason::ResponseContentLength,
        ResponseError::TransferEncoding => Reason::ResponseTransferEncoding,
        ResponseError::Switch => Reason::ResponseSwitch,
    }
}

/// Why a request's body is refused.
pub(crate) fn of_request_body(error: BodyError) -> Reason {
    match error {
        BodyError::Trailer => Reason::RequestTrailer,
        BodyError::ChunkSize | BodyError::ChunkEnd => Reason::RequestChunks,
        BodyError::Malformed | BodyError::TooLong => Reason::RequestChunks,
    }
}

/// Why a response's body is refused.
pub(crate) fn of_response_body(error: BodyError) -> Reason {
    match error {
        BodyError::Trailer => Reason::ResponseTrailer,
        BodyError::ChunkSize | BodyError::ChunkEnd => Reason::ResponseChunks,
        BodyError::Malformed | BodyError::TooLong => Reason::ResponseChunks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client is answered with one status, whichever of the two says it.
    #[test]
    fn statuses_agree_with_those_of_the_parser() {
        use RequestError::*;
        for error in [
            LineEnd,
            RequestLine,
            Version,
            Target,
            TargetTooLong,
            Field,
            HeadTooLarge,
            FieldsTooMany,
            Host,
            ContentLength,
            TransferEncoding,
            TransferCoding,
            Method,
            Content,
            Connection,
            MaxForwards,
            Expectation,
        ] {
            assert_eq!(of_request(error).status(), error.status(), "{error:?}");
        }
    }
}
