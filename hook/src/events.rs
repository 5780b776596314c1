//! Faults on their way to the master: what was noted at once, and told at the end of a turn.
//!
//! Noting is cheap, and done while the request waits. Telling looks up functions and lines, some
//! milliseconds the first time, and is done when the answers are on their way. A script that fails at
//! every request is told some times a second; the rest is counted.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use heritage::{FAULT_FIELDS_MAX, FAULT_TEXT_BYTES_MAX, Fault, FaultKind, FaultRequest};
use image::Mapped;
use image::runtime::Trace;

use crate::RequestView;
use crate::backtrace::{Names, Symbols};
use crate::faults::{Allowance, Caught};
use crate::recursions;
use crate::text::shortened;

/// Faults told in a second: what a script does wrong in several ways shows, and a thousand of one kind
/// say no more than these.
const TOLD_MAX: u64 = 32;

/// Generations whose debug information is kept in memory, some megabytes each.
const SYMBOLS_MAX: usize = 2;

/// How a call failed.
pub(crate) struct Failure {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
    trace: Trace,
}

impl Failure {
    /// An exception came out of it. `is_exhausted`: the generation's memory is used up.
    pub(crate) fn thrown(thrown: &str, is_exhausted: bool) -> Self {
        let (kind, message) = match is_exhausted {
            true => (
                FaultKind::MemoryBudget,
                format!(
                    "it threw {thrown}: the scripts of this generation have used up \
                     limits.script_memory_bytes"
                ),
            ),
            false => (FaultKind::Exception, format!("it threw {thrown}")),
        };
        Failure { kind, message, trace: image::runtime::thrown_at() }
    }

    /// It was abandoned.
    pub(crate) fn caught(caught: Caught, allowance: Allowance) -> Self {
        let Caught { kind, message, trace } = caught;
        let Allowance { cpu_ms, wall_ms } = allowance;
        let message = match kind {
            FaultKind::CpuBudget => format!("it has computed for {cpu_ms} ms and was stopped"),
            FaultKind::WallBudget => format!("it has taken {wall_ms} ms and was stopped"),
            _ => message,
        };
        Failure { kind, message, trace }
    }

    /// It came back with an answer that can't be followed.
    pub(crate) fn invalid_answer(wrong: &str) -> Self {
        let message = format!("its answer is {wrong}");
        Failure { kind: FaultKind::InvalidAnswer, message, trace: Trace::EMPTY }
    }
}

/// What ran.
pub(crate) struct Where {
    generation: u64,
    hook: &'static str,
    request: Option<FaultRequest>,
}

impl Where {
    pub(crate) fn initialiser(generation: u64) -> Self {
        Where { generation, hook: "initialiser", request: None }
    }

    pub(crate) fn destructor(generation: u64) -> Self {
        Where { generation, hook: "destructor", request: None }
    }

    /// `on_request`, of this request; what of it may be told is for the settings to say.
    pub(crate) fn request(
        generation: u64,
        request: &RequestView<'_>,
        faults: &settings::Faults,
    ) -> Self {
        let target = match faults.queries {
            true => request.target,
            false => request.target.split(|byte| *byte == b'?').next().unwrap_or_default(),
        };
        let may_tell = |name: &[u8]| {
            faults.fields.iter().any(|shown| name.eq_ignore_ascii_case(shown.as_bytes()))
        };
        let fields = request.fields.iter().take(FAULT_FIELDS_MAX);
        let fields = fields.map(|field| {
            (printable(field.name), may_tell(field.name).then(|| printable(field.value)))
        });
        let request = FaultRequest {
            client: request.client.to_string(),
            method: printable(request.method),
            target: printable(target),
            fields: fields.collect(),
        };
        Where { generation, hook: "on_request", request: Some(request) }
    }
}

/// Faults that were noted, and what is needed to tell them.
pub(crate) struct Events {
    names: Names,
    symbols: VecDeque<(u64, Symbols)>,
    /// Noted and not told, with the calls that were on the stack.
    noted: VecDeque<(Fault, Trace)>,
    untold: u64,
    is_tainted: bool,
    /// Faults told in the second that began then.
    told: u64,
    second: Instant,
}

impl Events {
    pub(crate) fn new(names: Names) -> Self {
        Events {
            names,
            symbols: VecDeque::new(),
            noted: VecDeque::new(),
            untold: 0,
            is_tainted: false,
            told: 0,
            second: Instant::now(),
        }
    }

