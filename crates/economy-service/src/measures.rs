//! Metrics and health of a ledger.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use betanet_durable::Role;
use betanet_runtime::{Clock, Fault, Measure, MeasureKind};
use betanet_tokenomics::Code;

use crate::bar::Api;
use crate::shared::Shared;

/// Age of the first record without a final head from which the node is unhealthy, in ms: several heads were missed by then.
const UNSIGNED_MS: u64 = 300_000;

pub(crate) fn measures(api: &Api) -> Vec<Measure> {
    let facts = api.shared.facts().borrow().clone();
    let gauge = |name, help, value| Measure::one(name, help, MeasureKind::Gauge, value);
    let counter = |name, help, of: &AtomicU64| {
        Measure::one(name, help, MeasureKind::Counter, of.load(Ordering::Relaxed))
    };
    let now = Clock::start().now().unix_ms;
    let since = |ms: u64| match ms {
        0 => 0,
        ms => now.saturating_sub(ms) / 1000,
    };
    let age = since(facts.final_ms);
    let anchored = api.shared.posted.size.load(Ordering::Relaxed);
    let refused = api.refused.lock().unwrap_or_else(PoisonError::into_inner);
    let by_code = Code::all().filter(|code| *code != Code::Ok).map(|code| {
        let n = refused.get(&code).copied().unwrap_or(0);
        (Some(("code", code.name())), n)
    });
    vec![
        gauge("economy_records", "Records of the ledger", facts.records),
        gauge(
            "economy_final_records",
            "Records under the final head",
            facts.final_size,
        ),
        gauge(
            "economy_head_age_seconds",
            "Time since the last record under the final head",
            age,
        ),
        gauge(
            "economy_head_signatures",
            "Signatures of the head that is not final yet",
            facts.signatures,
        ),
        gauge("economy_epoch", "Epoch that runs", facts.epoch),
        gauge(
            "economy_posted_epochs",
            "Epochs up to the last one of which a head stands in the ledger of names",
            api.shared.posted.epochs.load(Ordering::Relaxed),
        ),
        gauge(
            "economy_anchored_records",
            "Records under the newest head that was seen in the ledger of names",
            anchored,
        ),
        gauge(
            "economy_anchored_age_seconds",
            "Time since the last record under that head",
            since(api.shared.posted.head_ms.load(Ordering::Relaxed)),
        ),
        gauge(
            "economy_post_signatures",
            "Maintainers' signatures of the record that is to be posted",
            api.shared.posted.signatures(),
        ),
        counter(
            "economy_posts_failed",
            "Tries to post a head to the ledger of names that failed",
            &api.shared.posted.failed,
        ),
        counter("economy_requests", "Requests over BAR", &api.requests),
        counter(
            "economy_accepted",
            "Requests that the ledger accepted, repeats included",
            &api.accepted,
        ),
        Measure {
            name: "economy_refused",
            help: "Requests that the ledger refused, by code",
            kind: MeasureKind::Counter,
            values: by_code.collect(),
        },
    ]
}

pub(crate) fn faults(shared: &Shared) -> Vec<Fault> {
    let mut faults = Vec::new();
    match shared.role() {
        Role::Failed(why) => faults.push(Fault::new("economy", why.into_string())),
        Role::Starting => {
            let why = "the economy's ledger reads its journal";
            faults.push(Fault::new("economy", why.to_owned()));
        }
        _ => {}
    }
    let facts = shared.facts().borrow().clone();
    let now = Clock::start().now().unix_ms;
    // A genesis may be older than its first node.
    let waits = facts.waiting_ms > 0 && facts.records > 1;
    if waits && now.saturating_sub(facts.waiting_ms) > UNSIGNED_MS {
        let why = format!(
            "no head was final for 5 minutes, and the newest has {} of {} signatures: see whether the signers run",
            facts.signatures, facts.needed
        );
        faults.push(Fault::new("economy_head", why));
    }
    faults.extend(
        shared
            .posted
            .fault(now)
            .map(|why| Fault::new("economy_post", why)),
    );
    faults
}
