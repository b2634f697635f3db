//! Metrics and health.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use betanet_durable::Role;
use betanet_runtime::{Fault, Measure, MeasureKind};
use betanet_vouchers::Phase;

use crate::bridge::Bridge;
use crate::desk::Desk;

pub(crate) fn measures(desk: &Desk) -> Vec<Measure> {
    let counter = |name, help, of: &AtomicU64| {
        Measure::one(name, help, MeasureKind::Counter, of.load(Ordering::Relaxed))
    };
    let gauge = |name, help, value| Measure::one(name, help, MeasureKind::Gauge, value);
    let view = desk
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let now_ms = desk.clock.now().unix_ms;
    let live = |id| {
        let keyset = desk.keysets.get(id);
        keyset.is_some_and(|k| k.phase(now_ms) != Phase::Expired)
    };
    let spent = view
        .keysets
        .iter()
        .filter(|k| live(&k.id))
        .flat_map(|k| &k.counts);
    let spent = spent.fold(0_u64, |sum, c| sum.saturating_add(c.redeemed));
    let balances = view.balances.values().sum::<u128>();
    let balances = u64::try_from(balances).unwrap_or(u64::MAX);
    let (direct, mixed) = desk.limits.refused();
    let swaps = desk.swaps.refused();
    let ledger = desk.bridge.get().map(Bridge::seen).unwrap_or_default();
    vec![
        gauge(
            "voucher_ledger_waiting",
            "Redemptions that wait for a final head of the ledger",
            ledger.waiting as u64,
        ),
        gauge(
            "voucher_ledger_refused",
            "Redemptions that the ledger refused to pay out",
            ledger.refusals as u64,
        ),
        gauge(
            "voucher_points_signed",
            "Blinded points that this mint signed, counted each minute",
            view.sum(|c| c.signed),
        ),
        gauge(
            "vouchers_issued",
            "Vouchers counted as issued by swaps and reports, counted each minute",
            view.sum(|c| c.issued),
        ),
        gauge(
            "vouchers_redeemed",
            "Vouchers redeemed or spent by swaps, counted each minute",
            view.sum(|c| c.redeemed),
        ),
        gauge(
            "vouchers_spent",
            "Spent vouchers of keysets that are not over, counted each minute",
            spent,
        ),
        gauge(
            "voucher_balances",
            "Sum of all balances over all units, counted each minute",
            balances,
        ),
        gauge(
            "voucher_alarm",
            "1 if more was redeemed of a denomination than was issued",
            u64::from(desk.alarms()),
        ),
        gauge(
            "voucher_mints_silent",
            "Mints that did not report their counts when they were asked last",
            desk.silent(),
        ),
        counter("voucher_requests", "Requests", &desk.counted.requests),
        counter(
            "voucher_requests_refused",
            "Requests refused",
            &desk.counted.refused,
        ),
        counter("vouchers_forged", "Forged vouchers", &desk.counted.forged),
        Measure::one(
            "voucher_swaps_limited",
            "Swaps beyond the day's allowance of their address",
            MeasureKind::Counter,
            swaps.0.saturating_add(swaps.1),
        ),
        Measure::one(
            "voucher_requests_limited",
            "Requests beyond the allowance of their address",
            MeasureKind::Counter,
            direct.saturating_add(mixed),
        ),
    ]
}

/// The faults of a service. One that follows another has none.
pub(crate) fn faults(desk: &Desk) -> Vec<Fault> {
    let mut all = Vec::new();
    let why = match desk.handle.get().map(|handle| handle.role()) {
        None => Some("the service is not started".to_owned()),
        Some(Role::Starting) => Some("the service reads its journal".to_owned()),
        Some(Role::Failed(why)) => Some(why.into_string()),
        Some(_) => None,
    };
    all.extend(why.map(|why| Fault::new("vouchers", why)));
    let ledger = desk.bridge.get().map(Bridge::seen).unwrap_or_default();
    if let Some(why) = ledger.fault {
        let why = format!("redemptions are not paid out on the ledger: {why}");
        all.push(Fault::new("vouchers", why));
    }
    if ledger.refusals > 0 {
        let why = format!(
            "the ledger refused {} redemptions, whose payees have nothing; each start tries them once more",
            ledger.refusals
        );
        all.push(Fault::new("vouchers", why));
    }
    for (id, why) in desk.unheard() {
        all.push(Fault::new("vouchers", format!("keyset {id}: {why}")));
    }
    if desk.alarms() {
        let why = "more vouchers of a denomination were redeemed than issued: a key was stolen, or a mint does not report all that it signed";
        all.push(Fault::new("vouchers", why.to_owned()));
    }
    all
}
