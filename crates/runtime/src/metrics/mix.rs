use std::time::Duration;

use betanet_mix::Refusal;
use betanet_mixnet::CountMix;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ByWay;
use super::histogram::Histogram;

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ByCause {
    cause: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ByHit {
    hit: &'static str,
}

/// Metrics of the mix packets that a node carries.
#[derive(Debug)]
pub(crate) struct MixMetrics {
    packets: Family<ByWay, Counter>,
    delivered: Counter,
    dropped: Family<ByCause, Counter>,
    batches: Histogram,
    delays: Histogram,
    residence: Histogram,
    pool: Family<ByHit, Counter>,
    unread: Gauge,
    waiting: Gauge,
    replays: Gauge,
    exchanges: Gauge,
    links: Gauge,
    memory_full: Counter,
}

impl Default for MixMetrics {
    fn default() -> Self {
        let batches = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let delays = [0.0, 0.03, 0.05, 0.07, 0.09, 0.11, 0.13, 0.15];
        let residence = [
            0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0,
        ];
        Self {
            packets: Family::default(),
            delivered: Counter::default(),
            dropped: Family::default(),
            batches: Histogram::new(&batches),
            delays: Histogram::new(&delays),
            residence: Histogram::new(&residence),
            pool: Family::default(),
            unread: Gauge::default(),
            waiting: Gauge::default(),
            replays: Gauge::default(),
            exchanges: Gauge::default(),
            links: Gauge::default(),
            memory_full: Counter::default(),
        }
    }
}

/// Returns a refusal's name in the metrics.
const fn cause(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Version => "version",
        Refusal::Epoch => "epoch",
        Refusal::Point => "point",
        Refusal::Mac => "mac",
        Refusal::Replay => "replay",
        Refusal::Slot => "slot",
        Refusal::Body => "body",
        _ => "other",
    }
}

impl MixMetrics {
    pub(super) fn register(&self, r: &mut Registry) {
        r.register("mix_packets", "Packets, by direction", self.packets.clone());
        r.register(
            "mix_delivered",
            "Packets whose payload was for this node",
            self.delivered.clone(),
        );
        r.register(
            "mix_dropped",
            "Packets that went no further, by cause",
            self.dropped.clone(),
        );
        r.register(
            "mix_batch_packets",
            "Packets that were unwrapped together",
            self.batches.clone(),
        );
        r.register(
            "mix_delay_seconds",
            "How long packets were to wait",
            self.delays.clone(),
        );
        r.register(
            "mix_residence_seconds",
            "How much longer than their delay packets stayed",
            self.residence.clone(),
        );
        r.register(
            "mix_buffers",
            "Buffers asked for, by whether the pool had one",
            self.pool.clone(),
        );
        r.register(
            "mix_unread",
            "Packets that wait to be unwrapped",
            self.unread.clone(),
        );
        r.register(
            "mix_waiting",
            "Packets that wait for their time",
            self.waiting.clone(),
        );
        r.register(
            "mix_replay_tags",
            "Tags in the replay memory",
            self.replays.clone(),
        );
        r.register(
            "mix_exchanges",
            "Exchanges with clients of the mix",
            self.exchanges.clone(),
        );
        r.register(
            "mix_links",
            "Next nodes that packets are sent to",
            self.links.clone(),
        );
        r.register(
            "mix_replay_memory_full",
            "Packets refused as the replay memory, or a session's part of it, was full",
            self.memory_full.clone(),
        );
    }
}

impl CountMix for MixMetrics {
    fn packets_in(&self, n: u64) {
        let direction = "in";
        self.packets.get_or_create(&ByWay { direction }).inc_by(n);
    }

    fn sent(&self, late: &mut dyn Iterator<Item = Duration>) {
        let n = self.residence.observe(late.map(|late| late.as_secs_f64()));
        let direction = "out";
        self.packets.get_or_create(&ByWay { direction }).inc_by(n);
    }

    fn delivered(&self) {
        self.delivered.inc();
    }

    fn dropped_all(&self, cause: &'static str, n: u64) {
        self.dropped.get_or_create(&ByCause { cause }).inc_by(n);
    }

    fn refused(&self, refusal: Refusal) {
        self.dropped(cause(refusal));
    }

    fn batch(&self, packets: usize, full: u64) {
        // There are at most a few dozen.
        let packets = f64::from(u32::try_from(packets).unwrap_or(u32::MAX));
        self.batches.observe([packets]);
        self.memory_full.inc_by(full);
    }

    fn delayed(&self, ms: &mut dyn Iterator<Item = u16>) {
        self.delays.observe(ms.map(|ms| f64::from(ms) / 1000.0));
    }

    fn pool(&self, hits: u64, misses: u64) {
        for (hit, now) in [("yes", hits), ("no", misses)] {
            let counter = self.pool.get_or_create(&ByHit { hit });
            counter.inc_by(now.saturating_sub(counter.get()));
        }
    }

    fn unread(&self, n: usize) {
        self.unread.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    fn waiting(&self, n: usize) {
        self.waiting.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    fn replays(&self, n: usize) {
        self.replays.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    fn links(&self, n: usize) {
        self.links.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    fn exchanges(&self, n: usize) {
        self.exchanges.set(i64::try_from(n).unwrap_or(i64::MAX));
    }
}
