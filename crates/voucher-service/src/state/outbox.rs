//! Redemptions that a ledger is to pay out: each is journaled with its commit, and leaves once a final head shows it.

use std::collections::{BTreeMap, BTreeSet};

use betanet_durable::Unreadable;
use betanet_keys::hash;
use betanet_vouchers::KeysetId;
use betanet_wire::{NodeId, cbor, message};

/// Most redemptions that wait for the ledger, or that it refused.
pub const OUTBOX_MAX: usize = 1 << 16;
/// Redemptions in one piece of a snapshot.
const ITEMS_A_PIECE: usize = 500;

message! {
    /// A committed redemption that the ledger is to pay out.
    pub(crate) struct Owed {
        /// Time of the commit, in ms.
        req "at" at: u64,
        /// The payee.
        req "to" to: NodeId,
        /// Its units.
        req "vu" units: u64,
        /// Hash of the answer's body: the ledger takes each once.
        req "ans" ans: [u8; 32],
        /// The ledger's code, if it refused.
        opt "code" code: u16,
        /// The keyset.
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    /// A record, or a piece of a snapshot.
    struct Piece {
        /// New ones, or their codes.
        req "new" new: Vec<Owed>,
        /// Those that were paid out.
        req "done" done: Vec<[u8; 32]>,
    }
}

/// What is owed, for whoever pays it out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    /// The oldest that wait.
    pub(crate) first: Vec<Owed>,
    /// Number of all that wait.
    pub(crate) all: usize,
    /// The oldest that were refused.
    pub(crate) refused: Vec<Owed>,
    /// Number of all that were refused.
    pub(crate) refusals: usize,
}

/// The redemptions that are not paid out.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    of: BTreeMap<[u8; 32], Owed>,
    /// Those that wait, by age.
    waiting: BTreeSet<(u64, [u8; 32])>,
    /// Units that wait, by keyset.
    units: BTreeMap<KeysetId, u64>,
}

impl Outbox {
    pub(super) fn is_full(&self) -> bool {
        self.of.len() >= OUTBOX_MAX
    }

    /// Units of a keyset that wait.
    pub(super) fn units(&self, keyset: &KeysetId) -> u64 {
        self.units.get(keyset).copied().unwrap_or(0)
    }

    /// Units that wait for a payee.
    pub(super) fn units_to(&self, to: &NodeId) -> u64 {
        let owed = self.waiting.iter().filter_map(|(_, ans)| self.of.get(ans));
        let owed = owed.filter(|owed| owed.to == *to);
        owed.fold(0, |sum, owed| sum.saturating_add(owed.units))
    }

    /// The oldest of those that wait and of those that were refused, so many each.
    pub(super) fn waiting(&self, most: usize) -> Waiting {
        let first = self.waiting.iter().filter_map(|(_, ans)| self.of.get(ans));
        let refused = self.of.values().filter(|owed| owed.code.is_some());
        let mut refused: Vec<&Owed> = refused.collect();
        refused.sort_unstable_by_key(|owed| (owed.at, owed.ans));
        Waiting {
            first: first.take(most).cloned().collect(),
            all: self.waiting.len(),
            refused: refused.into_iter().take(most).cloned().collect(),
            refusals: self.of.len().saturating_sub(self.waiting.len()),
        }
    }

    /// Adds a redemption; gives the record, which is committed with the redemption's own.
    pub(super) fn owe(&mut self, owed: Owed) -> Vec<u8> {
        self.change(Piece {
            new: vec![owed],
            done: Vec::new(),
        })
    }

    /// Notes what became of redemptions: those that a final head shows, and those that the ledger refused, with its code. `None` if
    /// nothing changes.
    pub(super) fn settle(
        &mut self,
        done: Vec<[u8; 32]>,
        refused: &[([u8; 32], u16)],
    ) -> Option<Vec<u8>> {
        let done: Vec<[u8; 32]> = done
            .into_iter()
            .filter(|ans| self.of.contains_key(ans))
            .collect();
        let coded = |(ans, code): &([u8; 32], u16)| {
            let owed = self.of.get(ans).filter(|owed| owed.code != Some(*code))?;
            Some(Owed {
                code: Some(*code),
                ..owed.clone()
            })
        };
        let new: Vec<Owed> = refused.iter().filter_map(coded).collect();
        (!done.is_empty() || !new.is_empty()).then(|| self.change(Piece { new, done }))
    }

