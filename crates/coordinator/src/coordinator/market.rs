//! The auction of lots: commitments, reveals, rounds that are cleared, reservations that are served or paid back.

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_fog::bodies::{MarketView, Match, SealedOrder};
use betanet_fog::{
    Commitment, Digest, List, NodeState, Order, ROUND_MS, Reason, RefusalCode, Resource, Side,
    Signed, TaskState, Tier,
};
use betanet_scheduler::auction;
use betanet_wire::NodeId;

use super::{Coordinator, Served, UNKNOWN};
use crate::lead::Held;
use crate::life::End;
use crate::placer::Placer;
use crate::record::Change;
use crate::request::{Caller, Event, Reply};
use crate::state::market::{
    ASKS_MAX, Book, BookOf, CLEARED_MS, COMMITS_MAX, LotsId, OWN_MAX, REVEALS_MS, ROUNDS_KEPT,
    Sealed, begin, encoded, resources,
};

/// Rows of each list of a page.
const PAGE: usize = 1_000;

/// Reservations of one node that one look pays back.
const VOIDED: usize = 256;

impl<P: Placer> Coordinator<P> {
    /// The time that records have.
    fn market_ms(&self) -> u64 {
        self.clock.ms().max(self.state.ts)
    }

    pub(super) fn commit_order(
        &mut self,
        caller: &Caller,
        commitment: &Signed<Commitment>,
    ) -> Served {
        if caller.key != commitment.by {
            return Err(RefusalCode::NotYours.of("by"));
        }
        commitment.in_time(self.market_ms())?;
        let of = (commitment.round, commitment.tier);
        let book = self.state.market.books.get(&of);
        if let Some(known) = book.and_then(|b| b.sealed.get(&commitment.commit)) {
            let same = known.by == commitment.by
                && known.side == commitment.side
                && known.hold == commitment.hold;
            return if same {
                Ok(Reply::Done)
            } else {
                Err(RefusalCode::InUse.of("commit"))
            };
        }
        // A hash names one order, of one round and tier: whose money stands behind it, stands behind one commitment.
        let elsewhere = self
            .state
            .market
            .is_sealed(&commitment.by, &commitment.commit);
        if elsewhere {
            return Err(RefusalCode::InUse.of("commit"));
        }
        match commitment.side {
            Side::Bid if caller.namespaces.is_empty() => return Err(RefusalCode::Role.of("by")),
            Side::Bid => {}
            Side::Ask => self.check_ask(caller.node, commitment.hold)?,
        }
        if let Some(book) = book {
            let (mut own, mut asks) = (0, 0);
            for sealed in book.sealed.values() {
                own += usize::from(sealed.by == commitment.by);
                asks += usize::from(sealed.side == Side::Ask);
            }
            let full = book.sealed.len() >= COMMITS_MAX
                || own >= OWN_MAX
                || (commitment.side == Side::Ask && asks >= ASKS_MAX);
            if full {
                return Err(RefusalCode::Quota.bare());
            }
        }
        self.commit(Change::Sealed {
            commitment: commitment.to_bytes().into(),
        });
        if commitment.side == Side::Bid {
            self.hold(Held::Event(Event::Blocked {
                by: commitment.by,
                commit: commitment.commit,
                amount: commitment.hold,
            }));
        }
        Ok(Reply::Done)
    }

    /// Checks that an active node has so many lots free.
    fn check_ask(&self, id: NodeId, lots: u64) -> Result<(), betanet_fog::Refusal> {
        let node = self.state.nodes.get(&id);
        let node = node.ok_or(RefusalCode::Role.of("by"))?;
        let amounts = auction::lots(lots).filter(|_| lots > 0);
        let amounts = amounts.ok_or(RefusalCode::BadValue.of("hold"))?;
        let free = node.free();
        let fits = Resource::ALL
            .iter()
            .all(|r| amounts.get(*r) <= free.get(*r));
        let active = node.state() == NodeState::Active && !self.state.rated.is_jailed(&id);
        if fits && active {
            Ok(())
        } else {
            Err(RefusalCode::InUse.of("hold"))
        }
    }

