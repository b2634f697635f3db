//! `/jobs`: the jobs of the coordinator, and a form for a job file.

use betanet_auth::Permission;
use betanet_coordinator::{JobSummary, Reply, Request};
use betanet_fog::{RefusalCode, TaskState};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::form::Fields;
use crate::jobs::{self, FILE_MAX, Given, LISTED_MAX, Wrong};
use crate::list;
use crate::page::{self, draw, failure, pager, sortable};
use crate::reply::{self, Done};
use crate::text;

const COLUMNS: [&str; 6] = ["ns", "name", "ver", "owner", "tasks", "succeeded"];
const ORDER: &str = "name";
/// Jobs of one request to the coordinator.
const PIECE: u64 = 500;

/// A line of a page of help for the form.
const EXAMPLE: &str =
    "ns = \"lab\"\nname = \"night\"\n\n[task.hello]\nmodule = { sha256 = \"HEX\", size = 1234 }\n";

pub(crate) fn record(j: &JobSummary) -> Value {
    let states: serde_json::Map<String, Value> = j
        .states
        .iter()
        .map(|(s, n)| (s.as_str().to_owned(), json!(n)))
        .collect();
    json!({
        "ns": j.ns.as_str(),
        "name": j.name.as_str(),
        "ver": j.ver,
        "owner": betanet_wire::text::hex(&j.owner),
        "tasks": j.tasks,
        "succeeded": j.states.get(&TaskState::Succeeded).copied().unwrap_or(0),
        "states": states,
    })
}

/// The jobs that the caller may see, and whether there are more than a list shows.
async fn read(cx: &Cx) -> Result<(Vec<JobSummary>, bool), Fault> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let (ns, n) = (Default::default(), PIECE);
        let Reply::Jobs(page) = cx.shared.local.ask(Request::Jobs { ns, after, n }).await? else {
            return Err(RefusalCode::NotLeader.bare().into());
        };
        let own = |j: &JobSummary| cx.may(Permission::ReadWork, Some(&j.ns));
        all.extend(page.items.into_iter().filter(own));
        match page.next {
            Some(_) if all.len() >= LISTED_MAX => return Ok((all, true)),
            Some(next) => after = Some(next),
            None => return Ok((all, false)),
        }
    }
}

fn filtered(cx: &Cx, all: Vec<JobSummary>) -> Result<Vec<JobSummary>, Fault> {
    let (ns, text) = (cx.query.get("ns"), cx.query.get("q"));
    let keep = |j: &JobSummary| (ns.is_empty() || j.ns == *ns) && j.name.contains(text);
    let mut rows: Vec<JobSummary> = all.into_iter().filter(keep).collect();
    list::sort(cx, &mut rows, ORDER, |key| {
        Some(match key {
            "name" => |a: &JobSummary, b: &JobSummary| (&a.ns, &a.name).cmp(&(&b.ns, &b.name)),
            "ver" => |a, b| a.ver.cmp(&b.ver).then(a.name.cmp(&b.name)),
            "tasks" => |a, b| a.tasks.cmp(&b.tasks).then(a.name.cmp(&b.name)),
            _ => return None,
        })
    })?;
    Ok(rows)
}

fn row(cx: &Cx, j: &JobSummary) -> Markup {
    let ours = j.owner == *cx.shared.local.key().as_bytes();
    html! {
        tr data-testid={ "job-" (j.ns) "-" (j.name) } {
            th scope="row" { a href={ "/jobs/" (j.ns) "/" (j.name) } { (j.ns) "/" (j.name) } }
            td { (j.ver) } td { (j.tasks) }
            td { @for (state, n) in &j.states { (page::badge(state.as_str())) " " (n) " " } }
            td { @if ours { "this panel" } @else { "another key" } }
        }
    }
}

