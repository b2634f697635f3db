//! `/nodes` and `/nodes/{id}`: the directory, tokens to join, and the states of a node.

use betanet_auth::Permission;
use betanet_coordinator::Request;
use betanet_fog::bodies::{NodeSummary, StateRequest, TokenRequest};
use betanet_fog::{Amounts, DAY_MS, Kind, List, NodeState, Resource};
use betanet_wire::text::hex;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::form::Fields;
use crate::list;
use crate::page::{self, pager, sortable};
use crate::place::Place;
use crate::record;
use crate::reply::{self, Done};
use crate::rows::Rows;
use crate::text::{self, Digits};

/// Columns of the list as CSV.
const COLUMNS: [&str; 9] = [
    "id", "org", "kind", "state", "level", "region", "zone", "live", "seen_ms",
];
/// Default order: by ID.
const ORDER: &str = "id";

/// Nodes that the query asks for, sorted.
pub(crate) fn filtered<'a>(
    cx: &Cx,
    all: &'a Rows<NodeSummary>,
) -> Result<Vec<&'a NodeSummary>, Fault> {
    let q = &cx.query;
    let of = |name: &'static str, words: &[&str]| match q.get(name) {
        "" => Ok(None),
        text if words.contains(&text) => Ok(Some(text.to_owned())),
        _ => Err(Fault::Field(name)),
    };
    let (state, kind) = (of("state", NodeState::WORDS)?, of("kind", Kind::WORDS)?);
    let (org, part) = (q.get("org"), q.get("q"));
    let digits = Digits::of(part);
    let keep = |n: &&NodeSummary| {
        state.as_ref().is_none_or(|s| n.state.as_str() == s)
            && kind.as_ref().is_none_or(|k| n.kind.as_str() == k)
            && (org.is_empty() || n.org == *org)
            && (part.is_empty()
                || text::named(&n.id.0, &digits)
                || n.org.contains(part)
                || n.region.contains(part))
    };
    let mut rows: Vec<&NodeSummary> = all.iter().filter(keep).collect();
    list::sort(cx, &mut rows, ORDER, |key| {
        Some(match key {
            "id" => |a: &&NodeSummary, b: &&NodeSummary| a.id.cmp(&b.id),
            "org" => |a, b| a.org.cmp(&b.org).then(a.id.cmp(&b.id)),
            "state" => |a, b| a.state.cmp(&b.state).then(a.id.cmp(&b.id)),
            "live" => |a, b| a.live.cmp(&b.live).then(a.id.cmp(&b.id)),
            "cpu" => |a, b| a.cap.cpu.cmp(&b.cap.cpu).then(a.id.cmp(&b.id)),
            "seen" => |a, b| a.seen.cmp(&b.seen).then(a.id.cmp(&b.id)),
            _ => return None,
        })
    })?;
    Ok(rows)
}

fn used_percent(node: &NodeSummary) -> u64 {
    let used = node.cap.cpu.saturating_sub(node.free.cpu);
    (used * 100).checked_div(node.cap.cpu).unwrap_or(0)
}

/// What active nodes have together.
struct Active {
    nodes: usize,
    cap: Amounts,
    /// Part of the processors that is reserved, in per cent.
    load: Option<u64>,
}

impl Active {
    fn of(all: &Rows<NodeSummary>) -> Self {
        let active = all.iter().filter(|n| n.state == NodeState::Active);
        let (mut nodes, mut cap, mut free) = (0, Amounts::default(), Amounts::default());
        for node in active {
            nodes += 1;
            cap.add(&node.cap);
            free.add(&node.free);
        }
        let used = cap.cpu.saturating_sub(free.cpu).saturating_mul(100);
        Self {
            nodes,
            load: used.checked_div(cap.cpu),
            cap,
        }
    }
}

/// The figures of all nodes.
pub(crate) fn figures(all: &Rows<NodeSummary>) -> Value {
    let active = Active::of(all);
    json!({
        "nodes": all.len(),
        "active": active.nodes,
        "cpu": active.cap.cpu,
        "memory": active.cap.memory,
        "load_percent": active.load,
    })
}

