//! Pages that were drawn for streams of events, and that others show too.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use betanet_auth::{Grants, Permissions};
use bytes::Bytes;

/// Drawn pages that are kept for other streams that show the same.
pub(crate) const DRAWN_MAX: usize = 16;

/// A page, and its reader's rights: all that its content depends on.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) grants: Grants,
    pub(crate) scopes: Permissions,
}

/// A page that was drawn for a stream.
#[derive(Clone)]
pub(crate) struct Drawn {
    /// Number of the event up to which it has all.
    pub(crate) until: u64,
    /// The page, as a string of JSON.
    pub(crate) html: Bytes,
}

/// The pages that were drawn last, newest last. Streams that show the same page with the same rights share one drawing.
#[derive(Default)]
pub(crate) struct Pages(Mutex<VecDeque<(Key, Drawn)>>);

impl Pages {
    fn all(&self) -> MutexGuard<'_, VecDeque<(Key, Drawn)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page with all up to an event at least, if it was drawn.
    pub(crate) fn get(&self, key: &Key, from: u64) -> Option<Drawn> {
        let all = self.all();
        let found = all.iter().find(|(k, d)| k == key && d.until >= from);
        found.map(|(_, drawn)| drawn.clone())
    }

    pub(crate) fn put(&self, key: Key, drawn: Drawn) {
        let mut all = self.all();
        all.retain(|(k, _)| *k != key);
        if all.len() >= DRAWN_MAX {
            all.pop_front();
        }
        all.push_back((key, drawn));
    }
}

#[cfg(test)]
mod tests {
    use betanet_auth::{Grant, Permission, Role};

    use super::*;

    #[test]
    fn pages_that_were_drawn_are_bounded_and_are_those_of_their_readers() {
        let pages = Pages::default();
        let key = |text: &str, role| Key {
            text: text.to_owned(),
            grants: Grants::new(vec![Grant::everywhere(role)]).unwrap(),
            scopes: Permissions::ALL,
        };
        let drawn = |until, html: &'static str| Drawn {
            until,
            html: Bytes::from(html),
        };
        let (admin, viewer) = (key("/tasks", Role::Admin), key("/tasks", Role::Viewer));
        pages.put(admin.clone(), drawn(7, "all"));
        let got = |key: &Key, from| pages.get(key, from).map(|d| d.html);
        assert_eq!(got(&admin, 7), Some(Bytes::from("all")));
        assert_eq!(got(&admin, 8), None, "an event is missing");
        assert_eq!(got(&viewer, 7), None, "other rights");
        assert_eq!(got(&key("/nodes", Role::Admin), 7), None, "another page");
        let narrow = Key {
            scopes: Permissions::of(&[Permission::Look]),
            ..admin.clone()
        };
        assert_eq!(got(&narrow, 7), None, "other scopes");
        pages.put(admin.clone(), drawn(9, "more"));
        assert_eq!(got(&admin, 7), Some(Bytes::from("more")));
        for n in 0..DRAWN_MAX {
            pages.put(
                key(&format!("/tasks?page={n}"), Role::Viewer),
                drawn(9, "x"),
            );
        }
        assert_eq!(pages.all().len(), DRAWN_MAX);
        assert_eq!(got(&admin, 0), None, "the oldest one gave way");
    }
}
