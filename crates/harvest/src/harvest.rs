//! The machine: readings in, a decision out.

use core::time::Duration;

use betanet_machine::{Time, Wake};

use crate::held::Held;
use crate::rules::{BANDS, BOUNDED, HEATING, TEMPERATURE, USER};
use crate::slope::Slope;
use crate::{Cause, Reading, Readings, Reason, Rules};

/// A device's present decision about its tasks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Tasks run.
    Run {
        /// Share of a core that each task gets, in percent.
        share: u8,
    },
    /// Tasks stand still and keep their memory.
    Pause(Reason),
    /// Tasks go back to who sent them, and none is taken.
    GiveBack(Reason),
}

impl Decision {
    /// Whether tasks run.
    #[must_use]
    pub const fn runs(&self) -> bool {
        matches!(self, Self::Run { .. })
    }

    /// One word, for status and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Run { .. } => "run",
            Self::Pause(_) => "pause",
            Self::GiveBack(_) => "give_back",
        }
    }
}

/// Times and counters of a device so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Time for which tasks could run.
    pub ran: Duration,
    /// Time for which they could not.
    pub paused: Duration,
    /// How often tasks began to run.
    pub runs: u64,
    /// How often the share changed without a pause.
    pub shares: u64,
    /// How often a pause began, by its first reason, in the order of [`Reason::ALL`].
    pub pauses: [u64; Reason::ALL.len()],
    /// How often tasks were given back.
    pub given_back: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Run(u8),
    Pause(Reason),
}

/// Decides when a device works.
///
/// A device that runs or pauses does so for the least time that the rules name. Between the bounds of a rule its last verdict
/// stands; at the start that verdict is to pause.
#[derive(Clone, Debug)]
pub struct Harvest {
    rules: Rules,
    held: Held,
    slope: Slope,
    /// The temperature's rise in thousandths of a degree a minute, once it is known.
    rise: Option<i64>,
    /// Verdict of each rule with a band.
    tripped: [bool; BANDS],
    state: Option<State>,
    /// The state that the readings ask for. The present state follows once its least time is over.
    wanted: State,
    since: Time,
    given_back: bool,
    last: Time,
    stats: Stats,
}

