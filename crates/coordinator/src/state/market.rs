//! The auction's books, and the reservations that it sold.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_fog::{Commitment, Digest, Order, ROUND_MS, Resources, Side, TaskId, Tier, to_vec};
use betanet_keys::{PublicKey, hash};
use betanet_scheduler::auction;
use betanet_wire::NodeId;

use crate::codec::{Damaged, row};

/// Most commitments of a round and tier.
pub(crate) const COMMITS_MAX: usize = 4_096;

/// Most asks of a round and tier, so that the trades of one bid fit a page.
pub(crate) const ASKS_MAX: usize = 1_000;

/// Most commitments of one key in a round and tier.
pub(crate) const OWN_MAX: usize = 8;

/// Time in a round from which orders are revealed, in ms.
pub(crate) const REVEALS_MS: u64 = 180_000;

/// Time in a round at which it is cleared and its orders are shown, in ms.
pub(crate) const CLEARED_MS: u64 = 240_000;

/// Length of a reservation, in ms.
const HOUR_MS: u64 = 3_600_000;

/// Rounds for which a book can be read.
pub(crate) const ROUNDS_KEPT: u64 = 14;

/// Round and tier of a book.
pub(crate) type BookOf = (u64, Tier);

/// ID of a reservation, or of lots that an ask sets aside.
pub(crate) type LotsId = [u8; 16];

/// What a revealed order adds to its commitment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Shown {
    pub(crate) price: u64,
    pub(crate) qty: u64,
    pub(crate) salt: [u8; 16],
}
row!(Shown { price, qty, salt });

/// A commitment, and its order once it is revealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sealed {
    pub(crate) by: [u8; 32],
    pub(crate) side: Side,
    /// Of a bid, µ; of an ask, lots.
    pub(crate) hold: u64,
    pub(crate) order: Option<Shown>,
}
row!(Sealed {
    by,
    side,
    hold,
    order
});

impl Sealed {
    pub(crate) fn order(&self, (round, tier): BookOf) -> Option<Order> {
        self.order.map(|o| Order {
            by: self.by,
            qty: o.qty,
            salt: o.salt,
            side: self.side,
            tier,
            price: o.price,
            round,
        })
    }
}

/// Lots of a bid that an ask serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Trade {
    pub(crate) ask: Digest,
    pub(crate) lots: u64,
    pub(crate) id: LotsId,
}
row!(Trade { ask, lots, id });

/// The orders of a round and tier.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Book {
    pub(crate) sealed: BTreeMap<Digest, Sealed>,
    /// Price and number of lots, once it is cleared.
    pub(crate) cleared: Option<[u64; 2]>,
    /// Trades of each bid.
    pub(crate) trades: BTreeMap<Digest, Vec<Trade>>,
}

/// A reservation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rent {
    pub(crate) bidder: [u8; 32],
    pub(crate) node: NodeId,
    pub(crate) lots: u64,
    /// Price of all lots, in µ.
    pub(crate) amount: u64,
    /// Begin of its hour, in UNIX ms.
    pub(crate) from: u64,
    /// Whether it was paid back.
    pub(crate) void: bool,
    /// Its tasks that have not ended. They and the number of their live copies follow from the tasks.
    pub(crate) tasks: BTreeSet<TaskId>,
    pub(crate) live: u64,
}

impl crate::codec::Row for Rent {
    fn put(&self, w: &mut betanet_wire::cbor::Writer) {
        w.array(4);
        self.bidder.put(w);
        self.node.put(w);
        [self.lots, self.amount, self.from].put(w);
        self.void.put(w);
    }
    fn get(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, Damaged> {
        use crate::codec::Row;
        crate::codec::enter(r, 4)?;
        let (bidder, node) = (Row::get(r)?, Row::get(r)?);
        let [lots, amount, from] = Row::get(r)?;
        let void = Row::get(r)?;
        r.leave();
        Ok(Self {
            bidder,
            node,
            lots,
            amount,
            from,
            void,
            tasks: BTreeSet::new(),
            live: 0,
        })
    }
}

impl Rent {
    /// End of its hour, in UNIX ms.
    pub(crate) const fn until(&self) -> u64 {
        self.from.saturating_add(HOUR_MS)
    }

