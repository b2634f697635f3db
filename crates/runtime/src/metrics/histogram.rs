//! A histogram that takes all values of a batch under one lock.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

#[derive(Debug)]
struct Counts {
    sum: f64,
    count: u64,
    /// Upper bound of each bucket, and the number of values in it alone. The last bound is infinite.
    buckets: Vec<(f64, u64)>,
}

/// Counts values by bucket. Clones share their counts.
#[derive(Clone, Debug)]
pub(super) struct Histogram(Arc<Mutex<Counts>>);

impl Histogram {
    /// Creates a histogram with these upper bounds of buckets, in ascending order.
    pub(super) fn new(bounds: &[f64]) -> Self {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        Self(Arc::new(Mutex::new(Counts {
            sum: 0.0,
            count: 0,
            buckets: bounds.map(|bound| (bound, 0)).collect(),
        })))
    }

    /// Counts values. Returns how many there were.
    pub(super) fn observe(&self, values: impl IntoIterator<Item = f64>) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counts.count;
        for value in values {
            counts.sum += value;
            counts.count += 1;
            let bucket = counts.buckets.iter_mut().find(|(bound, _)| *bound >= value);
            if let Some((_, n)) = bucket {
                *n += 1;
            }
        }
        counts.count - before
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts {
            sum,
            count,
            buckets,
        } = &*counts;
        encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::histogram;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn it_is_encoded_like_the_librarys_own() {
        let bounds = [0.0, 0.25, 1.0];
        let (ours, theirs) = (Histogram::new(&bounds), histogram::Histogram::new(bounds));
        for batch in [&[0.0, 0.1, 0.25, 0.5][..], &[], &[1.0, 7.5, -2.0]] {
            let count = ours.observe(batch.iter().copied());
            assert_eq!(count, batch.len() as u64);
            batch.iter().for_each(|value| theirs.observe(*value));
        }
        let text = |register: &dyn Fn(&mut Registry)| {
            let (mut registry, mut text) = (Registry::default(), String::new());
            register(&mut registry);
            encode(&mut text, &registry).unwrap();
            text
        };
        let ours = text(&|r| r.register("some", "Help", ours.clone()));
        assert_eq!(ours, text(&|r| r.register("some", "Help", theirs.clone())));
        assert!(ours.contains("some_count 7"), "{ours}");
    }
}
