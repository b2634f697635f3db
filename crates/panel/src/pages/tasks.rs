//! `/tasks`: tasks by state, and the form that submits one.

use betanet_auth::Permission;
use betanet_fog::bodies::TaskSummary;
use betanet_fog::{Strategy, TaskState, Tier};
use betanet_wire::text::hex;
use maud::{Markup, html};
use serde_json::{Map, Value, json};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::form::Fields;
use crate::list;
use crate::page::{self, draw, pager, sortable};
use crate::record;
use crate::reply::{self, Done};
use crate::rows::Rows;
use crate::shared::MODULE_MAX;
use crate::text::{self, Digits};
use crate::view::Snapshot;

const COLUMNS: [&str; 7] = ["id", "ns", "tier", "priority", "state", "reason", "changed"];
/// Default order: the newest change first.
const ORDER: &str = "-changed";

/// The tasks that the caller may see.
pub(crate) fn visible<'a>(cx: &Cx, all: &'a Rows<TaskSummary>) -> Vec<&'a TaskSummary> {
    if cx.may(Permission::ReadWork, None) {
        return all.iter().collect();
    }
    let seen = all
        .iter()
        .filter(|t| cx.may(Permission::ReadWork, Some(&t.ns)));
    seen.collect()
}

/// Tasks that the query asks for, sorted.
pub(crate) fn filtered<'a>(
    cx: &Cx,
    all: &[&'a TaskSummary],
) -> Result<Vec<&'a TaskSummary>, Fault> {
    let q = &cx.query;
    let state = match q.get("state") {
        "" => None,
        text => Some(TaskState::from_word(text).ok_or(Fault::Field("state"))?),
    };
    let tier = match q.get("tier") {
        "" => None,
        text => Some(Tier::from_word(text).ok_or(Fault::Field("tier"))?),
    };
    let (ns, part) = (q.get("ns"), q.get("q"));
    let digits = Digits::of(part);
    let keep = |t: &&&TaskSummary| {
        state.is_none_or(|s| t.state == s)
            && tier.is_none_or(|w| t.tier == w)
            && (ns.is_empty() || t.ns == *ns)
            && (part.is_empty() || text::named(&t.id.0, &digits) || t.reason.contains(part))
    };
    let mut rows: Vec<&TaskSummary> = all.iter().filter(keep).copied().collect();
    list::sort(cx, &mut rows, ORDER, |key| {
        Some(match key {
            "id" => |a: &&TaskSummary, b: &&TaskSummary| a.id.cmp(&b.id),
            "ns" => |a, b| a.ns.cmp(&b.ns).then(a.id.cmp(&b.id)),
            "state" => |a, b| a.state.cmp(&b.state).then(a.id.cmp(&b.id)),
            "tier" => |a, b| a.tier.cmp(&b.tier).then(a.id.cmp(&b.id)),
            "priority" => |a, b| a.prio.cmp(&b.prio).then(a.id.cmp(&b.id)),
            "changed" => |a, b| a.at.cmp(&b.at).then(a.id.cmp(&b.id)),
            _ => return None,
        })
    })?;
    Ok(rows)
}

/// Tasks of each state, in the order of the states.
fn counts(seen: &[&TaskSummary]) -> [usize; TaskState::ALL.len()] {
    // One look at all of them.
    let mut counts = [(); TaskState::ALL.len()].map(|()| 0_usize);
    for task in seen {
        let at = TaskState::ALL.iter().position(|s| *s == task.state);
        if let Some(n) = at.and_then(|at| counts.get_mut(at)) {
            *n += 1;
        }
    }
    counts
}

/// The figures of tasks that the caller may see.
pub(crate) fn figures(seen: &[&TaskSummary]) -> Value {
    let counts = TaskState::ALL.iter().zip(counts(seen));
    let states = counts.map(|(state, n)| (state.as_str().to_owned(), json!(n)));
    let going = seen.iter().filter(|t| !t.state.ended()).count();
    json!({
        "tasks": seen.len(),
        "not_ended": going,
        "by_state": states.collect::<Map<_, _>>(),
    })
}

