use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};

use betanet_wire::{NodeId, text};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    Decision, Expect, Headers, LIST_TYPE, Meta, Method, NEXT, Request, Response, Span, Store,
    StoreError, decide, listing, status,
};

/// Names that a POST tries before it fails.
const POST_NAMES: u32 = 1000;

/// Text for a client that may not write.
pub const NOT_ALLOWED: &str = "not allowed to write here";

/// Identity of a requesting client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Client {
    /// The other end of a direct session, proven by its handshake.
    Direct(NodeId),
    /// An unknown client: the request came over the mix.
    Anonymous,
}

/// Access rule for PUT, POST and DEL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// Nobody.
    #[default]
    Nobody,
    /// Every client.
    Anyone,
    /// Only these nodes.
    Only(BTreeSet<NodeId>),
}

impl Access {
    /// Permits a client to write, or returns the status of the refusal.
    ///
    /// # Errors
    ///
    /// 403, or 401 if the client could identify itself.
    pub fn check(&self, client: Client) -> Result<(), u16> {
        match (self, client) {
            (Self::Anyone, _) => Ok(()),
            (Self::Only(nodes), Client::Direct(id)) if nodes.contains(&id) => Ok(()),
            (Self::Only(_), Client::Anonymous) => Err(status::UNAUTHORIZED),
            (Self::Nobody | Self::Only(_), _) => Err(status::FORBIDDEN),
        }
    }
}

/// Reading a response's body failed; the stream is closed with INTERNAL_ERROR.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the body could not be read on")]
pub struct ReadFailed;

/// Answers requests. One value serves many exchanges. A call may access a disk, but waits for nothing else.
pub trait Handler {
    /// The state of one exchange.
    type Exchange;

    /// Handles a request's head. An `Err` is the answer, sent before the body.
    ///
    /// # Errors
    ///
    /// The response to send.
    fn begin(&mut self, client: Client, request: Request) -> Result<Self::Exchange, Response>;

    /// Handles bytes of the request's body. An `Err` is the answer, sent at once.
    ///
    /// # Errors
    ///
    /// The response to send.
    fn body(&mut self, exchange: &mut Self::Exchange, bytes: &[u8]) -> Result<(), Response>;

    /// Ends a complete request and returns the response's head.
    fn end(&mut self, exchange: &mut Self::Exchange) -> Response;

    /// The next bytes of the response's body, at most `max`; empty at its end.
    ///
    /// # Errors
    ///
    /// [`ReadFailed`].
    fn read(&mut self, exchange: &mut Self::Exchange, max: usize) -> Result<Bytes, ReadFailed>;
}

/// Serves a store: every client may GET, permitted clients may write.
#[derive(Clone, Debug)]
pub struct Service<S> {
    store: S,
    access: Access,
    listing: bool,
}

/// One exchange with a [`Service`].
pub struct Exchange<S: Store> {
    request: Request,
    upload: Option<S::Writer>,
    hash: Sha256,
    download: Option<(S::Reader, Span)>,
    /// Remaining text of a folder listing.
    list: Bytes,
}

impl<S: Store> Service<S> {
    /// Creates a service for `store`.
    #[must_use]
    pub const fn new(store: S, access: Access) -> Self {
        Self {
            store,
            access,
            listing: false,
        }
    }

    /// With `true`, lists folders: for a GET of a folder without an `index.html`, or one that asks for
    /// [`LIST_TYPE`](crate::LIST_TYPE). The list has a name on each line, or is JSON.
    #[must_use]
    pub const fn listing(mut self, lists: bool) -> Self {
        self.listing = lists;
        self
    }

    /// The store.
    pub const fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// The next bytes of a resource, at most `max`, if reading needs no disk. `None` means: call [`Handler::read`].
    pub fn read_ready(
        &mut self,
        x: &mut Exchange<S>,
        max: usize,
    ) -> Option<Result<Bytes, ReadFailed>> {
        let (reader, span) = x.download.as_mut()?;
        let max = usize::try_from(span.len()).unwrap_or(usize::MAX).min(max);
        let read = self.store.read_ready(reader, span.start, max)?;
        Some(match read {
            Ok(bytes) if !bytes.is_empty() => {
                span.start += bytes.len() as u64;
                Ok(bytes)
            }
            Ok(_) | Err(_) => Err(ReadFailed),
        })
    }

