use betanet_keys::hash;

use super::ensure;
use crate::item::record;
use crate::{Digest, Record, Refusal, RefusalCode, Side, Tier, label, to_vec};

/// Length of an auction's round.
pub const ROUND_MS: u64 = 300_000;
/// Part of a round in which commitments are taken.
const COMMIT_MS: u64 = 180_000;
/// End of the part in which orders are revealed.
const REVEAL_MS: u64 = 240_000;
/// Most lots of an order.
const QTY_MAX: u64 = 1_000_000;

record! {
    /// A bidder's promise of an order that it does not show yet.
    pub struct Commitment {
        /// Public key of the bidder, who signs this.
        "by" by: [u8; 32],
        /// What the bidder has blocked for the order, in µ: a bid's whole price at least.
        "hold" hold: u64,
        /// Side of the order.
        "side" side: Side,
        /// Tier whose lots are traded.
        "tier" tier: Tier,
        /// Number of the round.
        "round" round: u64,
        /// Hash of the order.
        "commit" commit: Digest,
    }
}

record! {
    /// An order for lots of an hour.
    pub struct Order {
        /// Public key of the bidder.
        "by" by: [u8; 32],
        /// Number of lots, up to 10^6.
        "qty" qty: u64,
        /// Keeps the commitment from being guessed.
        "salt" salt: [u8; 16],
        /// Side.
        "side" side: Side,
        /// Tier whose lots are traded.
        "tier" tier: Tier,
        /// Price of a lot, in µ.
        "price" price: u64,
        /// Number of the round.
        "round" round: u64,
    }
}

impl Record for Commitment {
    const LABEL: &'static str = label::COMMITMENT;
    const SIGNER: &'static str = "by";

    fn signer(&self) -> &[u8; 32] {
        &self.by
    }

    fn check(&self) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Whether `now` lies in a part of a round, given by ms from its start.
fn within(round: u64, now_ms: u64, from: u64, to: u64) -> Result<(), Refusal> {
    let start = u128::from(round) * u128::from(ROUND_MS);
    let now = u128::from(now_ms);
    if (start + u128::from(from)..start + u128::from(to)).contains(&now) {
        Ok(())
    } else {
        Err(RefusalCode::RoundClosed.of("round"))
    }
}

impl Commitment {
    /// Checks that the round still takes commitments.
    ///
    /// # Errors
    ///
    /// `round_closed`.
    pub fn in_time(&self, now_ms: u64) -> Result<(), Refusal> {
        within(self.round, now_ms, 0, COMMIT_MS)
    }
}

impl Order {
    /// Reads an order and checks its bounds.
    ///
    /// # Errors
    ///
    /// `too_large`, `malformed` or `bad_value`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Refusal> {
        let order: Self = crate::from_slice(bytes)?;
        order.check()?;
        Ok(order)
    }

    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// `bad_value`.
    pub const fn check(&self) -> Result<(), Refusal> {
        ensure(self.qty <= QTY_MAX, "qty")
    }

    /// Hash of the order, which its commitment names.
    #[must_use]
    pub fn commit(&self) -> Digest {
        hash(&[label::ORDER.as_bytes(), &to_vec(self)])
    }

    /// Checks a revealed order against the commitment to it.
    ///
    /// # Errors
    ///
    /// `round_closed` outside the time for reveals, `commit_mismatch` for another order, `bad_value` for a bid over its hold.
    pub fn reveals(&self, commitment: &Commitment, now_ms: u64) -> Result<(), Refusal> {
        within(self.round, now_ms, COMMIT_MS, REVEAL_MS)?;
        let mismatch = |good, key| {
            if good {
                Ok(())
            } else {
                Err(RefusalCode::CommitMismatch.of(key))
            }
        };
        mismatch(self.by == commitment.by, "by")?;
        mismatch(self.round == commitment.round, "round")?;
        mismatch(self.side == commitment.side, "side")?;
        mismatch(self.tier == commitment.tier, "tier")?;
        mismatch(self.commit() == commitment.commit, "commit")?;
        let price = u128::from(self.price) * u128::from(self.qty);
        ensure(
            self.side == Side::Ask || price <= u128::from(commitment.hold),
            "hold",
        )
    }
}
