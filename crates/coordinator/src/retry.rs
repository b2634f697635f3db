//! Delay before a task is tried again.

use betanet_fog::{TaskId, draw, label};

/// Delay in ms after fault number `fault`, counted from 1: half to all of `base` · 2^(`fault` − 1), which is `cap` at most.
#[must_use]
pub fn delay(task: &TaskId, fault: u64, base: u64, cap: u64) -> u64 {
    let doublings = u32::try_from(fault.saturating_sub(1)).unwrap_or(u32::MAX);
    let factor = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let d = base.saturating_mul(factor).min(cap);
    let drawn = draw(label::RETRY, &[&task.0, &fault.to_be_bytes()]);
    let less = drawn % u128::from(d / 2 + 1);
    d.saturating_sub(u64::try_from(less).unwrap_or(0))
}