    /// A path that ends in `/` shows its `index.html`.
    fn open(&mut self, path: &str) -> Result<Option<(Meta, S::Reader)>, StoreError> {
        if path.ends_with('/') {
            self.store.open(&format!("{path}index.html"))
        } else {
            self.store.open(path)
        }
    }

    /// A folder's list, where there is such a folder.
    fn list(&mut self, x: &mut Exchange<S>) -> Result<Option<Response>, StoreError> {
        let path = x.request.path();
        let after = listing::after(&x.request);
        let Some(found) = self.store.list(path, after, listing::PAGE)? else {
            return Ok(None);
        };
        let next = listing::next(path, &found);
        let (kind, list) = if listing::is_asked(&x.request.headers) {
            (LIST_TYPE, listing::json(&found, next.as_deref()))
        } else {
            ("text/plain; charset=utf-8", listing::text(&found))
        };
        let mut response = Response::new(status::OK)
            .with("content-type", kind)
            .with("content-length", list.len().to_string());
        if let Some(next) = next {
            response.headers.set(NEXT, next);
        }
        x.list = list.into();
        Ok(Some(response))
    }

    fn get(&mut self, x: &mut Exchange<S>) -> Result<Response, StoreError> {
        let lists = self.listing && x.request.path().ends_with('/');
        if lists
            && listing::is_asked(&x.request.headers)
            && let Some(response) = self.list(x)?
        {
            return Ok(response);
        }
        let found = self.open(x.request.path())?;
        let meta = found.as_ref().map(|(m, _)| m);
        let decision = decide(Method::Get, &x.request.headers, meta);
        let Some((meta, reader)) = found else {
            if lists
                && decision == Decision::Absent
                && let Some(response) = self.list(x)?
            {
                return Ok(response);
            }
            return Ok(refusal(decision, None));
        };
        let whole = Span {
            start: 0,
            end: meta.len,
        };
        let span = match decision {
            Decision::Proceed => whole,
            Decision::Partial(span) => span,
            other => return Ok(refusal(other, Some(&meta))),
        };
        let mut response = Response::new(status::OK);
        response.headers = meta.headers.clone();
        response.headers.set("etag", meta.etag);
        response
            .headers
            .set("content-length", span.len().to_string());
        if span != whole || matches!(decision, Decision::Partial(_)) {
            let range = format!("bytes {}-{}/{}", span.start, span.end - 1, meta.len);
            response.headers.set("content-range", range);
        }
        x.download = Some((reader, span));
        Ok(response)
    }

    /// What is wrong with a PUT or POST already at its head.
    fn refuses(&mut self, request: &Request) -> Result<(), Response> {
        let path = request.path();
        if request.method == Method::Post {
            // Its name is not known yet: another of the same length.
            let below = format!("{}/{:016x}", path.trim_end_matches('/'), 0);
            return self.store.may_write(&below).map_err(failure);
        }
        self.store.may_write(path).map_err(failure)?;
        let conditions = ["if-match", "if-none-match"];
        if conditions.iter().all(|c| request.headers.get(c).is_none()) {
            return Ok(());
        }
        let current = self.store.open(path).map_err(failure)?.map(|(m, _)| m);
        match decide(Method::Put, &request.headers, current.as_ref()) {
            Decision::Proceed => Ok(()),
            other => Err(refusal(other, current.as_ref())),
        }
    }

    fn put(&mut self, x: &mut Exchange<S>) -> Result<Response, StoreError> {
        let path = x.request.path().to_owned();
        let current = self.store.open(&path)?.map(|(m, _)| m);
        match decide(Method::Put, &x.request.headers, current.as_ref()) {
            Decision::Proceed => {}
            other => return Ok(refusal(other, current.as_ref())),
        }
        let expect = if x.request.headers.get("if-none-match").is_some() {
            Expect::Absent
        } else if x.request.headers.get("if-match").is_some() {
            current.map_or(Expect::Absent, |m| Expect::Etag(m.etag))
        } else {
            Expect::Anything
        };
        let writer = x.upload.take().ok_or(StoreError::Medium)?;
        let headers = kept_headers(&x.request.headers);
        let done = self.store.commit(writer, &path, &headers, &expect)?;
        let status = if done.created {
            status::CREATED
        } else {
            status::NO_CONTENT
        };
        Ok(Response::new(status).with("etag", done.etag))
    }

