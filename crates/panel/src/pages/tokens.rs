//! `/tokens`: supply, accounts, holds, and the heads of the ledger.

use betanet_economy_service::Ledger;
use betanet_economy_service::words::{account, fog};
use betanet_tokenomics::account::{CLOSED, FROZEN};
use betanet_wire::text::unhex;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::vouchers::whole;
use crate::books::{self, Head, Row, Tokens};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::list::Export;
use crate::page;
use crate::reply::{self, Done};
use crate::text;

/// Columns of the accounts as CSV.
const COLUMNS: [&str; 8] = [
    "account",
    "kind",
    "frozen",
    "closed",
    "fog",
    "held",
    "voucher_units",
    "credits",
];
/// Most accounts of an export.
const EXPORT_MAX: usize = 100_000;

/// The page of a coordinator without a ledger.
pub(crate) fn not_installed(cx: &Cx, title: &'static str, id: &'static str) -> Done {
    let body = html! {
        h1 { (title) }
        div.card data-testid="not-installed-card" {
            div.big { "not installed" }
            p { "This coordinator has no ledger of tokens. It is started with one by " code { "--economy GENESIS" } "." }
        }
        (page::command("betanet ledger genesis ledger.toml -o GENESIS\ncoordinator --state ./state --listen 127.0.0.1:8460 --economy GENESIS"))
    };
    page::answer(cx, (title, id), None, body).into()
}

/// The key of the last row of the page before.
pub(crate) fn after(cx: &Cx) -> Result<Option<Vec<u8>>, Fault> {
    match cx.query.get("after") {
        "" => Ok(None),
        text => unhex(text).map(Some).ok_or(Fault::Field("after")),
    }
}

/// Position and age of the ledger, and who signed.
pub(crate) fn heads(head: &Head, now_ms: u64) -> Markup {
    html! {
        section.card aria-labelledby="heads" {
            h2 #heads { "Ledger " (head.name) }
            table { tbody {
                tr { th scope="row" { "Genesis" } td { code { (head.genesis) } } }
                tr { th scope="row" { "Part of this node" } td {
                    @match &head.follows {
                        Some(leader) => { "follows " code { (leader) } }
                        None if head.leads => { "leads" }
                        None => { "does not lead now" }
                    }
                } }
                tr { th scope="row" { "Records" } td data-testid="ledger-records" { (text::number(head.records)) ", of which the final head covers " (text::number(head.size)) } }
                tr { th scope="row" { "Age" } td data-testid="ledger-age" {
                    @if head.size == 0 { "no final head yet: its signers sign the first one within a minute of their start" }
                    @else { "last covered record " (text::ago(now_ms, head.at)) }
                } }
                tr { th scope="row" { "Epoch" } td { (head.epoch) ", ends " time datetime=(text::moment(head.epoch_end)) { (text::moment(head.epoch_end)) } } }
                @if head.size > 0 {
                    tr { th scope="row" { "Root of the log" } td { code { (head.root) } } }
                    tr { th scope="row" { "Root of the state" } td { code { (head.state) } } }
                    tr { th scope="row" { "Signed by" } td { @for key in &head.signed_by { code { (key) } br; } } }
                }
            } }
        }
    }
}

fn supply(t: &Tokens) -> Markup {
    let cards = [
        ("issued-card", fog(t.issued), "FOG issued".to_owned()),
        ("cap-card", fog(t.cap.into()), "FOG at most".to_owned()),
        ("burned-card", fog(t.burned), "FOG burned".to_owned()),
        (
            "held-card",
            text::number((t.counts[1] + t.counts[2]) as u64),
            "holds and reservations".to_owned(),
        ),
    ];
    html! {
        div.grid {
            @for (id, number, what) in cards {
                div.card data-testid=(id) { div.big { (number) } (what) }
            }
        }
        section.card aria-labelledby="system" {
            h2 #system { "System accounts" }
            div.scroll tabindex="0" role="region" aria-label="System accounts" { table {
                thead { tr { th scope="col" { "Account" } th scope="col" { "FOG" } th scope="col" { "Voucher units" } th scope="col" { "Credits" } } }
                tbody { @for (name, [tokens, units, credits]) in &t.system {
                    tr { th scope="row" { (name) } td { (fog(*tokens)) } td { (units) } td { (fog(*credits)) } }
                } }
            } }
        }
    }
}

fn accounts(cx: &Cx, t: &Tokens) -> Markup {
    html! {
        section.card aria-labelledby="accounts" {
            h2 #accounts { "Accounts" }
            @if t.accounts.is_empty() { (page::empty("No account stands here.")) } @else {
                div.scroll tabindex="0" role="region" aria-label="Accounts" { table data-testid="accounts-table" {
                    thead { tr { th scope="col" { "Account" } th scope="col" { "Kind" } th scope="col" { "FOG" } th scope="col" { "Held" } th scope="col" { "Voucher units" } th scope="col" { "Credits" } } }
                    tbody { @for row in &t.accounts {
                        tr {
                            th scope="row" { code { (account(&row.id)) } }
                            td { (row.kind) @if row.flags & FROZEN != 0 { ", frozen" } @if row.flags & CLOSED != 0 { ", closed" } }
                            td { (fog(row.available[0])) } td { (fog(row.held)) } td { (row.available[1]) } td { (fog(row.available[2])) }
                        }
                    } }
                } }
            }
            (next(cx, t.counts[0], t.next.as_deref()))
            @if t.counts[0] <= EXPORT_MAX { (page::exports(cx, "", "all accounts")) }
            @else { (page::exports(cx, "", &format!("the first {} accounts", text::number(EXPORT_MAX as u64)))) }
        }
    }
}

