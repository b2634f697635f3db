//! A folder of files, served as the imitated server does (`index index.html`, `try_files $uri $uri/ =404`).

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::asked::{Asked, Method};
use super::body::{Body, Parts, Pieces, Shown, State, open};
use super::pages::{self, Ends, Page, set};
use super::target::escaped;
use super::types::media_type;
use super::zipped::{Kept, LONGEST, SHORTEST, Zipped};
use super::{ranges, time};
use crate::files::Folder;

/// Maximum length of a request body; longer ones are refused for any method.
const BODY_MAX: u64 = 1 << 20;
const INDEX: &[u8] = b"index.html";

/// A site of files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    folder: Folder,
    kept: Kept,
    /// Number of multipart answers so far, which forms the boundary.
    boundaries: Arc<AtomicU64>,
}

/// Result of looking up a path.
enum Found {
    Page(Page),
    /// A redirect to the same path with a slash at its end.
    Moved(Vec<u8>),
    File(PathBuf, State),
}

/// Kind of file at a path.
enum Kind {
    Nothing,
    Folder,
    Other,
}

impl Files {
    pub(crate) fn new(folder: Folder) -> Self {
        Self {
            folder,
            kept: Kept::default(),
            boundaries: Arc::default(),
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, asked: &Asked, date: HeaderValue) -> Response<Body> {
        if asked.length.is_some_and(|n| n > BODY_MAX) {
            return pages::page(Page::TooLarge, Some(asked), date, None);
        }
        // Names are looked up on this thread, as nginx does: the order of answers would reveal a difference. Contents are read
        // elsewhere.
        let path = asked.target.path.clone();
        let found = find(&self.folder, asked.method, path);
        match found {
            Ok(Found::File(path, state)) => {
                let response = self.show(asked, path, state, date);
                if let Body::Zipped(zipped) = response.body() {
                    zipped.prepare().await;
                }
                response
            }
            Ok(Found::Page(page)) => pages::page(page, Some(asked), date, None),
            Ok(Found::Moved(path)) => {
                let place = place(asked, &path);
                pages::page(Page::Moved, Some(asked), date, Some(place))
            }
            Err(_) => pages::page(Page::Internal, Some(asked), date, None),
        }
    }

    fn show(
        &self,
        asked: &Asked,
        path: PathBuf,
        state: State,
        date: HeaderValue,
    ) -> Response<Body> {
        let (modified, len) = (state.seconds(), state.len);
        let etag = format!("\"{modified:x}-{len:x}\"");
        match unchanged(asked, etag.as_bytes(), modified) {
            Changed::Failed => {
                let mut response = pages::page(Page::PreconditionFailed, Some(asked), date, None);
                response.extensions_mut().insert(Ends);
                return response;
            }
            Changed::No => {
                let mut response = pages::head(StatusCode::NOT_MODIFIED, date);
                let fields = response.headers_mut();
                set(fields, header::LAST_MODIFIED, time::shown(modified));
                set(fields, header::ETAG, etag);
                return response;
            }
            Changed::Yes => {}
        }
        let media = media_type(path.as_os_str().as_bytes());
        let shown = Shown {
            folder: self.folder.clone(),
            path,
            state,
        };
        let no_body = asked.method == Method::Head;
        if media == "text/html" && (SHORTEST..=LONGEST).contains(&len) && asked.takes_gzip() {
            let mut response = pages::head(StatusCode::OK, date);
            let fields = response.headers_mut();
            set(fields, header::CONTENT_TYPE, media);
            set(fields, header::LAST_MODIFIED, time::shown(modified));
            set(fields, header::ETAG, format!("W/{etag}"));
            set(fields, header::CONTENT_ENCODING, "gzip");
            if !no_body {
                let zipped = Zipped::new(shown, self.kept.clone());
                *response.body_mut() = Body::Zipped(Box::new(zipped));
            }
            return response;
        }
        let wanted = match ranges::wanted(asked, etag.as_bytes(), modified, len) {
            ranges::Wanted::None => {
                let mut response = pages::page(Page::RangeNotSatisfiable, Some(asked), date, None);
                set(
                    response.headers_mut(),
                    header::CONTENT_RANGE,
                    format!("bytes */{len}"),
                );
                return response;
            }
            ranges::Wanted::All => None,
            ranges::Wanted::Some(ranges) => Some(ranges),
        };
        let mut response = pages::head(StatusCode::OK, date);
        if wanted.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        let fields = response.headers_mut();
        let body = self.body(fields, shown, media, (modified, etag), wanted);
        if !no_body {
            *response.body_mut() = body;
        }
        response
    }

    /// Completes a head and adds its body.
    fn body(
        &self,
        fields: &mut HeaderMap,
        shown: Shown,
        media: &'static str,
        (modified, etag): (u64, String),
        wanted: Option<VecDeque<(u64, u64)>>,
    ) -> Body {
        let len = shown.state.len;
        let several = wanted.as_ref().filter(|r| r.len() > 1);
        let parts = several.map(|_| Parts {
            boundary: self.boundaries.fetch_add(1, Ordering::Relaxed) + 1,
            media,
        });
        let one = wanted
            .as_ref()
            .filter(|r| r.len() == 1)
            .and_then(|r| r.front().copied());
        let sent = match (&wanted, &parts) {
            (Some(ranges), Some(parts)) => {
                let heads = ranges.iter().map(|r| parts.head(*r, len).len() as u64);
                heads.sum::<u64>()
                    + ranges.iter().map(|r| r.1 - r.0).sum::<u64>()
                    + parts.end().len() as u64
            }
            (Some(ranges), None) => ranges.iter().map(|r| r.1 - r.0).sum(),
            (None, _) => len,
        };
        match &parts {
            Some(p) => {
                let media = format!("multipart/byteranges; boundary={:020}", p.boundary);
                set(fields, header::CONTENT_TYPE, media);
            }
            None => set(fields, header::CONTENT_TYPE, media),
        }
        set(fields, header::CONTENT_LENGTH, sent);
        set(fields, header::LAST_MODIFIED, time::shown(modified));
        set(fields, header::ETAG, etag);
        if let Some((from, to)) = one {
            let range = format!("bytes {from}-{}/{len}", to - 1);
            set(fields, header::CONTENT_RANGE, range);
        }
        if wanted.is_none() {
            set(fields, header::ACCEPT_RANGES, "bytes");
        }
        let ranges = wanted.unwrap_or_else(|| {
            let all = (len > 0).then_some((0, len));
            all.into_iter().collect()
        });
        if ranges.is_empty() {
            return Body::EMPTY;
        }
        Body::File(Box::new(Pieces::new(shown, ranges, parts)))
    }
}

/// Redirect target, with the host name that the visitor used.
fn place(asked: &Asked, path: &[u8]) -> Vec<u8> {
    let mut out = b"https://".to_vec();
    match (&asked.host, asked.local) {
        (Some(host), _) => out.extend_from_slice(host),
        (None, Some(local)) if local.is_ipv6() => {
            out.extend_from_slice(format!("[{}]", local.ip()).as_bytes());
        }
        (None, Some(local)) => out.extend_from_slice(local.ip().to_string().as_bytes()),
        (None, None) => return escaped(path),
    }
    if let Some(port) = asked
        .local
        .map(|l| l.port())
        .or(asked.port)
        .filter(|port| *port != 443)
    {
        out.extend_from_slice(format!(":{port}").as_bytes());
    }
    out.extend_from_slice(&escaped(path));
    if !asked.target.query.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&asked.target.query);
    }
    out
}