    pub(super) fn reveal_order(&mut self, caller: &Caller, order: &Order) -> Served {
        order.check()?;
        if caller.key != order.by {
            return Err(RefusalCode::NotYours.of("by"));
        }
        let commit = order.commit();
        let mut found: Option<(BookOf, &Sealed)> = None;
        for tier in Tier::ALL {
            let of = (order.round, *tier);
            let book = self.state.market.books.get(&of);
            if let Some(sealed) = book.and_then(|b| b.sealed.get(&commit))
                && found.is_none_or(|((_, t), _)| t != order.tier)
            {
                found = Some((of, sealed));
            }
        }
        // Without a commitment, it is compared with one of another hash.
        let promised = match found {
            Some(((round, tier), sealed)) => Commitment {
                by: sealed.by,
                hold: sealed.hold,
                side: sealed.side,
                tier,
                round,
                commit,
            },
            None => Commitment {
                by: order.by,
                hold: u64::MAX,
                side: order.side,
                tier: order.tier,
                round: order.round,
                commit: [0; 32],
            },
        };
        order.reveals(&promised, self.market_ms())?;
        let Some((_, sealed)) = found else {
            return Err(RefusalCode::CommitMismatch.of("commit"));
        };
        // An ask's hold is the number of lots that are set aside.
        if order.side == Side::Ask && order.qty > sealed.hold {
            return Err(RefusalCode::BadValue.of("hold"));
        }
        if sealed.order.is_none() {
            self.commit(Change::Revealed {
                order: encoded(order),
            });
        }
        Ok(Reply::Done)
    }

    /// A page of a round: what follows `after`, up to 1 000 rows of each list.
    pub(super) fn market(&self, tier: Tier, round: u64, after: Option<Digest>) -> Served {
        let ms = self.market_ms();
        let mut view = MarketView {
            lots: 0,
            next: None,
            tier,
            price: 0,
            round,
            sealed: List::default(),
            matches: List::default(),
            revealed: List::default(),
        };
        let of = (round, tier);
        let Some(book) = self.state.market.books.get(&of) else {
            let now = ms / ROUND_MS;
            let known = round <= now && now <= round.saturating_add(ROUNDS_KEPT);
            return if known {
                Ok(Reply::Market(Box::new(view)))
            } else {
                Err(UNKNOWN)
            };
        };
        let shown = begin(round).saturating_add(CLEARED_MS) <= ms;
        [view.price, view.lots] = book.cleared.unwrap_or_default();
        let (mut sealed, mut matches, mut revealed) = (Vec::new(), Vec::new(), Vec::new());
        let from = match after {
            Some(after) => core::ops::Bound::Excluded(after),
            None => core::ops::Bound::Unbounded,
        };
        let mut last = None;
        for (commit, row) in book.sealed.range((from, core::ops::Bound::Unbounded)) {
            let trades = book.trades.get(commit).map_or(&[][..], Vec::as_slice);
            if sealed.len() >= PAGE || matches.len().saturating_add(trades.len()) > PAGE {
                view.next = last;
                break;
            }
            last = Some(*commit);
            sealed.push(SealedOrder {
                commit: *commit,
                side: row.side,
            });
            matches.extend(trades.iter().map(|t| Match {
                bid: *commit,
                ask: t.ask,
                lots: t.lots,
                reservation: t.id,
            }));
            revealed.extend(row.order(of).filter(|_| shown));
        }
        view.sealed = List::try_from(sealed).unwrap_or_default();
        view.matches = List::try_from(matches).unwrap_or_default();
        view.revealed = List::try_from(revealed).unwrap_or_default();
        Ok(Reply::Market(Box::new(view)))
    }

