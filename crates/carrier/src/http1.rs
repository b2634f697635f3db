//! HTTP/1.0 and 1.1 for the cover site, as nginx 1.22 speaks them with its default configuration.
//!
//! This module carries no tunnel. As that server does, it accepts and refuses requests, reads ahead, keeps and closes
//! connections, and waits. There is one exception: a visitor who takes nothing of an answer is dropped after 30 s, and not
//! after 60 s. A connection holds at most 33 KiB of a request's head, and 64 KiB of an answer.

mod chunked;
mod field;
mod head;
mod input;
mod line;
mod request;
mod send;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, Uri, header};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::came::Came;
use crate::cover::{Asked, Body, Closes, Ends, Method, Page};
use crate::site::{Site, count};
use head::{Head, Meant};
use input::Input;
use request::{Left, Taken};
use send::Out;

/// Lifetime of a kept connection without requests.
const KEPT: Duration = Duration::from_secs(75);
/// Maximum lifetime of a kept connection.
const KEPT_TIME: Duration = Duration::from_secs(3600);
/// Maximum number of requests on one connection.
const REQUESTS: u32 = 1000;
/// Maximum duration of reading unwanted input before the close.
const LINGERS: Duration = Duration::from_secs(30);
/// Maximum silence during that reading.
const LINGERS_SILENT: Duration = Duration::from_secs(5);
/// Timeout for more of a body that is forwarded to an origin.
const BODY: Duration = Duration::from_secs(60);
/// Number of unwanted bytes read at once.
const DROPPED: usize = 4096;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How a connection ends.
enum End {
    /// Announced, and closed.
    Closed,
    /// Further input is read and dropped for a while.
    Lingering,
    /// Closed without a message.
    Cut,
}

/// Serves a connection to its end. One without TLS (`plain`) gets an error for any request.
pub(crate) async fn serve<S>(
    site: Arc<Site>,
    stream: S,
    Came { local, peer }: Came,
    shutdown: CancellationToken,
    plain: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut connection = Connection {
        began: Instant::now(),
        site,
        stream,
        local,
        peer,
        shutdown,
        input: Input::default(),
        requests: 0,
        plain,
    };
    let end = connection.run().await;
    connection.end(end).await;
}

struct Connection<S> {
    began: Instant,
    site: Arc<Site>,
    stream: S,
    local: Option<SocketAddr>,
    peer: SocketAddr,
    shutdown: CancellationToken,
    input: Input,
    requests: u32,
    /// Whether the connection lacks TLS.
    plain: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    async fn run(&mut self) -> End {
        loop {
            if let Some(end) = self.wait().await {
                return end;
            }
            self.requests += 1;
            let head = match self.head().await {
                Ok(head) => head,
                Err(end) => return end,
            };
            let end = match head {
                Head::Bad(bad) => self.refuse(*bad).await,
                Head::Good(taken) if self.plain => {
                    let Taken { asked, left, .. } = *taken;
                    let version = asked.version;
                    let page = Page::Plain;
                    self.refuse(head::Bad {
                        page,
                        asked,
                        left,
                        version,
                    })
                    .await
                }
                Head::Good(taken) => self.answer(*taken).await,
            };
            match end {
                Ok(None) => self.input.rewind(),
                Ok(Some(end)) => return end,
                Err(_) => return End::Cut,
            }
        }
    }

    /// Waits for a request's first byte.
    async fn wait(&mut self) -> Option<End> {
        if self.input.has_bytes() {
            return None;
        }
        let patience = match self.requests {
            0 => self.site.limits.head,
            _ => KEPT,
        };
        let reading = self.input.read(&mut self.stream);
        tokio::select! {
            biased;
            read = timeout(patience, reading) => match read {
                Ok(Ok(1..)) => None,
                _ => Some(End::Closed),
            },
            () = self.shutdown.cancelled() => Some(End::Closed),
        }
    }

