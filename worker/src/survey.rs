//! What each generation holds in this worker, told to the master now and then; and what else wants to be
//! looked at now and then: memory that scripts have used in a burst, lines that were not logged, requests
//! that wait although a server has come back.

use heritage::{HOLDINGS_MAX, Oldest};

use crate::exchange::Exchange;
use crate::hooks::{Hold, Hooks};
use crate::label::Label;
use crate::worker::{Turn, Worker};

/// How often: for people who look, and little to do even if every connection has to be looked at.
const SURVEY_MS: u64 = 500;

impl<H: Hooks> Worker<H> {
    /// Looks, if it is time.
    pub(crate) fn survey(&mut self) {
        if self.ctx.now_ms < self.next_survey_ms {
            return;
        }
        self.next_survey_ms = self.ctx.after(SURVEY_MS);
        self.hooks.settle();
        self.ctx.notices.settle(self.ctx.now_ms);
        let waiting = self.upstreams.waiting_in_vain(self.ctx.now_ms);
        self.ready.extend(waiting.map(Turn::Exchange));
        self.tell_holdings();
    }

    /// Tells the master what each generation holds now.
    pub(crate) fn tell_holdings(&mut self) {
        let draining = self.hooks.holdings().count().saturating_sub(1);
        let oldest = if draining > 0 { oldest(self.exchanges.values()) } else { Vec::new() };
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
fn oldest<'e>(exchanges: impl Iterator<Item = &'e Exchange>) -> Vec<(u64, u64, Label)> {
    let mut oldest: Vec<(u64, u64, Label)> = Vec::with_capacity(HOLDINGS_MAX);
    for Exchange { hold, began_ms, target, .. } in exchanges {
        let Some(generation) = hold.as_ref().map(Hold::generation) else { continue };
        match oldest.iter_mut().find(|(known, ..)| *known == generation) {
            Some((_, since_ms, known)) if began_ms < since_ms => {
                (*since_ms, *known) = (*began_ms, *target);
            }
            Some(_) => {}
            None => oldest.push((generation, *began_ms, *target)),
        }
    }
    oldest
}
