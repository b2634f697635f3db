//! Frames that make no progress: how many are allowed before the session ends.

use betanet_machine::Time;
use betanet_wire::Code;

use super::Session;

/// Frames without progress that may come at once.
const BURST: u64 = 16_384;
/// So many more may come each second.
const A_SECOND: u64 = 2_000;
/// One frame, in the unit that the meter counts in.
const ONE: u64 = 1_000_000;
/// Payloads from this size on are paid for by the bandwidth that they take.
const LARGE: usize = 512;
/// New bytes in a STREAM frame from which on it pays for a frame without.
const WORTH: u64 = 64;
/// WINDOW_UPDATEs that one STREAM frame of this side may bring: the stream's and the connection's.
const UPDATES: u64 = 2;
/// What a turned key costs: three derivations.
pub(super) const TURN: u64 = 4;
/// Bytes of a stream that was reset count as this many a frame at least.
const LATE_LEAST: u64 = 256;

/// A token bucket. What makes progress fills it, as time does.
#[derive(Debug, Hash)]
pub(super) struct Meter {
    level: u64,
    at: Time,
    /// Bytes that may still come for streams that this side reset: the peer had credit for them.
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

    /// A STREAM frame with data leaves.
    pub(super) fn sent(&mut self) {
        self.earn(UPDATES);
    }

    /// A stream ends here whose peer may not know it yet and has credit for so many bytes.
    pub(super) const fn reset(&mut self, credit: u64) {
        self.late = self.late.saturating_add(credit);
    }

    /// Whether bytes for a stream that ended are those that had credit.
    pub(super) fn late(&mut self, bytes: u64) -> bool {
        let left = self.late.checked_sub(bytes.max(LATE_LEAST));
        self.late = left.unwrap_or(0);
        bytes > 0 && left.is_some()
    }

    /// Whether so many more frames without progress are allowed.
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
    /// Counts frames without progress; over the bound the session ends.
    pub(super) fn without_progress(&mut self, now: Time, frames: u64) {
        if !self.meter.spend(now, frames) {
            self.fail(
                now,
                Code::POLICY_REJECTED,
                "too many frames without progress",
            );
        }
    }

    /// The same for a frame whose payload is free to choose.
    pub(super) fn idle_payload(&mut self, now: Time, len: usize) {
        if len < LARGE {
            self.without_progress(now, 1);
        }
    }

    /// Counts a STREAM frame, by its new bytes and whether it brings the stream's end.
    pub(super) fn stream_frame(&mut self, now: Time, new: u64, ends: bool) {
        if new >= WORTH {
            self.meter.earn(1);
        } else if new == 0 && !ends {
            self.without_progress(now, 1);
        }
    }
}
