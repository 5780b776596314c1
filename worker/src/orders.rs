//! Orders of the master, each with what it makes the worker do.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

use heritage::{Order, Report};

use crate::event_loop::{Lifecycle, Worker};
use crate::hooks::Hooks;

impl<H: Hooks> Worker<H> {
    /// Does what the master says, between two hook calls.
    pub(crate) fn obey(&mut self, order: Order, mut files: Vec<OwnedFd>) {
        match order {
            Order::Load { generation, slot } => {
                let report = match files.pop() {
                    Some(file) => self.load(generation, slot, file),
                    None => Report::LoadFailed {
                        generation,
                        reason: "the order came without an image".to_owned(),
                    },
                };
                self.reports.push_back(report);
                self.send_reports();
            }
            Order::Retire { generation } => self.hooks.retire(generation),
            Order::Adopt { listener } => match files.pop() {
                Some(socket) => self.listen(listener, socket),
                None => tracing::error!(?listener, "an order to adopt came without its socket"),
            },
            Order::Release { listener } => {
                let mut accepted = Vec::new();
                self.listeners.release(listener, self.ctx.now_ms, &mut accepted);
                self.admit(&mut accepted);
                self.reports.push_back(Report::Released { listener });
                self.send_reports();
            }
            Order::Drain => self.drain(),
            Order::Stop => self.lifecycle = Lifecycle::Stopped,
        }
    }

    /// Maps an image; from then on new requests go to it. A failure leaves the one before it active.
    pub(crate) fn load(&mut self, generation: u64, slot: u8, file: OwnedFd) -> Report {
        match self.hooks.load(generation, slot, file) {
            Ok(loaded) => {
                self.page.generation.store(generation, Relaxed);
                tracing::debug!(generation, map_us = loaded.map_us, "generation loaded");
                Report::Loaded { generation, map_us: loaded.map_us }
            }
            Err(error) => {
                tracing::error!(generation, %error, "generation refused");
                Report::LoadFailed { generation, reason: error.to_string() }
            }
        }
    }
}
