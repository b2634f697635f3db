//! Answers of services: a head, and a body that may be streamed.

use std::pin::Pin;
use std::task::{Context, Poll};

use betanet_bar::{Headers, Response};
use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};

/// The error that breaks off a body.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// An answer of a service.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: Response,
    /// The body.
    pub body: ReplyBody,
}

/// The body of a [`Reply`].
pub struct ReplyBody(pub(super) Kind);

pub(super) enum Kind {
    Whole(Bytes),
    Streamed(Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>),
    Source(Box<dyn BodySource>),
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Whole(_) => "Whole",
            Kind::Streamed(_) => "Streamed",
            Kind::Source(_) => "Source",
        })
    }
}

impl From<Response> for Reply {
    fn from(head: Response) -> Self {
        Self {
            head,
            body: ReplyBody(Kind::Whole(Bytes::new())),
        }
    }
}

impl Reply {
    /// Creates an answer with a status and no body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Response::new(status).into()
    }

    /// Creates an answer with a line of text.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let text: String = text.into();
        let mut reply = Self::new(status);
        reply.head.headers = Headers::default()
            .with("content-type", "text/plain; charset=utf-8")
            .with("content-length", text.len().to_string());
        reply.with_body(text)
    }

    /// Sets the body to these bytes.
    #[must_use]
    pub fn with_body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.body = ReplyBody(Kind::Whole(bytes.into()));
        self
    }

    /// Sets the body to the items of `stream`. It is polled only while there is room. An error ends the exchange with
    /// INTERNAL_ERROR.
    #[must_use]
    pub fn streaming<S, E>(mut self, stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = stream.map(|item| item.map_err(Into::into));
        self.body = ReplyBody(Kind::Streamed(Box::pin(stream)));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        let value: String = value.into();
        self.head.headers.set(name, value);
        self
    }

    /// Creates an answer whose body comes from `source`.
    #[must_use]
    pub fn with_source(head: Response, source: impl BodySource + 'static) -> Self {
        Self {
            head,
            body: ReplyBody(Kind::Source(Box::new(source))),
        }
    }
}

/// The next bytes of a body.
#[derive(Debug)]
pub struct Next {
    /// The bytes, which may be empty.
    pub bytes: Bytes,
    /// Whether these bytes are the last.
    pub last: bool,
}

/// Yields a body piece by piece.
pub trait BodySource: Send {
    /// Returns the next bytes. Called when there is room for them, and never after the last.
    ///
    /// # Errors
    ///
    /// The body breaks off.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Broken>>;
}

impl ReplyBody {
    /// Returns the next bytes. Must not be called after the last.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Broken>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(Ok(Next {
                bytes: std::mem::take(bytes),
                last: true,
            })),
            Kind::Streamed(stream) => loop {
                return match std::task::ready!(stream.as_mut().poll_next(cx)) {
                    // An empty chunk does not end the body.
                    Some(Ok(bytes)) if bytes.is_empty() => continue,
                    Some(Ok(bytes)) => Poll::Ready(Ok(Next { bytes, last: false })),
                    Some(Err(error)) => Poll::Ready(Err(error)),
                    None => Poll::Ready(Ok(Next {
                        bytes: Bytes::new(),
                        last: true,
                    })),
                };
            },
            Kind::Source(source) => source.poll_next(cx),
        }
    }
}