    fn change(&mut self, piece: Piece) -> Vec<u8> {
        let bytes = cbor::to_vec(&piece);
        self.take(piece);
        bytes
    }

    pub(super) fn apply(&mut self, bytes: &[u8]) -> Result<(), Unreadable> {
        self.take(cbor::from_slice(bytes).map_err(|_| Unreadable)?);
        Ok(())
    }

    fn remove(&mut self, ans: &[u8; 32]) {
        let Some(owed) = self.of.remove(ans) else {
            return;
        };
        if self.waiting.remove(&(owed.at, *ans)) {
            let units = self.units.entry(KeysetId(owed.keyset)).or_default();
            *units = units.saturating_sub(owed.units);
        }
    }

    fn take(&mut self, piece: Piece) {
        for owed in piece.new {
            self.remove(&owed.ans);
            if owed.code.is_none() {
                self.waiting.insert((owed.at, owed.ans));
                let units = self.units.entry(KeysetId(owed.keyset)).or_default();
                *units = units.saturating_add(owed.units);
            }
            self.of.insert(owed.ans, owed);
        }
        for ans in &piece.done {
            self.remove(ans);
        }
    }

    pub(super) fn snapshot(&self, out: &mut dyn FnMut(Vec<u8>)) {
        let all: Vec<Owed> = self.of.values().cloned().collect();
        for new in all.chunks(ITEMS_A_PIECE) {
            out(cbor::to_vec(&Piece {
                new: new.to_vec(),
                done: Vec::new(),
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

    fn owed(n: u8, at: u64) -> Owed {
        Owed {
            at,
            to: NodeId([n % 2; 20]),
            units: u64::from(n),
            ans: [n; 32],
            code: None,
            keyset: [9; 32],
        }
    }

    #[test]
    fn redemptions_wait_until_they_are_paid_out_or_refused() {
        let keyset = KeysetId([9; 32]);
        let mut outbox = Outbox::default();
        let mut records: Vec<Vec<u8>> = (1..=4)
            .map(|n| outbox.owe(owed(n, 100 - u64::from(n))))
            .collect();
        assert_eq!(
            (outbox.units(&keyset), outbox.units_to(&NodeId([0; 20]))),
            (10, 6)
        );
        let first: Vec<u8> = outbox.waiting(2).first.iter().map(|o| o.ans[0]).collect();
        assert_eq!(first, [4, 3], "the oldest first");
        records.extend(outbox.settle(vec![[4; 32]], &[([1; 32], 7)]));
        assert_eq!(outbox.settle(vec![[4; 32]], &[([1; 32], 7)]), None);
        let waiting = outbox.waiting(10);
        assert_eq!(
            (waiting.all, waiting.refusals, outbox.units(&keyset)),
            (2, 1, 5)
        );
        assert_eq!(waiting.refused[0].code, Some(7));
        // One that was refused may be paid out after all.
        records.extend(outbox.settle(vec![[1; 32]], &[]));
        assert_eq!(outbox.waiting(10).refusals, 0);
        let (mut again, mut restored) = (Outbox::default(), Outbox::default());
        records.iter().for_each(|r| again.apply(r).unwrap());
        outbox.snapshot(&mut |piece| restored.apply(&piece).unwrap());
        for other in [&again, &restored] {
            assert_eq!(other.fingerprint(), outbox.fingerprint());
            assert_eq!((other.units(&keyset), other.waiting(9).all), (5, 2));
        }
    }

    #[test]
    fn redemptions_that_wait_are_2_to_the_16() {
        let mut outbox = Outbox::default();
        for n in 0..OUTBOX_MAX {
            assert!(!outbox.is_full());
            let mut ans = [0; 32];
            ans[..8].copy_from_slice(&(n as u64).to_be_bytes());
            outbox.owe(Owed { ans, ..owed(1, 5) });
        }
        assert!(outbox.is_full());
        outbox.settle(vec![[0; 32]], &[]);
        assert!(!outbox.is_full());
    }
}
