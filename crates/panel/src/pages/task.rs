//! `/tasks/{id}`: why a task is where it is, why it waits, and its log.

use betanet_auth::Permission;
use betanet_coordinator::Request;
use betanet_fog::bodies::{Status, Why};
use betanet_fog::{Reason, TaskId};
use betanet_wire::text::hex;
use maud::{Markup, html};

use super::output;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::page;
use crate::place::Place;
use crate::reply::{self, Done};
use crate::text;

/// Bytes of a log that its page shows.
const LOG_SHOWN: u64 = 64 << 10;

/// Checks that the caller may read something of a task, by its namespace. A task that no list shows needs all namespaces.
pub(crate) async fn allowed(cx: &Cx, id: &TaskId) -> Result<(), Fault> {
    let ns = namespace(cx, id).await?;
    // Whether it exists is not for everybody to know.
    let needed = cx.need(Permission::ReadWork, ns.as_deref());
    needed.map_err(|_| Fault::Missing)
}

/// The namespace of a task, if a list shows it. One that was just submitted may not be in the last list.
async fn namespace(cx: &Cx, id: &TaskId) -> Result<Option<String>, Fault> {
    let snapshot = cx.shared.snapshot().await?;
    if let Some(ns) = snapshot.namespace(id) {
        return Ok(Some(ns.to_string()));
    }
    let snapshot = cx.shared.fresh().await?;
    Ok(snapshot.namespace(id).map(ToString::to_string))
}

/// Reasons in words, with the number of nodes.
pub(crate) fn reasons(why: &Why) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "Reason" } th scope="col" { "Nodes" } th scope="col" { "Meaning" } } }
            tbody { @for counted in why.iter() {
                tr { td { (counted.reason) } td { (counted.nodes) } td { (meaning(&counted.reason)) } }
            } }
        }
    }
}

fn meaning(word: &str) -> &'static str {
    match Reason::from_word(word) {
        Some(Reason::State) => "not active, full of copies, or resting after failures",
        Some(Reason::Org) => "another copy of the task is with the same organisation",
        Some(Reason::Level) => "does not serve the task's privacy level",
        Some(Reason::Rep) => "its reputation is too low",
        Some(Reason::Need) => "lacks an attribute that the task needs",
        Some(Reason::Spread) => "another copy of the group shares the attribute to spread over",
        Some(Reason::CpuTotal) => "has less processor than the task asks for",
        Some(Reason::MemoryTotal) => "has less memory than the task asks for",
        Some(Reason::StorageTotal) => "has less storage than the task asks for",
        Some(Reason::GpuTotal) => "has fewer devices than the task asks for",
        Some(Reason::CpuFree) => "has too little processor free now",
        Some(Reason::MemoryFree) => "has too little memory free now",
        Some(Reason::StorageFree) => "has too little storage free now",
        Some(Reason::Price) => "asks a higher price than the demand gives now",
        Some(Reason::After) => "tasks before it have not succeeded yet",
        Some(Reason::Start) => "its start is in the future",
        Some(Reason::Backoff) => "it waits before a retry",
        Some(Reason::Quota) => "its namespace has used up its quota",
        Some(Reason::Budget) => "it would cost more than its budget",
        Some(_) => "see the profile, chapter 10",
        None => "",
    }
}

fn placed(status: &Status) -> Markup {
    html! {
        section.card aria-labelledby="why" {
            h2 #why { "Why here, why not" }
            @if !status.why.is_empty() {
                p { "It waits. These keep nodes from taking it:" }
                (reasons(&status.why))
            } @else if status.copies.is_empty() {
                p { "No copy was placed yet. The coordinator names no node that was tried: perhaps none takes tasks now." }
            }
            @if !status.copies.is_empty() {
                div.scroll { table {
                    thead { tr { th scope="col" { "Copy" } th scope="col" { "Node" } th scope="col" { "State" } } }
                    tbody { @for copy in status.copies.iter().rev() {
                        tr {
                            td { (copy.fence) }
                            td { a href={ "/nodes/" (hex(&copy.node.0)) } { code { (hex(&copy.node.0)) } } }
                            td { (page::badge(&copy.state)) }
                        }
                    } }
                } }
                p.soft { "A copy is placed on a node that passes all tests of its task, by the task's strategy. " (status.attempts) " were placed so far." }
            }
        }
    }
}

