//! Connections by number, and the tokens that name them to the poll.
//!
//! A slot is used again as soon as its connection is gone, perhaps in the turn in which an event for
//! the old one is still to be handled. So each use has a tag, and a name with an old tag finds nothing.

use slab::Slab;

/// Names one connection for as long as it lives, and nothing after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    index: u32,
    tag: u32,
}

/// What a poll event or a timer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The channel to the master.
    Master,
    /// A listening socket, by its index.
    Listener(u32),
    /// A client connection.
    Client(Id),
    /// A connection to an origin.
    Origin(Id),
}

const KIND_SHIFT: u32 = 62;
const TAG_SHIFT: u32 = 32;
/// Tags are as wide as a token has room for; one repeats after 2^30 uses.
const TAG_MASK: u32 = (1 << (KIND_SHIFT - TAG_SHIFT)) - 1;

impl Subject {
    pub(crate) fn token(self) -> usize {
        let (kind, id) = match self {
            Subject::Master => (0, Id { index: 0, tag: 0 }),
            Subject::Listener(index) => (1, Id { index, tag: 0 }),
            Subject::Client(id) => (2, id),
            Subject::Origin(id) => (3, id),
        };
        kind << KIND_SHIFT | (id.tag as usize) << TAG_SHIFT | id.index as usize
    }

    pub(crate) fn of(token: usize) -> Self {
        let id = Id { index: token as u32, tag: (token >> TAG_SHIFT) as u32 & TAG_MASK };
        match token >> KIND_SHIFT {
            0 => Subject::Master,
            1 => Subject::Listener(id.index),
            2 => Subject::Client(id),
            _ => Subject::Origin(id),
        }
    }
}

/// A slab whose names go stale.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Slab<(u32, T)>,
    next_tag: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { slots: Slab::new(), next_tag: 0 }
    }
}

impl<T> Table<T> {
    /// Puts in what `make` makes, which is told its name.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(Id) -> T) -> Id {
        let tag = self.next_tag;
        self.next_tag = (tag + 1) & TAG_MASK;
        let slot = self.slots.vacant_entry();
        let id = Id { index: slot.key() as u32, tag };
        slot.insert((tag, make(id)));
        id
    }

    pub(crate) fn get(&self, id: Id) -> Option<&T> {
        let (tag, value) = self.slots.get(id.index as usize)?;
        (*tag == id.tag).then_some(value)
    }

    pub(crate) fn find(&mut self, id: Id) -> Option<&mut T> {
        let (tag, value) = self.slots.get_mut(id.index as usize)?;
        (*tag == id.tag).then_some(value)
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<T> {
        self.find(id)?;
        Some(self.slots.remove(id.index as usize).1)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, (_, value))| value)
    }

    pub(crate) fn ids(&self) -> Vec<Id> {
        self.slots.iter().map(|(index, (tag, _))| Id { index: index as u32, tag: *tag }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_their_subject() {
        let id = Id { index: 7, tag: TAG_MASK };
        let subjects =
            [Subject::Master, Subject::Listener(9), Subject::Client(id), Subject::Origin(id)];
        for subject in subjects {
            assert_eq!(Subject::of(subject.token()), subject);
        }
    }

    #[test]
    fn an_old_name_finds_nothing() {
        let mut table = Table::default();
        let old = table.insert_with(|_| 'a');
        assert_eq!(table.remove(old), Some('a'));
        let new = table.insert_with(|_| 'b');
        assert_eq!(old.index, new.index);
        assert_eq!(table.find(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.find(new), Some(&mut 'b'));
    }
}