    /// Whether its lots are set aside on the node.
    pub(crate) const fn held(&self) -> bool {
        !self.void || self.live > 0
    }
}

/// Books and reservations.
#[derive(Debug, Default)]
pub(crate) struct Market {
    pub(crate) books: BTreeMap<BookOf, Book>,
    pub(crate) rents: BTreeMap<LotsId, Rent>,
    /// Books that are not cleared.
    open: BTreeSet<BookOf>,
    /// Reservations by the end of their hour.
    ends: BTreeSet<(u64, LotsId)>,
    /// Reservations that were not paid back.
    by_node: BTreeSet<(NodeId, LotsId)>,
}

/// Begin of a round, in UNIX ms.
pub(crate) const fn begin(round: u64) -> u64 {
    round.saturating_mul(ROUND_MS)
}

/// What so many lots hold. More than a node can have is nothing, and no node has it free.
pub(crate) fn resources(lots: u64) -> Resources {
    auction::lots(lots).unwrap_or_default()
}

/// ID under which an ask's lots are set aside until its round is cleared.
pub(crate) fn aside((round, tier): BookOf, commit: &Digest) -> LotsId {
    let digest = hash(&[
        b"ask",
        &round.to_be_bytes(),
        tier.as_str().as_bytes(),
        commit,
    ]);
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}

/// The node that a key belongs to.
pub(crate) fn node_of(key: &[u8; 32]) -> Result<NodeId, Damaged> {
    let key = PublicKey::from_bytes(key).map_err(|_| Damaged("key of an ask"))?;
    Ok(key.node_id())
}

impl Market {
    /// Whether a book that is kept has a commitment of this key to this hash. One of another key is no reason to refuse it: that key
    /// could have read the hash on the ledger, and committed to it first.
    pub(crate) fn is_sealed(&self, by: &[u8; 32], commit: &Digest) -> bool {
        let mut books = self.books.values();
        books.any(|b| b.sealed.get(commit).is_some_and(|s| s.by == *by))
    }

    /// The first book that is to be cleared at `ms`.
    pub(crate) fn due(&self, ms: u64) -> Option<BookOf> {
        let first = self.open.first().copied();
        first.filter(|(round, _)| begin(*round).saturating_add(CLEARED_MS) <= ms)
    }

    /// The first reservation whose hour is over at `ms`.
    pub(crate) fn over(&self, ms: u64) -> Option<LotsId> {
        let first = self.ends.first().filter(|(until, _)| *until <= ms);
        first.map(|(_, id)| *id)
    }

    /// The next time at which a round is cleared or a reservation ends, in UNIX ms.
    pub(crate) fn wake(&self) -> Option<u64> {
        let clears = self.open.first();
        let clears = clears.map(|(round, _)| begin(*round).saturating_add(CLEARED_MS));
        let ends = self.ends.first().map(|(until, _)| *until);
        clears.into_iter().chain(ends).min()
    }

    /// Up to `n` reservations of a node that were not paid back.
    pub(crate) fn of_node(&self, node: &NodeId, n: usize) -> Vec<LotsId> {
        let from = (*node, [0; 16]);
        let found = self.by_node.range(from..).take_while(|(id, _)| id == node);
        found.take(n).map(|(_, id)| *id).collect()
    }

    /// Adds a commitment. Returns the lots of an ask, with their node and ID.
    pub(super) fn seal(
        &mut self,
        commitment: &Commitment,
    ) -> Result<Option<(NodeId, LotsId, u64)>, Damaged> {
        let of = (commitment.round, commitment.tier);
        let lots = match commitment.side {
            Side::Bid => None,
            Side::Ask => Some((
                node_of(&commitment.by)?,
                aside(of, &commitment.commit),
                commitment.hold,
            )),
        };
        let sealed = Sealed {
            by: commitment.by,
            side: commitment.side,
            hold: commitment.hold,
            order: None,
        };
        self.restore_sealed(of, commitment.commit, sealed);
        Ok(lots)
    }

    pub(super) fn reveal(&mut self, order: &Order) -> Result<(), Damaged> {
        let book = self.books.get_mut(&(order.round, order.tier));
        let sealed = book.and_then(|b| b.sealed.get_mut(&order.commit()));
        sealed.ok_or(Damaged("order of a commitment"))?.order = Some(Shown {
            price: order.price,
            qty: order.qty,
            salt: order.salt,
        });
        Ok(())
    }

