//! The sealed-bid double auction of lots.

use alloc::vec::Vec;
use core::cmp::Reverse;

use betanet_fog::{Amounts, Order, Resources, Side, label};
use betanet_keys::hash;

/// Lots of one bid that one ask serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Match {
    /// Index of the bid among the orders.
    pub bid: usize,
    /// Index of the ask among the orders.
    pub ask: usize,
    /// Number of lots.
    pub lots: u64,
    /// ID of the reservation.
    pub id: [u8; 16],
}

/// Outcome of a round.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cleared {
    /// Price of a lot for all, in µ; 0 without a trade.
    pub price: u64,
    /// Number of lots traded.
    pub lots: u64,
    /// Who trades with whom.
    pub matches: Vec<Match>,
}

/// What one lot holds for an hour: 1 core, 2 GiB of memory, 10 GiB of storage.
///
/// `None` for more lots than a node can have.
#[must_use]
pub fn lots(count: u64) -> Option<Resources> {
    let of = |n: u64| n.checked_mul(count);
    Resources::new(Amounts {
        cpu: of(1_000)?,
        memory: of(2 << 30)?,
        storage: of(10 << 30)?,
        ..Amounts::default()
    })
    .ok()
}

/// An order in its place of the book.
struct Row {
    index: usize,
    price: u64,
    qty: u64,
    commit: [u8; 32],
}

/// Clears a round.
///
/// `orders` are the revealed orders of one tier and round, `unrevealed` its other commitments: they take part in the order of
/// equal prices, so that nobody can choose a place by withholding an order.
#[must_use]
pub fn clear(orders: &[Order], unrevealed: &[[u8; 32]]) -> Cleared {
    let commits: Vec<[u8; 32]> = orders.iter().map(Order::commit).collect();
    let mut all = commits.clone();
    all.extend_from_slice(unrevealed);
    all.sort_unstable();
    let round = hash(&[all.as_flattened()]);
    let rank = |commit: &[u8; 32]| hash(&[label::TIE.as_bytes(), &round, commit]);
    let book = |side| {
        let of_side = orders.iter().zip(&commits).enumerate();
        let mut rows: Vec<Row> = of_side
            .filter(|(_, (o, _))| o.side == side)
            .map(|(index, (o, commit))| Row {
                index,
                price: o.price,
                qty: o.qty,
                commit: *commit,
            })
            .collect();
        rows.sort_by_cached_key(|r| rank(&r.commit));
        rows
    };
    let (mut bids, mut asks) = (book(Side::Bid), book(Side::Ask));
    bids.sort_by_key(|bid| Reverse(bid.price));
    asks.sort_by_key(|a| a.price);
    trade(&bids, &asks)
}

/// Meets the bids with the asks, lot by lot.
fn trade(bids: &[Row], asks: &[Row]) -> Cleared {
    let mut out = Cleared::default();
    let (mut b, mut a) = (bids.iter().peekable(), asks.iter().peekable());
    // Lots of the current orders that have traded.
    let (mut sold, mut bought) = (0, 0);
    let mut last = None;
    while let (Some(bid), Some(ask)) = (b.peek(), a.peek()) {
        if bid.price < ask.price {
            break;
        }
        let lots = (bid.qty - bought).min(ask.qty - sold);
        if lots > 0 {
            out.lots += lots;
            last = Some((bid.price, ask.price));
            out.matches.push(Match {
                bid: bid.index,
                ask: ask.index,
                lots,
                id: reservation(&bid.commit, &ask.commit),
            });
        }
        bought += lots;
        sold += lots;
        if bought == bid.qty {
            bought = 0;
            b.next();
        }
        if sold == ask.qty {
            sold = 0;
            a.next();
        }
    }
    if let Some((bid, ask)) = last {
        let next_bid = b.peek().map_or(0, |r| r.price);
        let next_ask = a.peek().map_or(bid, |r| r.price);
        let sum = u128::from(ask.max(next_bid)) + u128::from(bid.min(next_ask));
        out.price = u64::try_from(sum / 2).unwrap_or(u64::MAX);
    }
    out
}

fn reservation(bid: &[u8; 32], ask: &[u8; 32]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(&[label::RESERVATION.as_bytes(), bid, ask])[..16]);
    id
}

/// What a revealed bid gets back of its hold, in µ, once `lots` of it traded at `price`.
#[must_use]
pub fn refund(hold: u64, price: u64, lots: u64) -> u64 {
    hold.saturating_sub(price.saturating_mul(lots))
}

/// What a bid that was not revealed loses of its hold, in µ.
#[must_use]
pub fn forfeit(hold: u64) -> u64 {
    hold / 100
}

#[cfg(test)]
mod tests {
    use betanet_fog::Tier;
    use proptest::prelude::*;

    use super::*;

    fn order(side: Side, price: u64, qty: u64, n: u8) -> Order {
        Order {
            by: [n; 32],
            price,
            qty,
            round: 1,
            salt: [n; 16],
            side,
            tier: Tier::Bronze,
        }
    }

    /// One entry a lot: the text, word by word.
    fn lot_by_lot(bids: &mut [u64], asks: &mut [u64]) -> (u64, u64) {
        bids.sort_by_key(|bid| Reverse(*bid));
        asks.sort();
        let k = bids.iter().zip(&*asks).filter(|(b, a)| b >= a).count();
        let Some(last) = k.checked_sub(1) else {
            return (0, 0);
        };
        let (b_k, a_k) = (bids[last], asks[last]);
        let b_next = bids.get(k).copied().unwrap_or(0);
        let a_next = asks.get(k).copied().unwrap_or(b_k);
        (k as u64, (a_k.max(b_next) + b_k.min(a_next)) / 2)
    }

    proptest! {
        #[test]
        fn agrees_with_a_book_of_single_lots(
            rows in prop::collection::vec((any::<bool>(), 0..20u64, 1..5u64), 0..12),
        ) {
            let mut orders = Vec::new();
            let (mut bids, mut asks) = (Vec::new(), Vec::new());
            for (n, (bid, price, qty)) in (0..).zip(rows) {
                let side = if bid { Side::Bid } else { Side::Ask };
                let book = if bid { &mut bids } else { &mut asks };
                book.extend((0..qty).map(|_| price));
                orders.push(order(side, price, qty, n));
            }
            let cleared = clear(&orders, &[]);
            prop_assert_eq!((cleared.lots, cleared.price), lot_by_lot(&mut bids, &mut asks));
            let sum: u64 = cleared.matches.iter().map(|m| m.lots).sum();
            prop_assert_eq!(sum, cleared.lots);
            for m in &cleared.matches {
                prop_assert!(orders[m.bid].price >= cleared.price);
                prop_assert!(orders[m.ask].price <= cleared.price);
            }
        }
    }

    #[test]
    fn holds_are_settled_and_lots_have_a_bound() {
        assert_eq!(refund(600, 92, 5), 140);
        assert_eq!(refund(400, 92, 5), 0);
        assert_eq!(forfeit(599), 5);
        assert_eq!(lots(3).map(|r| r.cpu()), Some(3_000));
        assert_eq!(lots(1 << 20), None);
    }
}
