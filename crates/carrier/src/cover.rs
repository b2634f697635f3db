//! What everybody sees who opens no tunnel: static files, or the front origin's own pages.

mod origin;

use std::io::{self, Read as _, Seek as _};
use std::path::Path;
use std::pin::Pin;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};

use crate::files::{Folder, content_type};
use origin::Refused;
pub use origin::{Origin, OriginError};

/// Bytes of a file that are read at once.
const CHUNK: usize = 64 << 10;

/// The web site that everybody sees who opens no tunnel.
#[derive(Clone, Debug)]
pub struct Cover {
    source: Source,
    clock: fn() -> SystemTime,
    alt_svc: Option<HeaderValue>,
}

#[derive(Clone, Debug)]
enum Source {
    Folder(Folder),
    Origin(Origin),
}

/// Bytes that come when they come.
pub(crate) type Coming = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// An answer's body: bytes at hand, a file that is read on, or what an origin sends.
pub(crate) enum Body {
    Full(Bytes),
    File(Pieces),
    Coming(Coming),
}

/// A file that is opened for each piece anew: what waits for a visitor holds none open.
pub(crate) struct Pieces {
    folder: Folder,
    path: String,
    len: u64,
    left: u64,
}

impl Pieces {
    fn next(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some((mut file, meta)) = self.folder.file(&self.path)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if meta.len() != self.len {
            return Err(io::Error::other("the file has changed"));
        }
        file.seek(io::SeekFrom::Start(self.len - self.left))?;
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(max);
        let mut buf = vec![0; n];
        file.read_exact(&mut buf)?;
        self.left -= n as u64;
        Ok(Some(buf.into()))
    }
}

impl Body {
    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Full(bytes) if bytes.is_empty() => Ok(None),
            Self::Full(bytes) => Ok(Some(std::mem::take(bytes))),
            Self::File(pieces) => pieces.next(CHUNK),
            Self::Coming(stream) => stream.next().await.transpose(),
        }
    }

    /// The same, at most `max` bytes where they are at hand.
    pub(crate) async fn next_up_to(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        match self {
            Self::Full(bytes) if bytes.len() > max => Ok(Some(bytes.split_to(max))),
            Self::File(pieces) => pieces.next(max.min(CHUNK)),
            other => other.next().await,
        }
    }

    /// Whether nothing is left, as far as that is known.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Full(b) if b.is_empty())
            || matches!(self, Self::File(p) if p.left == 0)
    }
}

impl Cover {
    /// Serves the files of a folder; `clock` dates the answers.
    ///
    /// # Errors
    ///
    /// The folder is not there.
    pub fn new(folder: &Path, clock: fn() -> SystemTime) -> io::Result<Self> {
        Ok(Self::of(Source::Folder(Folder::open(folder)?), clock))
    }

    /// Hands every request on to a front origin; `clock` dates what is answered in its place where it does not answer.
    #[must_use]
    pub fn proxy(origin: Origin, clock: fn() -> SystemTime) -> Self {
        Self::of(Source::Origin(origin), clock)
    }

    const fn of(source: Source, clock: fn() -> SystemTime) -> Self {
        Self {
            source,
            clock,
            alt_svc: None,
        }
    }

    /// Tells visitors over TCP that the site is there over HTTP/3 too, at this UDP port (RFC 7838).
    #[must_use]
    pub fn with_h3(mut self, port: u16) -> Self {
        self.alt_svc = format!("h3=\":{port}\"; ma=86400").try_into().ok();
        self
    }

    /// Whether it hands bodies on.
    pub(crate) const fn hands_on(&self) -> bool {
        matches!(self.source, Source::Origin(_))
    }

    /// Answers a request, whose body is read only where an origin wants it.
    pub(crate) async fn answer(&self, request: Parts, body: Body) -> Response<Body> {
        let mut response = match &self.source {
            Source::Folder(folder) => self.of_folder(folder, &request),
            Source::Origin(origin) => match origin.ask(request, body).await {
                Ok(response) => response,
                Err(Refused::Unreachable) => self.page(StatusCode::BAD_GATEWAY, "Bad Gateway"),
                Err(Refused::Silent) => self.page(StatusCode::GATEWAY_TIMEOUT, "Gateway Time-out"),
                Err(Refused::Request) => self.page(StatusCode::BAD_REQUEST, "Bad Request"),
            },
        };
        if let Some(value) = &self.alt_svc {
            let headers = response.headers_mut();
            headers.insert(header::ALT_SVC, value.clone());
        }
        response
    }

