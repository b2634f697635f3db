//! Coupons that were used, until they expire.

use std::collections::{BTreeMap, BTreeSet};

use betanet_durable::Unreadable;
use betanet_keys::hash;
use betanet_wire::{cbor, message};

use crate::payments::Once;

/// Most used coupons that have not expired.
pub const COUPONS_MAX: usize = 1 << 20;
/// Coupons in one piece of a snapshot.
const ITEMS_A_PIECE: usize = 1_000;

message! {
    /// A coupon, by whom it was used, and when.
    struct Use {
        /// Time of the use, in ms.
        req "at" at: u64,
        /// The request that used it.
        req "by" by: [u8; 16],
        /// The coupon.
        req "id" id: [u8; 16],
        /// Time at which it is forgotten.
        req "exp" exp: u64,
    }
}

message! {
    /// A record, or a piece of a snapshot.
    struct Piece {
        /// Time of the newest use, in ms.
        req "at" at: u64,
        /// Uses.
        req "used" used: Vec<Use>,
    }
}

/// The used coupons.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    of: BTreeMap<[u8; 16], Use>,
    ends: BTreeSet<(u64, [u8; 16])>,
    /// Time of the newest use. A clock that is set back makes no expired coupon good again.
    newest: u64,
}

impl Used {
    /// Whether a coupon pays for this request.
    pub(super) fn pays(&self, unix_ms: u64, once: &Once, by: &[u8; 16]) -> bool {
        match self.of.get(&once.id) {
            Some(used) => used.by == *by,
            None => {
                let now = unix_ms.max(self.newest);
                // One that has expired is forgotten with the use of this one.
                let expired = self.ends.first().is_some_and(|(exp, _)| *exp <= now);
                once.exp > now && (self.of.len() < COUPONS_MAX || expired)
            }
        }
    }

    /// Marks a coupon as used, which [`Used::pays`] allowed; returns the record.
    pub(super) fn use_up(&mut self, unix_ms: u64, once: &Once, by: &[u8; 16]) -> Vec<u8> {
        let at = unix_ms.max(self.newest);
        let one = Use {
            at,
            id: once.id,
            by: *by,
            exp: once.exp,
        };
        let piece = Piece {
            at,
            used: vec![one],
        };
        self.take(&piece);
        cbor::to_vec(&piece)
    }

    pub(super) fn apply(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        let piece: Piece = cbor::from_slice(bytes).map_err(|_| Unreadable)?;
        self.take(&piece);
        Ok(())
    }

    fn take(&mut self, piece: &Piece) {
        self.newest = self.newest.max(piece.at);
        for one in &piece.used {
            self.ends.insert((one.exp, one.id));
            self.of.insert(one.id, one.clone());
        }
        // By the journal's time only, so that every replay forgets the same.
        while let Some((exp, id)) = self.ends.first().copied() {
            if exp > self.newest {
                break;
            }
            self.ends.pop_first();
            self.of.remove(&id);
        }
    }

    pub(super) fn snapshot(&self, out: &mut dyn FnMut(Vec<u8>)) {
        let at = self.newest;
        let all: Vec<Use> = self.of.values().cloned().collect();
        let empty: [&[Use]; 1] = [&[]];
        for used in empty.into_iter().chain(all.chunks(ITEMS_A_PIECE)) {
            out(cbor::to_vec(&Piece {
                at,
                used: used.to_vec(),
            }));
        }
    }

    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut so_far = [0; 32];
        self.snapshot(&mut |piece| so_far = hash(&[&so_far, &piece]));
        so_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coupon_pays_for_one_request_and_is_forgotten_when_it_has_expired() {
        let mut used = Used::default();
        let coupon = |id: u8, exp| Once { id: [id; 16], exp };
        let (a, b) = (coupon(1, 100), coupon(2, 200));
        assert!(used.pays(99, &a, &[7; 16]) && !used.pays(100, &a, &[7; 16]));
        let mut records = vec![used.use_up(99, &a, &[7; 16])];
        assert!(used.pays(99, &a, &[7; 16]), "the same request");
        assert!(!used.pays(99, &a, &[8; 16]));
        records.push(used.use_up(150, &b, &[8; 16]));
        assert_eq!(used.of.len(), 1, "the first has expired");
        // A clock that is set back changes nothing.
        assert!(!used.pays(99, &a, &[8; 16]));
        let mut again = Used::default();
        records.iter().for_each(|r| again.apply(r).unwrap());
        assert_eq!(again.fingerprint(), used.fingerprint());
        let mut restored = Used::default();
        used.snapshot(&mut |piece| restored.apply(&piece).unwrap());
        assert_eq!(restored.fingerprint(), used.fingerprint());
        assert_eq!(restored.newest, 150);
    }

    #[test]
    fn used_coupons_are_2_to_the_20_and_then_no_new_one_pays() {
        let mut used = Used::default();
        let coupon = |n: usize, exp| Once {
            id: (n as u128).to_be_bytes(),
            exp,
        };
        let last = COUPONS_MAX - 1;
        let all = (0..last).map(|n| Use {
            at: 1,
            id: coupon(n, 0).id,
            by: [1; 16],
            exp: 50,
        });
        used.take(&Piece {
            at: 1,
            used: all.collect(),
        });
        assert!(used.pays(1, &coupon(last, 60), &[1; 16]));
        used.use_up(1, &coupon(last, 60), &[1; 16]);
        assert!(!used.pays(1, &coupon(last + 1, 60), &[1; 16]));
        assert!(used.pays(1, &coupon(0, 50), &[1; 16]), "a repetition");
        // Those that have expired are forgotten with the next use.
        assert!(used.pays(50, &coupon(last + 1, 60), &[1; 16]));
        used.use_up(50, &coupon(last + 1, 60), &[1; 16]);
        assert_eq!(used.of.len(), 2);
    }
}