    /// Clears rounds and ends reservations whose time has come.
    pub(super) fn look_at_market(&mut self) {
        let ms = self.market_ms();
        while self.has_room()
            && let Some((round, tier)) = self.state.market.due(ms)
        {
            // A leader that began during the reveals, or after, may have missed some.
            let spared = self.state.led >= begin(round).saturating_add(REVEALS_MS);
            self.commit(Change::Cleared {
                round,
                tier,
                spared,
            });
            self.settle_round((round, tier), spared);
        }
        while self.has_room()
            && let Some(id) = self.state.market.over(ms)
        {
            self.end_reservation(id);
        }
    }

    /// Says what becomes of the holds of a round's bids.
    fn settle_round(&mut self, of: BookOf, spared: bool) {
        let Some(book) = self.state.market.books.get(&of) else {
            return;
        };
        let [price, _] = book.cleared.unwrap_or_default();
        let settled: Vec<Event> = book
            .sealed
            .iter()
            .filter(|(_, s)| s.side == Side::Bid)
            .map(|(commit, sealed)| settled(book, commit, sealed, price, spared))
            .collect();
        for event in settled {
            self.hold(Held::Event(event));
        }
    }

    /// Ends the tasks of a reservation, and then the reservation. A call's records are bounded: the rest follows at once.
    fn end_reservation(&mut self, id: LotsId) {
        let rent = self.state.market.rents.get(&id);
        let tasks: Vec<_> = rent.map_or(Vec::new(), |r| r.tasks.iter().copied().collect());
        for task in tasks {
            if !self.has_room() {
                return;
            }
            self.end_task(task, &End::without(TaskState::Expired, Reason::Deadline));
        }
        let Some(rent) = self.state.market.rents.get(&id) else {
            return;
        };
        let paid = Event::Rented {
            id,
            bidder: rent.bidder,
            node: rent.node,
            amount: rent.amount,
            back: false,
        };
        let void = rent.void;
        self.commit(Change::Over { id });
        if !void {
            self.hold(Held::Event(paid));
        }
    }

    /// Pays back the reservations of a node that is not active. Returns whether some are left.
    pub(super) fn pay_back(&mut self, node: NodeId) -> bool {
        let found = self.state.market.of_node(&node, VOIDED);
        for id in &found {
            let Some(rent) = self.state.market.rents.get(id) else {
                continue;
            };
            let paid = Event::Rented {
                id: *id,
                bidder: rent.bidder,
                node,
                amount: rent.amount,
                back: true,
            };
            self.commit(Change::Voided { id: *id });
            self.hold(Held::Event(paid));
        }
        found.len() == VOIDED
    }

    /// Whether a task's reservation was paid back.
    pub(super) fn is_void(&self, rsv: Option<LotsId>) -> bool {
        rsv.is_some_and(|id| self.state.market.rents.get(&id).is_none_or(|r| r.void))
    }

    /// Sets aside in the placer what the state says is set aside.
    pub(super) fn adopt_lots(&mut self) {
        for (node, id, lots) in self.state.market.asks() {
            self.placer.set_aside(&node, id, &resources(lots));
        }
        for (id, rent) in &self.state.market.rents {
            if rent.held() {
                self.placer
                    .set_aside(&rent.node, *id, &resources(rent.lots));
            }
        }
    }

    /// Ends in the placer the reservations that were paid back, once their copies are adopted.
    pub(super) fn adopt_voids(&mut self) {
        for (id, rent) in &self.state.market.rents {
            if rent.void {
                self.placer.give_back(id);
            }
        }
    }
}

/// What becomes of a bid's hold.
fn settled(book: &Book, commit: &Digest, sealed: &Sealed, price: u64, spared: bool) -> Event {
    let trades = book.trades.get(commit).map_or(&[][..], Vec::as_slice);
    let lots: u64 = trades.iter().map(|t| t.lots).sum();
    let paid = price.saturating_mul(lots);
    let (lost, back) = match sealed.order {
        Some(_) => (0, auction::refund(sealed.hold, price, lots)),
        None if spared => (0, sealed.hold),
        None => {
            let lost = auction::forfeit(sealed.hold);
            (lost, sealed.hold.saturating_sub(lost))
        }
    };
    Event::Settled {
        by: sealed.by,
        commit: *commit,
        paid,
        lost,
        back,
    }
}
