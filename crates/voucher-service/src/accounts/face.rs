//! The face at the admin address: accounts as JSON, evidence as a file, metrics and health.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use betanet_durable::Role;
use betanet_keys::Name;
use betanet_runtime::{
    AdminFuture, AdminReply, AdminRequest, Extension, Fault, Measure, MeasureKind,
};
use betanet_vouchers::accounts::{Given, Taken};
use betanet_wire::NodeId;
use serde_json::{Value, json};

use super::state::{AccountView, Ask, Said};
use super::{Evidence, Ledger, locked};

const JSON: &str = "application/json";

pub(super) struct AdminFace(pub(super) Arc<Ledger>);

impl Extension for AdminFace {
    fn paths(&self) -> &'static [&'static str] {
        &["/accounts/1"]
    }

    fn answer(self: Arc<Self>, request: AdminRequest) -> AdminFuture {
        let path = request.uri.path().to_owned();
        let gets = request.method.as_str() == "GET";
        Box::pin(async move { reply(&self.0, &path, gets).await })
    }

    fn measures(&self) -> Vec<Measure> {
        measures(&self.0)
    }

    fn faults(&self) -> Vec<Fault> {
        let why = match self.0.handle.get().map(|handle| handle.role()) {
            None => "the accounts are not started".to_owned(),
            Some(Role::Starting) => "the accounts read their journal".to_owned(),
            Some(Role::Failed(why)) => why.into_string(),
            Some(Role::Leads(_) | Role::Follows(_) | Role::Stopped) => return Vec::new(),
            Some(_) => return Vec::new(),
        };
        vec![Fault::new("accounts", why)]
    }
}

fn text(status: u16, why: &str) -> AdminReply {
    AdminReply::whole(status, JSON, json!({ "reason": why }).to_string() + "\n")
}

async fn reply(ledger: &Ledger, path: &str, gets: bool) -> AdminReply {
    if !gets {
        return text(405, "these pages are read only");
    }
    match path {
        "/accounts/1/list" => match ledger.view().await {
            Ok(view) => AdminReply::whole(200, JSON, list(ledger, &view).to_string() + "\n"),
            Err(_) => text(503, "the accounts do not lead their journal"),
        },
        "/accounts/1/evidence" => {
            match ledger.ask(Ask::Evidence(*ledger.identity.public())).await {
                Ok(Said::Evidence(all)) => {
                    let file = Evidence(all).to_bytes();
                    AdminReply::whole(200, "application/cbor", file)
                }
                Ok(_) | Err(_) => text(503, "the accounts do not lead their journal"),
            }
        }
        _ => text(404, "there is no such page"),
    }
}

fn named(node: &NodeId) -> String {
    Name::from(*node).to_string()
}

fn list(ledger: &Ledger, view: &AccountView) -> Value {
    let given = |((period, peer), row): &((u64, NodeId), Given)| {
        let refused = match row.refused {
            0 => Value::Null,
            code => betanet_wire::Code(code).to_string().into(),
        };
        json!({
            "bytes": row.bytes,
            "peer": named(peer),
            "period": period,
            "refused": refused,
            "seq": row.seq,
            "settled": row.settled.as_ref().map_or(0, |s| s.bytes),
        })
    };
    let disputes = locked(&ledger.disputes).clone();
    let taken = |((period, relay), row): &((u64, NodeId), Taken)| {
        let dispute = disputes.get(&(*period, *relay));
        json!({
            "bytes": row.bytes,
            "disputed": dispute.map(|d| d.claimed),
            "period": period,
            "relay": named(relay),
            "seq": row.signed.as_ref().map_or(0, |s| s.seq),
            "signed": row.signed.as_ref().map_or(0, |s| s.bytes),
        })
    };
    let tariff = ledger.settings.tariff;
    json!({
        "allowance": tariff.allowance,
        "given": view.of_peers.iter().map(given).collect::<Vec<_>>(),
        "node": named(&ledger.identity.public().node_id()),
        "price": tariff.price,
        "taken": view.of_relays.iter().map(taken).collect::<Vec<_>>(),
    })
}

fn measures(ledger: &Ledger) -> Vec<Measure> {
    let view = locked(&ledger.seen).clone();
    let counted = &ledger.counted;
    let gauge = |name, help, value| Measure::one(name, help, MeasureKind::Gauge, value);
    let counter = |name, help, of: &AtomicU64| {
        Measure::one(name, help, MeasureKind::Counter, of.load(Ordering::Relaxed))
    };
    let open = view
        .open
        .values()
        .fold(0_u64, |sum, n| sum.saturating_add(*n));
    let lost = counted.lost.load(Ordering::Relaxed);
    let lost = lost.saturating_add(locked(&ledger.meter).uncounted);
    let disputes = locked(&ledger.disputes).len();
    vec![
        gauge(
            "account_bytes_given",
            "Bytes forwarded for other nodes in the last 31 days, written down every 10 s",
            view.given.0,
        ),
        gauge(
            "account_bytes_settled",
            "Bytes of these that the other nodes countersigned",
            view.given.1,
        ),
        gauge(
            "account_bytes_open",
            "Bytes of the last 7 days that are not countersigned",
            open,
        ),
        gauge(
            "account_bytes_taken",
            "Bytes that relays were sent to forward for this node in the last 31 days",
            view.taken.0,
        ),
        gauge(
            "account_bytes_signed",
            "Bytes of these that this node countersigned",
            view.taken.1,
        ),
        gauge(
            "account_disputes",
            "Periods of relays that claimed other counts than this node has",
            u64::try_from(disputes).unwrap_or(u64::MAX),
        ),
        counter(
            "account_records_settled",
            "Records that other nodes countersigned",
            &counted.settled,
        ),
        counter(
            "account_records_refused",
            "Records that other nodes refused to countersign",
            &counted.refused,
        ),
        counter(
            "account_records_signed",
            "Records that this node countersigned",
            &counted.signed,
        ),
        counter(
            "account_records_disputed",
            "Records that this node refused to countersign",
            &counted.disputed,
        ),
        counter(
            "account_peers_silent",
            "Requests to countersign that had no answer",
            &counted.silent,
        ),
        counter(
            "account_streams_refused",
            "Relayed streams refused, as their peer has its allowance open",
            &counted.unpaid,
        ),
        Measure::one(
            "account_bytes_lost",
            "Bytes that were not counted, as a table was full",
            MeasureKind::Counter,
            lost,
        ),
    ]
}
