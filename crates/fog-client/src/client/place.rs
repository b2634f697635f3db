//! The coordinators that a client knows, and the one in use.

use betanet_keys::Name;

use crate::link::Link;

/// Most coordinators that a client remembers, with those that refusals named.
const COORDINATORS_MAX: usize = 64;

/// The coordinators, and the session with one of them.
pub(super) struct Place {
    pub(super) coordinators: Vec<Name>,
    pub(super) at: usize,
    pub(super) link: Option<Link>,
    /// Number of turns to another coordinator, or to a new session with the only one.
    pub(super) turns: u64,
}

impl Place {
    fn turn_to(&mut self, at: usize) {
        (self.at, self.link) = (at, None);
        self.turns += 1;
    }

    /// Turns to the next coordinator, unless another one is in use already.
    pub(super) fn leave(&mut self, name: Name) {
        if self.coordinators.get(self.at) == Some(&name) {
            self.turn_to((self.at + 1) % self.coordinators.len().max(1));
        }
    }

    /// Turns to the coordinator that another one named.
    pub(super) fn follow(&mut self, from: Name, leader: Name) {
        if self.coordinators.get(self.at) != Some(&from) {
            return;
        }
        let known = self.coordinators.iter().position(|name| *name == leader);
        match known {
            Some(at) if at == self.at => self.leave(from),
            Some(at) => self.turn_to(at),
            None if self.coordinators.len() < COORDINATORS_MAX => {
                self.coordinators.push(leader);
                self.turn_to(self.coordinators.len() - 1);
            }
            None => self.leave(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use betanet_wire::NodeId;

    use super::*;

    fn name(n: u8) -> Name {
        Name::from(NodeId([n; 20]))
    }

    fn place(n: u8) -> Place {
        Place {
            coordinators: (0..n).map(name).collect(),
            at: 0,
            link: None,
            turns: 0,
        }
    }

    #[test]
    fn requests_that_fail_together_turn_once() {
        let mut place = place(3);
        place.leave(name(0));
        place.leave(name(0));
        assert_eq!((place.at, place.turns), (1, 1));
        place.follow(name(0), name(2));
        assert_eq!(place.at, 1, "another request has turned already");
        place.follow(name(1), name(0));
        assert_eq!(place.at, 0);
        // One that names itself does not lead.
        place.follow(name(0), name(0));
        assert_eq!(place.at, 1);
    }

    #[test]
    fn a_coordinator_cannot_name_others_without_end() {
        let mut place = place(1);
        for n in 1..=200 {
            let from = place.coordinators[place.at];
            place.follow(from, name(n));
        }
        assert_eq!(place.coordinators.len(), COORDINATORS_MAX);
    }
}
