//! `/vouchers`: the keysets of the mints that the sources have, with what was issued and redeemed, and alarms.

use betanet_auth::Error as AuthError;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::sources;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::list;
use crate::page::{self, pager, sortable};
use crate::reply::Done;
use crate::source::{Denomination, Keyset, Mint, Read};
use crate::text;

const COLUMNS: [&str; 12] = [
    "source",
    "id",
    "unit",
    "phase",
    "alarm",
    "issued",
    "redeemed",
    "signed",
    "issued_value",
    "redeemed_value",
    "not_before_ms",
    "expires_ms",
];
/// Phases of a keyset.
pub(crate) const PHASES: [&str; 4] = ["announced", "active", "retiring", "expired"];
const ORDER: &str = "id";

/// A keyset of a source.
type Row<'a> = (&'a str, &'a Keyset);

/// Refuses those whose roles hold in some namespaces only: these are figures of whole programs.
pub(crate) fn whole(cx: &Cx) -> Result<(), Fault> {
    match cx.everywhere() {
        true => Ok(()),
        false => Err(Fault::Auth(AuthError::Denied)),
    }
}

fn record((source, k): &Row<'_>) -> Value {
    let (issued, redeemed) = (k.total(|d| d.issued), k.total(|d| d.redeemed));
    let each = k
        .denominations
        .iter()
        .map(|d| json!({"e": d.e, "issued": d.issued, "redeemed": d.redeemed, "signed": d.signed}));
    json!({
        "source": source,
        "id": k.id,
        "unit": k.unit,
        "phase": k.phase,
        "alarm": k.alarm,
        "issued": issued.0,
        "redeemed": redeemed.0,
        "signed": k.total(|d| d.signed).0,
        // Values may exceed what numbers of JSON hold.
        "issued_value": issued.1.to_string(),
        "redeemed_value": redeemed.1.to_string(),
        "not_before_ms": k.not_before,
        "expires_ms": k.exp,
        "denominations": each.collect::<Vec<_>>(),
    })
}

fn filtered<'a>(cx: &Cx, all: &'a Read<'_, Mint>) -> Result<Vec<Row<'a>>, Fault> {
    let q = &cx.query;
    let (source, phase, unit) = (q.get("source"), q.get("phase"), q.get("unit"));
    if !phase.is_empty() && !PHASES.contains(&phase) {
        return Err(Fault::Field("phase"));
    }
    let alarm = match q.get("alarm") {
        "" => false,
        "1" => true,
        _ => return Err(Fault::Field("alarm")),
    };
    let known = all
        .iter()
        .filter(|(of, _)| source.is_empty() || of.name() == source);
    let rows = known.flat_map(|(of, kept)| {
        let keysets = kept.value.as_deref().map_or(&[][..], |m| &m.keysets);
        keysets.iter().map(|k| (of.name(), k))
    });
    let keep = |(_, k): &Row<'_>| {
        (phase.is_empty() || k.phase == phase)
            && (unit.is_empty() || k.unit == unit)
            && (!alarm || k.alarm)
    };
    let mut rows: Vec<Row<'_>> = rows.filter(keep).collect();
    list::sort(cx, &mut rows, ORDER, |key| {
        Some(match key {
            "id" => |a: &Row<'_>, b: &Row<'_>| a.1.id.cmp(&b.1.id).then(a.0.cmp(b.0)),
            "unit" => |a, b| a.1.unit.cmp(&b.1.unit).then(a.1.id.cmp(&b.1.id)),
            "phase" => |a, b| a.1.phase.cmp(&b.1.phase).then(a.1.id.cmp(&b.1.id)),
            "expires" => |a, b| a.1.exp.cmp(&b.1.exp).then(a.1.id.cmp(&b.1.id)),
            _ => return None,
        })
    })?;
    Ok(rows)
}

fn alarms(mint: &Mint) -> usize {
    mint.keysets.iter().filter(|k| k.alarm).count()
}

/// The figures of a source's card.
fn figures(mint: &Mint) -> Value {
    json!({
        "node": mint.node,
        "keysets": mint.keysets.len(),
        "alarms": alarms(mint),
        "balances": mint.balances,
    })
}

fn facts(mint: &Mint) -> Markup {
    let alarms = alarms(mint);
    html! {
        dl {
            dt { "Node" } dd { code { (mint.node) } }
            dt { "Keysets" } dd { (mint.keysets.len()) }
            dt { "Alarms" } dd { @if alarms > 0 { (page::badge("alarm")) " " } (alarms) }
            @for (unit, sum) in &mint.balances { dt { "Balances in " (unit) } dd { (sum.as_str().map_or_else(|| sum.to_string(), str::to_owned)) } }
        }
    }
}

