//! Traffic over the last hour: counters of this process and of the sources, read each ten seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_runtime::Gateway;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::{Sources, net};

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(10);
/// Samples that are kept of each program: one hour.
pub(crate) const SAMPLES_MAX: usize = 360;

/// Counters at one moment; `None` for those that the program does not have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sample {
    /// UNIX ms.
    pub(crate) at: u64,
    pub(crate) bytes_in: Option<u64>,
    pub(crate) bytes_out: Option<u64>,
    pub(crate) sessions: Option<u64>,
    pub(crate) mix_in: Option<u64>,
    pub(crate) mix_out: Option<u64>,
}

impl Sample {
    /// Reads counters from metrics.
    pub(crate) fn of(at: u64, metrics: &str) -> Self {
        let value = |name: &str| -> Option<u64> {
            let mut all = net::lines(metrics, &["betanet_"]);
            all.find(|(n, _)| *n == name)?.1.parse().ok()
        };
        Self {
            at,
            bytes_in: value("betanet_session_bytes_total{direction=\"in\"}"),
            bytes_out: value("betanet_session_bytes_total{direction=\"out\"}"),
            sessions: value("betanet_sessions"),
            mix_in: value("betanet_mix_packets_total{direction=\"in\"}"),
            mix_out: value("betanet_mix_packets_total{direction=\"out\"}"),
        }
    }
}

/// Growth of a counter a second, by time. A counter that went back began anew, and gives no value.
pub(crate) fn sampled(samples: &[Sample], of: impl Fn(&Sample) -> Option<u64>) -> Vec<(u64, u64)> {
    let pairs = samples.iter().zip(samples.iter().skip(1));
    let rates = pairs.filter_map(|(a, b)| {
        let grown = of(b)?.checked_sub(of(a)?)?;
        let ms = b.at.checked_sub(a.at).filter(|ms| *ms > 0)?;
        Some((b.at, grown.saturating_mul(1_000) / ms))
    });
    rates.collect()
}

/// The samples by program; those of this process are under the empty name.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<BTreeMap<String, VecDeque<Sample>>>);

impl History {
    fn add(&self, of: &str, sample: Sample) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = all.entry(of.to_owned()).or_default();
        if ring.len() >= SAMPLES_MAX {
            ring.pop_front();
        }
        ring.push_back(sample);
    }

    /// The samples of a program, oldest first.
    pub(crate) fn of(&self, name: &str) -> Vec<Sample> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = all.get(name);
        ring.map_or_else(Vec::new, |r| r.iter().copied().collect())
    }

    /// Takes samples until it is to stop. A source that cannot be read has none for that time.
    pub(crate) async fn run(
        self: Arc<Self>,
        sources: Arc<Sources>,
        gateway: Arc<Gateway>,
        now_ms: impl Fn() -> u64 + Send,
        stop: CancellationToken,
    ) {
        loop {
            self.add("", Sample::of(now_ms(), &gateway.render_metrics()));
            let read = sources.iter().map(async |s| (s, net::metrics(s).await));
            for (source, metrics) in join_all(read).await {
                if let Ok(metrics) = metrics {
                    self.add(source.name(), Sample::of(now_ms(), &metrics));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_bounded_and_a_counter_that_began_anew_gives_no_rate() {
        let text = |n: u64| {
            format!(
                "# HELP x\nbetanet_session_bytes_total{{direction=\"in\"}} {n}\nbetanet_sessions 2\n# EOF\n"
            )
        };
        let history = History::default();
        for n in 0..SAMPLES_MAX as u64 + 5 {
            history.add("a", Sample::of(n * 10_000, &text(n * 100)));
        }
        let mut all = history.of("a");
        assert_eq!((all.len(), all[0].at), (SAMPLES_MAX, 50_000));
        assert_eq!((all[0].sessions, all[0].bytes_out), (Some(2), None));
        let rates = sampled(&all, |s| s.bytes_in);
        assert_eq!((rates.len(), rates[0]), (SAMPLES_MAX - 1, (60_000, 10)));
        all[5].bytes_in = Some(0);
        assert_eq!(sampled(&all, |s| s.bytes_in).len(), SAMPLES_MAX - 2);
        assert!(sampled(&all, |s| s.mix_in).is_empty() && history.of("").is_empty());
    }
}