fn cards(all: &Rows<NodeSummary>) -> Markup {
    let active = Active::of(all);
    html! {
        div.grid {
            div.card data-testid="total-nodes-card" { div.big { (all.len()) } "nodes known" }
            div.card data-testid="active-nodes-card" { div.big { (active.nodes) } "active" }
            div.card data-testid="total-resources-card" { div.big { (text::cores(active.cap.cpu)) " cores" } (text::bytes(active.cap.memory)) " of memory on active nodes" }
            div.card data-testid="avg-load-card" {
                @match active.load {
                    Some(load) => { div.big { (load) " %" } "of their processor reserved" }
                    None => { div.big { "–" } "no active node has a processor to offer" }
                }
            }
        }
    }
}

fn filters(cx: &Cx) -> Markup {
    let option = |name: &str, word: &str| {
        let selected = cx.query.get(name) == word;
        html! { option value=(word) selected[selected] { (word.replace('_', " ")) } }
    };
    html! {
        form.card method="get" action="/nodes" aria-label="Filters" {
            div.fields {
                div { label for="f-q" { "Search" } input #f-q type="search" name="q" value=(cx.query.get("q")); }
                div { label for="f-state" { "State" } select #f-state name="state" { option value="" { "all" } @for w in NodeState::WORDS { (option("state", w)) } } }
                div { label for="f-kind" { "Kind" } select #f-kind name="kind" { option value="" { "all" } @for w in Kind::WORDS { (option("kind", w)) } } }
                div { label for="f-org" { "Organisation" } input #f-org name="org" value=(cx.query.get("org")); }
            }
            p { button { "Filter" } }
        }
    }
}

fn row(node: &NodeSummary, now_ms: u64) -> Markup {
    let id = hex(&node.id.0);
    html! {
        tr data-testid={ "node-card-" (id) } {
            th scope="row" { a href={ "/nodes/" (id) } { code { (id.get(..12).unwrap_or_default()) } } }
            td { (node.org) } td { (node.kind.as_str().replace('_', " ")) }
            td { (page::badge(node.state.as_str())) }
            td { (node.live) }
            td { (text::cores(node.cap.cpu)) " cores, " (used_percent(node)) " % reserved" }
            td { (text::bytes(node.cap.memory)) }
            td { (text::ago(now_ms, node.seen)) }
        }
    }
}

fn register(cx: &Cx) -> Markup {
    if !cx.may(Permission::Operate, None) {
        return html! {};
    }
    html! {
        section.card aria-labelledby="register" {
            h2 #register { "Add a node" }
            p { "A token lets one node join. It is shown once." }
            form.stack method="post" action="/nodes/token" data-testid="node-token-form" {
                (page::token(cx))
                div.fields {
                    div { label for="t-kind" { "Kind" } select #t-kind name="kind" { @for w in Kind::WORDS { option value=(w) selected[*w == "compute"] { (w.replace('_', " ")) } } } }
                    div { label for="t-org" { "Organisation" } input #t-org name="org" required spellcheck="false"; }
                    div { label for="t-hours" { "Valid for hours" } input #t-hours name="hours" inputmode="numeric" value="24"; }
                }
                div { button data-testid="node-token-button" { "Make a token" } }
            }
            (page::command("betanet node token --kind compute --org ORG --coordinator PEER"))
        }
    }
}

/// `GET /nodes`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[
        "q", "state", "kind", "org", "sort", "page", "format", "done",
    ])?;
    let snapshot = cx.shared.snapshot().await?;
    let rows = filtered(&cx, &snapshot.nodes)?;
    let as_of = (snapshot.position, snapshot.at);
    let items = rows.iter().map(|n| record::node(n));
    if let Some(response) = list::export(&cx, as_of, &COLUMNS, items)? {
        return Ok(response.into());
    }
    let paged = list::paged(&cx, rows)?;
    let now_ms = cx.shared.now_ms();
    let body = html! {
        h1 data-testid="nodes-header" { "Nodes" }
        div #node-cards data-live="nodes" { (cards(&snapshot.nodes)) }
        // A stream sends what changes.
        @if !cx.part { (filters(&cx)) }
        div #node-list .card data-live="nodes" {
            @if paged.all == 0 { (page::empty("No node fits. Make a token below, and start a worker with it.")) }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Nodes" { table {
                    thead { tr {
                        (sortable(&cx, "id", "Node", ORDER)) (sortable(&cx, "org", "Organisation", ORDER)) th scope="col" { "Kind" }
                        (sortable(&cx, "state", "State", ORDER)) (sortable(&cx, "live", "Copies", ORDER)) (sortable(&cx, "cpu", "Processor", ORDER))
                        th scope="col" { "Memory" } (sortable(&cx, "seen", "Last beat", ORDER))
                    } }
                    tbody { @for node in &paged.rows { (row(node, now_ms)) } }
                } }
            }
            (pager(&cx, paged.page, paged.all))
        }
        (register(&cx))
        (page::command("betanet node ls --coordinator PEER"))
    };
    Ok(page::answer(&cx, ("Nodes", "nodes-page"), Some(as_of), body).into())
}

