//! The escrow's part of a node: its metrics and its health.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use betanet_runtime::{
    AdminFuture, AdminReply, AdminRequest, Extension, Fault, Measure, MeasureKind,
};
use betanet_session::Clock;

use crate::LedgerEscrow;

struct Face(Arc<LedgerEscrow>);

impl LedgerEscrow {
    /// Its metrics and its health, for the node that it runs on.
    #[must_use]
    pub fn extension(self: &Arc<Self>) -> Arc<dyn Extension> {
        Arc::new(Face(Arc::clone(self)))
    }
}

impl Extension for Face {
    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn answer(self: Arc<Self>, _request: AdminRequest) -> AdminFuture {
        let nothing = AdminReply::whole(404, "text/plain", "the escrow has no pages\n");
        Box::pin(std::future::ready(nothing))
    }

    fn measures(&self) -> Vec<Measure> {
        let tally = &self.0.tally;
        let gauge = |name, help, n| Measure::one(name, help, MeasureKind::Gauge, n);
        let counter = |name, help, n: &AtomicU64| {
            Measure::one(name, help, MeasureKind::Counter, n.load(Ordering::Relaxed))
        };
        let waits = match tally.oldest_ms.load(Ordering::Relaxed) {
            0 => 0,
            since => Clock::start().now().unix_ms.saturating_sub(since) / 1_000,
        };
        vec![
            gauge(
                "escrow_open",
                "Tasks and bids that are held and not settled",
                tally.len() as u64,
            ),
            gauge(
                "escrow_oldest_due_seconds",
                "Time for which the oldest settlement is due",
                waits,
            ),
            gauge(
                "escrow_journal_read",
                "Index of the last record of the fog's journal that was read for settlements",
                tally.read.load(Ordering::Relaxed),
            ),
            counter("escrow_sent", "Settlements that were sent", &tally.sent),
            counter(
                "escrow_refused",
                "Settlements that the ledger refused",
                &tally.refused,
            ),
            counter(
                "escrow_expired",
                "Tasks and bids whose hold ended before their nodes were paid",
                &tally.expired,
            ),
            counter(
                "escrow_records_searched",
                "Records of the ledger that were searched for settlements of what is no longer held",
                &tally.searched,
            ),
            counter(
                "escrow_evidence_sent",
                "Evidence of wrong results that was sent to the ledger",
                &tally.accused,
            ),
            counter(
                "escrow_evidence_failed",
                "Evidence of wrong results that the ledger refused, or that too few coordinators signed",
                &tally.unaccused,
            ),
            counter(
                "escrow_unsigned",
                "Tries to settle for which too few coordinators signed",
                &tally.unsigned,
            ),
            counter(
                "escrow_cosigned",
                "Settlements of other coordinators that were signed here",
                &self.0.cosigner.door.signed,
            ),
            counter(
                "escrow_cosign_refused",
                "Settlements of other coordinators that were not signed here",
                &self.0.cosigner.door.refused,
            ),
        ]
    }

    fn faults(&self) -> Vec<Fault> {
        let ended = self.0.tally.ended.load(Ordering::Acquire);
        let why = "the part that pays for tasks and lots has ended: restart this node";
        let fault = ended.then(|| Fault::new("escrow", why.to_owned()));
        let lacking = self.0.tally.lacking.load(Ordering::Relaxed);
        let why = "settlements wait because too few coordinators of the ledger sign them";
        let unsigned =
            (lacking > 0).then(|| Fault::new("escrow-signatures", format!("{lacking} {why}")));
        fault.into_iter().chain(unsigned).collect()
    }
}
