//! `/network`: peers, mix relays, paths and traffic, from the metrics of this process and of the sources.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::sources;
use super::vouchers::whole;
use crate::chart::{Line, chart};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::list;
use crate::page::{self, pager, sortable};
use crate::reply::Done;
use crate::source::{Net, Peer, Sample, View, lines, sampled};
use crate::text;

const COLUMNS: [&str; 9] = [
    "seen_by",
    "name",
    "org",
    "roles",
    "addresses",
    "reached",
    "linked",
    "rtt_ms",
    "expires_ms",
];
const ORDER: &str = "name";
/// The role of mix relays.
const MIX: &str = "mix";
/// Name under which this process is listed. No source has it: names of sources have no spaces.
const HERE: &str = "this process";

/// Groups of metrics: title, and how their names begin.
const GROUPS: [(&str, &str, &[&str]); 3] = [
    (
        "traffic",
        "Sessions and traffic",
        &["betanet_session", "betanet_rekeys"],
    ),
    (
        "paths",
        "Paths",
        &["betanet_paths", "betanet_streams_forwarded", "betanet_legs"],
    ),
    ("mix", "Mix", &["betanet_mix"]),
];

/// A peer, and the program that knows it.
type Row = (String, Peer);

fn record((by, p): &Row) -> Value {
    json!({
        "seen_by": by,
        "name": p.name,
        "org": p.org,
        "roles": p.roles.join(" "),
        "addresses": p.addrs.join(" "),
        "reached": p.reached,
        "linked": p.linked,
        "rtt_ms": p.rtt_ms,
        "expires_ms": p.expires_ms,
    })
}

/// What each program tells: this process first.
async fn read(cx: &Cx) -> (Vec<(String, Net)>, crate::source::Read<'_, Net>) {
    let gateway = &cx.shared.gateway;
    let patience = std::time::Duration::from_secs(2);
    let view = tokio::time::timeout(patience, gateway.view()).await;
    let view = view.ok().flatten();
    let view = view.and_then(|v| View::of_json(v.to_json().as_bytes()));
    let metrics = gateway.render_metrics();
    let nets = cx.shared.sources.nets().await;
    let mut all = vec![(HERE.to_owned(), Net { view, metrics })];
    for (source, kept) in &nets {
        let net = kept.value.as_deref().cloned();
        all.extend(net.map(|net| (source.name().to_owned(), net)));
    }
    (all, nets)
}

fn filtered(cx: &Cx, all: &[(String, Net)]) -> Result<Vec<Row>, Fault> {
    let q = &cx.query;
    let (by, role, text) = (q.get("source"), q.get("role"), q.get("q"));
    let known = all.iter().filter(|(of, _)| by.is_empty() || of == by);
    let peers = known.flat_map(|(of, net)| {
        let peers = net.view.as_ref().map_or(&[][..], |v| &v.peers);
        peers.iter().map(|p| (of.clone(), p.clone()))
    });
    let keep = |(_, p): &Row| {
        (role.is_empty() || p.roles.iter().any(|r| r == role))
            && (p.name.contains(text) || p.org.contains(text))
    };
    let mut rows: Vec<Row> = peers.filter(keep).collect();
    list::sort(cx, &mut rows, ORDER, |key| {
        Some(match key {
            "name" => |a: &Row, b: &Row| a.1.name.cmp(&b.1.name).then(a.0.cmp(&b.0)),
            "org" => |a, b| a.1.org.cmp(&b.1.org).then(a.1.name.cmp(&b.1.name)),
            "expires" => |a, b| {
                a.1.expires_ms
                    .cmp(&b.1.expires_ms)
                    .then(a.1.name.cmp(&b.1.name))
            },
            "rtt" => |a, b| {
                // Unmeasured ones stand last.
                let of = |p: &Peer| p.rtt_ms.unwrap_or(f64::INFINITY);
                of(&a.1).total_cmp(&of(&b.1)).then(a.1.name.cmp(&b.1.name))
            },
            _ => return None,
        })
    })?;
    Ok(rows)
}

