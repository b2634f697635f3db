use alloc::collections::BTreeMap;
use core::ops::Deref;

use betanet_machine::Time;

use super::DialId;
use super::dialling::Link;

/// The links, with what each turn asks of all of them: how many stay, and which exchange is next.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Links {
    all: BTreeMap<DialId, Link>,
    staying: usize,
    /// Time of the next exchange on any link, while `fresh`.
    due: Option<Time>,
    fresh: bool,
}

impl Links {
    /// Number of links that gossip keeps.
    pub(super) const fn staying(&self) -> usize {
        self.staying
    }

    /// Time of the next exchange on any link.
    pub(super) fn due(&mut self) -> Option<Time> {
        if !self.fresh {
            self.due = self.first();
            self.fresh = true;
        }
        debug_assert_eq!(self.due, self.first(), "the next exchange of all links");
        self.due
    }

    fn first(&self) -> Option<Time> {
        self.all.values().filter_map(Link::due).min()
    }

    /// A link, to change it; whether it stays does not change.
    pub(super) fn get_mut(&mut self, id: DialId) -> Option<&mut Link> {
        self.fresh = false;
        self.all.get_mut(&id)
    }

    pub(super) fn insert(&mut self, id: DialId, link: Link) {
        self.remove(id);
        self.staying += usize::from(link.stays);
        self.all.insert(id, link);
    }

    pub(super) fn remove(&mut self, id: DialId) -> Option<Link> {
        self.fresh = false;
        let link = self.all.remove(&id)?;
        self.staying -= usize::from(link.stays);
        Some(link)
    }
}

impl Deref for Links {
    type Target = BTreeMap<DialId, Link>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}
