//! Rebuilding a placer from a journal or a snapshot, so that it decides as the one that wrote them.

use betanet_fog::{Resource, Resources, Strategy};
use betanet_wire::NodeId;

use crate::account::DEVICE;
use crate::answer::{Error, NewCopy};
use crate::node::Live;
use crate::placer::Placer;
use crate::request::Request;

/// What decisions depend on beyond a node's description and its copies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// Turn of `round_robin`.
    pub turn: u64,
    /// Losses and internal faults in a row.
    pub failures: u32,
    /// The node rests until then, in ms.
    pub rests_until: u64,
}

impl Placer {
    /// Counts a copy that is on a node already, with these devices: no test, no choice.
    ///
    /// The resources are reserved even where the node's capacity was lowered below them. Under `round_robin` the node gets the
    /// next turn, as it did when the copy was placed. A fence that the node holds already changes nothing.
    ///
    /// Of the request, only namespace, group, tier, priority, level, strategy, resources, preemptions and reservation are read.
    ///
    /// # Errors
    ///
    /// The node is not known, another node holds the fence, the devices are not those of such a demand, or the reservation has
    /// no room. Nothing has changed.
    pub fn adopt(
        &mut self,
        now: u64,
        request: &Request<'_>,
        copy: NewCopy,
        id: &NodeId,
        devices: &[u8],
    ) -> Result<(), Error> {
        let slot = self.fleet.slot(id).ok_or(Error::Node)?;
        if let Some((live, _)) = self.fleet.copies.get(&copy.fence) {
            return if live.slot == slot {
                Ok(())
            } else {
                Err(Error::Fence(copy.fence))
            };
        }
        let mask = mask(devices, request.resources.get(Resource::Gpu)).ok_or(Error::Devices)?;
        self.fleet.advance(now);
        let grant = self
            .fleet
            .impose(slot, request.reservation, request.resources, mask)
            .ok_or(Error::Reservation)?;
        let live = Live {
            slot,
            group: self.fleet.groups.enter(request.ns, request.group),
            tier: request.tier,
            prio: request.prio,
            preempted: request.preempted,
            drawn: request.rule() == Strategy::PrivacyAware,
            lots: request.reservation.copied(),
        };
        if request.rule() == Strategy::RoundRobin {
            self.fleet.next_turn(slot);
        }
        self.fleet.insert(copy.fence, live, grant);
        Ok(())
    }

    /// Sets resources of a node aside for the tasks of a reservation, as a journal says, even beyond a capacity that was lowered.
    ///
    /// # Errors
    ///
    /// The node is not known, or the reservation exists. Nothing has changed.
    pub fn adopt_lots(
        &mut self,
        id: &NodeId,
        reservation: [u8; 16],
        amounts: &Resources,
    ) -> Result<(), Error> {
        let slot = self.fleet.slot(id).ok_or(Error::Node)?;
        if self.fleet.lots.contains_key(&reservation) {
            return Err(Error::Reservation);
        }
        let grant = self.fleet.impose(slot, None, amounts, 0);
        self.fleet
            .keep_lots(slot, reservation, amounts, grant.ok_or(Error::Node)?);
        Ok(())
    }

    /// What decisions depend on beyond a node's description and copies.
    #[must_use]
    pub fn standing(&self, id: &NodeId) -> Option<Standing> {
        let node = self.fleet.node(self.fleet.slot(id)?)?;
        Some(Standing {
            turn: node.turn,
            failures: node.failures,
            rests_until: node.rests_until,
        })
    }

    /// Sets what [`Self::standing`] told.
    ///
    /// # Errors
    ///
    /// The node is not known.
    pub fn set_standing(&mut self, id: &NodeId, standing: &Standing) -> Result<(), Error> {
        let slot = self.fleet.slot(id).ok_or(Error::Node)?;
        self.fleet
            .stand(slot, standing.turn, standing.failures, standing.rests_until);
        Ok(())
    }

    /// The last turn that was given.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.fleet.turn()
    }

    /// Sets the last turn that was given.
    pub fn set_counter(&mut self, turn: u64) {
        self.fleet.set_turn(turn);
    }
}