    fn page(&self, status: StatusCode, text: &'static str) -> Response<Body> {
        let body = format!(
            "<html>\r\n<head><title>{0} {text}</title></head>\r\n<body>\r\n<center><h1>{0} {text}</h1></center>\r\n</body>\r\n</html>\r\n",
            status.as_u16()
        );
        let mut response = Response::new(Body::Full(body.clone().into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        self.date(headers);
        response
    }

    /// Dates an answer, as every one of the site's is.
    pub(crate) fn date(&self, headers: &mut HeaderMap) {
        if let Ok(date) = httpdate::fmt_http_date((self.clock)()).try_into() {
            headers.insert(header::DATE, date);
        }
    }

    fn of_folder(&self, folder: &Folder, request: &Parts) -> Response<Body> {
        let (method, uri): (&Method, &Uri) = (&request.method, &request.uri);
        let Some(path) = decode(uri.path()) else {
            return self.page(StatusCode::BAD_REQUEST, "Bad Request");
        };
        let read = method == Method::GET || method == Method::HEAD;
        let file_path = if path.ends_with('/') {
            format!("{path}index.html")
        } else {
            path.clone()
        };
        let mut response = match folder.file(&file_path) {
            Ok(Some(_)) if !read => {
                let mut r = self.page(StatusCode::METHOD_NOT_ALLOWED, "Not Allowed");
                r.headers_mut()
                    .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                r
            }
            Ok(Some((_, meta))) => self.show(folder, &meta, &file_path, &request.headers),
            Ok(None) if !path.ends_with('/') && folder.has_folder(&path) => {
                let mut r = self.page(StatusCode::MOVED_PERMANENTLY, "Moved Permanently");
                if let Ok(to) = format!("{}/", uri.path()).try_into() {
                    r.headers_mut().insert(header::LOCATION, to);
                }
                r
            }
            Ok(None) => self.page(StatusCode::NOT_FOUND, "Not Found"),
            Err(_) => self.page(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        };
        if method == Method::HEAD {
            *response.body_mut() = Body::Full(Bytes::new());
        }
        response
    }

    fn show(
        &self,
        folder: &Folder,
        meta: &cap_std::fs::Metadata,
        path: &str,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let modified = meta
            .modified()
            .map_or(SystemTime::UNIX_EPOCH, |t| t.into_std());
        let seconds = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let etag = format!("\"{seconds:x}-{:x}\"", meta.len());
        let stamp = httpdate::fmt_http_date(modified);
        let text = |name| {
            headers
                .get(name)
                .and_then(|v: &HeaderValue| v.to_str().ok())
        };
        let unchanged = match text(header::IF_NONE_MATCH) {
            Some(list) => list
                .split(',')
                .any(|t| matches!(t.trim(), "*") || t.trim() == etag),
            None => text(header::IF_MODIFIED_SINCE) == Some(stamp.as_str()),
        };
        let mut response = Response::new(Body::Full(Bytes::new()));
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = Body::File(Pieces {
                folder: folder.clone(),
                path: path.to_owned(),
                len: meta.len(),
                left: meta.len(),
            });
            let out = response.headers_mut();
            out.insert(header::CONTENT_LENGTH, meta.len().into());
            if let Ok(value) = content_type(path).try_into() {
                out.insert(header::CONTENT_TYPE, value);
            }
        }
        let out = response.headers_mut();
        if let (Ok(etag), Ok(stamp)) = (etag.try_into(), stamp.try_into()) {
            out.insert(header::ETAG, etag);
            out.insert(header::LAST_MODIFIED, stamp);
        }
        self.date(out);
        response
    }
}

/// Percent-decodes a path; `None` for a broken escape, or what is not UTF-8.
fn decode(path: &str) -> Option<String> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let digit = |b: u8| {
                char::from(b)
                    .to_digit(16)
                    .and_then(|d| u8::try_from(d).ok())
            };
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            out.push(high << 4 | low);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}
