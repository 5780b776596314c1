//! What the event loop needs of scripts, and the hold that a request has on its generation.
//!
//! The trait exists so that the loop can be driven by a plain function in tests; [`hook::Scripts`] is
//! the one that serves.

use std::cell::RefCell;
use std::rc::Rc;

use heritage::{Fault, InheritedImage};
use hook::{Decision, Held, Holding, LoadError, Loaded, RequestView, Scripts};

/// The script side of a worker. Documented at [`Scripts`], whose methods these are.
pub trait Hooks {
    /// Takes over what happens when a script fails.
    fn configure(&mut self, faults: &settings::Faults);
    /// Maps an image and makes it the active generation.
    fn load(&mut self, image: InheritedImage, memory_bytes_max: u64) -> Result<Loaded, LoadError>;
    /// Maps an image beside the active one.
    fn stand_by(&mut self, image: InheritedImage, memory_bytes_max: u64) -> Result<(), LoadError>;
    /// Decides about a request.
    fn on_request(&mut self, request: &RequestView<'_>) -> (Held, Decision<'_>);
    /// Ends a request's hold on its generation.
    fn release(&mut self, held: Held);
    /// Unmaps a generation although requests hold it.
    fn retire(&mut self, generation: u64);
    /// A generation that was unmapped since the last call.
    fn next_retired(&mut self) -> Option<u64>;
    /// A fault that was not told yet, if one may be told now.
    fn next_fault(&mut self) -> Option<Fault>;
    /// Whether another process does better.
    fn is_tainted(&self) -> bool;
    /// The generations that are mapped, the active one last.
    fn holdings(&self) -> impl Iterator<Item = Holding>;
    /// Gives back memory that scripts no longer use.
    fn settle(&mut self);
}

impl Hooks for Scripts {
    fn configure(&mut self, faults: &settings::Faults) {
        Scripts::configure(self, faults);
    }
    fn load(&mut self, image: InheritedImage, memory_bytes_max: u64) -> Result<Loaded, LoadError> {
        Scripts::load(self, image, memory_bytes_max)
    }
    fn stand_by(&mut self, image: InheritedImage, memory_bytes_max: u64) -> Result<(), LoadError> {
        Scripts::stand_by(self, image, memory_bytes_max)
    }
    fn on_request(&mut self, request: &RequestView<'_>) -> (Held, Decision<'_>) {
        Scripts::on_request(self, request)
    }
    fn release(&mut self, held: Held) {
        Scripts::release(self, held);
    }
    fn retire(&mut self, generation: u64) {
        Scripts::retire(self, generation);
    }
    fn next_retired(&mut self) -> Option<u64> {
        Scripts::next_retired(self)
    }
    fn next_fault(&mut self) -> Option<Fault> {
        Scripts::next_fault(self)
    }
    fn is_tainted(&self) -> bool {
        Scripts::is_tainted(self)
    }
    fn holdings(&self) -> impl Iterator<Item = Holding> {
        Scripts::holdings(self)
    }
    fn settle(&mut self) {
        Scripts::settle(self);
    }
}

/// Holds that have ended and wait to be released between two hook calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Returned(Rc<RefCell<Vec<Held>>>);

impl Returned {
    pub(crate) fn take(&self) -> Option<Held> {
        self.0.borrow_mut().pop()
    }
}

/// A request's hold on its generation. Dropping it gives it back, so that no way for a request to end
/// can forget to, and none can do it twice.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Option<Held>,
    returned: Returned,
}

impl Hold {
    pub(crate) fn new(held: Held, returned: &Returned) -> Self {
        Hold { held: Some(held), returned: returned.clone() }
    }

    /// Number of the generation.
    pub(crate) fn generation(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.0)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.returned.0.borrow_mut().extend(self.held.take());
    }
}