fn row((by, p): &Row) -> Markup {
    html! {
        tr data-testid={ "peer-" (p.name) } {
            th scope="row" { code { (p.name) } }
            td { (p.org) } td { (p.roles.join(", ")) }
            td { @if p.linked { (page::badge("linked")) } @else if p.reached.is_some() { (page::badge("reached")) } @else { (page::badge("known")) } }
            td { @match p.rtt_ms { Some(ms) => { (format!("{ms:.1}")) " ms" }, None => "not measured" } }
            td { (text::moment(p.expires_ms)) } td { (by) }
        }
    }
}

/// Rates and counts of one program over the last hour.
fn charts(name: &str, samples: &[Sample]) -> Markup {
    let id = match name {
        HERE => "this-process",
        name => name,
    };
    let rate = |of: fn(&Sample) -> Option<u64>, name| Line {
        name,
        points: sampled(samples, of),
    };
    let traffic = [rate(|s| s.bytes_in, "in"), rate(|s| s.bytes_out, "out")];
    let mix = [rate(|s| s.mix_in, "in"), rate(|s| s.mix_out, "out")];
    let standing = samples.iter().filter_map(|s| Some((s.at, s.sessions?)));
    let sessions = [Line {
        name: "sessions",
        points: standing.collect(),
    }];
    html! {
        (chart(&format!("traffic-{id}"), &format!("Bytes of sessions a second, {name}"), |n| format!("{}/s", text::bytes(n)), &traffic))
        (chart(&format!("sessions-{id}"), &format!("Sessions, {name}"), text::number, &sessions))
        @if samples.iter().any(|s| s.mix_in.is_some() || s.mix_out.is_some()) {
            (chart(&format!("mix-{id}"), &format!("Mix packets a second, {name}"), text::number, &mix))
        }
    }
}

fn metrics((name, net): &(String, Net)) -> Markup {
    let id = name.replace(' ', "-");
    html! {
        @for (group, title, of) in GROUPS {
            @if lines(&net.metrics, of).next().is_some() {
                details id={ "m-" (group) "-" (id) } {
                    summary { (title) " of " (name) }
                    div.scroll tabindex="0" role="region" aria-label={ (title) " of " (name) } { table {
                        thead { tr { th scope="col" { "Metric" } th scope="col" { "Value" } } }
                        tbody { @for (metric, value) in lines(&net.metrics, of) { tr { td { code { (metric) } } td { (value) } } } }
                    } }
                }
            }
        }
    }
}

/// The figures of all that the programs know, each peer once.
struct Figures {
    peers: usize,
    linked: usize,
    mix: usize,
    programs: usize,
    in_networks: usize,
    banned: usize,
}

impl Figures {
    fn of(all: &[(String, Net)]) -> Self {
        let views = || all.iter().filter_map(|(_, net)| net.view.as_ref());
        let distinct = |keep: fn(&Peer) -> bool| {
            let peers = views().flat_map(|v| &v.peers).filter(|p| keep(p));
            peers.map(|p| &p.name).collect::<BTreeSet<_>>().len()
        };
        let banned = views().flat_map(|v| v.banned.iter().chain(&v.excluded));
        Self {
            peers: distinct(|_| true),
            linked: distinct(|p| p.linked),
            mix: distinct(|p| p.roles.iter().any(|r| r == MIX)),
            programs: all.len(),
            in_networks: views().count(),
            banned: banned.collect::<BTreeSet<_>>().len(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "peers": self.peers,
            "linked": self.linked,
            "mix_relays": self.mix,
            "programs": self.programs,
            "in_networks": self.in_networks,
            "banned": self.banned,
        })
    }
}

