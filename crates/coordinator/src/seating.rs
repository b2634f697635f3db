//! The scheduler's placer, as the coordinator asks it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::{Digest, Resources, Source};
use betanet_scheduler as scheduler;
use betanet_wire::NodeId;

use crate::placer::{Freed, NewCopy, Placer, Seat, Seats, Site, Wanted, Why};

/// Calls `run` with the request that a wish amounts to.
fn request<T>(wanted: &Wanted<'_>, run: impl FnOnce(&scheduler::Request<'_>) -> T) -> T {
    let task = wanted.task;
    let inputs = task.inputs.iter().filter_map(|i| match &i.source {
        Source::Blob { digest, size } => Some((*digest, *size)),
        Source::File { .. } => None,
    });
    let blobs: Vec<(Digest, u64)> = [(task.module.digest, task.module.size)]
        .into_iter()
        .chain(inputs)
        .collect();
    run(&scheduler::Request {
        task: wanted.id,
        ns: &task.ns,
        group: &task.group,
        tier: task.tier,
        prio: u8::try_from(task.prio).unwrap_or(u8::MAX),
        level: task.level,
        strategy: task.strategy,
        resources: &task.res,
        wishes: &task.place,
        blobs: &blobs,
        seed: wanted.secret,
        factor: wanted.factor,
        apart: wanted.apart,
        failed: wanted.failed,
        preempted: wanted.preempted,
        reservation: task.rsv.as_ref(),
    })
}

fn seat(placed: &scheduler::Placed) -> Seat {
    let bit = |n: &u8| 1_u64.checked_shl(u32::from(*n)).unwrap_or(0);
    Seat {
        node: placed.node,
        devices: placed.devices.iter().map(bit).fold(0, |all, one| all | one),
    }
}

impl Placer for scheduler::Placer {
    fn put(&mut self, site: &Site<'_>) {
        let node = site.node;
        let labels: BTreeMap<_, _> = node
            .labels
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        self.put(&scheduler::NodeSpec {
            id: site.id,
            capacity: node.cap,
            kind: node.kind,
            model: node.model.clone(),
            org: node.org.clone(),
            vouched: site.vouched,
            region: node.region.clone(),
            zone: node.zone.clone(),
            labels,
            level: site.level,
            price: u32::try_from(node.price).unwrap_or(u32::MAX),
        });
        // The node is known: it was just put.
        let _ = self.set_active(&site.id, site.open, site.work);
        let _ = self.set_reputation(&site.id, site.rep);
    }

    fn remove(&mut self, id: &NodeId) {
        self.remove(id);
    }

    fn measured(&mut self, now: u64, id: &NodeId, trips: &[(NodeId, u64)]) {
        let _ = self.measured(now, id, trips);
    }

    fn gone(&mut self, id: &NodeId, blobs: &[Digest]) {
        let _ = self.gone(id, blobs);
    }

    fn place(&mut self, now: u64, wanted: &Wanted<'_>, copies: &[NewCopy]) -> Option<Seats> {
        let copies: Vec<scheduler::NewCopy> = copies
            .iter()
            .map(|c| scheduler::NewCopy {
                number: u64::from(c.no),
                fence: c.fence,
            })
            .collect();
        let placed = request(wanted, |r| self.place(now, r, &copies))
            .ok()
            .flatten()?;
        Some(Seats {
            seats: placed.copies.iter().map(seat).collect(),
            dropped: placed.dropped,
        })
    }

    fn plan(
        &mut self,
        now: u64,
        wanted: &Wanted<'_>,
        no: u32,
        copies: usize,
    ) -> Result<Vec<Seat>, Why> {
        let planned = request(wanted, |r| self.plan(now, r, u64::from(no), copies));
        match planned {
            Ok(Ok(placed)) => Ok(placed.copies.iter().map(seat).collect()),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(Why::new()),
        }
    }

    fn adopt(&mut self, now: u64, wanted: &Wanted<'_>, copy: NewCopy, seat: Seat) {
        let new = scheduler::NewCopy {
            number: u64::from(copy.no),
            fence: copy.fence,
        };
        let devices: Vec<u8> = (0..64).filter(|n| seat.devices >> n & 1 == 1).collect();
        // A node that is gone has no room to count.
        let _ = request(wanted, |r| self.adopt(now, r, new, &seat.node, &devices));
    }

    fn could_hold(&mut self, now: u64, wanted: &Wanted<'_>, most: usize) -> Vec<NodeId> {
        request(wanted, |r| self.could_hold(now, r, most))
    }

    fn standing(&self, id: &NodeId) -> [u64; 3] {
        let standing = self.standing(id).unwrap_or_default();
        [
            standing.turn,
            u64::from(standing.failures),
            standing.rests_until,
        ]
    }

    fn set_standing(&mut self, id: &NodeId, [turn, failures, rests_until]: [u64; 3]) {
        let standing = scheduler::Standing {
            turn,
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            rests_until,
        };
        // The snapshot names no node that it does not describe.
        let _ = self.set_standing(id, &standing);
    }

    fn counter(&self) -> u64 {
        self.counter()
    }

    fn set_counter(&mut self, turn: u64) {
        self.set_counter(turn);
    }

    fn end(&mut self, now: u64, fence: u64, how: Freed<'_>) {
        let how = match how {
            Freed::Result(blobs) => scheduler::Ended::Result(blobs),
            Freed::Failed => scheduler::Ended::Failed,
            Freed::Fault => scheduler::Ended::Fault,
            Freed::Dropped => scheduler::Ended::Dropped,
        };
        self.end(now, fence, how);
    }

    fn set_aside(&mut self, id: &NodeId, reservation: [u8; 16], lots: &Resources) {
        // A node that is gone has no lots to set aside.
        let _ = self.adopt_lots(id, reservation, lots);
    }

    fn give_back(&mut self, reservation: &[u8; 16]) {
        self.give_back(reservation);
    }

    fn factor(&self, resources: &Resources) -> u64 {
        self.totals().factor(resources)
    }

    fn lowest_price(&self) -> u64 {
        self.totals().lowest_price().map_or(0, u64::from)
    }
}
