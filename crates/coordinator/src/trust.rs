//! Trust in nodes: earned by results that agree with others, lost by one that does not.

use betanet_fog::{Digest, TaskId, draw, label};

/// Results in a row that agreed, from which on a node's result may stand alone.
const TRUSTED: u64 = 10;

/// Time in ms within which a second wrong result quarantines.
const MEMORY: u64 = 30 * 86_400_000;

/// A node's record of compared results.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Trust {
    /// Results in a row that were compared and agreed, v in the chapter.
    pub agreed: u64,
    /// Time of the last compared result that differed, in ms.
    pub wrong: Option<u64>,
}

impl Trust {
    /// Reputation in ppm.
    #[must_use]
    pub const fn reputation(&self) -> u64 {
        let v = self.agreed;
        // Beyond this the quotient stays what it is: 10^6 without the last digits.
        let v = if v > 1 << 40 { 1 << 40 } else { v };
        1_000_000 * v / (v + 10)
    }

    /// Counts a compared result. Returns whether the node must be quarantined.
    pub fn compared(&mut self, now: u64, agrees: bool) -> bool {
        if agrees {
            self.agreed = self.agreed.saturating_add(1);
            return false;
        }
        self.agreed = 0;
        let again = self.wrong.is_some_and(|at| now.saturating_sub(at) <= MEMORY);
        self.wrong = Some(now);
        again
    }

    /// Whether a node's first result of a task must be compared with another. `secret` is S of the day.
    ///
    /// Results of nodes that are not trusted always are; those of trusted nodes are drawn.
    #[must_use]
    pub fn must_compare(&self, secret: &Digest, task: &TaskId, copy: u64) -> bool {
        let most = self.agreed.min(100);
        if most < TRUSTED {
            return true;
        }
        let drawn = draw(label::SPOT, &[secret, &task.0, &copy.to_be_bytes()]);
        drawn % u128::from(most) == 0
    }
}