enum Changed {
    Yes,
    No,
    /// A precondition failed.
    Failed,
}

/// Evaluates a request's conditions (RFC 9110 §13) in the imitated server's order.
fn unchanged(asked: &Asked, etag: &[u8], modified: u64) -> Changed {
    if let Some(since) = asked.field(&header::IF_UNMODIFIED_SINCE)
        && time::seconds(since).is_none_or(|s| s < modified)
    {
        return Changed::Failed;
    }
    if let Some(list) = asked.field(&header::IF_MATCH)
        && !lists(list, etag, false)
    {
        return Changed::Failed;
    }
    let since = asked.field(&header::IF_MODIFIED_SINCE);
    let list = asked.field(&header::IF_NONE_MATCH);
    let same_time = since.is_none_or(|s| time::seconds(s) == Some(modified));
    let same_tag = list.is_none_or(|l| lists(l, etag, true));
    if (since.is_some() || list.is_some()) && same_time && same_tag {
        return Changed::No;
    }
    Changed::Yes
}

/// Whether a list of entity tags contains this one.
fn lists(list: &[u8], etag: &[u8], weak: bool) -> bool {
    if list == b"*" {
        return true;
    }
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let mut rest = list;
    while !rest.is_empty() {
        if weak && rest.len() > 2 {
            rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        }
        if etag.len() > rest.len() {
            return false;
        }
        if let Some(after) = rest.strip_prefix(etag) {
            let at = after.iter().position(|b| !blank(b)).unwrap_or(after.len());
            rest = &after[at..];
            if rest.first().is_none_or(|b| *b == b',') {
                return true;
            }
        }
        let comma = rest.iter().position(|b| *b == b',').unwrap_or(rest.len());
        rest = &rest[comma..];
        let at = rest
            .iter()
            .position(|b| !blank(b) && *b != b',')
            .unwrap_or(rest.len());
        rest = &rest[at..];
    }
    false
}

