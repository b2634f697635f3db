//! Folder listings: the names in a folder as text or JSON, in pages.

use alloc::format;
use alloc::string::{String, ToString as _};

use crate::{Entry, Headers, Listing, Request};

/// Header with the target of the next page.
pub const NEXT: &str = "bn-next";
/// Names in one answer.
pub(crate) const PAGE: usize = 1000;
/// The media type of lists for programs.
pub const LIST_TYPE: &str = "application/json";

/// Whether the client asks for a list, and takes no page in its place.
pub(crate) fn is_asked(headers: &Headers) -> bool {
    let accept = headers.text("accept").unwrap_or_default();
    accept
        .split(',')
        .any(|t| t.split(';').next().unwrap_or_default().trim() == LIST_TYPE)
}

/// The name that the list goes on behind: all of the query after `after=`.
pub(crate) fn after(request: &Request) -> &str {
    request
        .target
        .split_once('?')
        .and_then(|(_, query)| query.strip_prefix("after="))
        .unwrap_or_default()
}

/// Target of the next page, if there is one.
pub(crate) fn next(path: &str, listing: &Listing) -> Option<String> {
    let last = listing.entries.last().filter(|_| listing.more)?;
    Some(format!("{path}?after={}", last.name))
}

/// A name a line; those of folders end in `/`.
pub(crate) fn text(listing: &Listing) -> String {
    let mut out = String::new();
    for entry in &listing.entries {
        out.push_str(&entry.name);
        out.push_str(if entry.len.is_none() { "/\n" } else { "\n" });
    }
    out
}

/// `{"entries":[{"name":"a.txt","bytes":5},{"name":"b/"}],"next":null}`
pub(crate) fn json(listing: &Listing, next: Option<&str>) -> String {
    let entry = |e: &Entry| match e.len {
        Some(len) => format!("{{\"name\":{},\"bytes\":{len}}}", quoted(&e.name)),
        None => format!("{{\"name\":{}}}", quoted(&format!("{}/", e.name))),
    };
    let mut out = String::from("{\"entries\":[");
    for (i, e) in listing.entries.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&entry(e));
    }
    let next = next.map_or_else(|| "null".to_string(), quoted);
    out.push_str(&format!("],\"next\":{next}}}\n"));
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_folders_end_in_a_slash() {
        let listing = Listing {
            entries: [("a \"b\" \\ \u{1}ü", Some(5)), ("dir", None)]
                .map(|(name, len)| Entry {
                    name: name.into(),
                    len,
                })
                .into(),
            more: true,
        };
        assert_eq!(text(&listing), "a \"b\" \\ \u{1}ü\ndir/\n");
        assert_eq!(
            json(&listing, next("/x/", &listing).as_deref()),
            "{\"entries\":[{\"name\":\"a \\\"b\\\" \\\\ \\u0001ü\",\"bytes\":5},{\"name\":\"dir/\"}],\"next\":\"/x/?after=dir\"}\n"
        );
        let accept = |t: &str| is_asked(&Headers::default().with("accept", t));
        assert!(accept("text/html, application/json;q=0.5") && !accept("text/html"));
    }
}
