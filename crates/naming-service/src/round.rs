//! One proposal: the signatures that other signers give for it, and the records that they hold to.

use betanet_log::{Signature, SignedHead, Signers};
use betanet_naming::DOMAIN;
use bytes::Bytes;

/// Progress of a proposal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Progress {
    /// Others have not answered yet.
    Waits,
    /// With the proposer's own signature, the head is final.
    Enough,
    /// All have answered, and too few signed.
    Failed,
}

/// A proposal in progress. The proposer signs last: one whom nobody follows is bound to nothing.
#[derive(Debug)]
pub(crate) struct Round {
    head: SignedHead,
    signers: Signers,
    open: usize,
    held: Vec<Vec<Bytes>>,
}

impl Round {
    /// Begins a round in which `others` signers were asked.
    pub(crate) fn new(head: SignedHead, signers: Signers, others: usize) -> Self {
        Self {
            head: SignedHead::new(*head.head()),
            signers,
            open: others,
            held: Vec::new(),
        }
    }

    /// A signature came. One that does not verify counts as none.
    pub(crate) fn signed(&mut self, signature: Signature) -> Progress {
        self.open = self.open.saturating_sub(1);
        self.head.add(signature);
        self.head.clean(DOMAIN, &self.signers);
        self.progress()
    }

    /// A signer refused. `held` are the records of a proposal that it signed before.
    pub(crate) fn refused(&mut self, held: Vec<Bytes>) -> Progress {
        self.open = self.open.saturating_sub(1);
        if !held.is_empty() {
            self.held.push(held);
        }
        self.progress()
    }

    pub(crate) fn progress(&self) -> Progress {
        if self.head.signatures().len() + 1 >= self.signers.threshold() {
            Progress::Enough
        } else if self.open == 0 {
            Progress::Failed
        } else {
            Progress::Waits
        }
    }

    /// The head with the signatures so far.
    pub(crate) const fn head(&self) -> &SignedHead {
        &self.head
    }

    /// The records that the next proposal should begin with: those that most signers hold to, then the longest list.
    pub(crate) fn prefix(&self) -> Vec<Bytes> {
        let votes = |list: &Vec<Bytes>| self.held.iter().filter(|h| *h == list).count();
        let best = self
            .held
            .iter()
            .max_by_key(|list| (votes(list), list.len()));
        best.cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;
    use betanet_log::Head;

    use super::*;

    fn identity(n: u8) -> Identity {
        Identity::from_seed(&[n; 32])
    }

    fn round(n: u8) -> Round {
        let keys: Vec<_> = (1..=n).map(|n| *identity(n).public()).collect();
        let signers = Signers::new(&keys).unwrap();
        let head = Head {
            ts: 1,
            set: *signers.hash(),
            root: [1; 32],
            size: 1,
            state: None,
        };
        Round::new(SignedHead::new(head), signers, usize::from(n) - 1)
    }

    #[test]
    fn more_than_half_with_the_proposer_are_enough() {
        let mut of_three = round(3);
        let sign = |round: &Round, n: u8| round.head().signature(DOMAIN, &identity(n));
        let one = sign(&of_three, 2);
        assert_eq!(of_three.signed(one), Progress::Enough);
        let mut of_five = round(5);
        let one = sign(&of_five, 2);
        assert_eq!(of_five.signed(one), Progress::Waits);
        // Once more, and a stranger's: they count for nothing.
        assert_eq!(of_five.signed(one), Progress::Waits);
        let stranger = sign(&of_five, 9);
        assert_eq!(of_five.signed(stranger), Progress::Waits);
        let two = sign(&of_five, 3);
        assert_eq!(of_five.signed(two), Progress::Enough);
        assert!(of_five.head().check(DOMAIN, &of_five.signers).is_err());
    }

    #[test]
    fn a_failed_round_tells_what_others_hold_to() {
        let list = |names: &[&'static str]| -> Vec<Bytes> {
            names
                .iter()
                .map(|n| Bytes::from_static(n.as_bytes()))
                .collect()
        };
        let mut failed = round(5);
        assert_eq!(failed.refused(list(&["a", "b"])), Progress::Waits);
        assert_eq!(failed.refused(list(&["c"])), Progress::Waits);
        assert_eq!(failed.refused(list(&["c"])), Progress::Waits);
        assert_eq!(failed.refused(Vec::new()), Progress::Failed);
        assert_eq!(failed.prefix(), list(&["c"]));
    }
}
