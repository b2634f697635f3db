//! `/jobs/plan`: what a job file would change, before it runs.

use betanet_auth::Permission;
use betanet_wire::text::hex;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::jobs::{form, wrong};
use crate::cx::Cx;
use crate::diff::{self, Line};
use crate::fault::Fault;
use crate::form::Fields;
use crate::jobs::{self, Given, Planned, Wrong};
use crate::page::{self, draw};
use crate::record;
use crate::reply::{self, Done};
use crate::text;

fn difference(plan: &Planned, given: &Given) -> Markup {
    let Some(old) = &plan.old else {
        let why = match plan.replaces {
            0 => "No version runs: all of this file is new.",
            _ => "The panel has no file of the present version, so only its tasks are known.",
        };
        return html! { p { (why) } pre data-testid="job-diff" { code { @for line in given.text.lines() { ins { "+ " (line) } "\n" } } } };
    };
    let all = diff::lines(old, &given.text);
    html! {
        @if all.iter().all(|l| matches!(l, Line::Same(_))) { p { "The file is the same as that of version " (plan.replaces) "." } }
        pre data-testid="job-diff" { code { @for line in &all {
            @match line {
                Line::Same(l) => { "  " (l) "\n" }
                Line::Gone(l) => { del { "- " (l) } "\n" }
                Line::New(l) => { ins { "+ " (l) } "\n" }
            }
        } } }
    }
}

fn planned(cx: &Cx, plan: &Planned, given: &Given) -> Markup {
    let total = plan
        .tasks
        .iter()
        .fold(0, |sum: u64, (_, p)| sum.saturating_add(p.cost));
    let ver = plan.replaces;
    html! {
        section.card aria-labelledby="changes" data-testid="job-plan" {
            h2 #changes { "What would change in " (plan.ns) "/" (plan.name) }
            p {
                (plan.tasks.len()) " tasks would be submitted, for at most " (text::money(total)) " in all. "
                @if ver > 0 { "Those of the " (plan.cancels) " tasks of version " (ver) " that have not ended would be cancelled." }
            }
            (difference(plan, given))
            div.scroll tabindex="0" role="region" aria-label="Tasks" { table {
                thead { tr { @for name in ["Task", "Now", "Cost at most", "Nodes"] { th scope="col" { (name) } } } }
                tbody { @for (name, p) in &plan.tasks {
                    tr {
                        th scope="row" { (name) } td { @if p.copies.is_empty() { "would wait" } @else { "would start" } } td { (text::money(p.cost)) }
                        td { @for copy in p.copies.iter() { @let id = hex(&copy.node.0); a href={ "/nodes/" (id) } { code { (id.get(..12).unwrap_or_default()) } } " " }
                             @if p.copies.is_empty() { (super::task::reasons(&p.why)) } }
                    }
                } }
            } }
            p.soft { "Each task is planned alone, without those that it comes after." }
            form method="post" action="/jobs" {
                (page::token(cx))
                input type="hidden" name="ver" value=(ver);
                input type="hidden" name="format" value=(given.format());
                textarea name="file" hidden aria-label="Job file" { "\n" (given.text) }
                button data-testid="run-planned-job-button" { "Run it" }
            }
        }
    }
}

fn drawn(cx: &Cx, plan: &Planned, given: &Given) -> Markup {
    let body = html! {
        p { a href="/jobs" { "All jobs" } }
        h1 data-testid="job-plan-header" { "Plan of a job" }
        (planned(cx, plan, given))
        (form(cx, &given.text, given.format()))
    };
    let as_of = Some((cx.shared.local.position(), cx.now_ms));
    draw(cx, ("Plan of a job", "job-plan-page"), as_of, body)
}

/// The kept version that the query names.
async fn chosen(cx: &Cx) -> Result<Given, Fault> {
    let (ns, name, ver) = (
        cx.query.get("ns"),
        cx.query.get("name"),
        cx.query.number("ver", 0)?,
    );
    cx.need(Permission::Submit, Some(ns))?;
    let word = |text: &str| text.parse().map_err(|_| Fault::Missing);
    let kept = jobs::versions(cx, &word(ns)?, &word(name)?).await?;
    let found = kept.into_iter().find(|v| v.ver == ver);
    let found = found.ok_or(Fault::Missing)?;
    Ok(Given {
        text: found.text,
        json: found.json,
    })
}

/// `GET /jobs/plan`: an empty form, or the plan to return to a kept version.
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["ns", "name", "ver"])?;
    if !cx.query.has("ver") {
        let body = html! { p { a href="/jobs" { "All jobs" } } h1 data-testid="job-plan-header" { "Plan of a job" } (form(&cx, "", "")) };
        return Ok(page::answer(&cx, ("Plan of a job", "job-plan-page"), None, body).into());
    }
    let given = chosen(&cx).await?;
    match jobs::plan(&cx, &given).await {
        Ok(plan) => Ok(reply::page(200, drawn(&cx, &plan, &given)).into()),
        Err(why) => {
            let mut fields = Fields::default();
            fields.add("format".to_owned(), given.format().to_owned())?;
            fields.add("file".to_owned(), given.text)?;
            wrong(&cx, &fields, why).await
        }
    }
}

/// `POST /jobs/plan`
pub(crate) async fn plan(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["file", "format"])?;
    let planned = async {
        let given = Given::of(&fields)?;
        let plan = jobs::plan(&cx, &given).await?;
        Ok::<_, Wrong>((plan, given))
    };
    match planned.await {
        Ok((plan, given)) => {
            let target = format!("plan of job {}/{}", plan.ns, plan.name);
            Ok(Done::on(
                target,
                reply::page(200, drawn(&cx, &plan, &given)),
            ))
        }
        Err(why) => wrong(&cx, &fields, why).await,
    }
}

/// `POST /api/v1/jobs/plan`
pub(crate) async fn api(cx: Cx) -> Result<Done, Fault> {
    let fields = cx.fields();
    fields.only(&["file", "format"])?;
    let given = Given::of(&fields)?;
    let plan = match jobs::plan(&cx, &given).await {
        Ok(plan) => plan,
        Err(Wrong::Fault(fault)) => return Err(fault),
        Err(Wrong::File(_)) => return Err(Fault::Field("file")),
    };
    let tasks: Vec<Value> = plan
        .tasks
        .iter()
        .map(|(name, p)| json!({"task": name, "plan": record::plan(p)}))
        .collect();
    let body = json!({"ns": plan.ns.as_str(), "name": plan.name.as_str(), "replaces": plan.replaces, "cancels": plan.cancels, "tasks": tasks});
    let target = format!("plan of job {}/{}", plan.ns, plan.name);
    Ok(Done::on(target, reply::json(200, &body)))
}
