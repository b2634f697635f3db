//! The frame of all pages, and the parts that they share.

use axum::response::Response;
use betanet_auth::Permission;
use maud::{DOCTYPE, Markup, html};

use crate::assets::assets;
use crate::checks::Health;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::reply;
use crate::text;

/// Rows of a page of a list.
pub(crate) const ROWS: usize = 50;

/// A page in its frame, as an answer with status 200. See [`draw`].
pub(crate) fn answer(
    cx: &Cx,
    names: (&str, &str),
    as_of: Option<(u64, u64)>,
    body: Markup,
) -> Response {
    reply::page(200, draw(cx, names, as_of, body))
}

const PAGES: &[(&str, &str, Permission)] = &[
    ("/control-panel", "Control panel", Permission::Look),
    ("/nodes", "Nodes", Permission::Look),
    ("/tasks", "Tasks", Permission::ReadWork),
    ("/jobs", "Jobs", Permission::ReadWork),
    ("/network", "Network", Permission::Look),
    ("/names", "Names", Permission::Look),
    ("/vouchers", "Vouchers", Permission::ReadTreasury),
    ("/tokens", "Tokens", Permission::ReadTreasury),
    ("/governance", "Governance", Permission::Look),
    ("/audit", "Audit", Permission::ReadAudit),
    ("/settings", "Settings", Permission::Own),
];

/// Pages with figures of whole programs, which are for roles that hold everywhere.
const WHOLE: [&str; 4] = ["/network", "/vouchers", "/tokens", "/governance"];

/// Whether the caller may open a page of the navigation, by its path with or without a query.
pub(crate) fn opens(cx: &Cx, link: &str) -> bool {
    let path = link.split('?').next().unwrap_or_default();
    let page = PAGES.iter().find(|(p, _, _)| *p == path);
    page.is_some_and(|(path, _, permission)| {
        cx.may_somewhere(*permission) && (cx.everywhere() || !WHOLE.contains(path))
    })
}

fn links(cx: &Cx) -> Markup {
    html! {
        ul {
            @for (path, name, _) in PAGES {
                @if opens(cx, path) {
                    li {
                        @let here = cx.path == *path || cx.path.strip_prefix(path).is_some_and(|r| r.starts_with('/'));
                        a href=(path) aria-current=[here.then_some("page")] { (name) }
                    }
                }
            }
        }
    }
}

fn head(title: &str) -> Markup {
    let all = assets();
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) " · Betanet" }
            link rel="stylesheet" href={ "/assets/" (all.style.name) };
            link rel="icon" href={ "/assets/" (all.icon.name) } type="image/svg+xml";
            // The first paint has the whole head of the page, so that nothing of it moves.
            link rel="expect" href="#top" blocking="render";
            script type="module" src={ "/assets/" (all.script.name) } {}
        }
    }
}

/// What a page has in its frame.
fn content(cx: &Cx, id: &str, as_of: Option<(u64, u64)>, body: &Markup) -> Markup {
    html! {
        main #main data-testid="main-content" tabindex="-1" {
            div data-testid=(id) {
                div.note data-testid="loading-card" hidden { "Loading…" }
                (notice(cx))
                (body)
            }
            @if let Some((position, at)) = as_of {
                p #stamp .soft data-testid="last-update-timestamp" data-position=(position) {
                    "Journal position " (position) ", as of " time datetime=(text::moment(at)) { (text::moment(at)) } "."
                }
            }
        }
    }
}

/// Draws a page with its frame: by its title and its test ID, with the index of the journal and the time of what it shows.
pub(crate) fn draw(
    cx: &Cx,
    (title, id): (&str, &str),
    as_of: Option<(u64, u64)>,
    body: Markup,
) -> Markup {
    let who = cx.who.as_ref();
    let content = content(cx, id, as_of, &body);
    if cx.part {
        return content;
    }
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                a.skip href="#main" { "Skip to the content" }
                header #top .top {
                    a.brand href="/control-panel" { "Betanet" }
                    @if who.is_some() {
                        nav.wide aria-label="Main" data-testid="desktop-nav" { (links(cx)) }
                        details.menu {
                            summary data-testid="mobile-menu-button" { "Menu" }
                            nav aria-label="Menu" { (links(cx)) }
                        }
                    }
                    span.grow {}
                    @if let Some(who) = who {
                        span #ws-status .badge.none data-testid="ws-status" data-status="off" { "updates on reload" }
                        button #pause .plain type="button" aria-pressed="false" hidden { "Pause" }
                        label.quiet for="theme" { "Theme" }
                        span { select #theme hidden { option value="system" { "System" } option value="light" { "Light" } option value="dark" { "Dark" } } }
                        span.soft data-testid="account-name" { (who.name) }
                        form method="post" action="/logout" { (token(cx)) button.plain data-testid="logout-button" { "Log out" } }
                    }
                }
                div #gone .note.bad role="alert" hidden { "The coordinator does not answer. The page shows its last state, and goes on by itself." }
                div #announce .quiet aria-live="polite" {}
                (content)
            }
        }
    }
}

/// The hidden field of each form. It is empty in what a stream sends, which several readers share: forms stand outside of the parts that
/// change.
pub(crate) fn token(cx: &Cx) -> Markup {
    let form = cx.who.as_ref().map_or("", |w| w.form.as_str());
    html! { input type="hidden" name="form_token" value=(form); }
}

