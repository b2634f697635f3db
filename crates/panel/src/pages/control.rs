//! `/control-panel`: nine services, an overview, and quick actions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use betanet_auth::Permission;
use betanet_fog::NodeState;
use maud::{Markup, html};

use crate::checks::{CATEGORIES, Checked, Health, Service};
use crate::cx::Cx;
use crate::fault::Fault;
use crate::page;
use crate::pages::tasks;
use crate::reply::{self, Done};
use crate::text;
use crate::view::Snapshot;

/// The results of all checks, and the lists if the coordinator answers.
pub(crate) async fn looked(cx: &Cx) -> (Checked, Result<Arc<Snapshot>, Fault>) {
    let snapshot = cx.shared.snapshot().await;
    let nodes = snapshot.as_deref().ok();
    let checked = cx.shared.checks.all(cx.shared.now_ms(), nodes).await;
    (checked, snapshot)
}

/// What a caller is told about a service. Texts have figures and faults of the whole coordinator.
pub(crate) fn told<'a>(cx: &Cx, service: &'a Service) -> &'a str {
    match service.health {
        _ if cx.everywhere() => &service.text,
        Health::Healthy => "it works",
        Health::Degraded => "it works in part",
        Health::Down => "it does not work",
        Health::Absent => "it is not here",
    }
}

fn card(cx: &Cx, service: &Service, now_ms: u64) -> Markup {
    html! {
        li.card data-testid={ "service-status-" (service.id) } data-status=(service.health.word()) {
            h3 { (service.name) }
            p { (page::health(service.health)) }
            p { (told(cx, service)) "." }
            p.soft { "Checked " (text::ago(now_ms, service.at)) "." }
            @if let Some(page) = service.page.filter(|page| page::opens(cx, page)) {
                a.button.plain href=(page) data-testid={ "view-details-" (service.id) } { "Details of " (service.name) }
            } @else {
                details { summary data-testid={ "view-details-" (service.id) } { "Details of " (service.name) }
                    p.soft { @if service.page.is_some() { "No role of yours opens its page." } @else { "This panel has no page for it." } } }
            }
        }
    }
}

/// A quick action: its link, or the reason why it is not available.
fn action(id: &str, name: &str, link: Result<&str, &str>) -> Markup {
    html! {
        li data-testid={ "quick-action-" (id) } data-available=(link.is_ok()) {
            @match link {
                Ok(to) => a.button href=(to) { (name) },
                Err(why) => { p { strong { (name) } ": not available" } p.soft { (why) "." } }
            }
        }
    }
}

fn actions(cx: &Cx) -> Markup {
    let allowed = |permission, link| match cx.may_somewhere(permission) {
        true => Ok(link),
        false => Err("no role of yours allows it"),
    };
    html! {
        section.card data-testid="quick-actions-panel" aria-labelledby="actions" {
            h2 #actions { "Quick actions" }
            ul.tabs {
                (action("deploy-node", "Add a node", allowed(Permission::Operate, "/nodes#register")))
                (action("submit-job", "Submit a task", allowed(Permission::Submit, "/tasks#submit")))
                (action("create-circuit", "Create a circuit", Err("circuits over onion routes are not built")))
                (action("view-metrics", "View metrics", if cx.everywhere() { Ok("#metrics") } else { Err("no role of yours holds everywhere") }))
            }
        }
    }
}

/// The node's own counters: those of its metrics that have one value.
fn metrics(cx: &Cx) -> Markup {
    if !cx.everywhere() {
        return html! {};
    }
    let refused = cx.shared.anonymous.load(Ordering::Relaxed);
    let all = cx.shared.gateway.render_metrics();
    let rows = all.lines().filter(|l| !l.starts_with('#'));
    let rows = rows.filter_map(|l| l.rsplit_once(' '));
    html! {
        section.card aria-labelledby="metrics" {
            h2 #metrics { "Metrics of this process" }
            details #all-metrics {
                summary { "All counters: the panel's own, and those that the admin address gives at /metrics" }
                div.scroll { table {
                    thead { tr { th scope="col" { "Metric" } th scope="col" { "Value" } } }
                    tbody { tr { td { code { "panel_refused_without_credentials" } } td data-testid="refused-anonymous" { (refused) } } @for (name, value) in rows { tr { td { code { (name) } } td { (value) } } } }
                } }
            }
        }
    }
}

fn overview(cx: &Cx, checked: &Checked, snapshot: Option<&Snapshot>) -> Markup {
    let now_ms = cx.shared.now_ms();
    html! {
        section.card data-testid="system-status-card" data-status=(checked.health().word()) aria-labelledby="system" {
            h2 #system { "System" }
            p { (page::health(checked.health())) }
            dl {
                dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) }
                dt { "Coordinator" } dd data-testid="coordinator-role" { (checked.role) }
                dt { "Running for" } dd { (text::span(now_ms.saturating_sub(cx.shared.started_ms))) }
                dt { "Sessions" } dd { (checked.sessions) }
                @if let Some(s) = snapshot {
                    @let seen = tasks::visible(cx, &s.tasks);
                    dt { "Nodes" } dd data-testid="overview-nodes" {
                        (s.nodes.len()) ", " (s.nodes.iter().filter(|n| n.state == NodeState::Active).count()) " active"
                    }
                    dt { "Tasks" } dd data-testid="overview-tasks" {
                        (text::number(seen.len() as u64)) ", " (text::number(seen.iter().filter(|t| !t.state.ended()).count() as u64)) " not ended"
                    }
                }
            }
        }
    }
}

/// `GET /control-panel`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query.only(&["done"])?;
    let (checked, snapshot) = looked(&cx).await;
    let now_ms = cx.shared.now_ms();
    let body = html! {
        div.row {
            h1 data-testid="control-panel-header" { "Control panel" }
            span.grow {}
            a.button.plain href="/control-panel" data-testid="refresh-button" { "Refresh" }
        }
        div #overview data-live="overview nodes tasks" {
            @if let Err(fault) = &snapshot { (page::failure(&fault.text(), "/control-panel")) }
            (overview(&cx, &checked, snapshot.as_deref().ok()))
            @for (category, name) in CATEGORIES {
                section data-testid={ "category-" (category) } aria-label=(name) {
                    h2 { (name) }
                    ul.grid {
                        @for service in checked.services.iter().filter(|s| s.category == category) {
                            (card(&cx, service, now_ms))
                        }
                    }
                }
            }
        }
        // A stream sends what changes.
        @if !cx.part {
            (actions(&cx))
            (metrics(&cx))
            (page::command("betanet status --admin HOST:PORT\nbetanet top --coordinator PEER"))
        }
    };
    let as_of = Some((checked.position, checked.at));
    Ok(page::answer(&cx, ("Control panel", "control-panel-page"), as_of, body).into())
}

/// `GET /`
pub(crate) async fn root(_: Cx) -> Result<Done, Fault> {
    Ok(reply::see_other("/control-panel").into())
}
