use crate::item::{record, tuple};
use crate::{Digest, List, Map, Order, Side, Tier, Word};

record! {
    /// `GET price`: the demand factors that would be fixed now, in millionths.
    pub struct Price {
        /// Journal index.
        "at" at: u64,
        /// UNIX ms.
        "ts" ts: u64,
        /// Lowest price of an active node, below which no factor lies.
        "floor" floor: u64,
        /// Factor of each resource by its name. A task pays by the highest of those that it asks for.
        "factor" factor: Map<Word, u64>,
    }
}

record! {
    /// `GET seed/<day>`: the secret behind a day's draws.
    pub struct SeedView {
        /// The day, counted from 1970 in UTC.
        "day" day: u64,
        /// `H(SEED1 || seed)`.
        "hash" hash: Digest,
        /// The secret, from a day after its own ends; `None` before.
        "seed" seed: Option<[u8; 32]>,
    }
}

/// A commitment as a round shows it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SealedOrder {
    /// The commitment's hash.
    pub commit: Digest,
    /// Side of the order.
    pub side: Side,
}

/// Lots that a bid and an ask trade with each other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Match {
    /// Commitment of the bid.
    pub bid: Digest,
    /// Commitment of the ask.
    pub ask: Digest,
    /// Number of lots.
    pub lots: u64,
    /// ID of the reservation.
    pub reservation: [u8; 16],
}

tuple!(SealedOrder {
    commit: Digest,
    side: Side,
});
tuple!(Match {
    bid: Digest,
    ask: Digest,
    lots: u64,
    reservation: [u8; 16],
});

record! {
    /// `GET market/<tier>/<round>`, in pages: each list holds what follows the page's `after`, ascending by commitment.
    pub struct MarketView {
        /// Lots traded; 0 while the round is open.
        "lots" lots: u64,
        /// The `after` of the next page; `None` on the last.
        "next" next: Option<Digest>,
        /// Tier whose lots are traded.
        "tier" tier: Tier,
        /// Price of each traded lot, in µ; 0 while the round is open.
        "price" price: u64,
        /// Number of the round.
        "round" round: u64,
        /// Commitments.
        "sealed" sealed: List<SealedOrder, 1000>,
        /// Trades, by the bid's commitment.
        "matches" matches: List<Match, 1000>,
        /// Orders, shown from 240 s into the round.
        "revealed" revealed: List<Order, 1000>,
    }
}