    fn post(&mut self, x: &mut Exchange<S>) -> Result<Response, StoreError> {
        let writer = x.upload.take().ok_or(StoreError::Medium)?;
        let digest = text::hex(&x.hash.clone().finalize()[..8]);
        let base = x.request.path().trim_end_matches('/').to_owned();
        let headers = kept_headers(&x.request.headers);
        for n in 1..=POST_NAMES {
            let suffix = if n == 1 {
                String::new()
            } else {
                format!("-{n}")
            };
            let path = format!("{base}/{digest}{suffix}");
            if self.store.open(&path)?.is_none() {
                let done = self
                    .store
                    .commit(writer, &path, &headers, &Expect::Absent)?;
                return Ok(Response::new(status::CREATED)
                    .with("etag", done.etag)
                    .with("location", path));
            }
        }
        Err(StoreError::Changed)
    }

    fn del(&mut self, x: &Exchange<S>) -> Result<Response, StoreError> {
        let path = x.request.path();
        let current = self.store.open(path)?.map(|(m, _)| m);
        match decide(Method::Del, &x.request.headers, current.as_ref()) {
            Decision::Proceed => {}
            other => return Ok(refusal(other, current.as_ref())),
        }
        let expect = match (x.request.headers.get("if-match"), current) {
            (Some(_), Some(meta)) => Expect::Etag(meta.etag),
            _ => Expect::Anything,
        };
        Ok(if self.store.remove(path, &expect)? {
            Response::new(status::NO_CONTENT)
        } else {
            Response::new(status::NOT_FOUND)
        })
    }
}

/// Headers that a store keeps of a PUT: all except those about the request itself.
fn kept_headers(headers: &Headers) -> Headers {
    let mut kept = headers.clone();
    for own in [
        "content-length",
        "if-match",
        "if-none-match",
        "range",
        "etag",
        "bn-voucher",
        "authorization",
    ] {
        kept.remove(own);
    }
    kept
}

fn refusal(decision: Decision, meta: Option<&Meta>) -> Response {
    match decision {
        Decision::Unchanged => {
            Response::new(status::NO_CONTENT).with("etag", meta.map_or("", |m| m.etag.as_str()))
        }
        Decision::Absent => Response::new(status::NOT_FOUND).because("not found"),
        Decision::Unsatisfiable => Response::new(status::BAD_REQUEST)
            .because("the range cannot be satisfied")
            .with(
                "content-range",
                format!("bytes */{}", meta.map_or(0, |m| m.len)),
            ),
        Decision::Failed | Decision::Proceed | Decision::Partial(_) => {
            Response::new(status::CONFLICT).because("a precondition does not hold")
        }
    }
}

fn failure(error: StoreError) -> Response {
    let status = match error {
        StoreError::Path => status::BAD_REQUEST,
        StoreError::Quota | StoreError::ReadOnly | StoreError::TooMany => status::FORBIDDEN,
        StoreError::Changed => status::CONFLICT,
        StoreError::Full | StoreError::Medium => status::INTERNAL,
    };
    Response::new(status).because(&error.to_string())
}

impl<S: Store> Handler for Service<S> {
    type Exchange = Exchange<S>;

    fn begin(&mut self, client: Client, request: Request) -> Result<Exchange<S>, Response> {
        let mut upload = None;
        if request.method != Method::Get {
            self.access
                .check(client)
                .map_err(|status| Response::new(status).because(NOT_ALLOWED))?;
            if request.method.has_body() {
                self.refuses(&request)?;
                let writer = match request.method {
                    Method::Put => self.store.replace(request.path()),
                    _ => self.store.create(),
                };
                upload = Some(writer.map_err(failure)?);
            }
        }
        Ok(Exchange {
            request,
            upload,
            hash: Sha256::new(),
            download: None,
            list: Bytes::new(),
        })
    }

    fn body(&mut self, x: &mut Exchange<S>, bytes: &[u8]) -> Result<(), Response> {
        x.hash.update(bytes);
        match &mut x.upload {
            Some(writer) => self.store.write(writer, bytes).map_err(failure),
            None => Ok(()),
        }
    }

