use alloc::collections::BTreeMap;
use core::time::Duration;

use betanet_machine::{Rng, Time};
use bytes::Bytes;

/// Behaviour of the network.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// One-way delay.
    pub latency: Duration,
    /// Maximum random delay added to each segment.
    pub jitter: Duration,
    /// Lost segments per thousand.
    pub loss: u64,
    /// Duplicated segments per thousand.
    pub duplicate: u64,
    /// Delay until a lost segment is retransmitted.
    pub rto: Duration,
    /// Capacity of one direction of a link, bytes per second.
    pub bandwidth: u64,
}

impl Weather {
    /// Ten milliseconds, no loss, a gigabit.
    pub const FAIR: Self = Self {
        latency: Duration::from_millis(10),
        jitter: Duration::ZERO,
        loss: 0,
        duplicate: 0,
        rto: Duration::from_millis(200),
        bandwidth: 125_000_000,
    };

    /// Forty milliseconds and as much jitter, 2 % loss, 1 % duplication, eight megabits.
    pub const FOUL: Self = Self {
        latency: Duration::from_millis(40),
        jitter: Duration::from_millis(40),
        loss: 20,
        duplicate: 10,
        rto: Duration::from_millis(200),
        bandwidth: 1_000_000,
    };
}

/// Content of a segment.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Bytes(Bytes),
    GoAway,
    End,
    Reset,
}

impl Parcel {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(b) => b.len(),
            Self::GoAway | Self::End | Self::Reset => 1,
        }
    }
}

/// Number of bytes in flight in one direction above which no more are accepted.
const WINDOW: usize = 128 << 10;

/// One direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    in_flight: usize,
    sent: u64,
    received: u64,
    early: BTreeMap<u64, Parcel>,
    free_at: Time,
}

/// Arrival times of the copies of one segment, and how often it was lost.
pub(crate) struct Departure {
    pub(crate) seq: u64,
    pub(crate) arrives: Time,
    pub(crate) again: Option<Time>,
    pub(crate) lost: u64,
}

impl Pipe {
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < WINDOW
    }

    pub(crate) fn depart(
        &mut self,
        now: Time,
        weather: &Weather,
        dice: &mut Rng,
        len: usize,
    ) -> Departure {
        let micros = (len as u64).saturating_mul(1_000_000) / weather.bandwidth.max(1);
        self.free_at = self.free_at.max(now) + Duration::from_micros(micros);
        self.in_flight += len;
        let seq = self.sent;
        self.sent += 1;
        let mut lost = 0;
        let mut wait = Duration::ZERO;
        while dice.below(1000) < weather.loss {
            lost += 1;
            wait += weather.rto;
        }
        let jitter = u64::try_from(weather.jitter.as_micros()).unwrap_or(0);
        let mut late = || weather.latency + Duration::from_micros(dice.below(jitter + 1));
        let arrives = self.free_at + wait + late();
        let second = self.free_at + wait + late();
        let again = (dice.below(1000) < weather.duplicate).then_some(second);
        Departure {
            seq,
            arrives,
            again,
            lost,
        }
    }

    /// Accepts an arriving segment; `false` for a duplicate.
    pub(crate) fn arrive(&mut self, seq: u64, parcel: Parcel) -> bool {
        if seq < self.received || self.early.contains_key(&seq) {
            return false;
        }
        self.early.insert(seq, parcel);
        true
    }

    /// The next segment in order.
    pub(crate) fn next(&mut self) -> Option<&Parcel> {
        self.early.get(&self.received)
    }

    pub(crate) fn take(&mut self) -> Option<Parcel> {
        let parcel = self.early.remove(&self.received)?;
        self.received += 1;
        self.in_flight -= parcel.len();
        Some(parcel)
    }
}
