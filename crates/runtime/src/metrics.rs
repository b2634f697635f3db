mod histogram;
mod mix;
mod refused;

use std::sync::Arc;
use std::time::Duration;

use betanet_htx::Stats;
use betanet_legacy::CountLegs;
use betanet_relay::{CountPaths, PathOutcome};
use betanet_session::Count;
use betanet_wire::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) use mix::MixMetrics;
use refused::ByRefusal;
pub(crate) use refused::{Refusal, Refusals};

use crate::process::{BUILD, descriptors};

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ByStatus {
    status: u16,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ByCode {
    code: String,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ByWay {
    direction: &'static str,
}

/// Labels for the outcome of a path header.
#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
pub(crate) struct ByOutcome {
    pub(crate) outcome: &'static str,
}

/// The counters of a node, for Prometheus.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) sessions: Gauge,
    pub(crate) sessions_opened: Counter,
    sessions_closed: Family<ByCode, Counter>,
    requests: Family<ByStatus, Counter>,
    bytes: Family<ByWay, Counter>,
    frames: Family<ByWay, Counter>,
    rekeys: Family<ByWay, Counter>,
    tls_failed: Counter,
    covered: Counter,
    tickets_refused: Counter,
    handshakes_refused: Counter,
    pub(crate) not_admitted: Counter,
    pub(crate) half_open: Gauge,
    pub(crate) half_open_refused: Counter,
    panics: Counter,
    pub(crate) shaped: Counter,
    legs: Gauge,
    legs_opened: Counter,
    paths: Family<ByOutcome, Counter>,
    streams_forwarded: Counter,
    pub(crate) mix: Arc<MixMetrics>,
    pub(crate) refusals: Arc<Refusals>,
    refused: Family<ByRefusal, Counter>,
    uptime: Gauge,
    descriptors: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates the counters, all zero.
    #[must_use]
    pub fn new() -> Self {
        let mut this = Self {
            registry: Registry::with_prefix("betanet"),
            sessions: Gauge::default(),
            sessions_opened: Counter::default(),
            sessions_closed: Family::default(),
            requests: Family::default(),
            bytes: Family::default(),
            frames: Family::default(),
            rekeys: Family::default(),
            tls_failed: Counter::default(),
            covered: Counter::default(),
            tickets_refused: Counter::default(),
            handshakes_refused: Counter::default(),
            not_admitted: Counter::default(),
            half_open: Gauge::default(),
            half_open_refused: Counter::default(),
            panics: Counter::default(),
            shaped: Counter::default(),
            legs: Gauge::default(),
            legs_opened: Counter::default(),
            paths: Family::default(),
            streams_forwarded: Counter::default(),
            mix: Arc::default(),
            refusals: Arc::default(),
            refused: Family::default(),
            uptime: Gauge::default(),
            descriptors: Gauge::default(),
        };
        let r = &mut this.registry;
        r.register("sessions", "Sessions that stand", this.sessions.clone());
        r.register(
            "sessions_opened",
            "Sessions opened",
            this.sessions_opened.clone(),
        );
        r.register(
            "sessions_closed",
            "Sessions closed, by code",
            this.sessions_closed.clone(),
        );
        r.register(
            "requests",
            "Requests answered, by status",
            this.requests.clone(),
        );
        r.register("session_bytes", "Bytes of frames", this.bytes.clone());
        r.register("session_frames", "Frames", this.frames.clone());
        r.register("rekeys", "Keys turned", this.rekeys.clone());
        r.register(
            "tls_failed",
            "TLS handshakes that failed",
            this.tls_failed.clone(),
        );
        r.register(
            "cover_answers",
            "Requests that the cover site answered",
            this.covered.clone(),
        );
        r.register(
            "tickets_refused",
            "Tickets that were not right",
            this.tickets_refused.clone(),
        );
        r.register(
            "handshakes_refused",
            "Right tickets whose message 1 did not open",
            this.handshakes_refused.clone(),
        );
        r.register(
            "sessions_not_admitted",
            "Sessions closed as too many stood, of their address or in all",
            this.not_admitted.clone(),
        );
        r.register(
            "handshakes_half_open",
            "Inner handshakes that are under way",
            this.half_open.clone(),
        );
        r.register(
            "handshakes_over_bound",
            "Inner handshakes refused as too many of their connection, address or in all were under way",
            this.half_open_refused.clone(),
        );
        r.register("panics", "Panics of this process", this.panics.clone());
        r.register(
            "sessions_shaped",
            "Sessions whose traffic follows a shape",
            this.shaped.clone(),
        );
        r.register("legs", "Legs of version 1.1 that stand", this.legs.clone());
        r.register(
            "legs_opened",
            "Legs of version 1.1 opened",
            this.legs_opened.clone(),
        );
        r.register(
            "paths",
            "Path headers, by what became of them",
            this.paths.clone(),
        );
        r.register(
            "streams_forwarded",
            "Streams of paths that were passed on",
            this.streams_forwarded.clone(),
        );
        this.mix.register(r);
        let build: Family<Vec<(&str, &str)>, Gauge> = Family::default();
        build.get_or_create(&BUILD.to_vec()).set(1);
        r.register("build_info", "What this build is", build);
        r.register(
            "refused",
            "Who was refused, by what was too much and the setting that bounds it",
            this.refused.clone(),
        );
        r.register("uptime_seconds", "Since the start", this.uptime.clone());
        r.register(
            "descriptors",
            "File descriptors that are open",
            this.descriptors.clone(),
        );
        this
    }

    /// Updates the metrics from counters kept elsewhere, just before a read.
    pub(crate) fn collect(&self, uptime: Duration) {
        let refused = ByOutcome { outcome: "refused" };
        for (refusal, counter) in [
            (Refusal::Ticket, &self.tickets_refused),
            (Refusal::Handshake, &self.handshakes_refused),
            (Refusal::Path, &*self.paths.get_or_create(&refused)),
        ] {
            self.refusals.at_least(refusal, counter.get());
        }
        for refusal in Refusal::ALL {
            let counter = self.refused.get_or_create(&refusal.labels());
            let behind = self.refusals.of(refusal).saturating_sub(counter.get());
            counter.inc_by(behind);
        }
        self.uptime
            .set(i64::try_from(uptime.as_secs()).unwrap_or(i64::MAX));
        if let (Some(open), _) = descriptors() {
            self.descriptors
                .set(i64::try_from(open).unwrap_or(i64::MAX));
        }
    }

    /// Updates the metrics from the web site's counters.
    pub(crate) fn site(&self, stats: &betanet_carrier::Stats) {
        use std::sync::atomic::Ordering::Relaxed;
        for (counter, source) in [
            (&self.tls_failed, &stats.tls_failed),
            (&self.covered, &stats.covered),
            (&self.tickets_refused, &stats.tickets_refused),
            (&self.handshakes_refused, &stats.handshakes_refused),
        ] {
            let behind = source.load(Relaxed).saturating_sub(counter.get());
            counter.inc_by(behind);
        }
    }

    /// Renders the metrics in the Prometheus text format.
    #[must_use]
    pub fn render(&self) -> String {
        let behind = crate::panics::panics().saturating_sub(self.panics.get());
        self.panics.inc_by(behind);
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}

impl CountPaths for Metrics {
    fn path(&self, outcome: PathOutcome) {
        let outcome = match outcome {
            PathOutcome::Exit => "exit",
            PathOutcome::Onward => "onward",
            PathOutcome::Refused => "refused",
        };
        self.paths.get_or_create(&ByOutcome { outcome }).inc();
    }

    fn stream(&self) {
        self.streams_forwarded.inc();
    }
}

impl CountLegs for Metrics {
    fn opened(&self) {
        self.legs.inc();
        self.legs_opened.inc();
    }

    fn closed(&self) {
        self.legs.dec();
    }
}

impl Count for Metrics {
    fn opened(&self) {
        self.sessions_opened.inc();
    }

    fn served(&self, status: u16) {
        self.requests.get_or_create(&ByStatus { status }).inc();
    }

    fn closed(&self, code: Code) {
        // The peer chooses unknown codes. One label for all of them bounds the family.
        let code = code.name().unwrap_or("other").to_owned();
        self.sessions_closed.get_or_create(&ByCode { code }).inc();
    }

    fn traffic(&self, before: &Stats, now: &Stats) {
        let add = |family: &Family<ByWay, Counter>, direction, n: u64| {
            if n > 0 {
                family.get_or_create(&ByWay { direction }).inc_by(n);
            }
        };
        add(&self.bytes, "in", now.bytes_in - before.bytes_in);
        add(&self.bytes, "out", now.bytes_out - before.bytes_out);
        add(&self.frames, "in", now.frames_in - before.frames_in);
        add(&self.frames, "out", now.frames_out - before.frames_out);
        add(&self.rekeys, "in", now.rekeys_in - before.rekeys_in);
        add(&self.rekeys, "out", now.rekeys_out - before.rekeys_out);
    }
}
