//! `/governance`: proposals with their effects, votes and times, and the parameters in force.

use betanet_economy_service::words::{account, fog};
use betanet_tokenomics::Code;
use betanet_wire::text::hex;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::tokens::{after, figures_of, heads, next, not_installed};
use super::vouchers::whole;
use crate::books::{self, Governance, Shown};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::list;
use crate::page;
use crate::reply::{self, Done};
use crate::text;

/// What comes next for a proposal, and when.
fn time_left(p: &Shown, now_ms: u64) -> String {
    let row = &p.row;
    let until = |ms: u64, what: &str| match ms.checked_sub(now_ms) {
        Some(left) if left > 0 => format!("{what} in {}", text::span(left)),
        _ => format!("{what} now"),
    };
    match row.word() {
        "open" if now_ms < row.open => until(row.open, "opens"),
        "open" => until(row.end, "ends"),
        "passed" => until(row.eta, "can be executed"),
        _ => String::new(),
    }
}

fn tried(code: Code) -> String {
    match code {
        Code::Ok => "all effects would be accepted".to_owned(),
        code => format!("would be refused: {}", code.name()),
    }
}

/// Columns of proposals as CSV.
const COLUMNS: [&str; 10] = [
    "id", "state", "proposer", "for", "against", "abstain", "quorum", "open_ms", "end_ms", "text",
];

fn record(p: &Shown) -> Value {
    let row = &p.row;
    json!({
        "id": p.pid.to_string(),
        "state": row.word(),
        "proposer": account(&row.proposer),
        "for": fog(row.yes.into()),
        "against": fog(row.no.into()),
        "abstain": fog(row.abstain.into()),
        "quorum": fog(row.need.into()),
        "open_ms": row.open,
        "end_ms": row.end,
        "text": hex(&row.text),
        "effects": p.effects,
    })
}

fn votes(p: &Shown) -> Markup {
    let row = &p.row;
    let turnout = u128::from(row.yes) + u128::from(row.no) + u128::from(row.abstain);
    let quorum = turnout >= u128::from(row.need);
    html! {
        table { tbody {
            tr { th scope="row" { "For" } td { (fog(row.yes.into())) } }
            tr { th scope="row" { "Against" } td { (fog(row.no.into())) } }
            tr { th scope="row" { "Abstain" } td { (fog(row.abstain.into())) } }
            tr { th scope="row" { "Quorum" } td { (fog(turnout)) " of " (fog(row.need.into())) @if quorum { ", reached" } @else { ", not reached" } } }
            tr { th scope="row" { "To pass" } td { "more than " (row.pass / 10_000) "." (format!("{:04}", row.pass % 10_000)) " % for" } }
        } }
    }
}

fn proposal(p: &Shown, now_ms: u64) -> Markup {
    let left = time_left(p, now_ms);
    html! {
        section.card data-testid={ "proposal-" (p.pid) } aria-label={ "Proposal " (p.pid) } {
            h2 { code { (p.pid) } " " (page::badge(p.row.word())) }
            p { "By " code { (account(&p.row.proposer)) } @if !left.is_empty() { ", " span data-testid="time-left" { (left) } } "." }
            ul { @for line in &p.effects { li { (line) } } }
            (votes(p))
            @if let Some(code) = p.tried { p data-testid="dry-run" { "On a copy of the state now: " (tried(code)) "." } }
            p.soft { "Text " code { (hex(&p.row.text)) } ", deposit " (fog(p.row.deposit.into())) " FOG, opens " (text::moment(p.row.open)) ", ends " (text::moment(p.row.end)) "." }
            (page::command(&format!("betanet gov show {0} --ledger PEER --genesis GENESIS\nbetanet gov vote {0} for --key ./node.pem --ledger PEER --genesis GENESIS\nbetanet gov tally {0} --ledger PEER --genesis GENESIS", p.pid)))
        }
    }
}

fn parameters(g: &Governance) -> Markup {
    html! {
        section.card aria-labelledby="parameters" {
            h2 #parameters { "Parameters in force" }
            div.scroll tabindex="0" role="region" aria-label="Parameters" { table data-testid="parameters-table" {
                thead { tr { th scope="col" { "Parameter" } th scope="col" { "In force" } th scope="col" { "Default" } th scope="col" { "Least" } th scope="col" { "Most" } th scope="col" { "Step" } } }
                tbody { @for (name, [value, default, least, most, step]) in &g.parameters {
                    tr { th scope="row" { (name) } td { strong { (text::number(*value)) } } td { (text::number(*default)) } td { (text::number(*least)) } td { (text::number(*most)) } td { (text::number(*step)) } }
                } }
            } }
        }
        section.card aria-labelledby="roles" {
            h2 #roles { "Roles" }
            table { tbody { @for (name, members) in &g.roles {
                tr { th scope="row" { (name) } td { @if members.is_empty() { "nobody" } @for m in members { code { (m) } br; } } }
            } } }
        }
    }
}

/// `GET /api/v1/governance`: the proposals and the parameters of the page.
pub(crate) async fn read(cx: Cx) -> Result<Done, Fault> {
    whole(&cx)?;
    cx.query.only(&["after"])?;
    let ledger = cx.shared.ledger.as_ref().ok_or(Fault::Missing)?;
    let g = books::governance(ledger, after(&cx)?, cx.now_ms).await?;
    let parameters = g.parameters.iter();
    let parameters = parameters.map(|(name, [value, ..])| ((*name).to_owned(), json!(value)));
    let roles = g.roles.iter();
    let roles = roles.map(|(name, members)| ((*name).to_owned(), json!(members)));
    let body = json!({
        "position": g.head.size,
        "at_ms": g.head.at,
        "total": g.count,
        "items": g.proposals.iter().map(record).collect::<Vec<_>>(),
        "next": g.next,
        "parameters": parameters.collect::<Map<_, _>>(),
        "roles": roles.collect::<Map<_, _>>(),
        "ledger": figures_of(&g.head),
    });
    Ok(reply::json(200, &body).into())
}

/// `GET /governance`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    whole(&cx)?;
    cx.query.only(&["after", "format", "done"])?;
    let (title, id) = ("Governance", "governance-page");
    let Some(ledger) = &cx.shared.ledger else {
        return Ok(not_installed(&cx, title, id));
    };
    let now_ms = cx.shared.now_ms();
    let g = books::governance(ledger, after(&cx)?, now_ms).await?;
    let as_of = (g.head.size, g.head.at);
    let rows = g.proposals.iter().map(record);
    if let Some(response) = list::export(&cx, as_of, &COLUMNS, rows)? {
        return Ok(response.into());
    }
    let body = html! {
        h1 data-testid="governance-header" { "Governance" }
        @if g.proposals.is_empty() { (page::empty("There is no proposal.")) }
        @for p in &g.proposals { (proposal(p, now_ms)) }
        (next(&cx, g.count, g.next.as_deref()))
        @if !g.proposals.is_empty() { (page::exports(&cx, "", "these proposals")) }
        (parameters(&g))
        (heads(&g.head, now_ms))
        (page::command("betanet gov propose --param fee_tx=200 --text ./why.txt --dry-run --key ./node.pem --ledger PEER --genesis GENESIS"))
    };
    let as_of = Some((g.head.size, g.head.at)).filter(|(size, _)| *size > 0);
    Ok(page::answer(&cx, (title, id), as_of, body).into())
}
