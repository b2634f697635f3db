//! What an embedding program adds to a node beside services: metrics, health checks, and pages at the admin address.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::Stream;
use hyper::http::{HeaderMap, Method, Uri};

use crate::Fault;

/// A body of the admin address, in pieces.
pub type AdminBody = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The future answer to a request at the admin address.
pub type AdminFuture = Pin<Box<dyn Future<Output = AdminReply> + Send>>;

/// A request at the admin address.
pub struct AdminRequest {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as it arrives.
    pub body: AdminBody,
}

impl std::fmt::Debug for AdminRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.uri)
    }
}

/// An answer at the admin address.
pub struct AdminReply {
    /// HTTP status.
    pub status: u16,
    /// Headers, with lowercase names.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: AdminBody,
}

impl std::fmt::Debug for AdminReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)
    }
}

impl AdminReply {
    /// Creates an answer with a body that is already complete.
    #[must_use]
    pub fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body: Bytes = body.into();
        Self {
            status,
            headers: vec![
                ("content-type", content_type.to_owned()),
                // Else it would be sent in chunks, which simple clients do not read.
                ("content-length", body.len().to_string()),
            ],
            body: Box::pin(futures_util::stream::once(std::future::ready(Ok(body)))),
        }
    }
}

/// Kind of a metric.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MeasureKind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// A metric, as Prometheus reads it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Measure {
    /// Name without the prefix `betanet_`, and without `_total`.
    pub name: &'static str,
    /// One sentence, without its full stop.
    pub help: &'static str,
    /// Kind.
    pub kind: MeasureKind,
    /// Values, each with its label and the label's value; without a label for a single value.
    pub values: Vec<(Option<(&'static str, &'static str)>, u64)>,
}

impl Measure {
    /// Creates a metric with one value.
    #[must_use]
    pub fn one(name: &'static str, help: &'static str, kind: MeasureKind, value: u64) -> Self {
        let values = vec![(None, value)];
        Self {
            name,
            help,
            kind,
            values,
        }
    }
}

/// A part of a node that an embedding program adds.
pub trait Extension: Send + Sync + 'static {
    /// The paths that it answers at the admin address, each with all paths below it.
    fn paths(&self) -> &'static [&'static str];

    /// Answers a request at the admin address. Every client that reaches that address may ask, so it belongs on a loopback address.
    fn answer(self: Arc<Self>, request: AdminRequest) -> AdminFuture;

    /// Its metrics.
    fn measures(&self) -> Vec<Measure> {
        Vec::new()
    }

    /// Its present faults, for `/healthz`.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }
}

/// Appends metrics to a text in the Prometheus format, before its end mark.
pub(crate) fn append(text: &mut String, measures: &[Measure]) {
    const END: &str = "# EOF\n";
    let end = text.ends_with(END);
    if end {
        text.truncate(text.len() - END.len());
    }
    for Measure {
        name,
        help,
        kind,
        values,
    } in measures
    {
        let (kind, suffix) = match kind {
            MeasureKind::Counter => ("counter", "_total"),
            MeasureKind::Gauge => ("gauge", ""),
        };
        let _ = writeln!(text, "# HELP betanet_{name} {help}.");
        let _ = writeln!(text, "# TYPE betanet_{name} {kind}");
        for (label, value) in values {
            let _ = match label {
                Some((key, of)) => {
                    writeln!(text, "betanet_{name}{suffix}{{{key}=\"{of}\"}} {value}")
                }
                None => writeln!(text, "betanet_{name}{suffix} {value}"),
            };
        }
    }
    if end {
        text.push_str(END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_stand_before_the_end_mark() {
        let mut text = "# TYPE betanet_a gauge\nbetanet_a 1\n# EOF\n".to_owned();
        let nodes = Measure {
            name: "fog_nodes",
            help: "Nodes by state",
            kind: MeasureKind::Gauge,
            values: vec![
                (Some(("state", "active")), 3),
                (Some(("state", "offline")), 1),
            ],
        };
        let asked = Measure::one("fog_requests", "Requests answered", MeasureKind::Counter, 7);
        append(&mut text, &[nodes, asked]);
        assert_eq!(
            text,
            "# TYPE betanet_a gauge\nbetanet_a 1\n\
             # HELP betanet_fog_nodes Nodes by state.\n# TYPE betanet_fog_nodes gauge\n\
             betanet_fog_nodes{state=\"active\"} 3\nbetanet_fog_nodes{state=\"offline\"} 1\n\
             # HELP betanet_fog_requests Requests answered.\n# TYPE betanet_fog_requests counter\n\
             betanet_fog_requests_total 7\n# EOF\n"
        );
    }
}
