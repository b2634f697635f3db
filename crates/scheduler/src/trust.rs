//! Trust in nodes, from results that were compared.

use betanet_fog::{TaskId, draw, label};

/// Results in a row from which a node is trusted.
pub const TRUSTED: u64 = 10;

/// Two differing results within this time quarantine a node, in ms.
const APART: u64 = 30 * 86_400_000;

/// Record of a node. It outlives the node's description.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Trust {
    agreed: u64,
    differed: Option<u64>,
}

impl Trust {
    /// A record that was kept: results in a row that agreed, and when the last one differed, in ms.
    #[must_use]
    pub const fn kept(agreed: u64, differed: Option<u64>) -> Self {
        Self { agreed, differed }
    }

    /// Results in a row that were compared and agreed.
    #[must_use]
    pub const fn agreed(&self) -> u64 {
        self.agreed
    }

    /// When a result last differed, in ms.
    #[must_use]
    pub const fn differed(&self) -> Option<u64> {
        self.differed
    }

    /// Counts a result that was compared. Returns whether the node is to be quarantined.
    #[must_use]
    pub fn compared(&mut self, now: u64, agreed: bool) -> bool {
        if agreed {
            self.agreed = self.agreed.saturating_add(1);
            return false;
        }
        self.agreed = 0;
        let before = self.differed.replace(now);
        before.is_some_and(|at| now.saturating_sub(at) <= APART)
    }

    /// Reputation, in ppm.
    #[must_use]
    pub fn reputation(&self) -> u32 {
        let v = u128::from(self.agreed);
        u32::try_from(1_000_000 * v / (v + 10)).unwrap_or(1_000_000)
    }

    /// Whether a first result of this node stands alone: it is trusted, and the draw does not ask for a second one.
    ///
    /// `seed` is that of the day on which the result is committed.
    #[must_use]
    pub fn stands_alone(&self, seed: &[u8; 32], task: &TaskId, copy: u64) -> bool {
        if self.agreed < TRUSTED {
            return false;
        }
        let number = draw(label::SPOT, &[seed, &task.0, &copy.to_be_bytes()]);
        !number.is_multiple_of(u128::from(self.agreed.min(100)))
    }
}