/// The form for a job file, with what was given.
pub(crate) fn form(cx: &Cx, text: &str, format: &str) -> Markup {
    if !cx.may_somewhere(Permission::Submit) {
        return html! {};
    }
    html! {
        section.card aria-labelledby="submit-job" {
            h2 #submit-job { "Run a job" }
            form.stack.wide method="post" action="/jobs/plan" data-testid="job-form" {
                (page::token(cx))
                div {
                    label for="j-file" { "Job file" }
                    textarea #j-file name="file" rows="12" required spellcheck="false" maxlength=(FILE_MAX) placeholder=(EXAMPLE) { (text) }
                    p.soft { "As " code { "betanet job" } " takes it, up to " (FILE_MAX >> 10) " KiB. Modules and inputs are stored blobs: upload a module on the page Tasks, which then shows its SHA-256." }
                }
                div hidden { label for="j-pick" { "Or take it from a file" } input #j-pick type="file" accept=".toml,.json" data-into="j-file"; }
                div { label for="j-format" { "Format" } select #j-format name="format" { option value="toml" { "TOML" } option value="json" selected[format == "json"] { "JSON" } } }
                p.row {
                    button data-testid="plan-job-button" { "Plan: what would change?" }
                    button.plain formaction="/jobs" data-testid="run-job-button" { "Run without a plan" }
                }
            }
            (page::command("betanet job plan ./job.toml --coordinator PEER\nbetanet job run ./job.toml --coordinator PEER"))
        }
    }
}

fn filters(cx: &Cx) -> Markup {
    html! {
        form.card method="get" action="/jobs" aria-label="Filters" {
            div.fields {
                div { label for="f-q" { "Search" } input #f-q type="search" name="q" value=(cx.query.get("q")); }
                div { label for="f-ns" { "Namespace" } input #f-ns name="ns" value=(cx.query.get("ns")); }
            }
            p { button { "Filter" } }
        }
    }
}

/// `GET /jobs`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query
        .only(&["q", "ns", "sort", "page", "format", "done"])?;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    let (all, more) = read(&cx).await?;
    let rows = filtered(&cx, all)?;
    if let Some(response) = list::export(&cx, as_of, &COLUMNS, rows.iter().map(record))? {
        return Ok(response.into());
    }
    let paged = list::paged(&cx, rows)?;
    let body = html! {
        h1 data-testid="jobs-header" { "Jobs" }
        div #job-list data-live="tasks" {
            div.card {
                @if paged.all == 0 { (page::empty("No job fits.")) }
                @else {
                    div.scroll tabindex="0" role="region" aria-label="Jobs" { table {
                        thead { tr {
                            (sortable(&cx, "name", "Job", ORDER)) (sortable(&cx, "ver", "Version", ORDER)) (sortable(&cx, "tasks", "Tasks", ORDER))
                            th scope="col" { "States" } th scope="col" { "Run by" }
                        } }
                        tbody { @for j in &paged.rows { (row(&cx, j)) } }
                    } }
                }
                @if more { p.soft { "Only the first " (text::number(LISTED_MAX as u64)) " jobs are listed." } }
                (pager(&cx, paged.page, paged.all))
            }
        }
        (filters(&cx))
        (form(&cx, "", ""))
    };
    Ok(page::answer(&cx, ("Jobs", "jobs-page"), Some(as_of), body).into())
}

/// The form again, with what is wrong.
pub(crate) async fn wrong(cx: &Cx, fields: &Fields, wrong: Wrong) -> Result<Done, Fault> {
    let fault = match &wrong {
        Wrong::File(_) => Fault::Field("file"),
        Wrong::Fault(fault @ (Fault::Field(_) | Fault::Fog(_) | Fault::TooLarge)) => *fault,
        Wrong::Fault(fault) => return Err(*fault),
    };
    let body = html! {
        p { a href="/jobs" { "All jobs" } }
        h1 data-testid="jobs-header" { "Jobs" }
        @match &wrong {
            Wrong::File(all) => {
                div.note.bad role="alert" data-testid="error-notification" {
                    p { strong { "This job file cannot be used:" } }
                    ul data-testid="job-problems" { @for why in all.iter().take(100) { li { (why) } } }
                }
            }
            Wrong::Fault(_) => (failure(&fault.text(), "/jobs")),
        }
        (form(cx, fields.raw("file"), fields.get("format")))
    };
    let markup = draw(cx, ("Jobs", "jobs-page"), None, body);
    cx.note(fault).await?;
    Ok(Done::audited(reply::page(fault.status(), markup)))
}

/// `POST /jobs`
pub(crate) async fn run(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["file", "format", "ver"])?;
    let replaces = match fields.get("ver") {
        "" => None,
        _ => Some(fields.number("ver", 0)?),
    };
    let done = async {
        let given = Given::of(&fields)?;
        let after = betanet_keys::hash(&[given.text.as_bytes()]);
        Ok::<_, Wrong>((jobs::run(&cx, &given, replaces).await?, after))
    };
    match done.await {
        Ok((ran, after)) => {
            let link = format!("/jobs/{}/{}?done=job-run", ran.ns, ran.name);
            let target = format!("job {}/{} version {}", ran.ns, ran.name, ran.ver);
            Ok(Done {
                after: Some(after),
                ..Done::on(target, reply::see_other(&link))
            })
        }
        Err(why) => wrong(&cx, &fields, why).await,
    }
}

/// `GET /api/v1/jobs`
pub(crate) async fn listed(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["q", "ns", "sort", "page"])?;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    let (all, _) = read(&cx).await?;
    list::answer(&cx, as_of, filtered(&cx, all)?, record)
}
