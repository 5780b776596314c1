//! Why Kiln answered a request by itself, or closed in the middle of one: each reason once, with its
//! name, whose doing it is, the status that the client gets, and a sentence for an operator.
//!
//! Workers log them and count them on the scoreboard, and `kiln status` shows the counts. What scripts
//! decide is no reason of Kiln's, and what they do wrong is a [`crate::Fault`].

/// Whose doing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client's. Anybody on the internet can make as many of these as he likes.
    Client,
    /// A server's, or the way's to it.
    Server,
    /// The operator's: a limit is reached, or a script and a configuration do not fit.
    Operator,
}

macro_rules! reasons {
    ($($variant:ident, $name:literal, $blame:ident, $status:literal, $text:literal;)*) => {
        /// Why Kiln answered a request by itself, or closed in the middle of one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $(#[doc = $text] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of declaration.
            pub const ALL: &[Reason] = &[$(Self::$variant),*];

            /// Name for counters and logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whose doing it is.
            pub fn blame(self) -> Blame {
                match self { $(Self::$variant => Blame::$blame,)* }
            }

            /// Status that the client gets, unless an answer has begun; 0 where none can be given.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// A sentence for an operator.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    RequestLineEnd, "request-line-end", Client, 400, "A line of the request does not end with CR LF.";
    RequestLine, "request-line", Client, 400, "The request line is malformed.";
    RequestVersion, "request-version", Client, 505, "The request is neither HTTP/1.0 nor HTTP/1.1.";
    RequestTarget, "request-target", Client, 400, "The request target is malformed.";
    RequestTargetTooLong, "request-target-too-long", Client, 414, "The request line is longer than limits.line_bytes.";
    RequestMethod, "request-method", Client, 501, "The method is not implemented: a CONNECT where no upstream takes it, or a name that is too long for one.";
    RequestField, "request-field", Client, 400, "A field line of the request is malformed.";
    RequestHeadTooLarge, "request-head-too-large", Client, 431, "The request head is larger than limits.head_bytes.";
    RequestHeadRoom, "request-head-room", Operator, 431, "A request head of more than 16 KiB found no room: half of limits.large_heads_bytes is in use.";
    RequestFieldsTooMany, "request-fields-too-many", Client, 431, "The request has more field lines than limits.fields.";
    RequestHost, "request-host", Client, 400, "The Host of the request is missing, repeated or malformed.";
    RequestContentLength, "request-content-length", Client, 400, "The Content-Length of the request is malformed, or there are several.";
    RequestTransferEncoding, "request-transfer-encoding", Client, 400, "The Transfer-Encoding leaves the length of the request's body in doubt.";
    RequestTransferCoding, "request-transfer-coding", Client, 501, "The request's body has a transfer coding other than chunked.";
    RequestContent, "request-content", Client, 400, "A TRACE or CONNECT request came with content.";
    RequestConnection, "request-connection", Client, 400, "The Connection options of the request are malformed or too many.";
    RequestMaxForwards, "request-max-forwards", Client, 400, "The Max-Forwards of the request is malformed or repeated.";
    RequestExpectation, "request-expectation", Client, 417, "The request expects something other than 100-continue.";
    RequestHeadTimeout, "request-head-timeout", Client, 408, "The request head did not arrive within timeouts.head_ms.";
    RequestChunks, "request-chunks", Client, 400, "The chunks of the request's body are malformed.";
    RequestTrailer, "request-trailer", Client, 400, "A trailer of the request has the name of a field that only a head may have.";
    RequestBodyTooLarge, "request-body-too-large", Client, 413, "The request's body is larger than limits.request_body_bytes.";
    RequestBodyTimeout, "request-body-timeout", Client, 408, "The request's body stalled for timeouts.body_ms, or came more slowly than limits.request_body_rate.";
    ClientConnections, "client-connections", Client, 503, "The client holds more than limits.client_connections.";
    ClientLeftQueue, "client-left-queue", Client, 503, "The client closed while its request waited in the queue.";
    SendTimeout, "send-timeout", Client, 0, "The client read nothing of its answer for timeouts.body_ms.";
    ConnectRefused, "connect-refused", Server, 502, "The server refused the connection, or there is no way to it.";
    ConnectTimeout, "connect-timeout", Server, 504, "The connection to the server did not open within connect_ms.";
    ResponseMissing, "response-missing", Server, 502, "The server closed the connection before a response.";
    ResponseHeadTimeout, "response-head-timeout", Server, 504, "The server sent no response head within response_head_ms.";
    ResponseLineEnd, "response-line-end", Server, 502, "A line of the response does not end with CR LF.";
    ResponseStatusLine, "response-status-line", Server, 502, "The status line of the response is malformed.";
    ResponseField, "response-field", Server, 502, "A field line of the response is malformed.";
    ResponseConnection, "response-connection", Server, 502, "The Connection options of the response are malformed or too many.";
    ResponseHeadTooLarge, "response-head-too-large", Server, 502, "The response head is larger than limits.response_head_bytes.";
    ResponseHeadRoom, "response-head-room", Operator, 502, "A response head of more than 16 KiB found no room: limits.large_heads_bytes is in use.";
    ResponseFieldsTooMany, "response-fields-too-many", Server, 502, "The response has more field lines than limits.response_fields.";
    ResponseContentLength, "response-content-length", Server, 502, "The Content-Length of the response is malformed, or there are several.";
    ResponseTransferEncoding, "response-transfer-encoding", Server, 502, "The Transfer-Encoding leaves the length of the response's body in doubt.";
    ResponseSwitch, "response-switch", Server, 502, "The response switches to a protocol that was not asked for.";
    ResponseCutLength, "response-cut-length", Server, 0, "The server closed the connection before all of the Content-Length had come.";
    ResponseCutChunks, "response-cut-chunks", Server, 0, "The server closed the connection before the last chunk.";
    ResponseChunks, "response-chunks", Server, 0, "The chunks of the response's body are malformed.";
    ResponseTrailer, "response-trailer", Server, 0, "A trailer of the response has the name of a field that only a head may have.";
    ResponseBodyTimeout, "response-body-timeout", Server, 0, "The server sent nothing of the response's body for response_body_ms.";
    UploadTimeout, "upload-timeout", Server, 504, "The server took nothing of the request's body for body_ms.";
    ExchangeTimeout, "exchange-timeout", Server, 504, "The exchange took longer than exchange_ms.";
    NoServer, "no-server", Operator, 503, "No server of the upstream is in service.";
    QueueFull, "queue-full", Operator, 503, "The servers of the upstream are at their connections, and its queue is full.";
    QueueTimeout, "queue-timeout", Operator, 503, "The request got no place at a server within timeouts.queue_ms.";
    OutOfSockets, "out-of-sockets", Operator, 503, "The system has no more descriptors, ports or memory for connections to servers.";
    Connections, "connections", Operator, 503, "The worker is at limits.connections.";
    ForwardTooLarge, "forward-too-large", Operator, 431, "The request head is too large with what Kiln and scripts add, or limits.large_heads_bytes is in use.";
    ReplyTooLarge, "reply-too-large", Operator, 500, "A script's reply has a head larger than limits.response_head_bytes.";
    ConnectAnswered, "connect-answered", Operator, 500, "A script answers CONNECT with success; it can only forward it.";
    ConnectUntaken, "connect-untaken", Operator, 501, "A script forwards CONNECT to an upstream without connect = true.";
    Loop, "loop", Operator, 508, "A request came back that was sent to this upstream before: its servers seem to lead to Kiln's own listen. Name other servers in upstreams.NAME.servers, or forward elsewhere.";
    UnknownUpstream, "unknown-upstream", Operator, 500, "A script forwards to an upstream that is not configured.";
    NoScripts, "no-scripts", Operator, 500, "No scripts serve yet: those of the start did not compile, or could not be loaded.";
    Undecided, "undecided", Operator, 500, "No script decided about the request, and there is not just one upstream.";
    TunnelTimeout, "tunnel-timeout", Operator, 0, "Nothing went through the tunnel for timeouts.tunnel_ms.";
    DrainTimeout, "drain-timeout", Operator, 0, "The worker was drained or stopped before the request was over.";
}

/// How often each reason was one, by its place in [`Reason::ALL`].
pub type ReasonCounts = [u64; REASONS_MAX];

/// How many reasons the scoreboard has room for.
pub const REASONS_MAX: usize = 80;

const _: () = assert!(Reason::ALL.len() <= REASONS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_a_status_is_an_error() {
        let names: std::collections::HashSet<_> =
            Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place, "{reason:?}");
            assert!(matches!(reason.status(), 0 | 400..=599), "{reason:?}");
            assert!(reason.sentence().ends_with('.'), "{reason:?}");
        }
    }
}