/// The devices as bits, if they are as many as the demand takes, each once and below 64.
fn mask(devices: &[u8], gpu: u64) -> Option<u64> {
    let mut mask = 0u64;
    for d in devices {
        let bit = 1u64.checked_shl(u32::from(*d)).filter(|b| mask & b == 0)?;
        mask |= bit;
    }
    let count = if gpu < DEVICE {
        u64::from(gpu > 0)
    } else {
        gpu / DEVICE
    };
    (u64::from(mask.count_ones()) == count).then_some(mask)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use betanet_fog::{Amounts, Kind, Level, Placement, Resources, TaskId, Tier, Word};

    use super::*;
    use crate::{Ended, NodeSpec};

    fn spec(n: u8, gpu: u64) -> NodeSpec {
        let amounts = Amounts {
            cpu: 4_000,
            memory: 1 << 30,
            gpu,
            ..Amounts::default()
        };
        NodeSpec {
            id: NodeId([n; 20]),
            capacity: Resources::new(amounts).unwrap(),
            kind: Kind::Compute,
            model: Word::default(),
            org: "lab".parse().unwrap(),
            vouched: true,
            region: Word::default(),
            zone: Word::default(),
            labels: BTreeMap::new(),
            level: Level::Public,
            price: 1,
        }
    }

    fn request<'a>(resources: &'a Resources, wishes: &'a Placement) -> Request<'a> {
        Request {
            task: &TaskId([1; 32]),
            ns: "lab",
            group: "",
            tier: Tier::Bronze,
            prio: 0,
            level: Level::Public,
            strategy: Strategy::RoundRobin,
            resources,
            wishes,
            blobs: &[],
            seed: &[0; 32],
            factor: 1_000_000,
            apart: &[],
            failed: &[],
            preempted: 0,
            reservation: None,
        }
    }

    fn placer(gpu: u64) -> Placer {
        let mut placer = Placer::new();
        for n in 1..4 {
            placer.put(&spec(n, gpu));
            placer.set_active(&NodeId([n; 20]), true, true).unwrap();
        }
        placer
    }

    #[test]
    fn a_replayed_placer_decides_as_the_first() {
        let amounts = Amounts {
            cpu: 500,
            memory: 1,
            gpu: 300,
            ..Amounts::default()
        };
        let resources = Resources::new(amounts).unwrap();
        let wishes = Placement::default();
        let request = request(&resources, &wishes);
        let (mut leader, mut follower) = (placer(2_000), placer(2_000));
        for fence in 1..9 {
            let copy = NewCopy { number: 0, fence };
            let placed = leader.place(0, &request, &[copy]).unwrap().unwrap();
            let at = &placed.copies[0];
            for _ in 0..2 {
                follower
                    .adopt(0, &request, copy, &at.node, &at.devices)
                    .unwrap();
            }
        }
        // A second follower starts from a snapshot instead.
        let mut restored = placer(2_000);
        for n in 1..4 {
            let id = NodeId([n; 20]);
            assert_eq!(leader.node(&id), follower.node(&id));
            assert_eq!(leader.standing(&id), follower.standing(&id));
            for fence in leader.fences(&id) {
                let copy = NewCopy {
                    number: 0,
                    fence: *fence,
                };
                let device = u8::from(*fence > 6);
                restored.adopt(0, &request, copy, &id, &[device]).unwrap();
            }
            restored
                .set_standing(&id, &leader.standing(&id).unwrap())
                .unwrap();
        }
        restored.set_counter(leader.counter());
        let next = leader.plan(0, &request, 0, 1).unwrap();
        assert!(next.is_ok());
        assert_eq!(next, follower.plan(0, &request, 0, 1).unwrap());
        let node = |p: &Placer| p.counter();
        assert_eq!(node(&leader), node(&restored));
        for fence in 1..9 {
            assert!(restored.end(0, fence, Ended::Dropped).is_some());
        }
    }

    #[test]
    fn a_copy_beyond_a_lowered_capacity_is_kept_and_nothing_is_added_to_it() {
        let amounts = Amounts {
            cpu: 3_000,
            memory: 1,
            gpu: 2_000,
            ..Amounts::default()
        };
        let resources = Resources::new(amounts).unwrap();
        let wishes = Placement::default();
        let request = request(&resources, &wishes);
        let mut placer = placer(1_000);
        let id = NodeId([2; 20]);
        let copy = NewCopy {
            number: 0,
            fence: 7,
        };
        assert_eq!(
            placer.adopt(0, &request, copy, &id, &[0]),
            Err(Error::Devices)
        );
        assert_eq!(
            placer.adopt(0, &request, copy, &id, &[1, 1]),
            Err(Error::Devices)
        );
        assert_eq!(
            placer.adopt(0, &request, copy, &id, &[0, 64]),
            Err(Error::Devices)
        );
        placer.adopt(0, &request, copy, &id, &[0, 1]).unwrap();
        let other = NodeId([3; 20]);
        assert_eq!(
            placer.adopt(0, &request, copy, &other, &[0, 1]),
            Err(Error::Fence(7))
        );
        assert_eq!(placer.node(&id).unwrap().reserved, resources);
        let why = placer.plan(0, &request, 0, 1).unwrap().unwrap_err();
        assert_eq!(why, [(betanet_fog::Reason::GpuTotal, 3)]);
        assert_eq!(placer.end(0, 7, Ended::Dropped), Some(id));
        assert_eq!(placer.node(&id).unwrap().reserved, Resources::ZERO);
    }

    #[test]
    fn a_reservation_is_used_by_its_tasks_alone_and_given_back_with_the_last() {
        let of = |cpu| Amounts {
            cpu,
            memory: 1,
            ..Amounts::default()
        };
        let (small, lots) = (
            Resources::new(of(1_000)).unwrap(),
            Resources::new(of(3_000)).unwrap(),
        );
        let wishes = Placement::default();
        let mut placer = placer(0);
        let (id, rsv) = (NodeId([2; 20]), [5; 16]);
        assert_eq!(placer.set_aside(&id, rsv, &lots), Ok(true));
        assert_eq!(placer.set_aside(&id, [6; 16], &lots), Ok(false));
        assert_eq!(placer.set_aside(&id, rsv, &lots), Err(Error::Reservation));
        let with = Request {
            reservation: Some(&rsv),
            factor: 0,
            ..request(&small, &wishes)
        };
        let copy = |fence| [NewCopy { number: 0, fence }];
        let at = |p: Option<crate::Placement>| p.map(|p| p.copies[0].node);
        // The lots hold one of 1 byte of memory.
        assert_eq!(at(placer.place(0, &with, &copy(1)).unwrap()), Some(id));
        let why = placer.plan(0, &with, 1, 1).unwrap().unwrap_err();
        assert_eq!(why, [(betanet_fog::Reason::MemoryFree, 1)]);
        placer.give_back(&rsv);
        assert_eq!(placer.node(&id).unwrap().reserved, lots, "a copy runs");
        assert!(placer.plan(0, &with, 1, 1).unwrap().is_err());
        assert_eq!(placer.end(0, 1, Ended::Result(&[])), Some(id));
        assert_eq!(placer.node(&id).unwrap().reserved, Resources::ZERO);
        assert_eq!(placer.remove(&id), (alloc::vec![], alloc::vec![]));
    }

    #[test]
    fn copies_of_a_node_and_of_a_decision_are_bounded() {
        let amounts = Amounts {
            cpu: 1,
            memory: 1,
            ..Amounts::default()
        };
        let resources = Resources::new(amounts).unwrap();
        let wishes = Placement::default();
        let request = request(&resources, &wishes);
        let mut placer = Placer::new();
        placer.put(&spec(1, 0));
        placer.set_active(&NodeId([1; 20]), true, true).unwrap();
        let copy = |fence| NewCopy { number: 0, fence };
        let many: alloc::vec::Vec<NewCopy> = (0..=crate::AT_ONCE as u64).map(copy).collect();
        assert_eq!(placer.place(0, &request, &many), Err(Error::Copies));
        for fence in 0..crate::COPIES_MAX as u64 {
            assert!(placer.place(0, &request, &[copy(fence)]).unwrap().is_some());
        }
        let why = placer.plan(0, &request, 0, 1).unwrap().unwrap_err();
        assert_eq!(why, [(betanet_fog::Reason::State, 1)]);
        placer.end(0, 0, Ended::Dropped);
        assert!(placer.plan(0, &request, 0, 1).unwrap().is_ok());
    }
}