/// Tells that an action was done, by the code in the query.
fn notice(cx: &Cx) -> Markup {
    let text = match cx.query.get("done") {
        "submitted" => "The task was submitted.",
        "cancelled" => "The task was cancelled.",
        "job-run" => "The job runs.",
        "job-stopped" => "The job was stopped.",
        "drain" => "The node takes nothing new.",
        "maintenance" => "The node is out of service.",
        "activate" => "The node takes tasks again.",
        "token-ended" => "The token was ended.",
        "passkey" => "The passkey was added.",
        "account" => "The account was changed.",
        "account-made" => "The account was made.",
        _ => return html! {},
    };
    html! { div.note.good role="status" data-testid="success-notification" { (text) } }
}

/// Tells a fault within a page, with a link that tries again.
pub(crate) fn failure(text: &str, retry: &str) -> Markup {
    html! {
        div.note.bad role="alert" data-testid="error-notification" {
            div data-testid="error-card" {
                p { strong { "This did not work: " } (text) "." }
                a.button.plain href=(retry) data-testid="retry-button" { "Try again" }
            }
        }
    }
}

/// The page of a fault.
pub(crate) fn fault(cx: &Cx, fault: Fault) -> Markup {
    let title = crate::fault::title(fault.status());
    let retry = if cx.route.writes() {
        "/control-panel"
    } else {
        &cx.path
    };
    let body = html! {
        h1 { (title) }
        (failure(&fault.text(), retry))
        p.soft { "Request " code { (cx.request_id()) } }
    };
    let id = "error-page";
    draw(cx, (title, id), None, body)
}

/// The page of a fault without a route.
pub(crate) fn bare(fault: Fault, request: &str) -> Markup {
    let title = crate::fault::title(fault.status());
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body { main {
                h1 { (title) }
                (failure(&fault.text(), "/control-panel"))
                p.soft { "Request " code { (request) } }
            } }
        }
    }
}

/// A status in words, with a sign and a colour.
pub(crate) fn badge(word: &str) -> Markup {
    let (class, sign) = match word {
        "healthy" | "active" | "succeeded" | "done" | "running" | "current" | "bound"
        | "linked" => ("good", "●"),
        "degraded" | "joining" | "draining" | "maintenance" | "queued" | "accepted"
        | "assigned" | "verifying" | "denied" | "stale" | "retired" | "retiring" => ("warn", "▲"),
        "down" | "offline" | "quarantined" | "failed" | "expired" | "conflicted" | "alarm"
        | "not-read" => ("bad", "✖"),
        _ => ("none", "○"),
    };
    html! {
        span class={ "badge " (class) } data-testid={ "status-badge-" (word) } {
            span aria-hidden="true" { (sign) " " } (word.replace(['-', '_'], " "))
        }
    }
}

/// The health of a service.
pub(crate) fn health(health: Health) -> Markup {
    badge(health.word())
}

/// The command line that does the same.
pub(crate) fn command(line: &str) -> Markup {
    html! {
        details {
            summary { "The same by command line" }
            pre tabindex="0" { code { (line) } }
        }
    }
}

/// An empty list.
pub(crate) fn empty(text: &str) -> Markup {
    html! { p.card data-testid="empty-state" { (text) } }
}

/// Links to the other pages of a list, and to the list as CSV and JSON.
pub(crate) fn pager(cx: &Cx, page: usize, all: usize) -> Markup {
    let last = all.div_ceil(ROWS).max(1);
    let link = |n: usize| format!("{}{}", cx.path, cx.query.with("page", &n.to_string()));
    html! {
        nav.row aria-label="Pages" {
            span { "Page " (page) " of " (last) ", " (text::number(all as u64)) " in all" }
            @if page > 1 { a.button.plain href=(link(page - 1)) rel="prev" { "Previous" } }
            @if page < last { a.button.plain href=(link(page + 1)) rel="next" { "Next" } }
            a.button.plain href={ (cx.path) (cx.query.with("format", "csv")) } { "CSV" }
            a.button.plain href={ (cx.path) (cx.query.with("format", "json")) } { "JSON" }
        }
    }
}

/// Links to a list as CSV and JSON, for a page that has several or no pager.
pub(crate) fn exports(cx: &Cx, list: &str, name: &str) -> Markup {
    let link = |format: &str| match list {
        // The same rows as the page shows.
        "" => format!("{}{}", cx.path, cx.query.with("format", format)),
        list => format!("{}?list={list}&format={format}", cx.path),
    };
    html! {
        p.row {
            a.button.plain href=(link("csv")) { "CSV" span.quiet { " of " (name) } }
            a.button.plain href=(link("json")) { "JSON" span.quiet { " of " (name) } }
        }
    }
}

/// The head of a column by which a list can be sorted.
pub(crate) fn sortable(cx: &Cx, key: &str, name: &str, default: &str) -> Markup {
    let now = match cx.query.get("sort") {
        "" => default,
        sort => sort,
    };
    let (is, down) = (now.trim_start_matches('-') == key, now.starts_with('-'));
    let next = if is && !down {
        format!("-{key}")
    } else {
        key.to_owned()
    };
    let order = match (is, down) {
        (true, false) => Some("ascending"),
        (true, true) => Some("descending"),
        _ => None,
    };
    html! {
        th scope="col" aria-sort=[order] {
            a href={ (cx.path) (cx.query.with("sort", &next)) } {
                (name) @if is { span aria-hidden="true" { @if down { " ▼" } @else { " ▲" } } }
            }
        }
    }
}