fn tabs(cx: &Cx, seen: &[&TaskSummary]) -> Markup {
    let now = cx.query.get("state");
    let counts = counts(seen);
    let tab = |id: &str, word: &str, n: usize| {
        let link = format!("/tasks{}", cx.query.with("state", word));
        let here = (now == word).then_some("page");
        html! { li { a href=(link) aria-current=[here] data-testid={ "tab-" (id) } { (id) " (" (text::number(n as u64)) ")" } } }
    };
    html! {
        nav aria-label="Tasks by state" { ul.tabs {
            (tab("all", "", seen.len()))
            @for (state, n) in TaskState::ALL.iter().zip(counts) { (tab(state.as_str(), state.as_str(), n)) }
        } }
    }
}

fn row(task: &TaskSummary) -> Markup {
    let id = hex(&task.id.0);
    html! {
        tr data-testid={ "task-card-" (id) } {
            th scope="row" { a href={ "/tasks/" (id) } { code { (id.get(..12).unwrap_or_default()) } } }
            td { (task.ns) } td { (task.tier.as_str()) } td { (task.prio) }
            td { (page::badge(task.state.as_str())) }
            td { (task.reason) } td { (task.at) }
        }
    }
}

fn field(id: &str, label: &str, value: &str, hint: &str) -> Markup {
    html! {
        div { label for={ "s-" (id) } { (label) } input id={ "s-" (id) } name=(id) value=(value) inputmode="numeric" aria-describedby={ "h-" (id) };
              span.soft id={ "h-" (id) } { (hint) } }
    }
}

fn or(given: &Fields, name: &str, default: &str) -> String {
    match given.get(name) {
        "" => default.to_owned(),
        text => text.to_owned(),
    }
}

