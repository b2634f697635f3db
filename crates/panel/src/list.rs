//! Lists: sorting, pages, CSV and JSON, all by fields of the query.

use axum::response::Response;
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::fault::Fault;
use crate::page::ROWS;
use crate::record;
use crate::reply;

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
    as_of: (u64, u64),
    columns: &[&str],
    items: impl FnOnce() -> Vec<Value>,
) -> Result<Option<Response>, Fault> {
    match cx.query.get("format") {
        "" | "html" => Ok(None),
        "csv" => Ok(Some(record::csv(columns, &items()))),
        "json" => Ok(Some(listed(as_of, items()))),
        _ => Err(Fault::Field("format")),
    }
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