fn cards(all: &[(String, Net)]) -> Markup {
    let f = Figures::of(all);
    let n = |n: usize| text::number(n as u64);
    html! {
        ul.grid {
            li.card data-testid="total-peers-card" { h2 { "Peers" } p.big { (n(f.peers)) } p.soft { (n(f.linked)) " with a gossip link." } }
            li.card data-testid="mix-relays-card" { h2 { "Mix relays" } p.big { (n(f.mix)) } p { a href={ "/network?role=" (MIX) } { "Show them" } } }
            li.card data-testid="networks-card" { h2 { "Programs" } p.big { (f.programs) } p.soft { (f.in_networks) " of them are part of a network." } }
            li.card data-testid="banned-card" { h2 { "Banned or excluded" } p.big { (f.banned) } }
        }
    }
}

fn filters(cx: &Cx) -> Markup {
    html! {
        form.card method="get" action="/network" aria-label="Filters" {
            div.fields {
                div { label for="f-q" { "Search" } input #f-q type="search" name="q" value=(cx.query.get("q")); }
                div { label for="f-role" { "Role" } input #f-role name="role" value=(cx.query.get("role")); }
                (sources::choice(cx))
            }
            p { button { "Filter" } }
        }
    }
}

/// `GET /network`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    whole(&cx)?;
    cx.query
        .only(&["q", "role", "source", "sort", "page", "format"])?;
    let (all, nets) = read(&cx).await;
    let rows = filtered(&cx, &all)?;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    if let Some(response) = list::export(&cx, as_of, &COLUMNS, rows.iter().map(record))? {
        return Ok(response.into());
    }
    let paged = list::paged(&cx, rows)?;
    let history = &cx.shared.history;
    let body = html! {
        h1 data-testid="network-header" { "Network" }
        div #network-list data-live="overview" {
            (cards(&all))
            @if all.iter().all(|(_, net)| net.view.is_none()) {
                p.note { "No program here is part of a network: " code { "coordinator --network FILE" } ", or name a source that is." }
            }
            div.card {
                h2 { "Peers" }
                @if paged.all == 0 { (page::empty("No peer fits.")) }
                @else {
                    div.scroll tabindex="0" role="region" aria-label="Peers" { table {
                        thead { tr {
                            (sortable(&cx, "name", "Name", ORDER)) (sortable(&cx, "org", "Operator", ORDER)) th scope="col" { "Roles" } th scope="col" { "Contact" }
                            (sortable(&cx, "rtt", "Round trip", ORDER)) (sortable(&cx, "expires", "Record expires", ORDER)) th scope="col" { "Seen by" }
                        } }
                        tbody { @for r in &paged.rows { (row(r)) } }
                    } }
                }
                (pager(&cx, paged.page, paged.all))
            }
            section.card aria-labelledby="traffic" {
                h2 #traffic { "Traffic" }
                (charts(HERE, &history.of("")))
                @for source in cx.shared.sources.iter() { (charts(source.name(), &history.of(source.name()))) }
                h3 { "Counters" }
                @for one in &all { (metrics(one)) }
            }
            (sources::cards(&cx, &nets, "This program has no metrics", |net: &Net| html! {
                p { @match &net.view { Some(v) => { (v.peers.len()) " peers known" }, None => "part of no network" } "." }
            }))
        }
        (filters(&cx))
        (page::command("betanet peers --admin HOST:PORT\nbetanet status --admin HOST:PORT\ncurl http://HOST:PORT/metrics"))
    };
    Ok(page::answer(&cx, ("Network", "network-page"), None, body).into())
}

/// `GET /api/v1/network`
pub(crate) async fn listed(cx: Cx) -> Result<Done, Fault> {
    whole(&cx)?;
    cx.query.only(&["q", "role", "source", "sort", "page"])?;
    let (all, _) = read(&cx).await;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    let cards = Figures::of(&all).json();
    list::with(&cx, as_of, filtered(&cx, &all)?, record, cards)
}