    fn end(&mut self, x: &mut Exchange<S>) -> Response {
        match x.request.method {
            Method::Get => self.get(x),
            Method::Put => self.put(x),
            Method::Post => self.post(x),
            Method::Del => self.del(x),
        }
        .unwrap_or_else(failure)
    }

    fn read(&mut self, x: &mut Exchange<S>, max: usize) -> Result<Bytes, ReadFailed> {
        let Some((reader, span)) = &mut x.download else {
            return Ok(x.list.split_to(max.min(x.list.len())));
        };
        let max = usize::try_from(span.len()).unwrap_or(usize::MAX).min(max);
        if max == 0 {
            return Ok(Bytes::new());
        }
        let bytes = self
            .store
            .read(reader, span.start, max)
            .map_err(|_| ReadFailed)?;
        if bytes.is_empty() {
            return Err(ReadFailed);
        }
        span.start += bytes.len() as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;
    use crate::listing::PAGE;
    use alloc::vec::Vec;

    const ME: Client = Client::Direct(NodeId([1; 20]));

    fn run(
        service: &mut Service<MemoryStore>,
        client: Client,
        request: Request,
        body: &[u8],
    ) -> (Response, Vec<u8>) {
        let mut x = match service.begin(client, request) {
            Ok(x) => x,
            Err(r) => return (r, Vec::new()),
        };
        for part in body.chunks(3) {
            if let Err(r) = service.body(&mut x, part) {
                return (r, Vec::new());
            }
        }
        let response = service.end(&mut x);
        let mut out = Vec::new();
        while let Ok(bytes) = service.read(&mut x, 4) {
            if bytes.is_empty() {
                break;
            }
            out.extend_from_slice(&bytes);
        }
        (response, out)
    }

    fn ask(service: &mut Service<MemoryStore>, m: Method, u: &str, h: Headers) -> (u16, Vec<u8>) {
        let (r, b) = run(service, ME, Request::new(m, u, h), b"");
        (r.status, b)
    }

    fn with(key: &str, value: &str) -> Headers {
        Headers::default().with(key, value)
    }

    #[test]
    fn a_resource_lives_its_life() {
        let mut s = Service::new(MemoryStore::new(100), Access::Anyone);
        let put = |h| Request::new(Method::Put, "/a", h);
        let (r, _) = run(&mut s, ME, put(with("x-kept", "yes")), b"0123456789");
        assert_eq!(r.status, status::CREATED);
        let etag = r.headers.text("etag").unwrap().to_owned();
        let get = Request::new(Method::Get, "/a", Headers::default());
        let (r, body) = run(&mut s, ME, get, b"");
        assert_eq!((r.status, body.as_slice()), (200, b"0123456789".as_slice()));
        assert_eq!(r.headers.text("x-kept"), Some("yes"));
        let part = Request::new(Method::Get, "/a", with("range", "bytes=2-4"));
        let (r, body) = run(&mut s, ME, part, b"");
        assert_eq!((r.status, body.as_slice()), (200, b"234".as_slice()));
        assert_eq!(r.headers.text("content-range"), Some("bytes 2-4/10"));
        assert_eq!(
            ask(&mut s, Method::Get, "/a", with("if-none-match", &etag)).0,
            204
        );
        assert_eq!(
            ask(&mut s, Method::Get, "/a", with("range", "bytes=10-")).0,
            400
        );
        assert_eq!(
            run(&mut s, ME, put(with("if-none-match", "*")), b"x")
                .0
                .status,
            409
        );
        // Told before a body is sent in vain.
        let refused = s.begin(ME, put(with("if-none-match", "*"))).err();
        assert_eq!(refused.map(|r| r.status), Some(409));
        assert_eq!(
            run(&mut s, ME, put(with("if-match", &etag)), b"x").0.status,
            204
        );
        assert_eq!(
            run(&mut s, ME, put(with("if-match", &etag)), b"y").0.status,
            409
        );
        assert_eq!(ask(&mut s, Method::Del, "/a", Headers::default()).0, 204);
        assert_eq!(ask(&mut s, Method::Del, "/a", Headers::default()).0, 404);
        assert_eq!(s.store().used(), 0);
    }

    #[test]
    fn folders_are_listed_where_that_was_said() {
        let mut s = Service::new(MemoryStore::new(1 << 20), Access::Anyone);
        for n in 0..PAGE + 2 {
            let put = Request::new(Method::Put, &format!("/many/{n:04}"), Headers::default());
            assert_eq!(run(&mut s, ME, put, b"12").0.status, 201);
        }
        for path in ["/dir/index.html", "/dir/sub/x", "/dir/a", "/dir/.hidden"] {
            let put = Request::new(Method::Put, path, Headers::default());
            assert_eq!(run(&mut s, ME, put, b"body").0.status, 201);
        }
        let json = || with("accept", LIST_TYPE);
        assert_eq!(ask(&mut s, Method::Get, "/many/", json()).0, 404);
        let mut s = s.listing(true);
        let text = |(status, body): (u16, Vec<u8>)| (status, String::from_utf8(body).unwrap());
        let page = ask(&mut s, Method::Get, "/dir/", Headers::default());
        assert_eq!(page.1, b"body", "index.html goes before a list");
        let (_, list) = text(ask(&mut s, Method::Get, "/dir/", json()));
        let want = r#"{"entries":[{"name":"a","bytes":4},{"name":"index.html","bytes":4},{"name":"sub/"}],"next":null}"#;
        assert_eq!(list.trim_end(), want);
        let (_, root) = text(ask(&mut s, Method::Get, "/", Headers::default()));
        assert_eq!(root, "dir/\nmany/\n");
        for none in ["/none/", "/dir/a/", "/dir/.hidden/"] {
            assert_eq!(ask(&mut s, Method::Get, none, Headers::default()).0, 404);
        }
        let match_any = with("if-match", "*");
        assert_eq!(ask(&mut s, Method::Get, "/many/", match_any).0, 409);

        let get = Request::new(Method::Get, "/many/", Headers::default());
        let (r, body) = run(&mut s, ME, get, b"");
        assert_eq!(r.headers.content_length(), Ok(Some(body.len() as u64)));
        assert_eq!(body.split(|b| *b == b'\n').count(), PAGE + 1);
        let next = r.headers.text(NEXT).unwrap();
        assert_eq!(next, "/many/?after=0999");
        let get = Request::new(Method::Get, next, Headers::default());
        let (r, body) = run(&mut s, ME, get, b"");
        assert_eq!(
            (r.headers.get(NEXT), body.as_slice()),
            (None, &b"1000\n1001\n"[..])
        );
    }

    #[test]
    fn posts_get_names_of_their_own() {
        let mut s = Service::new(MemoryStore::new(100), Access::Anyone);
        let mut post = || {
            let request = Request::new(Method::Post, "/box/", Headers::default());
            let (r, _) = run(&mut s, ME, request, b"same");
            assert_eq!(r.status, 201);
            r.headers.text("location").unwrap().to_owned()
        };
        let (first, second) = (post(), post());
        assert_ne!(first, second);
        for path in [first, second] {
            assert_eq!(
                ask(&mut s, Method::Get, &path, Headers::default()).1,
                b"same"
            );
        }
    }

    #[test]
    fn nobody_writes_unless_it_was_said() {
        let only = Access::Only(BTreeSet::from([NodeId([1; 20])]));
        let other = Client::Direct(NodeId([2; 20]));
        for (access, client, want) in [
            (Access::Nobody, ME, 403),
            (only.clone(), ME, 201),
            (only.clone(), other, 403),
            (only, Client::Anonymous, 401),
            (Access::Anyone, Client::Anonymous, 201),
        ] {
            let mut s = Service::new(MemoryStore::new(100), access);
            let put = Request::new(Method::Put, "/a", Headers::default());
            assert_eq!(run(&mut s, client, put, b"x").0.status, want);
        }
    }

    #[test]
    fn the_quota_holds_to_the_byte() {
        let mut s = Service::new(MemoryStore::new(10), Access::Anyone);
        let put = |u| Request::new(Method::Put, u, Headers::default());
        assert_eq!(run(&mut s, ME, put("/a"), &[0; 11]).0.status, 403);
        assert_eq!(run(&mut s, ME, put("/a"), &[0; 10]).0.status, 201);
        assert_eq!(run(&mut s, ME, put("/b"), &[0; 1]).0.status, 403);
        assert_eq!(s.store().used(), 10);
    }
}
