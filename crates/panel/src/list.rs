//! Lists: sorting, pages, CSV and JSON, all by fields of the query.

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
use crate::reply;

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

/// The page that the query asks for. A page beyond the last is the last one.
pub(crate) fn paged<T>(cx: &Cx, rows: Vec<T>) -> Result<Paged<T>, Fault> {
    let all = rows.len();
    let last = all.div_ceil(ROWS).max(1);
    let page = usize::try_from(cx.query.number("page", 1)?).map_err(|_| Fault::Field("page"))?;
    let page = page.clamp(1, last);
    let rows = rows
        .into_iter()
        .skip((page - 1) * ROWS)
        .take(ROWS)
        .collect();
    Ok(Paged { rows, page, all })
}

/// The whole list as CSV or JSON, if the query asks for it.
pub(crate) fn export(
    cx: &Cx,
    (position, at): (u64, u64),
    columns: &[&str],
    items: impl Iterator<Item = Value>,
) -> Result<Option<Response>, Fault> {
    let format = cx.query.get("format");
    if matches!(format, "" | "html") {
        return Ok(None);
    }
    let place = Arc::clone(&cx.shared.exports).try_acquire_owned();
    let place = place.map_err(|_| Fault::Busy)?;
    let response = match format {
        "csv" => {
            let body = sent(record::csv(columns, items), place);
            let mut response = reply::whole(200, "text/csv; charset=utf-8", body);
            let name = "attachment; filename=\"list.csv\"";
            reply::set(&mut response, "content-disposition", name);
            response
        }
        "json" => {
            let mut text = format!("{{\"position\":{position},\"at_ms\":{at},\"items\":[");
            for (n, item) in items.enumerate() {
                text += if n > 0 { "," } else { "" };
                text += &item.to_string();
            }
            text += "]}\n";
            reply::whole(200, "application/json", sent(text, place))
        }
        _ => return Err(Fault::Field("format")),
    };
    Ok(Some(response))
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

/// A list as JSON, with the position of the journal and the time that it is of.
pub(crate) fn listed((position, at): (u64, u64), items: Vec<Value>) -> Response {
    reply::json(
        200,
        &json!({"position": position, "at_ms": at, "items": items}),
    )
}

/// Sorts by a key of the query: `key`, or `-key` for descending. The key `default` stands for none.
pub(crate) fn sort<T>(
    cx: &Cx,
    rows: &mut [T],
    default: &'static str,
    key: impl Fn(&str) -> Option<fn(&T, &T) -> std::cmp::Ordering>,
) -> Result<(), Fault> {
    let asked = match cx.query.get("sort") {
        "" => default,
        sort => sort,
    };
    let by = key(asked.trim_start_matches('-')).ok_or(Fault::Field("sort"))?;
    rows.sort_by(by);
    if asked.starts_with('-') {
        rows.reverse();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::shared::EXPORTS_MAX;

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
