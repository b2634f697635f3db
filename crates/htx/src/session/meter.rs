//! Frames without progress: how many are allowed before the session ends.

use betanet_machine::Time;
use betanet_wire::Code;

use super::Session;

/// Number of frames without progress that may arrive at once.
const BURST: u64 = 16_384;
/// Number of further frames without progress allowed per second.
const A_SECOND: u64 = 2_000;
/// One frame, in the meter's unit.
const ONE: u64 = 1_000_000;
/// Payload size from which a frame's bandwidth pays for it.
const LARGE: usize = 512;
/// Number of new bytes in a STREAM frame that pay for one frame without progress.
const WORTH: u64 = 64;
/// WINDOW_UPDATEs that one sent STREAM frame may cause: the stream's and the connection's.
const UPDATES: u64 = 2;
/// Cost of a key update, in frames: three derivations.
pub(super) const TURN: u64 = 4;
/// Minimum charge, in bytes, of a frame for a stream that was reset.
const LATE_LEAST: u64 = 256;

/// A token bucket, refilled by progress and by time.
#[derive(Debug, Hash)]
pub(super) struct Meter {
    level: u64,
    at: Time,
    /// Bytes that may still arrive for streams that this side reset: the peer had credit for them.
    late: u64,
}

impl Meter {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            level: BURST * ONE,
            at: now,
            late: 0,
        }
    }

    fn earn(&mut self, frames: u64) {
        self.level = (self.level + frames * ONE).min(BURST * ONE);
    }

    /// Records that a STREAM frame with data was sent.
    pub(super) fn sent(&mut self) {
        self.earn(UPDATES);
    }

    /// Records that a stream ended here with `credit` bytes that the peer may still send.
    pub(super) const fn reset(&mut self, credit: u64) {
        self.late = self.late.saturating_add(credit);
    }

    /// Whether bytes for an ended stream are covered by earlier credit.
    pub(super) fn late(&mut self, bytes: u64) -> bool {
        let left = self.late.checked_sub(bytes.max(LATE_LEAST));
        self.late = left.unwrap_or(0);
        bytes > 0 && left.is_some()
    }

    /// Spends the cost of `frames` frames without progress; `false` over the bound.
    fn spend(&mut self, now: Time, frames: u64) -> bool {
        let micros = u64::try_from((now - self.at).as_micros()).unwrap_or(u64::MAX);
        self.at = now;
        let more = micros.saturating_mul(A_SECOND * ONE / 1_000_000);
        self.level = self.level.saturating_add(more).min(BURST * ONE);
        match self.level.checked_sub(frames * ONE) {
            Some(left) => {
                self.level = left;
                true
            }
            None => false,
        }
    }
}

impl Session {
    /// Counts frames without progress; over the bound, the session ends.
    pub(super) fn without_progress(&mut self, now: Time, frames: u64) {
        if !self.meter.spend(now, frames) {
            self.fail(
                now,
                Code::POLICY_REJECTED,
                "too many frames without progress",
            );
        }
    }

    /// Counts a frame whose payload the peer may choose freely.
    pub(super) fn idle_payload(&mut self, now: Time, len: usize) {
        if len < LARGE {
            self.without_progress(now, 1);
        }
    }

    /// Counts a STREAM frame, by its new bytes and whether it ends the stream.
    pub(super) fn stream_frame(&mut self, now: Time, new: u64, ends: bool) {
        if new >= WORTH {
            self.meter.earn(1);
        } else if new == 0 && !ends {
            self.without_progress(now, 1);
        }
    }
}