fn counted(total: (u64, u128), unit: &str) -> Markup {
    html! { (text::number(total.0)) span.soft { " worth " (total.1) " " (unit) } }
}

fn denomination(d: &Denomination) -> Markup {
    html! { tr { th scope="row" { "2^" (d.e) } td { (text::number(d.signed)) } td { (text::number(d.issued)) } td { (text::number(d.redeemed)) } } }
}

fn row((source, k): &Row<'_>) -> Markup {
    let short = k.id.get(..16).unwrap_or(&k.id);
    html! {
        tr data-testid={ "keyset-" (k.id) } {
            th scope="row" {
                details id={ "keyset-" (source) "-" (k.id) } {
                    summary { code { (short) } }
                    p.soft { code { (k.id) } }
                    p.soft { (k.t) " of " (k.n) " shares sign" @if let Some(share) = k.share { "; this node has share " (share) } @if k.spends { "; this node redeems" } "." }
                    table {
                        thead { tr { @for name in ["Denomination", "Signed", "Issued", "Redeemed"] { th scope="col" { (name) } } } }
                        tbody { @for d in &k.denominations { (denomination(d)) } }
                    }
                }
            }
            td { (k.unit) } td { (page::badge(&k.phase)) }
            td { (counted(k.total(|d| d.issued), &k.unit)) } td { (counted(k.total(|d| d.redeemed), &k.unit)) }
            td { @if k.alarm { (page::badge("alarm")) " more was redeemed than issued" } @else { "none" } }
            td { (text::moment(k.exp)) } td { (source) }
        }
    }
}

fn filters(cx: &Cx) -> Markup {
    let phase = cx.query.get("phase");
    html! {
        form.card method="get" action="/vouchers" aria-label="Filters" {
            div.fields {
                div { label for="f-phase" { "Phase" } select #f-phase name="phase" { option value="" { "all" } @for w in PHASES { option value=(w) selected[phase == w] { (w) } } } }
                div { label for="f-unit" { "Unit" } input #f-unit name="unit" value=(cx.query.get("unit")); }
                div { label for="f-alarm" { "Alarms" } select #f-alarm name="alarm" { option value="" { "all keysets" } option value="1" selected[cx.query.get("alarm") == "1"] { "with an alarm" } } }
                (sources::choice(cx))
            }
            p { button { "Filter" } }
        }
    }
}

/// `GET /vouchers`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    whole(&cx)?;
    cx.query
        .only(&["phase", "unit", "alarm", "source", "sort", "page", "format"])?;
    let all = cx.shared.sources.mints().await;
    let rows = filtered(&cx, &all)?;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    if let Some(response) = list::export(&cx, as_of, &COLUMNS, rows.iter().map(record))? {
        return Ok(response.into());
    }
    let alarms = rows.iter().filter(|(_, k)| k.alarm).count();
    let paged = list::paged(&cx, rows)?;
    let body = html! {
        h1 data-testid="vouchers-header" { "Vouchers" }
        div #vouchers-list data-live="overview" {
            @if alarms > 0 {
                div.note.bad role="alert" data-testid="voucher-alarm" { "More vouchers were redeemed than issued, in keysets: " (alarms) ". A key was stolen, or a mint does not report all that it signed." }
            }
            (sources::cards(&cx, &all, "This node has no mint", facts))
            div.card {
                @if paged.all == 0 { (page::empty("No keyset fits.")) }
                @else {
                    div.scroll tabindex="0" role="region" aria-label="Keysets" { table {
                        thead { tr {
                            (sortable(&cx, "id", "Keyset", ORDER)) (sortable(&cx, "unit", "Unit", ORDER)) (sortable(&cx, "phase", "Phase", ORDER))
                            th scope="col" { "Issued" } th scope="col" { "Redeemed" } th scope="col" { "Alarm" }
                            (sortable(&cx, "expires", "Expires", ORDER)) th scope="col" { "Source" }
                        } }
                        tbody { @for r in &paged.rows { (row(r)) } }
                    } }
                }
                (pager(&cx, paged.page, paged.all))
            }
        }
        (filters(&cx))
        (page::command("betanet pay mint PEER --wallet ./wallet --password-file ./password\ncurl http://HOST:PORT/vouchers/1/keysets"))
    };
    Ok(page::answer(&cx, ("Vouchers", "vouchers-page"), None, body).into())
}

/// `GET /api/v1/keysets`
pub(crate) async fn listed(cx: Cx) -> Result<Done, Fault> {
    whole(&cx)?;
    cx.query
        .only(&["phase", "unit", "alarm", "source", "sort", "page"])?;
    let all = cx.shared.sources.mints().await;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    let cards = sources::figures(&all, figures);
    list::with(&cx, as_of, filtered(&cx, &all)?, record, cards)
}
