//! The web site for visitors who open no tunnel: static files, or the front origin's pages.
//!
//! Files are served as nginx 1.22 of Debian 12 serves them in its default configuration: pages, fields and their order,
//! conditions, ranges and compression. The differences: files and folders that lead out of the site are not found, nor are
//! hidden names except `.well-known`. More than 128 ranges are ignored, and pages above 4 MiB are not compressed.

mod asked;
mod body;
mod deflate;
mod folder;
mod made;
mod origin;
mod pages;
mod ranges;
mod target;
mod time;
mod types;
mod zipped;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, header};

use crate::came::Came;
use crate::files::Folder;
pub(crate) use asked::{Asked, Method, find_any_case, length};
pub(crate) use body::Body;
#[cfg(test)]
pub(crate) use deflate::crc32;
use folder::Files;
pub use made::make_site;
pub(crate) use origin::Hops;
use origin::Refused;
pub use origin::{OriginError, OriginProxy};
pub(crate) use pages::{Closes, Ends, Page, reason};
pub(crate) use target::{host, target};

/// The web site for visitors who open no tunnel.
#[derive(Clone, Debug)]
pub struct Cover {
    source: Source,
    clock: fn() -> SystemTime,
    alt_svc: Option<HeaderValue>,
}

#[derive(Clone, Debug)]
enum Source {
    Folder(Files),
    Origin(OriginProxy),
}

impl Cover {
    /// Serves the files of a folder; `clock` dates the answers.
    ///
    /// # Errors
    ///
    /// The folder does not exist.
    pub fn new(folder: &Path, clock: fn() -> SystemTime) -> io::Result<Self> {
        let files = Files::new(Folder::open(folder)?);
        Ok(Self::of(Source::Folder(files), clock))
    }

    /// Forwards every request to a front origin; `clock` dates the answers sent in its place when it does not answer.
    #[must_use]
    pub fn proxy(origin: OriginProxy, clock: fn() -> SystemTime) -> Self {
        Self::of(Source::Origin(origin), clock)
    }

    const fn of(source: Source, clock: fn() -> SystemTime) -> Self {
        Self {
            source,
            clock,
            alt_svc: None,
        }
    }

    /// Announces HTTP/3 at this UDP port to visitors over TCP (RFC 7838).
    #[must_use]
    pub fn with_h3(mut self, port: u16) -> Self {
        self.alt_svc = format!("h3=\":{port}\"; ma=86400").try_into().ok();
        self
    }

    /// Whether requests are forwarded, including bodies.
    pub(crate) const fn hands_on(&self) -> bool {
        matches!(self.source, Source::Origin(_))
    }

    /// Answers a request over HTTP/2 or 3; the body is read only if an origin needs it. `came` holds the visitor's addresses.
    pub(crate) async fn answer(
        &self,
        request: Parts,
        came: Option<Came>,
        body: Body,
    ) -> Response<Body> {
        let (local, peer) = came.map_or((None, None), |c| (c.local, Some(c.peer)));
        match &self.source {
            Source::Folder(_) => match Asked::of(&request, local) {
                Some(asked) => self.show(&asked).await,
                None => self.page(Page::BadRequest, None),
            },
            Source::Origin(_) => {
                let asked = Asked::of(&request, local);
                self.hand_on(request, peer, asked.as_ref(), body).await
            }
        }
    }

    /// Answers a request whose body the site ignores.
    pub(crate) async fn show(&self, asked: &Asked) -> Response<Body> {
        let response = match &self.source {
            Source::Folder(files) => files.answer(asked, self.now()).await,
            Source::Origin(_) => pages::page(Page::BadGateway, Some(asked), self.now(), None),
        };
        self.announced(response)
    }

    /// Forwards a request to the origin, if there is one.
    pub(crate) async fn hand_on(
        &self,
        request: Parts,
        peer: Option<SocketAddr>,
        asked: Option<&Asked>,
        body: Body,
    ) -> Response<Body> {
        let answer = match &self.source {
            Source::Origin(origin) => origin.ask(request, peer, body).await,
            Source::Folder(_) => Err(Refused::Unreachable),
        };
        let response = answer.unwrap_or_else(|why| {
            let page = match why {
                Refused::Unreachable => Page::BadGateway,
                Refused::Silent => Page::GatewayTimeout,
                Refused::Request => Page::BadRequest,
            };
            pages::page(page, asked, self.now(), None)
        });
        self.announced(response)
    }

    /// A status page instead of content.
    pub(crate) fn page(&self, page: Page, asked: Option<&Asked>) -> Response<Body> {
        self.announced(pages::page(page, asked, self.now(), None))
    }

    fn announced(&self, mut response: Response<Body>) -> Response<Body> {
        if let Some(value) = &self.alt_svc {
            response
                .headers_mut()
                .insert(header::ALT_SVC, value.clone());
        }
        response
    }

    fn now(&self) -> HeaderValue {
        let date = httpdate::fmt_http_date((self.clock)()).try_into();
        date.unwrap_or(HeaderValue::from_static(""))
    }

    /// Adds the date that every answer of the site has.
    pub(crate) fn date(&self, headers: &mut HeaderMap) {
        headers.insert(header::DATE, self.now());
    }
}