fn amounts(node: &NodeSummary) -> Markup {
    let shown = |r: Resource, n: u64| match r {
        Resource::Cpu | Resource::Gpu => text::cores(n),
        Resource::Memory | Resource::Storage => text::bytes(n),
        Resource::Bandwidth | Resource::Relay => format!("{} bit/s", text::number(n)),
    };
    html! {
        table {
            thead { tr { th scope="col" { "Resource" } th scope="col" { "Has" } th scope="col" { "Free" } } }
            tbody { @for r in Resource::ALL {
                tr { th scope="row" { (r.as_str()) } td { (shown(*r, node.cap.get(*r))) } td { (shown(*r, node.free.get(*r))) } }
            } }
        }
    }
}

fn state_forms(cx: &Cx, id: &str) -> Markup {
    if !cx.may(Permission::Operate, None) {
        return html! {};
    }
    let form = |verb: &str, name: &str, about: &str| {
        html! {
            form method="post" action={ "/nodes/" (id) "/" (verb) } {
                (page::token(cx))
                button.plain data-testid={ (verb) "-button" } aria-describedby={ "about-" (verb) } { (name) }
                p.soft id={ "about-" (verb) } { (about) }
            }
        }
    };
    html! {
        section.card aria-labelledby="states" {
            h2 #states { "State" }
            div.row {
                (form("drain", "Drain", "It takes nothing new. Its copies yield after 30 days at the latest."))
                (form("maintenance", "Maintenance", "It is out of service at once, and its copies yield."))
                (form("activate", "Activate", "It takes tasks again."))
            }
            (page::command(&format!("betanet node drain {id} --coordinator PEER\nbetanet node maintain {id} --coordinator PEER\nbetanet node undrain {id} --coordinator PEER")))
        }
    }
}

/// `GET /nodes/{id}`
pub(crate) async fn one(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["done"])?;
    let id = cx.node()?;
    let snapshot = cx.shared.snapshot().await?;
    let node = snapshot.node(&id).ok_or(Fault::Missing)?;
    let text_id = hex(&id.0);
    let now_ms = cx.shared.now_ms();
    let body = html! {
        p { a href="/nodes" { "All nodes" } }
        h1 data-testid="node-header" { "Node " code { (text_id.get(..12).unwrap_or_default()) } }
        div #node .card data-live="nodes" data-testid={ "node-card-" (text_id) } {
            p { (page::badge(node.state.as_str())) }
            dl {
                dt { "NodeID" } dd { code { (text_id) } }
                dt { "Organisation" } dd { (node.org) }
                dt { "Kind" } dd { (node.kind.as_str().replace('_', " ")) }
                dt { "Privacy level" } dd { (node.level) }
                dt { "Region, zone" } dd { (node.region) ", " (node.zone) }
                dt { "Copies" } dd { (node.live) }
                dt { "Reputation" } dd { (node.rep / 10_000) " %" }
                dt { "Last beat" } dd { (text::ago(now_ms, node.seen)) }
            }
            h2 { "Resources" }
            (amounts(node))
        }
        (state_forms(&cx, &text_id))
    };
    let as_of = Some((snapshot.position, snapshot.at));
    Ok(page::answer(&cx, ("Node", "node-page"), as_of, body).into())
}

