//! `/names`: the aliases of the ledgers that the sources have.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::sources;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::list;
use crate::page::{self, pager, sortable};
use crate::reply::Done;
use crate::source::{AliasRow, Ledger, Read};
use crate::text;

const COLUMNS: [&str; 8] = [
    "source",
    "alias",
    "unicode",
    "status",
    "node",
    "seq",
    "index",
    "expires_ms",
];
/// States of an alias.
pub(crate) const STATES: [&str; 4] = ["bound", "expired", "retired", "conflicted"];
/// Order of the list, if the query asks for none.
const ORDER: &str = "alias";

/// An alias of a source.
type Row<'a> = (&'a str, &'a AliasRow);

fn record((source, row): &Row<'_>) -> Value {
    json!({
        "source": source,
        "alias": row.alias,
        "unicode": row.unicode,
        "status": row.status,
        "node": row.node,
        "seq": row.seq,
        "index": row.index,
        "expires_ms": row.expires_ms,
    })
}

/// The aliases that the query asks for.
fn filtered<'a>(cx: &Cx, all: &'a Read<'_, Ledger>) -> Result<Vec<Row<'a>>, Fault> {
    let q = &cx.query;
    let (source, text, status) = (q.get("source"), q.get("q"), q.get("status"));
    if !status.is_empty() && !STATES.contains(&status) {
        return Err(Fault::Field("status"));
    }
    let known = all
        .iter()
        .filter(|(of, _)| source.is_empty() || of.name() == source);
    let rows = known.flat_map(|(of, kept)| {
        let aliases = kept.value.as_deref().map_or(&[][..], |l| &l.aliases);
        aliases.iter().map(|row| (of.name(), row))
    });
    let keep = |(_, row): &Row<'_>| {
        let node = row.node.as_deref().unwrap_or_default();
        (status.is_empty() || row.status == status)
            && (row.alias.contains(text) || row.unicode.contains(text) || node.contains(text))
    };
    let mut rows: Vec<Row<'_>> = rows.filter(keep).collect();
    list::sort(cx, &mut rows, ORDER, |key| {
        Some(match key {
            "alias" => |a: &Row<'_>, b: &Row<'_>| a.1.alias.cmp(&b.1.alias).then(a.0.cmp(b.0)),
            "status" => |a, b| a.1.status.cmp(&b.1.status).then(a.1.alias.cmp(&b.1.alias)),
            "seq" => |a, b| a.1.seq.cmp(&b.1.seq).then(a.1.alias.cmp(&b.1.alias)),
            "index" => |a, b| a.1.index.cmp(&b.1.index).then(a.1.alias.cmp(&b.1.alias)),
            "expires" => |a, b| {
                a.1.expires_ms
                    .cmp(&b.1.expires_ms)
                    .then(a.1.alias.cmp(&b.1.alias))
            },
            _ => return None,
        })
    })?;
    Ok(rows)
}

/// The figures of a source's card.
fn figures(ledger: &Ledger) -> Value {
    let head = &ledger.head;
    json!({
        "final_records": head.size,
        "waiting_records": head.waiting,
        "head_ms": head.ts_ms,
        "root": head.root,
        "signed_by": head.signed_by.as_ref().map_or(0, Vec::len),
        "signers": head.signers.len(),
        "split": head.split,
    })
}

fn facts(ledger: &Ledger) -> Markup {
    let head = &ledger.head;
    html! {
        @if head.split { p { (page::badge("alarm")) " Signers showed two views of this ledger. It takes nothing more." } }
        dl {
            dt { "Final records" } dd { (text::number(head.size)) }
            dt { "Waiting records" } dd { (text::number(head.waiting)) }
            dt { "Head" } dd { @match head.ts_ms { Some(at) => (text::moment(at)), None => "none yet" } }
            dt { "Root" } dd { @match &head.root { Some(root) => code { (root) }, None => "none yet" } }
            dt { "Signed by" } dd { (head.signed_by.as_ref().map_or(0, Vec::len)) " of " (head.signers.len()) " signers" }
        }
        @if ledger.more { p.soft { "Only the first " (text::number(ledger.aliases.len() as u64)) " aliases are read. All are shown by " code { "betanet name" } "." } }
    }
}

fn row((source, row): &Row<'_>) -> Markup {
    html! {
        tr data-testid={ "alias-" (row.alias) } {
            th scope="row" {
                a href={ "/names/" (row.alias) "?source=" (source) } { (row.alias) }
                @if row.unicode != row.alias { " (" (row.unicode) ")" }
            }
            td { (page::badge(&row.status)) }
            td { @if let Some(node) = &row.node { code { (node) } } }
            td { @if let Some(seq) = row.seq { (seq) } }
            td { @if let Some(index) = row.index { (index) } }
            td { @if let Some(at) = row.expires_ms { (text::moment(at)) } }
            td { (source) }
        }
    }
}

fn filters(cx: &Cx) -> Markup {
    let status = cx.query.get("status");
    html! {
        form.card method="get" action="/names" aria-label="Filters" {
            div.fields {
                div { label for="f-q" { "Search" } input #f-q type="search" name="q" value=(cx.query.get("q")); }
                div { label for="f-status" { "State" } select #f-status name="status" { option value="" { "all" } @for w in STATES { option value=(w) selected[status == w] { (w) } } } }
                (sources::choice(cx))
            }
            p { button { "Filter" } }
        }
    }
}

/// `GET /names`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query
        .only(&["q", "status", "source", "sort", "page", "format"])?;
    let all = cx.shared.sources.ledgers().await;
    let rows = filtered(&cx, &all)?;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    if let Some(response) = list::export(&cx, as_of, &COLUMNS, rows.iter().map(record))? {
        return Ok(response.into());
    }
    let paged = list::paged(&cx, rows)?;
    let body = html! {
        h1 data-testid="names-header" { "Names" }
        div #names-list data-live="overview" {
            (sources::cards(&cx, &all, "This node has no ledger of names", facts))
            div.card {
                @if paged.all == 0 { (page::empty("No alias fits.")) }
                @else {
                    div.scroll tabindex="0" role="region" aria-label="Aliases" { table {
                        thead { tr {
                            (sortable(&cx, "alias", "Alias", ORDER)) (sortable(&cx, "status", "State", ORDER)) th scope="col" { "Node" }
                            (sortable(&cx, "seq", "Seq", ORDER)) (sortable(&cx, "index", "Index", ORDER)) (sortable(&cx, "expires", "Expires", ORDER))
                            th scope="col" { "Source" }
                        } }
                        tbody { @for r in &paged.rows { (row(r)) } }
                    } }
                }
                (pager(&cx, paged.page, paged.all))
            }
        }
        (filters(&cx))
        (page::command("betanet name resolve ALIAS --network NETWORK.toml\nbetanet name audit --from PEER --from PEER --network NETWORK.toml"))
    };
    Ok(page::answer(&cx, ("Names", "names-page"), None, body).into())
}

/// `GET /api/v1/names`
pub(crate) async fn listed(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["q", "status", "source", "sort", "page"])?;
    let all = cx.shared.sources.ledgers().await;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    let cards = sources::figures(&all, figures);
    list::with(&cx, as_of, filtered(&cx, &all)?, record, cards)
}