    /// Reads a request's head.
    async fn head(&mut self) -> Result<Head, End> {
        let patience = self.site.limits.head;
        let deadline = match self.requests {
            1 => self.began + patience,
            _ => Instant::now() + patience,
        };
        let mut reading = head::Reading::new(self.local, self.site.hands_on());
        loop {
            if let Some(head) = reading.take(&mut self.input) {
                return Ok(head);
            }
            let more = self.input.read(&mut self.stream);
            match tokio::time::timeout_at(deadline, more).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return Err(End::Closed),
                Err(_) => return Err(End::Cut),
            }
        }
    }

    /// Answers a malformed request.
    async fn refuse(&mut self, bad: head::Bad) -> io::Result<Option<End>> {
        count(&self.site.stats.covered);
        let head::Bad {
            page,
            asked,
            mut left,
            version,
        } = bad;
        // An error in the body does not matter any more.
        let dry = self.drop_now(&mut left).await;
        let response = self.site.cover.page(page, Some(&asked));
        let head_only = asked.method == Method::Head;
        self.send(version, head_only, response, false).await?;
        let linger = page == Page::HeaderTooLarge || dry.is_err();
        self.after(left, false, linger, matches!(dry, Ok(false)))
            .await
    }

    async fn answer(&mut self, taken: Taken) -> io::Result<Option<End>> {
        count(&self.site.stats.covered);
        let Taken {
            asked,
            line,
            meant,
            mut left,
        } = taken;
        let old = asked.method == Method::Post && asked.is_msie6();
        let keep = match meant {
            Meant::Nothing => asked.version > 1000,
            Meant::Close => false,
            Meant::Keep => true,
        };
        let keep = keep && !old && self.requests < REQUESTS && self.began.elapsed() <= KEPT_TIME;
        let expects = asked.version >= 1001
            && asked
                .field(&header::EXPECT)
                .is_some_and(|e| e.eq_ignore_ascii_case(b"100-continue"));
        if self.site.cover.hands_on() {
            return self.hand_on(asked, line, left, keep, expects).await;
        }
        let mut response = self.site.cover.show(&asked).await;
        // Error pages send no `100 Continue`; files do, and the body is then dropped.
        let shown = matches!(response.status().as_u16(), 200 | 206 | 304 | 412 | 416);
        if shown && expects {
            self.stream.write_all(CONTINUE).await?;
            self.stream.flush().await?;
        }
        let dry = self.drop_now(&mut left).await;
        if dry.is_err() {
            if shown {
                response = self.site.cover.page(Page::BadRequest, Some(&asked));
            }
            response.extensions_mut().insert(Closes);
        }
        let ends = response.extensions().get::<Ends>().is_some();
        let keep = keep && response.extensions().get::<Closes>().is_none();
        let keep = keep && !self.shutdown.is_cancelled();
        let head_only = asked.method == Method::Head;
        let kept = self.send(asked.version, head_only, response, keep).await?;
        if ends {
            return Ok(Some(End::Closed));
        }
        self.after(left, kept, dry.is_err(), matches!(dry, Ok(false)))
            .await
    }

    /// Handles the time after an answer: the rest of the body, then the next request or the end.
    async fn after(
        &mut self,
        mut left: Left,
        keep: bool,
        linger: bool,
        waits: bool,
    ) -> io::Result<Option<End>> {
        let mut linger = linger;
        if waits {
            let until = Instant::now() + LINGERS;
            loop {
                let wait = LINGERS_SILENT.min(until.saturating_duration_since(Instant::now()));
                if wait.is_zero() {
                    return Ok(Some(End::Cut));
                }
                let Ok(read) = timeout(wait, self.drop_some(&mut left)).await else {
                    return Ok(Some(End::Cut));
                };
                match read {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(_) => return Ok(Some(End::Closed)),
                }
            }
            linger = false;
        }
        if keep && !self.input.ended() {
            return Ok(None);
        }
        let more = self.input.has_bytes() || linger;
        Ok(Some(if more && !self.input.ended() {
            End::Lingering
        } else {
            End::Closed
        }))
    }

    /// Drops the present bytes of a body; returns whether the body is complete.
    async fn drop_now(&mut self, left: &mut Left) -> io::Result<bool> {
        left.take(&mut self.input)?;
        while !left.is_done() {
            let mut bytes = [0; DROPPED];
            let read = self.stream.read(&mut bytes[..left.most(DROPPED)]);
            let read = futures_util::FutureExt::now_or_never(read);
            match read {
                None => return Ok(false),
                Some(n) => self.dropped(left, &bytes[..n?])?,
            }
        }
        Ok(true)
    }

    /// Waits for more of a body and drops it; returns whether the body is complete.
    async fn drop_some(&mut self, left: &mut Left) -> io::Result<bool> {
        let mut bytes = [0; DROPPED];
        let n = self.stream.read(&mut bytes[..left.most(DROPPED)]).await?;
        self.dropped(left, &bytes[..n])?;
        Ok(left.is_done())
    }

    fn dropped(&mut self, left: &mut Left, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            self.input.end();
            *left = Left::Done;
            return Ok(());
        }
        let mut bytes = Bytes::copy_from_slice(bytes);
        while left.next(&mut bytes)?.is_some() {}
        self.input.give_back(&bytes);
        Ok(())
    }

    async fn send(
        &mut self,
        version: u16,
        head_only: bool,
        response: Response<Body>,
        keep: bool,
    ) -> io::Result<bool> {
        Out::new(&mut self.stream, &self.site.stats.unsent)
            .send(version, head_only, response, keep)
            .await
    }

    /// Forwards a request to the origin, and streams its body.
    async fn hand_on(
        &mut self,
        asked: Asked,
        line: line::RequestLine,
        mut left: Left,
        keep: bool,
        expects: bool,
    ) -> io::Result<Option<End>> {
        let head_only = asked.method == Method::Head;
        let target = if line.target.first() == Some(&b'/') {
            line.target
        } else {
            [b"/", &line.target[..]].concat()
        };
        let parts = match (
            Uri::try_from(&target[..]),
            http::Method::from_bytes(&line.method),
        ) {
            (Ok(uri), Ok(method)) => {
                let mut request = Request::new(());
                *request.uri_mut() = uri;
                *request.method_mut() = method;
                *request.headers_mut() = asked.fields.clone();
                request.into_parts().0
            }
            _ => {
                let response = self.site.cover.page(Page::BadRequest, Some(&asked));
                self.send(asked.version, head_only, response, false).await?;
                return Ok(Some(End::Lingering));
            }
        };
        if expects && !left.is_done() {
            self.stream.write_all(CONTINUE).await?;
            self.stream.flush().await?;
        }
        let site = Arc::clone(&self.site);
        let (pass, coming) = mpsc::channel(1);
        let body = if left.is_done() {
            Body::EMPTY
        } else {
            Body::Coming(Box::pin(futures_util::stream::unfold(
                coming,
                |mut coming| async move {
                    let next: io::Result<Bytes> = coming.recv().await?;
                    Some((next, coming))
                },
            )))
        };
        let answering = site
            .cover
            .hand_on(parts, Some(self.peer), Some(&asked), body);
        let mut answering = std::pin::pin!(answering);
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let (response, mut passed) = {
            let passing = pass_on(&mut self.input, &mut reader, &mut left, pass);
            let mut passing = std::pin::pin!(passing);
            tokio::select! {
                biased;
                response = &mut answering => (response, None),
                passed = &mut passing => (answering.await, Some(passed)),
            }
        };
        // An answer before the body's end is sent at once, and the body is dropped.
        if left.is_done() {
            passed.get_or_insert(true);
        }
        let whole = passed == Some(true);
        let keep = keep && whole && !self.shutdown.is_cancelled();
        let kept = Out::new(&mut writer, &self.site.stats.unsent)
            .send(asked.version, head_only, response, keep)
            .await?;
        if kept && !self.input.ended() {
            return Ok(None);
        }
        Ok(Some(if whole && !self.input.has_bytes() {
            End::Closed
        } else {
            End::Lingering
        }))
    }

    async fn end(&mut self, end: End) {
        if matches!(end, End::Cut) {
            return;
        }
        let told = timeout(LINGERS_SILENT, self.stream.shutdown()).await;
        if matches!(end, End::Closed) || !matches!(told, Ok(Ok(()))) {
            return;
        }
        let until = Instant::now() + LINGERS;
        let mut bytes = [0; DROPPED];
        loop {
            let wait = LINGERS_SILENT.min(until.saturating_duration_since(Instant::now()));
            let read = timeout(wait, self.stream.read(&mut bytes)).await;
            if wait.is_zero() || !matches!(read, Ok(Ok(1..))) {
                return;
            }
        }
    }
}