/// Orders a join token. Returns its text and its ID.
pub(crate) async fn ordered(cx: &Cx, fields: &Fields) -> Result<(String, [u8; 16]), Fault> {
    let kind = match fields.get("kind") {
        "" => Kind::Compute,
        word => Kind::from_word(word).ok_or(Fault::Field("kind"))?,
    };
    let hours = fields.number("hours", 24)?;
    if !(1..=24 * 365).contains(&hours) {
        return Err(Fault::Field("hours"));
    }
    let id = cx.shared.random();
    let request = TokenRequest {
        id,
        exp: cx.now_ms.saturating_add(hours * 3_600_000),
        org: fields.get("org").parse().map_err(|_| Fault::Field("org"))?,
        node: None,
        kinds: List::try_from(vec![kind]).map_err(|_| Fault::Field("kind"))?,
    };
    let target = format!("node-token {}", hex(&id));
    cx.begin(Permission::Operate, Place::In(None), target)
        .await?;
    Ok((cx.shared.local.issue_token(request).await?, id))
}

/// `POST /nodes/token`
pub(crate) async fn make_token(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["kind", "org", "hours"])?;
    let org = fields.get("org");
    if org.is_empty() {
        return Err(Fault::Field("org"));
    }
    let (token, id) = ordered(&cx, &fields).await?;
    let body = html! {
        h1 { "A token for a node" }
        div.note.good role="status" data-testid="success-notification" { "The token is shown once. Until it is used, whoever has it can join." }
        section.card {
            h2 { "On the node, run" }
            pre data-testid="node-command" tabindex="0" { code { "worker --token " (token) " --org " (org) " --state ./worker" } }
            p.soft { "Token " code { (hex(&id)) } ". Revoke it with " code { "betanet node token --revoke " (hex(&id)) } "." }
        }
        p { a.button href="/nodes" { "Back to the nodes" } }
    };
    let answer = page::answer(&cx, ("A token for a node", "node-token-page"), None, body);
    Ok(Done::on(format!("node-token {}", hex(&id)), answer))
}

/// Asks a node to go into a state.
pub(crate) async fn to_state(cx: &Cx, to: NodeState) -> Result<String, Fault> {
    let id = cx.node()?;
    let until = match to {
        NodeState::Draining => cx.now_ms.saturating_add(30 * DAY_MS),
        _ => 0,
    };
    let request = StateRequest { to, until };
    request.check()?;
    let target = format!("node {}", hex(&id.0));
    cx.begin(Permission::Operate, Place::In(None), target)
        .await?;
    cx.shared.local.ask(Request::State(id, request)).await?;
    Ok(hex(&id.0))
}

async fn state_form(cx: Cx, to: NodeState, done: &str) -> Result<Done, Fault> {
    cx.fields().only(&[])?;
    let id = to_state(&cx, to).await?;
    let response = reply::see_other(&format!("/nodes/{id}?done={done}"));
    Ok(Done::on(format!("node {id}"), response))
}

/// `POST /nodes/{id}/drain`
pub(crate) async fn drain(cx: Cx) -> Result<Done, Fault> {
    state_form(cx, NodeState::Draining, "drain").await
}

/// `POST /nodes/{id}/maintenance`
pub(crate) async fn maintain(cx: Cx) -> Result<Done, Fault> {
    state_form(cx, NodeState::Maintenance, "maintenance").await
}

/// `POST /nodes/{id}/activate`
pub(crate) async fn activate(cx: Cx) -> Result<Done, Fault> {
    state_form(cx, NodeState::Active, "activate").await
}
