//! What a leader does by itself: it lets happen what is due, and proposes heads.

use std::sync::Arc;
use std::time::Duration;

use betanet_durable::Role;
use betanet_runtime::Clock;
use tokio::time::Instant;

use crate::shared::Shared;
use crate::state::{Ask, SKEW_MS};

/// Records without a head after which one is proposed at once.
const HEAD_RECORDS: u64 = 1000;
/// Pause after a failure, and longest wait.
const PAUSE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(3600);

/// Ticks and proposes for as long as the state exists. `every` is the time between two heads.
pub(crate) async fn run(shared: Arc<Shared>, every: Duration) {
    let clock = Clock::start();
    let mut changes = shared.facts();
    // A node that starts proposes at once.
    let mut proposed: Option<Instant> = None;
    loop {
        let facts = changes.borrow_and_update().clone();
        if !matches!(shared.role(), Role::Leads(_)) {
            tokio::time::sleep(PAUSE / 10).await;
            if changes.has_changed().is_err() {
                return;
            }
            continue;
        }
        let now = clock.now().unix_ms;
        // The state refuses all until the clock has come there.
        if facts.ts > now.saturating_add(SKEW_MS) {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        // Records have the leader's time, which never falls.
        let now = now.max(facts.ts);
        if facts.next_due <= now {
            if shared.ask(Ask::Tick).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        }
        let waits = facts.records > facts.final_size;
        let many = facts.records.saturating_sub(facts.proposed) >= HEAD_RECORDS;
        let pause = if many { PAUSE.min(every) } else { every };
        let left = proposed.map_or(Duration::ZERO, |at| pause.saturating_sub(at.elapsed()));
        if waits && left.is_zero() {
            proposed = Some(Instant::now());
            if shared.ask(Ask::Propose).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        }
        let due = Duration::from_millis(facts.next_due - now);
        let head = if waits { left } else { IDLE };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(due.min(head).min(IDLE)) => {}
        }
    }
}
