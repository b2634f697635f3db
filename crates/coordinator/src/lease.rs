//! Fences of nodes that fall silent.

use betanet_fog::Offline;

/// Time in ms from the end of an assignment to the end of its copy, within which the worker reports.
pub const GRACE: u64 = 30_000;

/// Silence in ms after which a fence dies, counted from the node's last beat.
///
/// Under `stop` the worker has stopped by then, even if its clock is a hundredth slow.
#[must_use]
pub const fn fence_dies(policy: Offline, ms: u64, down: u64) -> u64 {
    match policy {
        Offline::Stop => {
            let stopped = ms.saturating_add(ms / 100).saturating_add(10_000);
            if down > stopped { down } else { stopped }
        }
        Offline::Keep => down.saturating_add(ms),
        Offline::Replace => down,
    }
}

/// Silence in ms after which a worker stops a copy under `stop`, counted from the sending of its last beat that was answered.
#[must_use]
pub const fn worker_stops(ms: u64, down: u64) -> u64 {
    let most = down / 5 * 4 + down % 5 * 4 / 5;
    if ms > most { ms } else { most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_with_a_slow_clock_has_stopped_before_its_fence_dies() {
        for down in [90_000, 90_003, 300_000, 3_000_000] {
            for ms in [0, 1, 80_000, 90_000, 600_000, 2_592_000_000] {
                let stops = worker_stops(ms, down);
                // One part in 200 slow, and the beat took a second to arrive.
                let real = stops + stops / 200;
                assert!(real < fence_dies(Offline::Stop, ms, down) + 1_000, "{ms} {down}");
            }
        }
    }
}
