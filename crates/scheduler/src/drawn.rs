//! Placement by a draw that anybody can check once the day's seed is public.

use betanet_fog::{Draws, Strategy, label};

use crate::fleet::Fleet;
use crate::query::Query;
use crate::select;

/// Draws before the search turns to the least loaded node.
const TRIES: u64 = 64;

/// The first drawn node that passes, else the least loaded one that does.
pub(crate) fn drawn(fleet: &Fleet, query: &Query<'_>, copy: u64, second: bool) -> Option<u32> {
    let r = query.request;
    let (total, _) = fleet.seats.total(r.level);
    let draws = Draws::new(label::RELAY, &[r.seed, &r.task.0, &copy.to_be_bytes()]);
    for k in 0..TRIES {
        let number = draws
            .draw(&[&k.to_be_bytes()])
            .checked_rem(u128::from(total));
        let Some(x) = number.and_then(|x| u64::try_from(x).ok()) else {
            // Nobody offers the level.
            return None;
        };
        let hit = fleet.seats.at(r.level, x);
        let may = |slot: &u32| query.may_pass(&fleet.hot(*slot).fit);
        if let Some(slot) = hit.filter(may)
            && query.passes(fleet, slot, second)
        {
            return Some(slot);
        }
    }
    select::best(fleet, query, Strategy::LeastLoaded, second)
}
