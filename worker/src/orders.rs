//! Orders of the master, each with what it makes the worker do.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

use heritage::{InheritedImage, Order, Report};

use crate::hooks::Hooks;
use crate::worker::{Lifecycle, Worker};

impl<H: Hooks> Worker<H> {
    /// Does what the master says, between two hook calls.
    pub(crate) fn obey(&mut self, order: Order, mut files: Vec<OwnedFd>) {
        match order {
            Order::Load { generation, slot } => {
                let failed = |reason| Report::LoadFailed { generation, reason };
                let report = match (files.pop(), files.pop()) {
                    (Some(settings), Some(image)) => match heritage::read_settings(settings) {
                        Ok(settings) => {
                            let image = InheritedImage { generation, slot, file: image };
                            self.load(image, &settings)
                        }
                        Err(error) => failed(format!("the settings cannot be read: {error}")),
                    },
                    _ => failed("the order came without an image and settings".to_owned()),
                };
                self.reports.push_back(report);
                self.send_reports();
            }
            Order::StandBy { generation, slot } => {
                let Some(file) = files.pop() else {
                    return tracing::error!(
                        generation,
                        "an order to stand by came without an image"
                    );
                };
                let memory_bytes_max = self.ctx.limits.script_memory_bytes;
                let image = InheritedImage { generation, slot, file };
                let stands_by = self.hooks.stand_by(image, memory_bytes_max);
                self.reports.push_back(match stands_by {
                    Ok(()) => Report::StandsBy { generation },
                    Err(error) => Report::LoadFailed { generation, reason: error.to_string() },
                });
                self.send_reports();
            }
            Order::Retire { generation } => self.hooks.retire(generation),
            Order::Adopt { listener } => match files.pop() {
                Some(socket) => self.listen(listener, socket),
                None => tracing::error!(?listener, "an order to adopt came without its socket"),
            },
            Order::Release { listener } => {
                let mut accepted = Vec::new();
                let registry = &self.ctx.registry;
                self.listeners.release(listener, self.ctx.now_ms, &mut accepted, registry);
                self.admit(&mut accepted);
                self.reports.push_back(Report::Released { listener });
                self.send_reports();
            }
            Order::News(news) => {
                for one in news {
                    let changed = self.upstreams.learn(one, self.ctx.now_ms);
                    self.apply(changed);
                }
            }
            Order::Drain => self.drain(),
            Order::Stop => self.lifecycle = Lifecycle::Stopped,
        }
    }

    /// Maps an image and takes over the settings that belong to it; new requests go there from then on.
    /// A failure leaves the generation before it active, with its settings.
    pub(crate) fn load(&mut self, image: InheritedImage, settings: &[u8]) -> Report {
        let generation = image.generation;
        let settings = match parsed(settings) {
            Ok(settings) => settings,
            Err(reason) => return Report::LoadFailed { generation, reason },
        };
        let memory_bytes_max = settings.limits.script_memory_bytes;
        // The one before may be unmapped right after: this is the last that is told of it.
        self.tell_holdings();
        match self.hooks.load(image, memory_bytes_max) {
            Ok(loaded) => {
                self.configure(settings);
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

    /// Takes over settings that no scripts belong to: there are none yet. The answer is about generation
    /// 0, which is none.
    pub(crate) fn begin_without_scripts(&mut self, settings: &[u8]) -> Report {
        match parsed(settings) {
            Ok(settings) => {
                self.configure(settings);
                Report::Loaded { generation: 0, map_us: 0 }
            }
            Err(reason) => Report::LoadFailed { generation: 0, reason },
        }
    }

    fn configure(&mut self, settings: settings::Worker) {
        let networks = settings.trusted_proxies.iter().map(|network| network.parse());
        // They were checked where they were read.
        self.ctx.trusted = networks.flatten().collect();
        let changed = self.upstreams.configure(&settings, self.ctx.now_ms);
        self.ctx.takes_connect = self.upstreams.any_takes_connect();
        self.ctx.takes_underscores = settings.underscores_in_headers;
        self.ctx.via = settings.via_name().map_or(http::Via::OFF, |name| {
            http::Via::new(name.to_owned().into(), settings.identity)
        });
        self.hooks.configure(&settings.faults);
        self.ctx.notices.tells_queries = settings.faults.queries;
        self.ctx.faults = settings.faults;
        self.ctx.limits = settings.limits;
        self.ctx.timeouts = settings.timeouts;
        self.apply(changed);
    }
}

fn parsed(settings: &[u8]) -> Result<settings::Worker, String> {
    serde_json::from_slice(settings).map_err(|error| format!("its settings do not parse: {error}"))
}