async fn log(cx: &Cx, id: TaskId, status: &Status) -> Result<Markup, Fault> {
    let newest = status.copies.iter().map(|c| c.fence).max();
    let Some(fence) = newest else {
        return Ok(html! { p.soft { "No copy has written a log yet." } });
    };
    let (from, bytes) = cx.shared.local.log(id, fence, LOG_SHOWN).await?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(html! {
        p.soft { "Copy " (fence) ", " (text::bytes(from + bytes.len() as u64)) @if from > 0 { ", from byte " (from) " on" } "." }
        @if bytes.is_empty() { p { "It is empty." } }
        @else { pre data-testid="task-log" tabindex="0" { (text) } }
    })
}

/// `GET /tasks/{id}`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["done"])?;
    let id = cx.task()?;
    allowed(&cx, &id).await?;
    let position = cx.shared.local.position();
    let status = cx.shared.local.status(id).await?;
    let at = cx.shared.now_ms();
    let name = hex(&id.0);
    let snapshot = cx.shared.snapshot().await?;
    let listed = snapshot.task(&id);
    let ns = snapshot.namespace(&id).map(|ns| ns.as_str());
    let body = html! {
        p { a href="/tasks" { "All tasks" } }
        h1 data-testid="task-header" { "Task " code { (name.get(..12).unwrap_or_default()) } }
        div #task data-live="tasks" {
            section.card data-testid={ "task-card-" (name) } data-state=(status.state.as_str()) aria-label="State" {
                p { (page::badge(status.state.as_str())) @if !status.reason.is_empty() { " " (status.reason) } }
                dl {
                    dt { "TaskID" } dd { code { (name) } }
                    @if let Some(t) = listed { dt { "Namespace" } dd { (t.ns) } dt { "Tier" } dd { (t.tier) } dt { "Priority" } dd { (t.prio) } }
                    dt { "Cost" } dd { (text::money(status.cost)) @if !status.state.ended() { " at most" } }
                    dt { "Copies so far" } dd { (status.attempts) }
                    @if let Some(out) = &status.out { dt { "Output" } dd { code { (hex(out)) } } }
                }
            }
            (placed(&status))
        }
        // They are read from the blobs, which takes long: a stream leaves them out, and the browser asks for them now and then.
        @if !cx.part {
            div #task-files data-live="tasks" {
                (output::files(&cx, &id, &status).await?)
                section.card aria-labelledby="log" { h2 #log { "Log" } (log(&cx, id, &status).await?) }
            }
        }
        @if !status.state.ended() && cx.may(Permission::Submit, ns) {
            section.card aria-labelledby="cancel" {
                h2 #cancel { "Cancel" }
                form method="post" action={ "/tasks/" (name) "/cancel" } {
                    (page::token(&cx))
                    button.bad data-testid="cancel-task-button" { "Cancel this task" }
                }
                (page::command(&format!("betanet task cancel {name} --coordinator PEER")))
            }
        }
        (page::command(&format!("betanet task show {name} --coordinator PEER\nbetanet task logs {name} --coordinator PEER")))
    };
    let (title, page, as_of) = ("Task", "task-page", Some((position, at)));
    Ok(page::answer(&cx, (title, page), as_of, body).into())
}

/// Cancels the task that the path names.
pub(crate) async fn cancelled(cx: &Cx) -> Result<String, Fault> {
    let id = cx.task()?;
    let ns = namespace(cx, &id).await?;
    cx.need(Permission::Submit, ns.as_deref())?;
    let target = format!("task {}", hex(&id.0));
    cx.begin(Permission::Submit, Place::In(ns), target).await?;
    cx.shared.local.ask(Request::Cancel(id)).await?;
    Ok(hex(&id.0))
}

/// `POST /tasks/{id}/cancel`
pub(crate) async fn cancel(cx: Cx) -> Result<Done, Fault> {
    cx.fields().only(&[])?;
    let id = cancelled(&cx).await?;
    let response = reply::see_other(&format!("/tasks/{id}?done=cancelled"));
    Ok(Done::on(format!("task {id}"), response))
}
