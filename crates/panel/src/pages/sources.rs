//! The sources of a page: where each is, how old its answer is, and why it cannot be read.

use maud::{Markup, html};
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::page::{self, failure};
use crate::source::{Kept, Read, Source};
use crate::text;

fn card<T>(
    cx: &Cx,
    (source, kept): (&Source, &Kept<T>),
    absent: &str,
    facts: impl Fn(&T) -> Markup,
) -> Markup {
    let word = kept.word();
    let age = u64::try_from(kept.age().as_millis()).unwrap_or(u64::MAX);
    let retry = format!("{}{}", cx.path, cx.query.with("format", ""));
    html! {
        li.card data-testid={ "source-" (source.name()) } data-status=(word) {
            h3 { (source.name()) }
            p { (page::badge(word)) }
            // Admin addresses are for roles that hold everywhere.
            @if cx.everywhere() { p.soft { code { "http://" (source.address()) } } }
            @if let Some(value) = &kept.value {
                p.soft { "Read " (text::span(age)) " ago." }
                (facts(value))
            }
            @match kept.fault {
                Some(fault) if fault.absent() => p { (absent) "." },
                Some(fault) => (failure(&format!("the source {} cannot be read: {fault}", source.name()), &retry)),
                None => {}
            }
        }
    }
}

/// A card for each source, or what to configure if there is none.
pub(crate) fn cards<T>(
    cx: &Cx,
    all: &Read<'_, T>,
    absent: &str,
    facts: impl Fn(&T) -> Markup,
) -> Markup {
    html! {
        section aria-labelledby="sources" {
            h2 #sources { "Sources" }
            @if all.is_empty() {
                (page::empty("No source is named. Start the coordinator with the admin address of each program that the panel should read."))
                (page::command("coordinator --panel 127.0.0.1:9470 --panel-source names=http://127.0.0.1:9090"))
            } @else {
                ul.grid { @for (source, kept) in all { (card(cx, (source, kept), absent, &facts)) } }
            }
        }
    }
}

/// The figures of each source's card, by its name: those that it told last.
pub(crate) fn figures<T>(all: &Read<'_, T>, of: impl Fn(&T) -> Value) -> Value {
    let each = all.iter().map(|(source, kept)| {
        let value = kept.value.as_deref().map(&of);
        let card = json!({"status": kept.word(), "figures": value});
        (source.name().to_owned(), card)
    });
    Value::Object(each.collect())
}

/// A list to choose a source from, for filters.
pub(crate) fn choice(cx: &Cx) -> Markup {
    let now = cx.query.get("source");
    html! {
        div {
            label for="f-source" { "Source" }
            select #f-source name="source" {
                option value="" { "all" }
                @for source in cx.shared.sources.iter() { option value=(source.name()) selected[now == source.name()] { (source.name()) } }
            }
        }
    }
}
