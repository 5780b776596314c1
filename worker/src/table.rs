//! Things by number, whose names go stale.
//!
//! A slot is used again as soon as what was in it is gone, perhaps in the turn in which an event for
//! that is still to be handled. So each use has a tag, and a name with an old tag finds nothing.

use std::fmt;
use std::marker::PhantomData;

use slab::Slab;

/// Names one thing of the kind `K` for as long as it is in its table, and nothing after that.
pub(crate) struct Id<K> {
    index: u32,
    tag: u32,
    kind: PhantomData<fn() -> K>,
}

/// Bits of the index and, above it, of the tag.
const TAG_SHIFT: u32 = 32;
pub(crate) const ID_BITS: u32 = 61;
/// A tag repeats after 2^29 uses.
const TAG_MASK: u32 = (1 << (ID_BITS - TAG_SHIFT)) - 1;

impl<K> Id<K> {
    fn new(index: usize, tag: u32) -> Self {
        Id { index: index as u32, tag, kind: PhantomData }
    }

    /// As a number of [`ID_BITS`].
    pub(crate) fn bits(self) -> usize {
        (self.tag as usize) << TAG_SHIFT | self.index as usize
    }

    /// From a number, of which bits above are ignored.
    pub(crate) fn of(bits: usize) -> Self {
        Id::new(bits as u32 as usize, (bits >> TAG_SHIFT) as u32 & TAG_MASK)
    }
}

// By hand, since deriving would ask the same of `K`.
impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Id<K> {}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.tag) == (other.index, other.tag)
    }
}

impl<K> Eq for Id<K> {}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.tag)
    }
}

/// A slab whose names go stale. They are of the kind `K`, so that whoever passes a name on need not know
/// what it names.
#[derive(Debug)]
pub(crate) struct Table<T, K = T> {
    slots: Slab<(u32, T)>,
    next_tag: u32,
    kind: PhantomData<fn() -> K>,
}

impl<T, K> Default for Table<T, K> {
    fn default() -> Self {
        Table { slots: Slab::new(), next_tag: 0, kind: PhantomData }
    }
}

impl<T, K> Table<T, K> {
    /// Puts in what `make` makes, which is told its name.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Id<K>) -> T) -> Id<K> {
        let tag = self.next_tag;
        self.next_tag = (tag + 1) & TAG_MASK;
        let slot = self.slots.vacant_entry();
        let id = Id::new(slot.key(), tag);
        slot.insert((tag, make(id)));
        id
    }

    pub(crate) fn get(&self, id: Id<K>) -> Option<&T> {
        let (tag, value) = self.slots.get(id.index as usize)?;
        (*tag == id.tag).then_some(value)
    }

    pub(crate) fn get_mut(&mut self, id: Id<K>) -> Option<&mut T> {
        let (tag, value) = self.slots.get_mut(id.index as usize)?;
        (*tag == id.tag).then_some(value)
    }

    /// What must be there: a name of something that is gone is a broken invariant here, and asserts.
    #[track_caller]
    pub(crate) fn live(&mut self, id: Id<K>) -> &mut T {
        self.get_mut(id).expect("it is named for as long as it lives")
    }

    pub(crate) fn remove(&mut self, id: Id<K>) -> Option<T> {
        self.get_mut(id)?;
        Some(self.slots.remove(id.index as usize).1)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, (_, value))| value)
    }

    pub(crate) fn ids(&self) -> Vec<Id<K>> {
        self.slots.iter().map(|(index, (tag, _))| Id::new(index, *tag)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_finds_nothing() {
        let mut table = Table::<char>::default();
        let old = table.insert_with(|_| 'a');
        assert_eq!(table.remove(old), Some('a'));
        let new = table.insert_with(|_| 'b');
        assert_eq!(old.index, new.index);
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get_mut(new), Some(&mut 'b'));
    }
}
