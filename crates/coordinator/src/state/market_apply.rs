//! Changes of the auction, and what follows from them for nodes and tasks.

use betanet_fog::{Commitment, Order, Signed, TaskId};
use betanet_wire::NodeId;

use super::market::{LotsId, resources};
use super::{About, Damaged, Effect, State, UNKNOWN};
use crate::record::Change;

impl State {
    pub(super) fn apply_market(&mut self, change: &Change) -> Result<About, Damaged> {
        match change {
            Change::Sealed { commitment } => {
                let signed =
                    Signed::<Commitment>::restore(commitment).map_err(|_| Damaged("commitment"))?;
                let Some((node, id, lots)) = self.market.seal(&signed)? else {
                    return Ok((None, None, None));
                };
                self.set_aside(node, id, lots);
                Ok((Some(node), None, None))
            }
            Change::Revealed { order } => {
                let order = Order::from_slice(order).map_err(|_| Damaged("order"))?;
                self.market.reveal(&order)?;
                Ok((None, None, None))
            }
            Change::Cleared { round, tier, .. } => {
                let (asks, rents) = self.market.clear((*round, *tier))?;
                for (node, id, lots) in asks {
                    self.give_back(node, id, lots);
                }
                for (id, rent) in rents {
                    self.set_aside(rent.node, id, rent.lots);
                    self.effect(Effect::Node(rent.node));
                }
                Ok((None, None, None))
            }
            Change::Voided { id } => {
                let rent = self.market.annul(id).ok_or(UNKNOWN)?;
                let (node, lots, held) = (rent.node, rent.lots, rent.held());
                let tasks: alloc::vec::Vec<TaskId> = rent.tasks.iter().copied().collect();
                if !held {
                    self.nodes.set_aside(&node, lots, false);
                }
                self.effect(Effect::Back(*id));
                for task in tasks {
                    self.effect(Effect::Task(task));
                }
                Ok((Some(node), None, None))
            }
            Change::Over { id } => {
                let rent = self.market.finish(id).ok_or(UNKNOWN)?;
                if !rent.tasks.is_empty() {
                    return Err(Damaged("reservation without tasks"));
                }
                if !rent.void {
                    self.give_back(rent.node, *id, rent.lots);
                }
                Ok((Some(rent.node), None, None))
            }
            _ => Err(Damaged("change of the auction")),
        }
    }

    fn set_aside(&mut self, node: NodeId, id: LotsId, lots: u64) {
        self.nodes.set_aside(&node, lots, true);
        self.effect(Effect::Aside { node, id, lots });
    }

    fn give_back(&mut self, node: NodeId, id: LotsId, lots: u64) {
        self.nodes.set_aside(&node, lots, false);
        self.effect(Effect::Back(id));
    }

    /// A task that runs in a reservation was accepted, or has ended.
    pub(super) fn rent_task(&mut self, rsv: Option<LotsId>, task: TaskId, enters: bool) {
        let Some(rent) = rsv.and_then(|id| self.market.rents.get_mut(&id)) else {
            return;
        };
        if enters {
            rent.tasks.insert(task);
        } else {
            rent.tasks.remove(&task);
        }
    }

    /// A copy got a place in the lots of a reservation.
    pub(super) fn rent_copy(&mut self, rsv: Option<LotsId>) {
        if let Some(rent) = rsv.and_then(|id| self.market.rents.get_mut(&id)) {
            rent.live += 1;
        }
    }

    /// A copy in the lots of a reservation ended. Lots that were paid back are free with the last one.
    pub(super) fn rent_freed(&mut self, rsv: Option<LotsId>) {
        let Some(rent) = rsv.and_then(|id| self.market.rents.get_mut(&id)) else {
            return;
        };
        let held = rent.held();
        rent.live = rent.live.saturating_sub(1);
        if held && !rent.held() {
            let (node, lots) = (rent.node, rent.lots);
            self.nodes.set_aside(&node, lots, false);
        }
    }

    /// Sets aside on the nodes of a snapshot what is not free there.
    pub(super) fn restore_lots(&mut self) {
        let asks: alloc::vec::Vec<_> = self.market.asks().collect();
        for (node, _, lots) in asks {
            self.nodes.set_aside(&node, lots, true);
        }
        let rents = self.market.rents.values().filter(|r| r.held());
        for rent in rents {
            self.nodes.set_aside(&rent.node, rent.lots, true);
        }
    }
}

/// Amounts of so many lots.
pub(super) fn amounts(lots: u64) -> betanet_fog::Amounts {
    resources(lots).amounts()
}