impl Harvest {
    /// A device that has read nothing yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            held: Held::default(),
            slope: Slope::default(),
            rise: None,
            tripped: [true; BANDS],
            state: None,
            wanted: State::Pause(Reason::Missing),
            since: Time::ZERO,
            given_back: false,
            last: Time::ZERO,
            stats: Stats::default(),
        }
    }

    /// The rules.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes what the sensors read now, and decides.
    pub fn observe(&mut self, now: Time, readings: &Readings) -> Decision {
        self.count(now);
        self.held.observe(now, readings);
        match readings.temperature {
            Some(value) => self.rise = self.slope.observe(now, value),
            None if !self.held.seen().has(Reading::Temperature) => self.rise = None,
            None => {}
        }
        self.judge();
        self.wanted = self.wants();
        self.follow(now);
        self.decision(now)
    }

    /// The decision that stands, for status. `None` before the first readings.
    #[must_use]
    pub fn standing(&self) -> Option<Decision> {
        self.state.map(|state| match state {
            State::Run(share) => Decision::Run { share },
            State::Pause(reason) if self.given_back => Decision::GiveBack(reason),
            State::Pause(reason) => Decision::Pause(reason),
        })
    }

    /// When the device began to run with this share, or to pause.
    #[must_use]
    pub const fn since(&self) -> Time {
        self.since
    }

    /// Readings behind the last decision. Where a sensor is silent now, its reading of the last minute stands.
    #[must_use]
    pub const fn seen(&self) -> &Readings {
        self.held.seen()
    }

    /// The temperature's rise in thousandths of a degree a minute, once it is known.
    #[must_use]
    pub const fn rise(&self) -> Option<i64> {
        self.rise
    }

    /// Times and counters of the device so far.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// When the decision changes although no reading does.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Wake> {
        let state = self.state?;
        let wake = |after, why| {
            Some(Wake {
                at: self.since + after,
                why,
            })
        };
        let other = (!same(state, self.wanted))
            .then(|| wake(self.least(state), "least time"))
            .flatten();
        let back = (matches!(state, State::Pause(_)) && !self.given_back)
            .then(|| wake(self.rules.give_back, "give back"))
            .flatten();
        Wake::earliest([other, back])
    }

    /// All that speaks against work now, with what was read; the first is the reason that a pause names.
    pub fn causes(&self) -> impl Iterator<Item = Cause> + '_ {
        Reason::ALL
            .iter()
            .flat_map(|reason| self.causes_of(*reason))
    }

    fn causes_of(&self, reason: Reason) -> impl Iterator<Item = Cause> + '_ {
        let missing = self.rules.require.iter();
        let missing = missing.filter(move |r| reason == Reason::Missing && !self.seen().has(**r));
        let missing = missing.map(|reading| Cause {
            missing: Some(*reading),
            ..Cause::of(Reason::Missing)
        });
        let band = BOUNDED.iter().enumerate();
        let band = band.filter(move |(at, b)| b.reason == reason && self.tripped[*at]);
        let band = band.map(move |(at, bounded)| {
            let value = (bounded.read)(self.seen(), self.rise);
            let bound = self.rules.bands[at].map(|b| b.bound());
            Cause {
                numbers: value
                    .zip(bound)
                    .map(|(v, b)| (v / bounded.scale, b / bounded.scale)),
                unit: bounded.unit,
                ..Cause::of(reason)
            }
        });
        let plain = self.plain(reason).then(|| Cause::of(reason));
        missing.chain(band).chain(plain)
    }

    /// Whether a rule without numbers speaks against work.
    fn plain(&self, reason: Reason) -> bool {
        let (seen, rules) = (self.held.seen(), &self.rules);
        match reason {
            Reason::Hours => seen.local.is_some_and(|at| !rules.hours.has(at)),
            Reason::Power => rules.charging && seen.charging == Some(false),
            Reason::FullScreen => !rules.full_screen && seen.full_screen == Some(true),
            Reason::Metered => !rules.metered && seen.metered == Some(true),
            _ => false,
        }
    }

    fn judge(&mut self) {
        for (at, rule) in BOUNDED.iter().enumerate() {
            let value = (rule.read)(self.held.seen(), self.rise);
            let judged = self.rules.bands[at].zip(value);
            self.tripped[at] = judged.is_some_and(|(band, v)| band.trips(self.tripped[at], v));
        }
        // A cold processor that begins to work gets warmer fast, and may.
        let warm = self.rules.bands[TEMPERATURE];
        let value = self.held.seen().temperature;
        if let (Some(band), Some(value)) = (warm, value)
            && i64::from(value) < band.bound()
        {
            self.tripped[HEATING] = false;
        }
    }

    fn wants(&self) -> State {
        let shared = self.tripped[USER] && self.rules.cpu_in_use > 0;
        let against = |reason: &Reason| match reason {
            Reason::User if shared => false,
            Reason::Missing => {
                let mut required = self.rules.require.iter();
                required.any(|r| !self.seen().has(*r))
            }
            reason => {
                let mut bands = BOUNDED.iter().zip(self.tripped);
                self.plain(*reason) || bands.any(|(b, tripped)| tripped && b.reason == *reason)
            }
        };
        match Reason::ALL.iter().find(|r| against(r)) {
            Some(reason) => State::Pause(*reason),
            None if shared => State::Run(self.rules.cpu_in_use),
            None => State::Run(self.rules.cpu),
        }
    }

    const fn least(&self, state: State) -> Duration {
        match state {
            State::Run(_) => self.rules.run_min,
            State::Pause(_) => self.rules.pause_min,
        }
    }

    /// Takes the state that is wanted, if the present one lasted long enough.
    fn follow(&mut self, now: Time) {
        match self.state {
            Some(state) if same(state, self.wanted) => {
                // The reason of a pause may change while it lasts.
                self.state = Some(self.wanted);
                return;
            }
            Some(state) if now - self.since < self.least(state) => return,
            _ => {}
        }
        match (self.state, self.wanted) {
            (Some(State::Run(_)), State::Run(_)) => self.stats.shares += 1,
            (_, State::Run(_)) => self.stats.runs += 1,
            (_, State::Pause(reason)) => {
                let at = Reason::ALL.iter().position(|r| *r == reason);
                if let Some(count) = at.and_then(|at| self.stats.pauses.get_mut(at)) {
                    *count += 1;
                }
            }
        }
        self.state = Some(self.wanted);
        self.since = now;
        self.given_back = false;
    }

    fn decision(&mut self, now: Time) -> Decision {
        match self.state.unwrap_or(self.wanted) {
            State::Run(share) => Decision::Run { share },
            State::Pause(reason) if now - self.since >= self.rules.give_back => {
                self.stats.given_back += u64::from(!self.given_back);
                self.given_back = true;
                Decision::GiveBack(reason)
            }
            State::Pause(reason) => Decision::Pause(reason),
        }
    }

    fn count(&mut self, now: Time) {
        let past = now - self.last;
        match self.state {
            Some(State::Run(_)) => self.stats.ran += past,
            Some(State::Pause(_)) => self.stats.paused += past,
            None => {}
        }
        self.last = self.last.max(now);
    }
}

/// Whether both run with the same share, or both pause.
const fn same(a: State, b: State) -> bool {
    match (a, b) {
        (State::Run(a), State::Run(b)) => a == b,
        (State::Pause(_), State::Pause(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
