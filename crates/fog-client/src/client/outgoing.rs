//! One request on one session: head, proof of the caller, and body.

use std::path::Path;
use std::time::Duration;

use betanet_bar::{HeaderValue, Headers, Method, Request};
use betanet_keys::{Identity, Name, hash};
use betanet_runtime::{Answer, Error as RuntimeError, SessionError, Upload};
use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::tries::Trouble;
use crate::Error;
use crate::auth::Proof;
use crate::blob::{Blob, Content, PIECE};
use crate::link::Link;

/// Longest body that travels in a request's head.
const INLINE: usize = 32 << 10;

/// Whether a coordinator has stored something new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stored {
    /// It is new.
    New,
    /// The same was there already.
    Again,
}

/// A request.
pub(super) struct Outgoing<'a> {
    /// The request in words, for errors.
    pub(super) what: &'static str,
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) body: Payload<'a>,
    /// Offset of the first byte that the answer is to have.
    pub(super) from: u64,
    /// Whether to give up where it is not known if the coordinator took it.
    pub(super) once: bool,
    /// Time for which the coordinator may wait before it answers.
    pub(super) wait: Duration,
}

pub(super) enum Payload<'a> {
    Bytes(Bytes),
    Blob(&'a Blob),
}

impl Outgoing<'_> {
    pub(super) fn new(what: &'static str, method: Method, path: &str) -> Self {
        Self {
            what,
            method,
            target: format!("/fog/1/{path}"),
            body: Payload::Bytes(Bytes::new()),
            from: 0,
            once: false,
            wait: Duration::ZERO,
        }
    }

    pub(super) fn get(what: &'static str, path: &str) -> Self {
        Self::new(what, Method::Get, path)
    }

    pub(super) const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub(super) fn with(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Payload::Bytes(body.into());
        self
    }
}

/// An attempt at a request.
pub(super) struct Exchange<'a> {
    pub(super) link: &'a Link,
    pub(super) me: &'a Identity,
    pub(super) now_ms: u64,
    /// Time limit of each step.
    pub(super) limit: Duration,
}

impl Exchange<'_> {
    pub(super) async fn run(&self, out: &Outgoing<'_>, to: Name) -> Result<Answer, Trouble> {
        let request = self.request(out);
        match &out.body {
            Payload::Bytes(body) if body.len() <= INLINE => {
                let mut request = request;
                request.body = body.to_vec();
                self.step(to, self.link.ask(request)).await
            }
            Payload::Bytes(body) => self.bytes(body, request, to).await,
            Payload::Blob(blob) => match &blob.content {
                Content::Bytes(bytes) => self.bytes(bytes, request, to).await,
                Content::File(path) => self.file(out.what, (path, blob.size()), request, to).await,
            },
        }
    }

    async fn bytes(&self, bytes: &Bytes, request: Request, to: Name) -> Result<Answer, Trouble> {
        let upload = self.step(to, self.link.upload(request)).await?;
        for at in (0..bytes.len()).step_by(PIECE) {
            let end = bytes.len().min(at + PIECE);
            if !self.piece(to, &upload, bytes.slice(at..end)).await? {
                break;
            }
        }
        self.step(to, upload.finish()).await
    }

    async fn file(
        &self,
        what: &'static str,
        (path, size): (&Path, u64),
        request: Request,
        to: Name,
    ) -> Result<Answer, Trouble> {
        let unread = |source| {
            let path = path.to_owned();
            Trouble::Fatal(Error::File { what, path, source })
        };
        let mut file = tokio::fs::File::open(path).await.map_err(unread)?;
        let upload = self.step(to, self.link.upload(request)).await?;
        let mut left = size;
        while left > 0 {
            let mut piece = vec![0; PIECE];
            let n = file.read(&mut piece).await.map_err(unread)?;
            let n = n.min(usize::try_from(left).unwrap_or(PIECE));
            if n == 0 {
                // The file became shorter: its digest no longer holds.
                upload.abandon().await;
                return Err(Trouble::Fatal(Error::Digest { what }));
            }
            piece.truncate(n);
            left -= n as u64;
            if !self.piece(to, &upload, piece.into()).await? {
                break;
            }
        }
        self.step(to, upload.finish()).await
    }

    fn request(&self, out: &Outgoing<'_>) -> Request {
        let mut headers = Headers::default();
        let (len, digest) = match &out.body {
            Payload::Bytes(bytes) => (bytes.len() as u64, None),
            Payload::Blob(blob) => (blob.size(), Some(*blob.digest())),
        };
        if out.method.has_body() {
            headers.set("content-length", len.to_string());
        }
        if out.from > 0 {
            headers.set("range", format!("bytes={}-", out.from));
        }
        if let (Link::Mix { .. }, body) = (self.link, &out.body) {
            let proof = Proof {
                coordinator: self.link.peer(),
                method: out.method.as_str(),
                target: &out.target,
                body: digest.unwrap_or_else(|| match body {
                    Payload::Bytes(bytes) => hash(&[bytes]),
                    Payload::Blob(blob) => *blob.digest(),
                }),
            };
            let proof = proof.sign(self.me, self.now_ms).to_vec();
            headers.set("authorization", HeaderValue::Bytes(proof));
        }
        Request::new(out.method, &out.target, headers)
    }

    /// Sends a part of the body. Returns whether the coordinator wants more of it.
    async fn piece(&self, to: Name, upload: &Upload, bytes: Bytes) -> Result<bool, Trouble> {
        match timeout(self.limit, upload.send(bytes)).await {
            Ok(Ok(())) => Ok(true),
            // The answer is there, or tells why there is none.
            Ok(Err(_)) => Ok(false),
            Err(_) => Err(Trouble::Late(to, self.limit)),
        }
    }

    async fn step<T>(
        &self,
        to: Name,
        work: impl Future<Output = Result<T, SessionError>>,
    ) -> Result<T, Trouble> {
        match timeout(self.limit, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Trouble::Down(to, RuntimeError::from(error))),
            Err(_) => Err(Trouble::Late(to, self.limit)),
        }
    }
}
