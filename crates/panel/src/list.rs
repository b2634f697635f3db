//! Lists: sorting, pages, CSV and JSON, all by fields of the query.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::cx::Cx;
use crate::fault::Fault;
use crate::page::ROWS;
use crate::record;
use crate::reply::{self, Done};

/// Most records of an answer.
pub(crate) const RECORDS_MAX: u64 = 1000;

/// Longest time in which an exported list is taken.
const EXPORT_TIME: Duration = Duration::from_secs(120);
/// Bytes of an exported list that are handed over at once.
const PIECE: usize = 64 << 10;

/// A page of a list.
pub(crate) struct Paged<T> {
    pub(crate) rows: Vec<T>,
    /// Number of the page, from 1.
    pub(crate) page: usize,
    /// Rows of all pages.
    pub(crate) all: usize,
}

/// The number of the page that the query asks for.
fn page(cx: &Cx, rows: usize) -> Result<usize, Fault> {
    let last = rows.div_ceil(ROWS).max(1);
    let page = usize::try_from(cx.query.stated("page", 1)?).map_err(|_| Fault::Field("page"))?;
    Ok(page.clamp(1, last))
}

/// The page that the query asks for. A page beyond the last is the last one.
pub(crate) fn paged<T>(cx: &Cx, rows: Vec<T>) -> Result<Paged<T>, Fault> {
    let all = rows.len();
    let page = page(cx, all)?;
    let rows = rows
        .into_iter()
        .skip((page - 1) * ROWS)
        .take(ROWS)
        .collect();
    Ok(Paged { rows, page, all })
}

/// A place for a list that is exported.
pub(crate) struct Export {
    csv: bool,
    place: OwnedSemaphorePermit,
}

impl Export {
    /// Takes a place, if the query asks for the whole list as CSV or JSON.
    pub(crate) fn of(cx: &Cx) -> Result<Option<Self>, Fault> {
        let csv = match cx.query.get("format") {
            "" | "html" => return Ok(None),
            "csv" => true,
            "json" => false,
            _ => return Err(Fault::Field("format")),
        };
        let place = Arc::clone(&cx.shared.exports).try_acquire_owned();
        let place = place.map_err(|_| Fault::Busy)?;
        Ok(Some(Self { csv, place }))
    }

    /// The list. One that is cut off after its first items says so: in its name, or as JSON by a member.
    pub(crate) fn answer(
        self,
        (position, at): (u64, u64),
        columns: &[&str],
        items: impl Iterator<Item = Value>,
        cut: bool,
    ) -> Response {
        if self.csv {
            let body = sent(record::csv(columns, items), self.place);
            let mut response = reply::whole(200, "text/csv; charset=utf-8", body);
            let name = match cut {
                false => "attachment; filename=\"list.csv\"",
                true => "attachment; filename=\"list-first-part.csv\"",
            };
            reply::set(&mut response, "content-disposition", name);
            return response;
        }
        let cut = if cut { "\"cut\":true," } else { "" };
        let mut text = format!("{{\"position\":{position},\"at_ms\":{at},{cut}\"items\":[");
        for (n, item) in items.enumerate() {
            text += if n > 0 { "," } else { "" };
            text += &item.to_string();
        }
        text += "]}\n";
        reply::whole(200, "application/json", sent(text, self.place))
    }
}

/// The whole list as CSV or JSON, if the query asks for it.
pub(crate) fn export(
    cx: &Cx,
    as_of: (u64, u64),
    columns: &[&str],
    items: impl Iterator<Item = Value>,
) -> Result<Option<Response>, Fault> {
    let export = Export::of(cx)?;
    Ok(export.map(|export| export.answer(as_of, columns, items, false)))
}