    pub(crate) fn is_tainted(&self) -> bool {
        self.is_tainted
    }

    /// Takes note of a fault.
    pub(crate) fn note(&mut self, failure: Failure, place: Where) {
        let follows_another = self.is_tainted;
        self.is_tainted |= failure.kind.taints();
        // Of those that are too many the last one is kept, so that the count is told soon.
        if self.noted.len() as u64 > TOLD_MAX {
            self.untold += 1;
            self.noted.pop_back();
        }
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let fault = Fault {
            kind: failure.kind,
            message: shortened(failure.message),
            generation: place.generation,
            hook: place.hook.to_owned(),
            at_unix_ms: since_epoch.unwrap_or_default().as_millis() as u64,
            follows_another,
            backtrace: Vec::new(),
            request: place.request,
            untold: 0,
        };
        self.noted.push_back((fault, failure.trace));
    }

    /// An image is about to go: what is needed of it to tell its faults is read now.
    pub(crate) fn part_with(&mut self, generation: u64, image: &Mapped) {
        if self.noted.iter().any(|(fault, _)| fault.generation == generation) {
            self.read_symbols(generation, image);
        }
    }

    fn read_symbols(&mut self, generation: u64, image: &Mapped) {
        if !self.symbols.iter().any(|(known, _)| *known == generation) {
            self.symbols.truncate(SYMBOLS_MAX - 1);
            self.symbols.push_front((generation, Symbols::of(image)));
        }
    }

    /// The next one, with functions and lines, if it may be told now. `image_of` finds the image of a
    /// generation that is still mapped.
    pub(crate) fn next<'a>(
        &mut self,
        image_of: impl FnOnce(u64) -> Option<&'a Mapped>,
    ) -> Option<Fault> {
        if self.noted.is_empty() {
            return None;
        }
        if self.second.elapsed().as_secs() >= 1 {
            (self.second, self.told) = (Instant::now(), 0);
        }
        if self.told >= TOLD_MAX {
            return None;
        }
        let (mut fault, trace) = self.noted.pop_front()?;
        self.told += 1;
        fault.untold = std::mem::take(&mut self.untold);
        if let Some(image) = image_of(fault.generation) {
            self.read_symbols(fault.generation, image);
        }
        let symbols = self.symbols.iter_mut().find(|(known, _)| *known == fault.generation);
        fault.backtrace = match symbols {
            Some((_, symbols)) => symbols.frames(&trace, &self.names),
            None => Vec::new(),
        };
        if let Some(why) = recursions::explain(fault.kind, &fault.backtrace) {
            fault.message = shortened(format!("{}: {why}", fault.message));
        }
        Some(fault)
    }
}

/// A short line of what a client sent.
fn printable(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(FAULT_TEXT_BYTES_MAX)];
    let printable = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    };
    bytes.iter().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Field;

    fn told(faults: &settings::Faults) -> FaultRequest {
        let fields = [
            Field { name: b"Host", value: b"a.example" },
            Field { name: b"Cookie", value: b"secret" },
            Field { name: b"User-Agent", value: b"a\x1b[2Jb" },
        ];
        let request = RequestView {
            method: b"GET",
            target: b"/path?token=secret",
            path: b"/path",
            query: b"token=secret",
            authority: b"a.example",
            fields: &fields,
            client: "192.0.2.1:7".parse().expect("an address"),
        };
        Where::request(1, &request, faults).request.expect("it is about one")
    }

    #[test]
    fn what_may_be_secret_is_kept_back() {
        let request = told(&settings::Faults::default());
        assert_eq!(request.target, "/path");
        let fields = [
            ("Host".to_owned(), Some("a.example".to_owned())),
            ("Cookie".to_owned(), None),
            ("User-Agent".to_owned(), Some("a?[2Jb".to_owned())),
        ];
        assert_eq!(request.fields, fields);
    }

    #[test]
    fn the_operator_may_have_more_told() {
        let faults = settings::Faults {
            queries: true,
            fields: vec!["cookie".to_owned()],
            ..settings::Faults::default()
        };
        let request = told(&faults);
        assert_eq!(request.target, "/path?token=secret");
        assert_eq!(request.fields[1].1.as_deref(), Some("secret"));
        assert_eq!(request.fields[0].1, None);
    }
}