/// Links to the first page and to the next one.
pub(crate) fn next(cx: &Cx, all: usize, next: Option<&str>) -> Markup {
    html! {
        nav.row aria-label="Pages" {
            span { (text::number(all as u64)) " in all" }
            @if !cx.query.get("after").is_empty() { a.button.plain href=(cx.path) { "First" } }
            @if let Some(next) = next { a.button.plain href={ (cx.path) "?after=" (next) } rel="next" { "Next" } }
        }
    }
}

fn holds(t: &Tokens) -> Markup {
    let all = t.counts[1] + t.counts[2];
    html! {
        section.card aria-labelledby="holds" {
            h2 #holds { "Holds" }
            @if t.holds.is_empty() { (page::empty("Nothing is held. A task's budget is, from its acceptance to its settlement.")) } @else {
                div.scroll tabindex="0" role="region" aria-label="Holds" { table data-testid="holds-table" {
                    thead { tr { th scope="col" { "ID" } th scope="col" { "For" } th scope="col" { "Payer" } th scope="col" { "Left" } th scope="col" { "Returns" } } }
                    tbody { @for held in &t.holds {
                        tr { th scope="row" { code { (held.id) } } td { (held.kind) } td { code { (account(&held.from)) } } td { (fog(held.amt.into())) } td { (text::moment(held.due)) } }
                    } }
                } }
                @if all > t.holds.len() { p.soft { (text::number(all as u64)) " in all; the first of each kind are shown." } }
            }
        }
    }
}

fn record(row: &Row) -> Value {
    json!({
        "account": account(&row.id),
        "kind": row.kind,
        "frozen": row.flags & FROZEN != 0,
        "closed": row.flags & CLOSED != 0,
        "fog": fog(row.available[0]),
        "held": fog(row.held),
        "voucher_units": row.available[1].to_string(),
        "credits": fog(row.available[2]),
    })
}

/// The accounts of all pages, at one position.
async fn exported(ledger: &Ledger, export: Export) -> Result<Done, Fault> {
    let (head, rows, cut) = books::accounts(ledger, EXPORT_MAX).await?;
    let as_of = (head.size, head.at);
    let response = export.answer(as_of, &COLUMNS, rows.iter().map(record), cut);
    Ok(response.into())
}

/// Position and age of the ledger, as JSON: of the final head, or of all records before the first one.
pub(crate) fn figures_of(head: &Head) -> Value {
    json!({
        "records": head.records,
        "final_records": head.size,
        "epoch": head.epoch,
        "epoch_end_ms": head.epoch_end,
        "root": head.root,
        "state": head.state,
        "signed_by": head.signed_by,
    })
}

/// `GET /api/v1/tokens`: the figures of the page.
pub(crate) async fn read(cx: Cx) -> Result<Done, Fault> {
    whole(&cx)?;
    cx.query.only(&[])?;
    let ledger = cx.shared.ledger.as_ref().ok_or(Fault::Missing)?;
    let t = books::tokens(ledger, None).await?;
    let system = t.system.iter().map(|(name, [tokens, units, credits])| {
        let of = json!({"fog": fog(*tokens), "voucher_units": units.to_string(), "credits": fog(*credits)});
        ((*name).to_owned(), of)
    });
    let body = json!({
        "position": t.head.size,
        "at_ms": t.head.at,
        "issued": fog(t.issued),
        "cap": fog(t.cap.into()),
        "burned": fog(t.burned),
        "holds": t.counts[1] + t.counts[2],
        "accounts": t.counts[0],
        "system": system.collect::<Map<_, _>>(),
        "ledger": figures_of(&t.head),
    });
    Ok(reply::json(200, &body).into())
}

/// `GET /tokens`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    whole(&cx)?;
    cx.query.only(&["after", "format", "done"])?;
    let (title, id) = ("Tokens", "tokens-page");
    let Some(ledger) = &cx.shared.ledger else {
        return Ok(not_installed(&cx, title, id));
    };
    if let Some(export) = Export::of(&cx)? {
        return exported(ledger, export).await;
    }
    let t = books::tokens(ledger, after(&cx)?).await?;
    let body = html! {
        h1 data-testid="tokens-header" { "Tokens" }
        (supply(&t))
        (heads(&t.head, cx.shared.now_ms()))
        (accounts(&cx, &t))
        (holds(&t))
        (page::command("betanet token supply --ledger PEER --genesis GENESIS\nbetanet token balance ACCOUNT --ledger PEER --genesis GENESIS\nbetanet ledger verify PEER --genesis GENESIS"))
    };
    let as_of = Some((t.head.size, t.head.at)).filter(|(size, _)| *size > 0);
    Ok(page::answer(&cx, (title, id), as_of, body).into())
}