    /// Clears a book. Returns its asks and its reservations.
    #[allow(clippy::type_complexity, reason = "two lists of lots")]
    pub(super) fn clear(
        &mut self,
        of: BookOf,
    ) -> Result<(Vec<(NodeId, LotsId, u64)>, Vec<(LotsId, Rent)>), Damaged> {
        const NO_BOOK: Damaged = Damaged("book of the auction");
        let book = self.books.get_mut(&of).ok_or(NO_BOOK)?;
        if book.cleared.is_some() {
            return Err(NO_BOOK);
        }
        let (mut orders, mut keys, mut hidden, mut asks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (commit, sealed) in &book.sealed {
            match sealed.order(of) {
                Some(order) => {
                    orders.push(order);
                    keys.push(*commit);
                }
                None => hidden.push(*commit),
            }
            if sealed.side == Side::Ask {
                asks.push((node_of(&sealed.by)?, aside(of, commit), sealed.hold));
            }
        }
        let cleared = auction::clear(&orders, &hidden);
        book.cleared = Some([cleared.price, cleared.lots]);
        let mut rents = Vec::new();
        for m in &cleared.matches {
            let (Some(bid), Some(ask)) = (orders.get(m.bid), orders.get(m.ask)) else {
                continue;
            };
            let (Some(bid_key), Some(ask_key)) = (keys.get(m.bid), keys.get(m.ask)) else {
                continue;
            };
            let trade = Trade {
                ask: *ask_key,
                lots: m.lots,
                id: m.id,
            };
            book.trades.entry(*bid_key).or_default().push(trade);
            let rent = Rent {
                bidder: bid.by,
                node: node_of(&ask.by)?,
                lots: m.lots,
                amount: cleared.price.saturating_mul(m.lots),
                from: begin(of.0.saturating_add(1)),
                void: false,
                tasks: BTreeSet::new(),
                live: 0,
            };
            rents.push((m.id, rent));
        }
        for trades in book.trades.values_mut() {
            trades.sort_by_key(|t| t.ask);
        }
        self.open.remove(&of);
        for (id, rent) in &rents {
            self.restore_rent(*id, rent.clone());
        }
        let oldest = of.0.saturating_sub(ROUNDS_KEPT);
        while let Some((first, book)) = self.books.first_key_value()
            && first.0 < oldest
            && book.cleared.is_some()
        {
            self.books.pop_first();
        }
        Ok((asks, rents))
    }

    /// Pays a reservation back.
    pub(super) fn annul(&mut self, id: &LotsId) -> Option<&Rent> {
        let rent = self.rents.get_mut(id)?;
        rent.void = true;
        self.by_node.remove(&(rent.node, *id));
        Some(rent)
    }

    /// Forgets a reservation whose hour is over.
    pub(super) fn finish(&mut self, id: &LotsId) -> Option<Rent> {
        let rent = self.rents.remove(id)?;
        self.ends.remove(&(rent.until(), *id));
        self.by_node.remove(&(rent.node, *id));
        Some(rent)
    }

    /// Adds a commitment, with its order if it was revealed.
    pub(super) fn restore_sealed(&mut self, of: BookOf, commit: Digest, sealed: Sealed) {
        let book = self.books.entry(of).or_default();
        book.sealed.insert(commit, sealed);
        if book.cleared.is_none() {
            self.open.insert(of);
        }
    }

    pub(super) fn restore_cleared(&mut self, of: BookOf, cleared: [u64; 2]) {
        self.books.entry(of).or_default().cleared = Some(cleared);
        self.open.remove(&of);
    }

    pub(super) fn restore_trade(&mut self, of: BookOf, bid: Digest, trade: Trade) {
        let book = self.books.entry(of).or_default();
        book.trades.entry(bid).or_default().push(trade);
    }

    pub(super) fn restore_rent(&mut self, id: LotsId, rent: Rent) {
        self.ends.insert((rent.until(), id));
        if !rent.void {
            self.by_node.insert((rent.node, id));
        }
        self.rents.insert(id, rent);
    }

    /// Lots of asks that no round has cleared, with their nodes and IDs.
    pub(crate) fn asks(&self) -> impl Iterator<Item = (NodeId, LotsId, u64)> {
        let open = self
            .open
            .iter()
            .filter_map(|of| Some((*of, self.books.get(of)?)));
        open.flat_map(|(of, book)| {
            let asks = book.sealed.iter().filter(|(_, s)| s.side == Side::Ask);
            asks.filter_map(move |(commit, s)| {
                Some((node_of(&s.by).ok()?, aside(of, commit), s.hold))
            })
        })
    }
}

/// The encoding of an order in its record.
pub(crate) fn encoded(order: &Order) -> alloc::boxed::Box<[u8]> {
    to_vec(order).into()
}
