//! Metrics and health of a ledger node.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use betanet_durable::Role;
use betanet_runtime::{Clock, Fault, Measure, MeasureKind};
use betanet_wire::Code;

use crate::bar::Api;
use crate::shared::Shared;

/// Codes of refusals with a metric of their own.
const CODES: [Code; 8] = [
    Code::AUTH_FAILED,
    Code::REPLAY,
    Code::MALFORMED_FRAME,
    Code::POLICY_REJECTED,
    Code::UNSUPPORTED_FEATURE,
    Code::ALIAS_SIG_INVALID,
    Code::ALIAS_SEQ_REPLAY,
    Code::ALIAS_ROTATION_CONFLICT,
];

pub(crate) fn measures(api: &Api) -> Vec<Measure> {
    let facts = api.shared.facts().borrow().clone();
    let gauge = |name, help, value| Measure::one(name, help, MeasureKind::Gauge, value);
    let counter = |name, help, of: &AtomicU64| {
        Measure::one(name, help, MeasureKind::Counter, of.load(Ordering::Relaxed))
    };
    let now = Clock::start().now().unix_ms;
    let age = facts.head_ms.map_or(0, |ms| now.saturating_sub(ms) / 1000);
    let counts = &api.shared.setup.counts;
    let refused = api.refused.lock().unwrap_or_else(PoisonError::into_inner);
    let by_code = CODES.iter().map(|code| {
        let name = code.name().unwrap_or_default();
        (
            Some(("code", name)),
            refused.get(code).copied().unwrap_or(0),
        )
    });
    vec![
        gauge(
            "names_records",
            "Final records, which are those of the newest head",
            facts.size,
        ),
        gauge(
            "names_aliases",
            "Aliases that ever had a record",
            facts.aliases,
        ),
        gauge(
            "names_waiting",
            "Records that wait for a head",
            facts.pool as u64,
        ),
        gauge(
            "names_head_age_seconds",
            "Time since the newest head was made",
            age,
        ),
        gauge(
            "names_rivals",
            "Records that contradict others",
            facts.rivals,
        ),
        gauge(
            "names_split",
            "1 once two views of the ledger were found",
            facts.split.into(),
        ),
        counter("names_requests", "Requests over BAR", &api.requests),
        counter(
            "names_proposed",
            "Heads that this signer proposed",
            &counts.proposed,
        ),
        counter(
            "names_signed",
            "Heads that this signer signed",
            &counts.signed,
        ),
        counter(
            "names_gossip_faults",
            "Exchanges that a peer's fault ended",
            &counts.faults,
        ),
        counter(
            "names_unproven",
            "Heads of peers without a proof",
            &counts.unproven,
        ),
        Measure {
            name: "names_refused",
            help: "Requests refused, by wire code",
            kind: MeasureKind::Counter,
            values: by_code.collect(),
        },
    ]
}

pub(crate) fn faults(shared: &Shared) -> Vec<Fault> {
    let mut faults = Vec::new();
    match shared.role() {
        Role::Failed(why) => faults.push(Fault::new("names", why.into_string())),
        Role::Starting => {
            faults.push(Fault::new(
                "names",
                "the ledger reads its journal".to_owned(),
            ));
        }
        _ => {}
    }
    if shared.facts().borrow().split {
        let why = "signers showed two views of the ledger of names: it takes nothing more; /names/1/split has the evidence";
        faults.push(Fault::new("names_split", why.to_owned()));
    }
    faults
}
