//! Status report of a running node for its operator.

use serde_json::{Value, json};

use crate::Gateway;
use crate::metrics::Refusal;
use crate::process::{BUILD, descriptors};

/// Maximum number of sessions listed individually.
const LISTED: usize = 100;

impl Gateway {
    /// Returns the node's identity, health, sessions and refusals as a JSON object.
    pub async fn status(&self) -> Value {
        let faults = self.faults().await;
        let now = self.clock().now();
        let metrics = self.counted();
        let listening = self.listening();
        let refused: Vec<Value> = Refusal::ALL
            .into_iter()
            .map(|refusal| {
                let limit = Some(refusal.limit()).filter(|l| !l.is_empty());
                json!({
                    "what": refusal.reason(),
                    "limit": limit,
                    "allowed": self.allowed(refusal),
                    "count": metrics.refusals.of(refusal),
                })
            })
            .collect();
        let (open, limit) = descriptors();
        let build: serde_json::Map<String, Value> = BUILD
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).into()))
            .collect();
        json!({
            "name": listening.name.to_string(),
            "addresses": listening.addresses,
            "pinned": listening.pinned,
            "build": build,
            "uptime_s": (now.mono - betanet_machine::Time::ZERO).as_secs(),
            "healthy": faults.is_empty(),
            "faults": faults.iter().map(|f| json!({"what": f.what, "why": f.why})).collect::<Vec<_>>(),
            "sessions": self.seen().told(now.mono, LISTED),
            "refused": refused,
            "descriptors": {"open": open, "limit": limit},
            "panics": crate::panics(),
        })
    }
}
