//! What everybody sees who opens no tunnel: static files, or the front origin's own pages.
//!
//! Files are shown as nginx 1.22 of Debian 12 shows them with its default configuration: pages, fields and their order, conditions,
//! ranges and compression. What differs is written here: a file or a folder that leads out of the site, and a hidden name but
//! `.well-known`, are not there; of more than 128 ranges none is picked; a page of more than 4 MiB is not compressed.

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

/// The web site that everybody sees who opens no tunnel.
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
    /// The folder is not there.
    pub fn new(folder: &Path, clock: fn() -> SystemTime) -> io::Result<Self> {
        let files = Files::new(Folder::open(folder)?);
        Ok(Self::of(Source::Folder(files), clock))
    }

    /// Hands every request on to a front origin; `clock` dates what is answered in its place where it does not answer.
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

    /// Tells visitors over TCP that the site is there over HTTP/3 too, at this UDP port (RFC 7838).
    #[must_use]
    pub fn with_h3(mut self, port: u16) -> Self {
        self.alt_svc = format!("h3=\":{port}\"; ma=86400").try_into().ok();
        self
    }

    /// Whether requests are handed on, bodies included.
    pub(crate) const fn hands_on(&self) -> bool {
        matches!(self.source, Source::Origin(_))
    }

    /// Answers a request over HTTP/2 or 3, whose body is read only where an origin wants it. `came` is where the visitor
    /// came in and from.
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

    /// Answers a request that has no body for the site.
    pub(crate) async fn show(&self, asked: &Asked) -> Response<Body> {
        let response = match &self.source {
            Source::Folder(files) => files.answer(asked, self.now()).await,
            Source::Origin(_) => pages::page(Page::BadGateway, Some(asked), self.now(), None),
        };
        self.announced(response)
    }

    /// Hands a request on to the origin, where there is one.
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

    /// A page in place of an answer.
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

    /// Dates an answer, as every one of the site's is.
    pub(crate) fn date(&self, headers: &mut HeaderMap) {
        headers.insert(header::DATE, self.now());
    }
}
