//! Why a client connection ended: declared once, with its name, whether it is an error, and its text.

macro_rules! close_reasons {
    ($($variant:ident, $name:literal, $is_error:literal, $text:literal;)*) => {
        /// Why a client connection ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CloseReason {
            $(#[doc = $text] $variant,)*
        }

        impl CloseReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &[CloseReason] = &[$(Self::$variant),*];

            /// Name for counters and logs.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether somebody did something wrong.
            pub fn is_error(self) -> bool {
                match self { $(Self::$variant => $is_error,)* }
            }

            /// A sentence for an operator.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

close_reasons! {
    Finished, "finished", false, "The last answer was sent and the client closed.";
    ClientClosed, "client-closed", false, "The client closed between requests.";
    ClientGone, "client-gone", true, "The client closed or reset in the middle of a request or answer.";
    KeepAliveTimeout, "keep-alive-timeout", false, "The client sent no other request in time.";
    HeadTimeout, "head-timeout", false, "The client connected and sent nothing in time.";
    BodyTimeout, "body-timeout", true, "The client stalled in the middle of a body.";
    SendTimeout, "send-timeout", true, "The client did not read its answer.";
    LingerTimeout, "linger-timeout", false, "The client did not close after its last answer.";
    TunnelOver, "tunnel-over", false, "Both sides of a tunnel have ended.";
    TunnelBroken, "tunnel-broken", true, "One side of a tunnel broke its connection.";
    TunnelTimeout, "tunnel-timeout", false, "Nothing went through a tunnel for too long.";
    ScriptClosed, "script-closed", false, "A script decided to close.";
    OriginTruncated, "origin-truncated", true, "The origin's response ended before its body did.";
    OriginMalformed, "origin-malformed", true, "The origin's response body was malformed.";
    OriginTimeout, "origin-timeout", true, "The origin stalled in the middle of its response.";
    Drained, "drained", false, "The worker drains and the connection was idle.";
    WorkerStopped, "worker-stopped", false, "The worker was told to stop, or its drain took too long.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::HashSet<_> =
            CloseReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
