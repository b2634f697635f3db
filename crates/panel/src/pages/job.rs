//! `/jobs/{ns}/{id}`: one job, its tasks and the versions that are kept; and what is done with it.

use betanet_auth::Permission;
use betanet_fog::{Job, Signed};
use betanet_wire::text::hex;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::jobs::{self, Ran, Wrong};
use crate::kept::{VERSIONS_MAX, Version};
use crate::page;
use crate::reply::{self, Done};
use crate::text;

fn version(v: &Version, now: u64, may: bool) -> Markup {
    let link = format!("/jobs/plan?ns={}&name={}&ver={}", v.ns, v.name, v.ver);
    html! {
        tr data-testid={ "job-version-" (v.ver) } {
            th scope="row" { (v.ver) @if v.ver == now { " (present)" } }
            td { (text::moment(v.at)) } td { (v.by) }
            td { details id={ "file-" (v.ver) } { summary { "Show" span.quiet { " the file of version " (v.ver) } } pre { code { (v.text) } } } }
            td { @if may && v.ver != now { a.button.plain href=(link) { "Plan to return" span.quiet { " to version " (v.ver) } } } }
        }
    }
}

/// `GET /jobs/{ns}/{id}`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["done"])?;
    let (ns, name) = jobs::named(&cx, Permission::ReadWork)?;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    let present = jobs::present(&cx, &ns, &name).await?;
    let kept = jobs::versions(&cx, &ns, &name).await?;
    if present.is_none() && kept.is_empty() {
        return Err(Fault::Missing);
    }
    let snapshot = cx.shared.fresh().await?;
    let may = cx.may(Permission::Submit, Some(&ns));
    // The versions of a job are stated by one key.
    let own = |j: &Signed<Job>| j.owner == *cx.shared.local.key().as_bytes();
    let runs = may && present.as_ref().is_none_or(own);
    let now = present.as_ref().map_or(0, |j| j.ver);
    let path = format!("/jobs/{ns}/{name}");
    let body = html! {
        p { a href="/jobs" { "All jobs" } }
        h1 data-testid="job-header" { "Job " (ns) "/" (name) }
        div #job data-live="tasks" {
            @match &present {
                Some(job) => section.card aria-labelledby="job-tasks" {
                    h2 #job-tasks data-testid="job-version" { "Version " (job.ver) }
                    div.scroll tabindex="0" role="region" aria-label="Tasks" { table {
                        thead { tr { @for name in ["Task", "State", "Reason"] { th scope="col" { (name) } } } }
                        tbody { @for id in &job.tasks {
                            @let (id, task) = (hex(&id.0), snapshot.task(id));
                            tr data-testid={ "task-card-" (id) } {
                                th scope="row" { a href={ "/tasks/" (id) } { code { (id.get(..12).unwrap_or_default()) } } }
                                td { @if let Some(t) = task { (page::badge(t.state.as_str())) } }
                                td { @if let Some(t) = task { (t.reason) } }
                            }
                        } }
                    } }
                },
                None => p.note data-testid="job-stopped" { "The job is stopped, and its tasks are cancelled." },
            }
        }
        section.card aria-labelledby="versions" {
            h2 #versions { "Versions" }
            @if kept.is_empty() { (page::empty("The panel did not run this job, and has none of its files.")) }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Versions" { table {
                    thead { tr { @for name in ["Version", "Run", "By", "File", ""] { th scope="col" { (name) } } } }
                    tbody { @for v in kept.iter().rev() { (version(v, now, runs)) } }
                } }
                p.soft { "The panel keeps the last " (VERSIONS_MAX) " versions that it ran." }
            }
        }
        @if may {
            section.card aria-labelledby="job-actions" {
                h2 #job-actions { "Actions" }
                div.row {
                    @if present.is_some() {
                        form method="post" action={ (path) "/stop" } { (page::token(&cx)) button.bad data-testid="stop-job-button" { "Stop this job" } }
                    }
                    @if runs && kept.iter().any(|v| present.is_none() || v.ver < now) {
                        form method="post" action={ (path) "/revert" } { (page::token(&cx)) button.plain data-testid="revert-job-button" { "Return to the version before" } }
                    }
                }
                (page::command(&format!("betanet job stop {ns}/{name} --coordinator PEER\nbetanet job revert {ns}/{name} --coordinator PEER")))
            }
        }
    };
    Ok(page::answer(&cx, ("Job", "job-page"), Some(as_of), body).into())
}