/// Streams a body; returns whether it was complete.
async fn pass_on<R: AsyncRead + Unpin>(
    input: &mut Input,
    reader: &mut R,
    left: &mut Left,
    pass: mpsc::Sender<io::Result<Bytes>>,
) -> bool {
    let mut bytes = input.take_bytes();
    loop {
        match left.next(&mut bytes) {
            Ok(Some(piece)) => {
                if pass.send(Ok(piece)).await.is_err() {
                    return false;
                }
                continue;
            }
            Ok(None) => {}
            Err(e) => {
                let _ = pass.send(Err(e)).await;
                return false;
            }
        }
        if left.is_done() {
            input.give_back(&bytes);
            return true;
        }
        let mut room = vec![0; left.most(16 << 10)];
        match timeout(BODY, reader.read(&mut room)).await {
            Ok(Ok(n @ 1..)) => {
                room.truncate(n);
                bytes = room.into();
            }
            _ => {
                let _ = pass.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                return false;
            }
        }
    }
}

/// Reads arbitrary bytes as a connection's input, for the fuzzer: no panic, and no more is kept than came.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let (cut, data) = data
        .split_first()
        .map_or((1, data), |(c, d)| (usize::from(*c).max(1), d));
    let mut input = Input::default();
    let mut reading = head::Reading::new(None, true);
    let mut left = Left::Done;
    for mut piece in data.chunks(cut) {
        while !piece.is_empty() {
            let n = input.feed(piece);
            piece = &piece[n..];
            if left.is_done() {
                match reading.take(&mut input) {
                    None => assert!(input.has_room(), "it neither takes bytes nor ends"),
                    Some(Head::Bad(_)) => return,
                    Some(Head::Good(taken)) => {
                        assert!(taken.asked.target.path.starts_with(b"/"));
                        left = taken.left;
                        reading = head::Reading::new(None, true);
                    }
                }
            }
            if left.take(&mut input).is_err() {
                return;
            }
            if reading.is_fresh() {
                input.rewind();
            }
        }
    }
}

/// A field name as written in HTTP/1.1.
fn written(name: &HeaderName) -> String {
    const ODD: [&str; 8] = [
        "ETag",
        "WWW-Authenticate",
        "X-XSS-Protection",
        "DNT",
        "TE",
        "NEL",
        "Content-MD5",
        "SourceMap",
    ];
    if let Some(odd) = ODD.iter().find(|o| o.eq_ignore_ascii_case(name.as_str())) {
        return (*odd).to_owned();
    }
    let mut first = true;
    let raise = |c: char| {
        let c = if first { c.to_ascii_uppercase() } else { c };
        first = c == '-';
        c
    };
    name.as_str().chars().map(raise).collect()
}

#[cfg(test)]
mod tests;
