//! What a running node tells its operator.

use std::fs;

use serde_json::{Value, json};

use crate::Gateway;
use crate::metrics::Refusal;

/// Sessions that are listed one by one.
const LISTED: usize = 100;

/// What this build is: its version, and what it was built with and for.
pub(crate) const BUILD: [(&str, &str); 4] = [
    ("version", env!("CARGO_PKG_VERSION")),
    (
        "profile",
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    ),
    (
        "features",
        if cfg!(feature = "mimic") { "mimic" } else { "" },
    ),
    (
        "target",
        if cfg!(target_os = "linux") {
            "linux"
        } else {
            "other"
        },
    ),
];

/// File descriptors that are open, and as many as there may be; nothing where the system does not tell.
pub(crate) fn descriptors() -> (Option<u64>, Option<u64>) {
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    // The one that the look itself holds is not counted.
    let open = open.and_then(|n| u64::try_from(n.saturating_sub(1)).ok());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    (open, limit.current)
}

impl Gateway {
    /// What the node is, how it is, who is there, and who was refused and why: an object of JSON.
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