/// The form that submits a task, with what was given before.
pub(crate) fn form(cx: &Cx, given: &Fields, extra: &Markup) -> Markup {
    let namespaces = cx.shared.local.namespaces();
    let mine = namespaces
        .iter()
        .filter(|ns| cx.may(Permission::Submit, Some(ns)));
    let mine: Vec<&str> = mine.map(|ns| ns.as_str()).collect();
    if !cx.may_somewhere(Permission::Submit) {
        return html! {};
    }
    let mib = MODULE_MAX >> 20;
    html! {
        section.card aria-labelledby="submit" {
            h2 #submit { "Submit a task" }
            (extra)
            @if mine.is_empty() {
                p { "This coordinator lists no user for a namespace of yours: start it with " code { "--user NS=KEYHEX" } "." }
            } @else {
                form method="post" action="/tasks" enctype="multipart/form-data" data-testid="submit-task-form" {
                    (page::token(cx))
                    div.fields {
                        div { label for="s-ns" { "Namespace" } select #s-ns name="ns" { @for ns in &mine { option value=(ns) selected[given.get("ns") == *ns] { (ns) } } } }
                        div { label for="s-file" { "Module (WebAssembly)" } input #s-file type="file" name="file" accept=".wasm,application/wasm"; span.soft { "Up to " (mib) " MiB, or:" } }
                        div { label for="s-module" { "SHA-256 of a stored module" } input #s-module name="module" value=(given.get("module")) spellcheck="false" pattern="[0-9a-f]{64}"; }
                        div { label for="s-args" { "Arguments, one a line" } textarea #s-args name="args" rows="2" { (given.raw("args")) } }
                        div { label for="s-tier" { "Tier" } select #s-tier name="tier" { @for w in Tier::WORDS { option value=(w) selected[given.get("tier") == *w] { (w) } } } }
                        div { label for="s-level" { "Privacy level" } select #s-level name="level" {
                            option value="public" { "public" }
                            @for w in ["private", "confidential", "secret"] { option value=(w) disabled { (w) ": by betanet task run" } }
                        } }
                        (field("priority", "Priority", &or(given, "priority", "5"), "0 to 9; 9 goes first"))
                        (field("cpu", "Processor", &or(given, "cpu", "1000"), "thousandths of a core"))
                        (field("memory_mib", "Memory", &or(given, "memory_mib", "256"), "MiB"))
                        (field("fuel", "Fuel", &or(given, "fuel", "10000000000"), "most instructions, roughly"))
                        (field("budget_micro", "Budget", &or(given, "budget_micro", "1000000"), "at most, in µ"))
                        (field("timeout_s", "Time limit", &or(given, "timeout_s", "600"), "seconds of a run"))
                        (field("deadline_s", "Deadline", &or(given, "deadline_s", "86400"), "seconds from now"))
                        div { label for="s-strategy" { "Placement" } select #s-strategy name="strategy" { @for w in Strategy::WORDS { option value=(w) selected[or(given, "strategy", "least_loaded") == *w] { (w.replace('_', " ")) } } } }
                    }
                    p.row {
                        button name="do" value="submit" data-testid="submit-task-button" { "Submit" }
                        button.plain name="do" value="plan" data-testid="plan-task-button" { "Plan: where would it go?" }
                    }
                    p.soft { "The coordinator signs the task with its own key; the audit log has your name." }
                }
                (page::command("betanet task run ./module.wasm --ns NS --watch --coordinator PEER\nbetanet task plan ./module.wasm --ns NS --coordinator PEER"))
            }
        }
    }
}

fn filters(cx: &Cx) -> Markup {
    html! {
        form.card method="get" action="/tasks" aria-label="Filters" {
            input type="hidden" name="state" value=(cx.query.get("state"));
            div.fields {
                div { label for="f-q" { "Search" } input #f-q type="search" name="q" value=(cx.query.get("q")); }
                div { label for="f-ns" { "Namespace" } input #f-ns name="ns" value=(cx.query.get("ns")); }
                div { label for="f-tier" { "Tier" } select #f-tier name="tier" { option value="" { "all" } @for w in Tier::WORDS { option value=(w) selected[cx.query.get("tier") == *w] { (w) } } } }
            }
            p { button { "Filter" } }
        }
    }
}

/// The whole page, with the form as it was given and what came of it.
pub(crate) fn whole(
    cx: &Cx,
    snapshot: &Snapshot,
    given: &Fields,
    extra: &Markup,
) -> Result<Markup, Fault> {
    let seen = visible(cx, &snapshot.tasks);
    let paged = list::paged(cx, filtered(cx, &seen)?)?;
    let body = html! {
        h1 data-testid="tasks-header" { "Tasks" }
        div #task-list data-live="tasks" {
            (tabs(cx, &seen))
            div.card {
                @if paged.all == 0 { (page::empty("No task fits.")) }
                @else {
                    div.scroll tabindex="0" role="region" aria-label="Tasks" { table {
                        thead { tr {
                            (sortable(cx, "id", "Task", ORDER)) (sortable(cx, "ns", "Namespace", ORDER)) (sortable(cx, "tier", "Tier", ORDER))
                            (sortable(cx, "priority", "Priority", ORDER)) (sortable(cx, "state", "State", ORDER)) th scope="col" { "Reason" }
                            (sortable(cx, "changed", "Changed at record", ORDER))
                        } }
                        tbody { @for task in &paged.rows { (row(task)) } }
                    } }
                }
                (pager(cx, paged.page, paged.all))
            }
        }
        // A stream sends what changes.
        @if !cx.part {
            (filters(cx))
            (form(cx, given, extra))
        }
    };
    let as_of = Some((snapshot.position, snapshot.at));
    Ok(draw(cx, ("Tasks", "tasks-page"), as_of, body))
}

/// `GET /tasks`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query
        .only(&["q", "state", "ns", "tier", "sort", "page", "format", "done"])?;
    let snapshot = cx.shared.snapshot().await?;
    if list::exports(&cx) {
        let rows = filtered(&cx, &visible(&cx, &snapshot.tasks))?;
        let items = rows.iter().map(|t| record::task(t));
        let as_of = (snapshot.position, snapshot.at);
        if let Some(response) = list::export(&cx, as_of, &COLUMNS, items)? {
            return Ok(response.into());
        }
    }
    let page = whole(&cx, &snapshot, &Fields::default(), &html! {})?;
    Ok(reply::page(200, page).into())
}
