//! Turns of the signers: who proposes, and when the next one may.

use std::time::Duration;

use betanet_machine::Time;

/// Time after which the next signer in turn may propose.
pub(crate) const TURN: Duration = Duration::from_secs(10);
/// Difference between two signers' timers that is allowed for.
const SLACK: Duration = Duration::from_secs(2);

/// Turns since records wait to follow this many final ones.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Turns {
    size: u64,
    since: Option<Time>,
}

impl Turns {
    /// Notes the number of final records, and whether others wait.
    pub(crate) fn note(&mut self, now: Time, size: u64, waits: bool) {
        if self.size != size {
            self.since = None;
        }
        self.size = size;
        if waits {
            self.since.get_or_insert(now);
        } else {
            self.since = None;
        }
    }

    fn elapsed(&self, now: Time) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now - since)
    }

    /// Position of the signer in turn, of `signers` in ascending order of keys.
    pub(crate) fn position(&self, now: Time, signers: usize) -> usize {
        position(self.size, number(self.elapsed(now)), signers)
    }

    /// Whether the signer at this position may propose, by timers that differ a little.
    pub(crate) fn allows(&self, now: Time, signers: usize, at: usize) -> bool {
        let elapsed = self.elapsed(now);
        let near = [elapsed.saturating_sub(SLACK), elapsed, elapsed + SLACK];
        near.iter()
            .any(|e| position(self.size, number(*e), signers) == at)
    }

    /// Time until the next turn begins.
    pub(crate) fn left(&self, now: Time) -> Duration {
        let micros = self.elapsed(now).as_micros() % TURN.as_micros();
        TURN - Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

fn number(elapsed: Duration) -> u64 {
    elapsed.as_secs() / TURN.as_secs()
}

/// Position = (number of final records + turns that passed) modulo the number of signers.
fn position(size: u64, turns: u64, signers: usize) -> usize {
    let n = (signers as u64).max(1);
    usize::try_from((size % n + turns % n) % n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn the_signer_at_size_modulo_set_proposes_and_after_ten_seconds_the_next() {
        let mut turns = Turns::default();
        turns.note(at(0), 7, false);
        // Without records, no time passes.
        assert_eq!(turns.position(at(100_000), 3), 1);
        turns.note(at(100_000), 7, true);
        turns.note(at(105_000), 7, true);
        for (ms, position) in [(109_999, 1), (110_000, 2), (120_000, 0), (130_000, 1)] {
            assert_eq!(turns.position(at(ms), 3), position, "{ms}");
        }
        assert_eq!(turns.left(at(103_000)), Duration::from_secs(7));
        assert_eq!(turns.left(at(110_000)), TURN);
        // A head begins anew.
        turns.note(at(131_000), 9, true);
        assert_eq!(turns.position(at(131_000), 3), 0);
    }

    #[test]
    fn a_proposal_out_of_turn_is_not_allowed_but_timers_may_differ_by_two_seconds() {
        let mut turns = Turns::default();
        turns.note(at(0), 0, true);
        let allowed =
            |ms: u64| -> Vec<usize> { (0..3).filter(|p| turns.allows(at(ms), 3, *p)).collect() };
        assert_eq!(allowed(0), [0]);
        assert_eq!(allowed(7_999), [0]);
        assert_eq!(allowed(8_000), [0, 1]);
        assert_eq!(allowed(11_999), [0, 1]);
        assert_eq!(allowed(12_000), [1]);
        assert_eq!(allowed(28_500), [0, 2]);
    }
}
