//! Orders of the fleet's nodes and users, and tasks in the lots that they buy.

use alloc::boxed::Box;
use alloc::format;

use betanet_coordinator::Request;
use betanet_coordinator::placer::Placer;
use betanet_fog::bodies::MarketView;
use betanet_fog::{
    Commitment, Node, Order, ROUND_MS, Resources, Side, Signed, Task, Tier, Verification,
};
use betanet_keys::Identity;

use super::records::{amounts, node_of};
use super::storm::{Ask, Storm};

/// A node with storage for lots.
pub(super) fn lessor(id: &Identity, zone: u64, org: u64) -> Node {
    let mut node = node_of(id, &format!("z{zone}"), &format!("org{org}"));
    let mut cap = amounts(4_000, 8 << 30);
    cap.storage = 100 << 30;
    node.cap = Resources::capacity(cap).unwrap();
    node
}

impl<P: Placer + Default> Storm<P> {
    /// Commits to orders and reveals most of them, each in its time.
    pub(super) fn trade(&mut self) {
        let (round, part) = (self.w.unix() / ROUND_MS, self.w.unix() % ROUND_MS);
        if part < 180_000 && self.happens(self.s.orders) {
            self.commit_order(round);
        }
        if (180_000..240_000).contains(&part) {
            let orders = core::mem::take(&mut self.orders);
            for (by, order) in orders {
                // One in eight is withheld.
                if order.round == round && self.pick(8) > 0 {
                    self.send(&by, Request::Reveal(order.clone()), Ask::Other);
                }
            }
        }
        if part >= 240_000 && self.asked_round < round && self.outcome.records > 0 {
            let user = self.users[0].clone();
            let request = Request::Market {
                tier: Tier::Bronze,
                round,
                after: None,
            };
            self.send(&user, request, Ask::Market(round));
        }
    }

    fn commit_order(&mut self, round: u64) {
        let (by, side, hold) = if self.happens(500) {
            let at = self.pick(self.workers.len());
            let worker = &self.workers[at];
            if !worker.alive || !worker.linked {
                return;
            }
            (worker.id.clone(), Side::Ask, 1)
        } else {
            let at = self.pick(self.users.len());
            (self.users[at].clone(), Side::Bid, 1_000)
        };
        let order = Order {
            by: *by.public().as_bytes(),
            qty: 1 + u64::from(side == Side::Bid) * self.w.rng.below(2),
            salt: self.w.rng.array(),
            side,
            tier: Tier::Bronze,
            price: self.w.rng.below(400),
            round,
        };
        let commitment = Commitment {
            by: order.by,
            hold,
            side,
            tier: Tier::Bronze,
            round,
            commit: order.commit(),
        };
        let signed = Signed::sign(commitment, &by).unwrap();
        let request = Request::Commit(Box::new(signed));
        self.send(&by.clone(), request, Ask::Commit(Box::new((by, order))));
    }

    /// Users learn of their reservations.
    pub(super) fn market_seen(&mut self, round: u64, view: &MarketView) {
        if self.asked_round >= round {
            return;
        }
        self.asked_round = round;
        for m in &view.matches {
            self.outcome.rents += 1;
            let bid = view.revealed.iter().find(|o| o.commit() == m.bid).unwrap();
            let user = self.users.iter().find(|u| *u.public().as_bytes() == bid.by);
            self.rents.push((m.reservation, user.unwrap().clone()));
        }
    }

    /// Lets a task of a user who has reservations run in one.
    pub(super) fn choose_rent(&mut self, user: &Identity, task: &mut Task) {
        let key = user.public().as_bytes();
        let own = self
            .rents
            .iter()
            .filter(|(_, u)| u.public().as_bytes() == key);
        let own: alloc::vec::Vec<[u8; 16]> = own.map(|(id, _)| *id).collect();
        if own.is_empty() || !self.happens(500) {
            return;
        }
        let nth = self.pick(own.len());
        task.rsv = Some(own[nth]);
        task.tier = Tier::Bronze;
        task.verify = Verification::NONE;
        task.res = Resources::demand(amounts(500, 1 << 30)).unwrap();
        task.deadline += 2 * 3_600_000;
    }
}