/// `POST /jobs/{ns}/{id}/stop`
pub(crate) async fn stop(cx: Cx) -> Result<Done, Fault> {
    cx.fields().only(&[])?;
    let (ns, name) = jobs::stop(&cx).await?;
    let response = reply::see_other(&format!("/jobs/{ns}/{name}?done=job-stopped"));
    Ok(Done::on(format!("job {ns}/{name}"), response))
}

/// Runs the file of the version before the present one.
async fn reverted(cx: &Cx) -> Result<Ran, Fault> {
    let (ns, name) = jobs::named(cx, Permission::Submit)?;
    let given = jobs::before(cx, &ns, &name).await?;
    match jobs::run(cx, &given, None).await {
        Ok(ran) => Ok(ran),
        Err(Wrong::Fault(fault)) => Err(fault),
        // It was right when it was run.
        Err(Wrong::File(_)) => Err(Fault::Field("file")),
    }
}

fn target(ran: &Ran) -> String {
    format!("job {}/{} version {}", ran.ns, ran.name, ran.ver)
}

/// `POST /jobs/{ns}/{id}/revert`
pub(crate) async fn revert(cx: Cx) -> Result<Done, Fault> {
    cx.fields().only(&[])?;
    let ran = reverted(&cx).await?;
    let link = format!("/jobs/{}/{}?done=job-run", ran.ns, ran.name);
    Ok(Done::on(target(&ran), reply::see_other(&link)))
}

fn told(ran: &Ran) -> Value {
    let tasks: Vec<String> = ran.tasks.iter().map(|t| hex(&t.0)).collect();
    json!({"ns": ran.ns.as_str(), "name": ran.name.as_str(), "ver": ran.ver, "tasks": tasks})
}

/// `POST /api/v1/jobs`
pub(crate) async fn api_run(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["file", "format"])?;
    let given = jobs::Given::of(&fields)?;
    match jobs::run(&cx, &given, None).await {
        Ok(ran) => Ok(Done::on(target(&ran), reply::json(201, &told(&ran)))),
        Err(Wrong::Fault(fault)) => Err(fault),
        Err(Wrong::File(_)) => Err(Fault::Field("file")),
    }
}

/// `POST /api/v1/jobs/{ns}/{id}/revert`
pub(crate) async fn api_revert(cx: Cx) -> Result<Done, Fault> {
    cx.fields().only(&[])?;
    let ran = reverted(&cx).await?;
    Ok(Done::on(target(&ran), reply::json(201, &told(&ran))))
}

/// `DELETE /api/v1/jobs/{ns}/{id}`
pub(crate) async fn api_stop(cx: Cx) -> Result<Done, Fault> {
    let (ns, name) = jobs::stop(&cx).await?;
    Ok(Done::on(format!("job {ns}/{name}"), reply::empty(204)))
}

/// `GET /api/v1/jobs/{ns}/{id}`
pub(crate) async fn get(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&[])?;
    let (ns, name) = jobs::named(&cx, Permission::ReadWork)?;
    let present = jobs::present(&cx, &ns, &name).await?;
    let kept = jobs::versions(&cx, &ns, &name).await?;
    if present.is_none() && kept.is_empty() {
        return Err(Fault::Missing);
    }
    let versions: Vec<Value> = kept
        .iter()
        .map(|v| json!({"ver": v.ver, "at_ms": v.at, "by": v.by, "format": if v.json { "json" } else { "toml" }, "file": v.text}))
        .collect();
    let tasks = present.as_ref().map_or(&[][..], |j| &j.tasks);
    let tasks: Vec<String> = tasks.iter().map(|t| hex(&t.0)).collect();
    let body = json!({
        "ns": ns.as_str(), "name": name.as_str(), "ver": present.as_ref().map(|j| j.ver),
        "tasks": tasks, "versions": versions,
    });
    Ok(reply::json(200, &body).into())
}