/// A body that keeps its place until it is sent, and breaks off after a time.
fn sent(text: String, place: OwnedSemaphorePermit) -> Body {
    let until = Instant::now() + EXPORT_TIME;
    let whole = (Bytes::from(text), place);
    let pieces = unfold(whole, move |(mut rest, place)| async move {
        if rest.is_empty() {
            return None;
        }
        if Instant::now() >= until {
            let late = io::Error::from(io::ErrorKind::TimedOut);
            return Some((Err(late), (Bytes::new(), place)));
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        Some((Ok(piece), (rest, place)))
    });
    Body::from_stream(pieces)
}

/// The page of a list that the query asks for, as JSON, with the number of rows of all pages.
pub(crate) fn answer<T>(
    cx: &Cx,
    as_of: (u64, u64),
    rows: Vec<T>,
    record: impl FnMut(&T) -> Value,
) -> Result<Done, Fault> {
    with(cx, as_of, rows, record, Value::Null)
}

/// The same, with the figures of the page's cards.
pub(crate) fn with<T>(
    cx: &Cx,
    (position, at): (u64, u64),
    rows: Vec<T>,
    record: impl FnMut(&T) -> Value,
    cards: Value,
) -> Result<Done, Fault> {
    let paged = paged(cx, rows)?;
    let items: Vec<Value> = paged.rows.iter().map(record).collect();
    let mut body = json!({"position": position, "at_ms": at, "total": paged.all, "items": items});
    if !cards.is_null() {
        body["cards"] = cards;
    }
    Ok(reply::json(200, &body).into())
}

/// A list as JSON, with the position of the journal and the time that it is of.
pub(crate) fn listed((position, at): (u64, u64), items: Vec<Value>) -> Response {
    reply::json(
        200,
        &json!({"position": position, "at_ms": at, "items": items}),
    )
}

/// Whether the query asks for the whole list as a file.
pub(crate) fn exports(cx: &Cx) -> bool {
    !matches!(cx.query.get("format"), "" | "html")
}

/// Sorts by a key of the query: `key`, or `-key` for descending. The key `default` stands for none. For a page, only its own rows are
/// put in order and in their place, so that long lists cost little; the comparison has to tell any two rows apart.
pub(crate) fn sort<T>(
    cx: &Cx,
    rows: &mut [T],
    default: &'static str,
    key: impl Fn(&str) -> Option<fn(&T, &T) -> Ordering>,
) -> Result<(), Fault> {
    let asked = match cx.query.get("sort") {
        "" => default,
        sort => sort,
    };
    let by = key(asked.trim_start_matches('-')).ok_or(Fault::Field("sort"))?;
    let down = asked.starts_with('-');
    let by = |a: &T, b: &T| if down { by(b, a) } else { by(a, b) };
    let from = match exports(cx) {
        true => None,
        false => Some((page(cx, rows.len())? - 1) * ROWS),
    };
    order(rows, from, by);
    Ok(())
}

/// Puts all rows in order, or those of the page that begins at a place.
fn order<T>(rows: &mut [T], from: Option<usize>, by: impl Fn(&T, &T) -> Ordering) {
    let Some(from) = from.filter(|_| rows.len() > 2 * ROWS) else {
        rows.sort_by(by);
        return;
    };
    if from > 0 && from < rows.len() {
        rows.select_nth_unstable_by(from, &by);
    }
    let rest = rows.get_mut(from..).unwrap_or_default();
    if rest.len() > ROWS {
        rest.select_nth_unstable_by(ROWS, &by);
    }
    let own = rest.len().min(ROWS);
    rest.get_mut(..own).unwrap_or_default().sort_by(by);
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::shared::EXPORTS_MAX;

    #[test]
    fn a_page_has_the_rows_that_a_sorted_list_has_there() {
        for n in [0_usize, 1, 49, 50, 51, 100, 101, 500, 1234] {
            // Each number once, in another order.
            let rows: Vec<usize> = (0..n).map(|i| (i * 7919 + 13) % n.max(1)).collect();
            let whole: Vec<usize> = {
                let mut all = rows.clone();
                all.sort_unstable();
                all
            };
            for from in (0..n.max(1)).step_by(ROWS) {
                let mut some = rows.clone();
                order(&mut some, Some(from), usize::cmp);
                let until = (from + ROWS).min(n);
                assert_eq!(some[from..until], whole[from..until], "{from} of {n}");
            }
        }
    }

    #[tokio::test]
    async fn a_list_that_is_cut_off_says_so() {
        let places = Arc::new(Semaphore::new(1));
        let answer = |csv, cut| {
            let place = Arc::clone(&places).try_acquire_owned().unwrap();
            let items = [json!({"a": 1})].into_iter();
            Export { csv, place }.answer((5, 7), &["a"], items, cut)
        };
        let name = answer(true, true).headers()["content-disposition"].clone();
        assert!(name.to_str().unwrap().contains("list-first-part.csv"));
        for (cut, text) in [
            (
                false,
                "{\"position\":5,\"at_ms\":7,\"items\":[{\"a\":1}]}\n",
            ),
            (
                true,
                "{\"position\":5,\"at_ms\":7,\"cut\":true,\"items\":[{\"a\":1}]}\n",
            ),
        ] {
            let body = answer(false, cut).into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_lists_are_exported_at_once_and_each_in_time() {
        let places = Arc::new(Semaphore::new(EXPORTS_MAX));
        let export = || {
            let place = Arc::clone(&places).try_acquire_owned().ok()?;
            Some(sent("x".repeat(2 * PIECE + 1), place))
        };
        let (one, mut two) = (export().unwrap(), export().unwrap());
        assert!(export().is_none());
        assert_eq!(one.collect().await.unwrap().to_bytes().len(), 2 * PIECE + 1);
        let three = export().unwrap();
        assert!(two.frame().await.unwrap().is_ok());
        tokio::time::advance(EXPORT_TIME).await;
        assert!(two.frame().await.unwrap().is_err(), "it is cut off");
        drop((two, three));
        assert_eq!(places.available_permits(), EXPORTS_MAX);
    }
}
