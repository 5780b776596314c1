//! The names of what a worker has, and the tokens that name it to the poll and the timers.
//!
//! Each kind has a type of its own: the name of an exchange is not that of a connection.

use crate::table::{ID_BITS, Id};

/// Kinds of names; nothing is ever of these types.
pub(crate) mod kinds {
    #[derive(Debug)]
    pub(crate) enum Connection {}
    #[derive(Debug)]
    pub(crate) enum Exchange {}
    #[derive(Debug)]
    pub(crate) enum Origin {}
}

/// Names a client connection.
pub(crate) type ConnectionId = Id<kinds::Connection>;

/// Names an exchange.
pub(crate) type ExchangeId = Id<kinds::Exchange>;

/// Names a connection to an origin.
pub(crate) type OriginId = Id<kinds::Origin>;

/// What a poll event or a timer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The channel to the master.
    Master,
    /// A listening socket, by its index.
    Listener(u32),
    /// A client connection.
    Client(ConnectionId),
    /// A connection to an origin.
    Origin(OriginId),
    /// An exchange.
    Exchange(ExchangeId),
}

impl Subject {
    pub(crate) fn token(self) -> usize {
        match self {
            Subject::Master => 0,
            Subject::Listener(index) => 1 << ID_BITS | index as usize,
            Subject::Client(id) => 2 << ID_BITS | id.bits(),
            Subject::Origin(id) => 3 << ID_BITS | id.bits(),
            Subject::Exchange(id) => 4 << ID_BITS | id.bits(),
        }
    }

    pub(crate) fn of(token: usize) -> Self {
        match token >> ID_BITS {
            0 => Subject::Master,
            1 => Subject::Listener(token as u32),
            2 => Subject::Client(Id::of(token)),
            3 => Subject::Origin(Id::of(token)),
            _ => Subject::Exchange(Id::of(token)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_subject() {
        let (first, last) = (0, usize::MAX);
        for subject in [
            Subject::Master,
            Subject::Listener(u32::MAX),
            Subject::Client(Id::of(first)),
            Subject::Origin(Id::of(last)),
            Subject::Exchange(Id::of(last)),
        ] {
            assert_eq!(Subject::of(subject.token()), subject);
        }
    }
}
