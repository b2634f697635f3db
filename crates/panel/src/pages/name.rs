//! `/names/{alias}`: the records of an alias that a ledger keeps, each with its proof.

use betanet_wire::text::unbase64url;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::page::{self, failure};
use crate::reply::{self, Done};
use crate::source::{Broken, Record, Source};
use crate::text;

/// Longest alias in its form for the wire.
const ALIAS_MAX: usize = 255;

/// The alias that the path names, in its form for the wire.
fn alias(cx: &Cx) -> Result<String, Fault> {
    let alias = cx.var();
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    let good = alias.len() <= ALIAS_MAX && alias.bytes().all(letter);
    good.then(|| alias.to_owned()).ok_or(Fault::Missing)
}

/// The source that the query names, or the first one.
fn source(cx: &Cx) -> Result<Option<&Source>, Fault> {
    match cx.query.get("source") {
        "" => Ok(cx.shared.sources.iter().next()),
        name => {
            let found = cx.shared.sources.find(name);
            found.map(Some).ok_or(Fault::Missing)
        }
    }
}

async fn read(cx: &Cx, alias: &str) -> Result<(String, Result<Vec<Record>, Broken>), Fault> {
    let source = source(cx)?.ok_or(Fault::Missing)?;
    let records = cx.shared.sources.records(source, alias).await;
    Ok((source.name().to_owned(), records))
}

fn record(r: &Record) -> Value {
    json!({
        "seq": r.seq, "index": r.index, "node": r.node, "from": r.from, "status": r.status,
        "at_ms": r.ts_ms, "expires_ms": r.expires_ms, "digest": r.digest,
        "head": {"size": r.head.size, "root": r.head.root, "at_ms": r.head.ts_ms},
        "proof": r.proof,
    })
}

fn row(r: &Record, link: &str) -> Markup {
    html! {
        tr data-testid={ "name-record-" (r.seq) } {
            th scope="row" { (r.seq) } td { (r.index) } td { (page::badge(&r.status)) }
            td { code { (r.node) } @if let Some(from) = &r.from { br; "from " code { (from) } } }
            td { (text::moment(r.ts_ms)) } td { (text::moment(r.expires_ms)) }
            td { code { (r.digest) } }
            td { a href={ (link) (r.seq) } { "Proof" span.quiet { " of seq " (r.seq) } } br; "under head " (r.head.size) ", " code { (r.head.root.get(..16).unwrap_or_default()) } }
        }
    }
}

fn table(records: &[Record], link: &str) -> Markup {
    html! {
        div.card {
            @if records.is_empty() { (page::empty("The ledger has no record of this alias.")) }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Records" { table {
                    thead { tr { @for name in ["Seq", "Index", "State", "Node", "Made", "Expires", "Digest", "Proof"] { th scope="col" { (name) } } } }
                    tbody { @for r in records { (row(r, link)) } }
                } }
                p.soft { "A ledger keeps the latest record and up to five earlier ones. Its node verified each proof with the signers' keys." }
            }
        }
    }
}

/// `GET /names/{alias}`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["source"])?;
    let alias = alias(&cx)?;
    let (source, read) = read(&cx, &alias).await?;
    let (link, retry) = (
        format!("/names/{alias}/proof?source={source}&seq="),
        format!("/names/{alias}?source={source}"),
    );
    let body = html! {
        p { a href="/names" { "All names" } }
        h1 data-testid="name-header" { (alias) }
        p.soft { "Source: " (source) ", read now." }
        @match &read {
            Ok(records) => (table(records, &link)),
            Err(fault) => (failure(&format!("the source {source} cannot be read: {fault}"), &retry)),
        }
        (page::command(&format!("betanet name history {alias} --network NETWORK.toml\nbetanet name verify FILE --network NETWORK.toml")))
    };
    Ok(page::answer(&cx, (&alias, "name-page"), None, body).into())
}

/// The fault of a source for a program.
fn fault(broken: Broken) -> Fault {
    match broken {
        Broken::Status(400 | 404) => Fault::Missing,
        _ => Fault::Source,
    }
}

/// `GET /names/{alias}/proof`: the bytes that `betanet name verify` reads.
pub(crate) async fn proof(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["source", "seq"])?;
    let alias = alias(&cx)?;
    let seq = cx.query.number("seq", 0)?;
    let (_, read) = read(&cx, &alias).await?;
    let records = read.map_err(fault)?;
    let mut found = records.iter().filter(|r| seq == 0 || r.seq == seq);
    let found = found.next().ok_or(Fault::Missing)?;
    let bytes = unbase64url(&found.proof).ok_or(Fault::Source)?;
    let mut response = reply::whole(200, "application/octet-stream", bytes);
    let name = format!("attachment; filename=\"{alias}.proof\"");
    reply::set(&mut response, "content-disposition", &name);
    Ok(response.into())
}

/// `GET /api/v1/names/{alias}`
pub(crate) async fn get(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["source"])?;
    let alias = alias(&cx)?;
    let (source, read) = read(&cx, &alias).await?;
    let records: Vec<Value> = read.map_err(fault)?.iter().map(record).collect();
    let body = json!({"alias": alias, "source": source, "records": records});
    Ok(reply::json(200, &body).into())
}