/// The path below the folder; `None` for a path that is never served. Hidden names are not served, except RFC 8615's.
fn below(path: &[u8]) -> Option<PathBuf> {
    let path = path.strip_prefix(b"/")?;
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path.is_empty() {
        return Some(".".into());
    }
    let shown = |s: &[u8]| !s.is_empty() && (!s.starts_with(b".") || s == b".well-known");
    let all = path.split(|b| *b == b'/').all(shown);
    all.then(|| Path::new(std::ffi::OsStr::from_bytes(path)).to_owned())
}

/// Whether descriptors or memory ran out, or the medium failed; any other error means that the file does not exist.
fn failed(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(5 | 12 | 23 | 24))
}

fn kind(folder: &Folder, path: &Path) -> io::Result<Kind> {
    match folder.dir().metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(Kind::Folder),
        Ok(_) => Ok(Kind::Other),
        Err(e) if failed(&e) => Err(e),
        Err(_) => Ok(Kind::Nothing),
    }
}

fn find(folder: &Folder, method: Method, mut path: Vec<u8>) -> io::Result<Found> {
    let Some(mut place) = below(&path) else {
        return Ok(Found::Page(Page::NotFound));
    };
    let slash = path.ends_with(b"/");
    match kind(folder, &place)? {
        Kind::Nothing => return Ok(Found::Page(Page::NotFound)),
        Kind::Other if slash => return Ok(Found::Page(Page::NotFound)),
        _ if method == Method::Other => return Ok(Found::Page(Page::NotAllowed)),
        Kind::Other => {}
        Kind::Folder => {
            if slash {
                path.extend_from_slice(INDEX);
                place.push(std::ffi::OsStr::from_bytes(INDEX));
                match kind(folder, &place)? {
                    Kind::Nothing => return Ok(Found::Page(Page::Forbidden)),
                    Kind::Other => return file(folder, method, place),
                    Kind::Folder => {}
                }
            }
            path.push(b'/');
            return Ok(Found::Moved(path));
        }
    }
    file(folder, method, place)
}

fn file(folder: &Folder, method: Method, place: PathBuf) -> io::Result<Found> {
    Ok(match open(folder, &place) {
        Ok((_, meta)) if !meta.is_file() => Found::Page(Page::NotFound),
        Ok(_) if method == Method::Post => Found::Page(Page::NotAllowed),
        Ok((_, meta)) => Found::File(place, State::of(&meta)),
        Err(e) if failed(&e) => return Err(e),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Found::Page(Page::Forbidden),
        Err(_) => Found::Page(Page::NotFound),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_as_nginx_compares_them() {
        let tag = b"\"6ae729c0-6\"";
        for (list, strong, weak) in [
            (&b"*"[..], true, true),
            (b"\"6ae729c0-6\"", true, true),
            (b"W/\"6ae729c0-6\"", false, true),
            (b"\"x\", \"6ae729c0-6\"", true, true),
            (b"\"x\" ,W/\"6ae729c0-6\" ,", false, true),
            (b"\"6ae729c0-6\"x", false, false),
            (b"6ae729c0-6", false, false),
            (b"", false, false),
            (b"\"6ae729c0-60\"", false, false),
        ] {
            assert_eq!(
                (lists(list, tag, false), lists(list, tag, true)),
                (strong, weak),
                "{list:?}"
            );
        }
    }

    #[test]
    fn hidden_names_are_not_shown() {
        for path in [
            &b"/.git/config"[..],
            b"/a/.htpasswd",
            b"/..",
            b"/a//b",
            b"x",
        ] {
            assert_eq!(below(path), None, "{path:?}");
        }
        for (path, want) in [
            (&b"/"[..], "."),
            (b"/a/", "a"),
            (b"/.well-known/x", ".well-known/x"),
        ] {
            assert_eq!(below(path).unwrap().to_str().unwrap(), want);
        }
    }
}
