//! What each generation holds in this worker, told to the master now and then; and what else wants to be
//! looked at now and then: memory that scripts have used in a burst, lines that were not logged, requests
//! that wait although a server has come back.

use heritage::{HOLDINGS_MAX, Oldest, TARGET_BYTES_MAX};

use crate::connection::{Connection, State};
use crate::event_loop::Worker;
use crate::hooks::Hooks;
use crate::table::Table;

/// How often: for people who look, and little to do even if every connection has to be looked at.
const SURVEY_MS: u64 = 500;

/// The beginning of a request's target.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    length: u8,
    bytes: [u8; TARGET_BYTES_MAX],
}

const _: () = assert!(TARGET_BYTES_MAX <= u8::MAX as usize);

impl Label {
    pub(crate) fn of(target: &[u8]) -> Self {
        let mut bytes = [0; TARGET_BYTES_MAX];
        let length = target.len().min(TARGET_BYTES_MAX);
        bytes[..length].copy_from_slice(&target[..length]);
        Label { length: length as u8, bytes }
    }

    /// No target: there is no request yet, or none that could be read.
    pub(crate) const NONE: Label = Label { length: 0, bytes: [0; TARGET_BYTES_MAX] };

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl std::fmt::Debug for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl<H: Hooks> Worker<H> {
    /// Looks, if it is time.
    pub(crate) fn survey(&mut self) {
        if self.ctx.now_ms < self.next_survey_ms {
            return;
        }
        self.next_survey_ms = self.ctx.after(SURVEY_MS);
        self.hooks.settle();
        self.ctx.notices.settle(self.ctx.now_ms);
        self.ready.extend(self.upstreams.waiting_in_vain(self.ctx.now_ms));
        self.tell_holdings();
    }

    /// Tells the master what each generation holds now.
    pub(crate) fn tell_holdings(&mut self) {
        let draining = self.hooks.holdings().count().saturating_sub(1);
        let oldest = if draining > 0 { oldest(&self.connections) } else { Vec::new() };
        self.page.holdings.publish(self.hooks.holdings().enumerate().map(|(index, held)| {
            // The active generation, which is the last, waits for nothing.
            let mut oldest = oldest.iter().filter(|_| index < draining);
            let found = oldest.find(|(generation, ..)| *generation == held.generation);
            heritage::Holding {
                generation: held.generation,
                requests: u64::from(held.requests),
                decided: held.decided,
                memory_bytes: held.memory_bytes,
                oldest: found.map(|(_, since_ms, target)| Oldest {
                    since_ms: *since_ms,
                    target: target.as_bytes(),
                }),
            }
        }));
    }
}

/// The oldest request of each generation: when it was decided, and what it is for.
fn oldest(connections: &Table<Connection>) -> Vec<(u64, u64, Label)> {
    let mut oldest: Vec<(u64, u64, Label)> = Vec::with_capacity(HOLDINGS_MAX);
    for connection in connections.values() {
        let State::Exchange(request) = &connection.state else { continue };
        let generation = request.hold.generation();
        match oldest.iter_mut().find(|(known, ..)| *known == generation) {
            Some((_, since_ms, target)) if request.began_ms < *since_ms => {
                (*since_ms, *target) = (request.began_ms, request.target);
            }
            Some(_) => {}
            None => oldest.push((generation, request.began_ms, request.target)),
        }
    }
    oldest
}
