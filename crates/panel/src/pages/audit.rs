//! `/audit`: who did what, and the head of the log for somebody to keep.

use betanet_auth::audit::{Record, SignedHead, Verdict};
use maud::{Markup, html};

use crate::core::RECENT_MAX;
use crate::cx::Cx;
use crate::fault::Fault;
use crate::list;
use crate::list::RECORDS_MAX;
use crate::page::{self, pager};
use crate::record;
use crate::reply::Done;
use crate::text;

const COLUMNS: [&str; 9] = [
    "seq", "at", "actor", "action", "target", "verdict", "before", "after", "request",
];

/// The head of the log, signed by the coordinator.
pub(crate) async fn head(cx: &Cx) -> Result<SignedHead, Fault> {
    let head = cx
        .shared
        .desk
        .with(|core, now, _| core.head(now.unix_ms))
        .await?;
    Ok(SignedHead::new(head, &cx.shared.identity))
}

/// The newest records that the query asks for, newest first.
async fn filtered(cx: &Cx) -> Result<Vec<Record>, Fault> {
    let verdict = match cx.query.get("verdict") {
        "" => None,
        text => Some(Verdict::from_word(text).ok_or(Fault::Field("verdict"))?),
    };
    let (actor, action) = (
        cx.query.get("actor").to_owned(),
        cx.query.get("action").to_owned(),
    );
    let text = cx.query.get("q").to_owned();
    let rows = cx.shared.desk.with(move |core, _, _| {
        let keep = |r: &&Record| {
            verdict.is_none_or(|v| r.verdict == v)
                && r.actor.contains(&actor)
                && (action.is_empty() || r.action == action)
                && (text.is_empty() || r.target.contains(&text))
        };
        core.recent().filter(keep).cloned().collect::<Vec<Record>>()
    });
    Ok(rows.await?)
}

/// The commands that save the whole log and compare it with this head.
fn verification(origin: &str, head: &SignedHead) -> String {
    let last = head.head().size.saturating_sub(1) / RECORDS_MAX * RECORDS_MAX;
    let n = RECORDS_MAX;
    // The command sends its token to this machine alone.
    let direct = match origin.starts_with("http://") {
        true => format!(
            "betanet audit verify {origin} --token-file ./token --head {head}\n# or, saved first:\n"
        ),
        false => String::new(),
    };
    format!(
        "{direct}for from in $(seq 0 {n} {last}); do\n  \
           curl -H \"Authorization: Bearer $TOKEN\" \"{origin}/api/v1/audit?from=$from&n={n}\" > audit-$from.json\n\
         done\n\
         betanet audit verify $(seq -f audit-%.0f.json 0 {n} {last}) --head {head}"
    )
}

fn filters(cx: &Cx) -> Markup {
    let verdict = cx.query.get("verdict");
    html! {
        form.card method="get" action="/audit" aria-label="Filters" {
            div.fields {
                div { label for="f-actor" { "Actor" } input #f-actor name="actor" value=(cx.query.get("actor")); }
                div { label for="f-action" { "Action" } input #f-action name="action" value=(cx.query.get("action")); }
                div { label for="f-q" { "Target" } input #f-q type="search" name="q" value=(cx.query.get("q")); }
                div { label for="f-verdict" { "Verdict" } select #f-verdict name="verdict" { option value="" { "all" } @for v in Verdict::ALL { option value=(v.as_str()) selected[verdict == v.as_str()] { (v.as_str()) } } } }
            }
            p { button { "Filter" } }
        }
    }
}

/// `GET /audit`
pub(crate) async fn show(cx: Cx) -> Result<Done, Fault> {
    cx.query
        .only(&["actor", "action", "q", "verdict", "page", "format"])?;
    let rows = filtered(&cx).await?;
    let as_of = (cx.shared.local.position(), cx.now_ms);
    let items = rows.iter().map(record::audit);
    if let Some(response) = list::export(&cx, as_of, &COLUMNS, items)? {
        return Ok(response.into());
    }
    let head = head(&cx).await?;
    let paged = list::paged(&cx, rows)?;
    let body = html! {
        h1 data-testid="audit-header" { "Audit log" }
        section.card aria-labelledby="head" {
            h2 #head { "Head" }
            p { (text::number(head.head().size)) " records. Keep this head somewhere else: it shows any later change to the records before it." }
            pre data-testid="audit-head" tabindex="0" { code { (head) } }
            (page::command(&verification(&cx.shared.origin, &head)))
        }
        (filters(&cx))
        div #audit-list .card {
            @if paged.all == 0 { (page::empty("No record fits.")) }
            @else {
                div.scroll tabindex="0" role="region" aria-label="Records" { table {
                    thead { tr { @for name in ["No", "Time", "Actor", "Action", "Target", "Verdict"] { th scope="col" { (name) } } } }
                    tbody { @for r in &paged.rows {
                        tr data-testid={ "audit-record-" (r.seq) } {
                            th scope="row" { (r.seq) } td { time datetime=(text::moment(r.at)) { (text::moment(r.at)) } }
                            td { (r.actor) } td { (r.action) } td { (r.target) } td { (page::badge(r.verdict.as_str())) }
                        }
                    } }
                } }
            }
            (pager(&cx, paged.page, paged.all))
            p.soft { "This page has the newest " (text::number(RECENT_MAX as u64)) " records. The API has all: " code { "/api/v1/audit?from=0" } "." }
        }
    };
    Ok(page::answer(&cx, ("Audit log", "audit-page"), Some(as_of), body).into())
}

#[cfg(test)]
mod tests {
    use betanet_auth::audit::Trail;
    use betanet_keys::Identity;

    use super::*;

    #[test]
    fn the_command_covers_the_whole_log() {
        let signer = Identity::from_seed(&[1; 32]);
        let mut head = Trail::default().head(0);
        for (size, last) in [(0, 0), (1, 0), (1000, 0), (1001, 1000), (2500, 2000)] {
            head.size = size;
            let signed = SignedHead::new(head, &signer);
            let text = verification("http://127.0.0.1:1", &signed);
            assert_eq!(
                text.matches(&format!("0 1000 {last})")).count(),
                2,
                "{text}"
            );
            assert!(text.ends_with(&format!("--head {signed}")));
        }
    }
}
