//! The laws of a [`Harvest`], checked step by step: for property tests and the fuzz target.

use core::time::Duration;

use betanet_machine::Time;

use crate::{Decision, Harvest, Local, Readings, Rules, Table};

/// A harvest whose every decision is checked.
#[derive(Debug)]
pub struct Checked {
    harvest: Harvest,
    /// When the last change was, and what the readings were from then on.
    changed: Option<(Time, Decision)>,
    /// Whether readings differed since the last change from those at it.
    moved: bool,
    at_change: (Readings, Option<i64>),
}

impl Checked {
    /// A device with these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            harvest: Harvest::new(rules),
            changed: None,
            moved: false,
            at_change: (Readings::default(), None),
        }
    }

    /// The machine.
    #[must_use]
    pub const fn harvest(&self) -> &Harvest {
        &self.harvest
    }

    /// Observes, and panics where a law is broken.
    pub fn observe(&mut self, now: Time, readings: &Readings) -> Decision {
        let woken = self.harvest.poll_timeout().map(|w| w.at);
        let before = (*self.harvest.seen(), self.harvest.rise());
        let decision = self.harvest.observe(now, readings);
        let seen = (*self.harvest.seen(), self.harvest.rise());
        self.moved |= seen != self.at_change;
        assert_eq!(self.harvest.standing(), Some(decision));
        if let Decision::Run { share } = decision {
            assert!((1..=100).contains(&share));
        }
        let Some((at, last)) = self.changed else {
            self.changed = Some((now, decision));
            self.at_change = seen;
            self.moved = false;
            return decision;
        };
        if seen == before && woken.is_none_or(|woken| now < woken) {
            // The machine said when it would decide anew.
            assert_eq!(decision, last, "before {woken:?} nothing was to change");
        }
        let (run_min, pause_min) = self.harvest.rules().minimum();
        let flipped = match (last, decision) {
            (Decision::Run { share: a }, Decision::Run { share: b }) => a != b,
            (a, b) => a.runs() != b.runs(),
        };
        if flipped {
            let least = if last.runs() { run_min } else { pause_min };
            assert!(now - at >= least, "{last:?} for {:?}", now - at);
            assert!(self.moved, "{last:?} became {decision:?} on its own");
            self.changed = Some((now, decision));
            self.at_change = seen;
            self.moved = false;
        } else {
            let back = !decision.runs() && now - at >= self.harvest.rules().give_back();
            assert_eq!(back, matches!(decision, Decision::GiveBack(_)));
            self.changed = Some((at, decision));
        }
        // A paused device has a cause, or waits for its least time.
        if !decision.runs() && now - at >= pause_min && !flipped {
            assert!(self.harvest.causes().next().is_some());
        }
        decision
    }
}

/// Rules up to the first NUL byte as TOML, then steps of 13 bytes: a time and readings.
pub fn fuzz(data: &[u8]) {
    let (text, steps) = match data.iter().position(|b| *b == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[][..]),
    };
    let table = core::str::from_utf8(text).ok();
    let table = table.and_then(|text| toml::from_str::<Table>(text).ok());
    let Some(table) = table else {
        return;
    };
    let rules = match table.check() {
        Ok(rules) => rules,
        Err(faults) => {
            assert!(!faults.0.is_empty());
            assert!(faults.0.iter().all(|f| !f.allowed.is_empty()));
            return;
        }
    };
    let mut checked = Checked::new(rules);
    let mut now = Time::ZERO;
    for step in steps.chunks_exact(13) {
        now = now + Duration::from_millis(u64::from(step[0]) * 250);
        checked.observe(now, &readings(step));
    }
}

/// Readings out of bytes, of which 255 is none.
fn readings(step: &[u8]) -> Readings {
    let byte = |at: usize| step.get(at).copied().filter(|b| *b != 255);
    let truth = |at| byte(at).map(|b| b % 2 == 1);
    let permille = |at| byte(at).map(|b| u16::from(b) * 4);
    Readings {
        charging: truth(1),
        battery: byte(2).map(|b| b % 101),
        health: byte(3).map(|b| b % 101),
        temperature: byte(4).map(|b| i32::from(b) * 500),
        idle_s: byte(5).map(|b| u32::from(b) * 2),
        load: permille(6),
        memory_free: permille(7),
        pressure: permille(8),
        metered: truth(9),
        full_screen: truth(10),
        local: byte(11).zip(byte(12)).map(|(day, at)| Local {
            weekday: day % 7,
            minute: u16::from(at) * 6 % 1440,
        }),
    }
}

#[cfg(test)]
mod tests {
    /// Reads the committed inputs of the fuzz target.
    #[test]
    fn corpus() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/harvest");
        let inputs = std::fs::read_dir(folder).unwrap();
        let read = inputs.map(|entry| super::fuzz(&std::fs::read(entry.unwrap().path()).unwrap()));
        assert!(read.count() >= 10);
    }
}
