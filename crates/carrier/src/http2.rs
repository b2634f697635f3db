//! The server side of HTTP/2 over TLS.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_htx::ticket::EXPORTER_CONTEXT;
use bytes::{Buf as _, Bytes};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::came::Came;
use crate::cover::Body;
use crate::exported;
use crate::frames::{FIELD_MAX, Framed, HEADERS_MAX, Progress, REQUESTS_MAX, UNREAD_MAX, Wire};
use crate::jitter::Jittered;
use crate::link::Link;
use crate::shared::{Shared, export};
use crate::site::{BoxFuture, Incoming, OneConnection, Site, Taken};
use crate::tunnel::H2Tunnel;

/// Receive window of a stream once a tunnel on the connection receives much.
const TUNNEL_WINDOW: u32 = 2 << 20;
/// Maximum number of bytes of one stream that `h2` buffers for sending; matters for tunnels, as answers have their budget.
const TUNNEL_SEND: usize = 1 << 20;
/// Number of answer bytes read at once.
const PIECE: usize = 64 << 10;
/// Maximum number of bytes in an answer's DATA frame, as in nginx (`http2_chunk_size`).
const FRAME: usize = 8 << 10;
/// INITIAL_WINDOW_SIZE and MAX_CONCURRENT_STREAMS (RFC 9113 §6.5.2), and the default of the first.
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const WINDOW: u32 = 65_535;
/// Size that `h2` counts beside a header section's bytes: 32 for each of this many fields (RFC 9113 §6.5.2).
const ENTRIES: usize = 128 * 32;
/// The largest possible window (RFC 9113 §6.9.1).
const WINDOW_MAX: u32 = 0x7fff_ffff;
/// Time for which a connection is read after its last frame, so that sent data arrives: between two reads, and in total, as in
/// nginx (`lingering_timeout`, `lingering_time`).
const LINGER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// The total when the node shuts down.
const GOING: Duration = Duration::from_secs(1);
/// Maximum number of bytes read meanwhile: a flood does not get the full 30 s.
const LINGER_MAX: usize = 4 << 20;

type Tls = Shared<TlsStream<Link<Jittered>>>;
type Connection = h2::server::Connection<Framed<Tls>, Bytes>;

/// Starts HTTP/2; returns the future that serves the connection to its end, and the connection's frames.
pub(crate) async fn open(
    site: Arc<Site>,
    tls: TlsStream<Link<Jittered>>,
    came: Came,
    shutdown: CancellationToken,
) -> Option<(BoxFuture, Wire)> {
    let connection = tls.get_ref().1;
    let ekm0 = exported(|label, out| export(connection, label, EXPORTER_CONTEXT, out)).ok()?;
    // A tunnel requires TLS 1.3: its ticket and keys are bound to that version's exporter.
    let tls13 = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let one = tls13.then(|| Arc::new(OneConnection::new(ekm0, came.peer)));
    let tls = Shared::new(tls);
    let look = &site.http2;
    let wire = Wire::new(look, site.hands_on(), Arc::clone(&site.stats.unsent));
    let handshake = h2::server::Builder::new()
        .initial_window_size(
            look.setting(INITIAL_WINDOW_SIZE)
                .unwrap_or(WINDOW)
                .min(WINDOW_MAX),
        )
        .initial_connection_window_size(WINDOW.saturating_add(look.window).min(WINDOW_MAX))
        .max_concurrent_streams(
            look.setting(MAX_CONCURRENT_STREAMS)
                .unwrap_or(site.limits.streams),
        )
        // The look sends the SETTINGS that concern this.
        .max_frame_size(u32::try_from(HEADERS_MAX).unwrap_or(u32::MAX))
        .max_header_list_size(u32::try_from(HEADERS_MAX + ENTRIES).unwrap_or(u32::MAX))
        .max_send_buffer_size(TUNNEL_SEND)
        .data_frame_budget(UNREAD_MAX)
        // A connection has no more requests than these.
        .max_pending_accept_reset_streams(usize::try_from(REQUESTS_MAX).unwrap_or(usize::MAX))
        .handshake::<_, Bytes>(wire.over(tls.clone()));
    let handshake = tls.pushed(Box::pin(handshake));
    let connection = match timeout(site.limits.head, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return Some((Box::pin(linger(tls)), wire)),
        Err(_) => {
            wire.preface_is_late();
            let mut late = wire.over(tls.clone());
            let _ = timeout(LINGER.0, late.flush()).await;
            return Some((Box::pin(linger(tls)), wire));
        }
    };
    let frames = wire.clone();
    // Boxed: an argument of an async function takes its space twice.
    let serving = Serving {
        site,
        one,
        came,
        wire,
        tls: tls.clone(),
        go_away: Arc::default(),
        much: Arc::default(),
    };
    let served = Box::pin(serve(serving, Box::new(connection), shutdown));
    Some((Box::pin(tls.pushed(served)), frames))
}

/// State that all requests of a connection share.
#[derive(Clone)]
struct Serving {
    site: Arc<Site>,
    one: Option<Arc<OneConnection>>,
    came: Came,
    wire: Wire,
    tls: Tls,
    /// A tunnel wants no further requests.
    go_away: Arc<Notify>,
    /// A tunnel receives much.
    much: Arc<Notify>,
}

/// A request being answered; it may leave a tunnel, or the rest of the answer to send.
type Answering = Pin<Box<dyn Future<Output = Option<BoxFuture>> + Send>>;

async fn serve(serving: Serving, mut connection: Box<Connection>, shutdown: CancellationToken) {
    let Serving {
        site,
        wire,
        tls,
        go_away,
        much,
        ..
    } = &serving;
    let mut streams: FuturesUnordered<Answering> = FuturesUnordered::new();
    let (mut raise, mut closing, mut leaving) = (false, false, false);
    // As in nginx: `client_header_timeout` for the first request, `keepalive_timeout` for the next.
    let mut patience = site.limits.head;
    let mut stall = Stall::new(site.limits.send);
    loop {
        let alone = streams.is_empty();
        let next = poll_fn(|cx| {
            loop {
                // Not before the client has acknowledged the previous SETTINGS.
                raise = raise && connection.set_initial_window_size(TUNNEL_WINDOW).is_err();
                let accepted = connection.poll_accept(cx);
                let over = alone && wire.is_leaving() && !connection.has_streams();
                if accepted.is_ready() || closing || !over {
                    return accepted;
                }
                closing = true;
                connection.abrupt_shutdown(Reason::NO_ERROR);
            }
        });
        tokio::select! {
            // The connection is polled after the answers, so that their output leaves in the same turn.
            biased;
            Some(left) = streams.next(), if !alone => if let Some(rest) = left {
                // A tunnel lives for hours; the future that answered its request is dropped.
                streams.push(Box::pin(rest.map(|()| None)));
            },
            () = go_away.notified() => wire.go_away(),
            () = much.notified() => raise = true,
            () = shutdown.cancelled(), if !leaving => {
                leaving = true;
                wire.go_away();
            }
            accepted = next => match accepted {
                Some(Ok((request, respond))) => {
                    patience = site.limits.idle;
                    streams.push(Box::pin(answer(serving.clone(), request, respond)));
                }
                Some(Err(_)) | None => break,
            },
            () = tokio::time::sleep(patience), if alone && !leaving => {
                leaving = true;
                wire.go_away();
            }
            () = poll_fn(|cx| stall.poll(cx, tls)) => return,
        }
    }
    drop((streams, connection));
    // Boxed, for its read buffer. A node that shuts down waits for no client.
    let longest = if shutdown.is_cancelled() {
        GOING
    } else {
        LINGER.1
    };
    let _ = timeout(longest, Box::pin(linger(tls.clone()))).await;
}

/// Ends TLS, and reads further input for a while.
async fn linger(mut tls: Tls) {
    let until = Instant::now() + LINGER.1;
    let _ = timeout(LINGER.0, tls.shutdown()).await;
    let (mut dropped, mut left) = ([0; 4096], LINGER_MAX);
    while Instant::now() < until
        && let Ok(Ok(n @ 1..)) = timeout(LINGER.0, tls.read(&mut dropped)).await
        && n < left
    {
        left -= n;
    }
}

/// Detects a connection whose socket accepts no output.
struct Stall {
    limit: Duration,
    /// Number of bytes accepted at the last check, and the deadline for more.
    since: Option<(u64, Progress)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    const fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            timer: None,
        }
    }

    /// Flushes waiting output; ready once it has not moved for too long.
    fn poll(&mut self, cx: &mut Context<'_>, tls: &Tls) -> Poll<()> {
        tls.push(cx);
        let Some(wrote) = tls.blocked() else {
            *self = Self::new(self.limit);
            return Poll::Pending;
        };
        let limit = self.limit;
        let (before, progress) = self
            .since
            .get_or_insert_with(|| (wrote, Progress::new(limit)));
        progress.moved(usize::try_from(wrote - *before).unwrap_or(usize::MAX));
        *before = wrote;
        let until = progress.until();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}

/// A request's body.
struct H2Body {
    body: Option<RecvStream>,
    wire: Wire,
    stream: u32,
}

impl H2Body {
    /// Releases the stream for a tunnel, which bounds its memory itself.
    fn into_inner(mut self) -> Option<RecvStream> {
        self.body.take()
    }
}

impl Incoming for H2Body {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let body = self.body.as_mut()?;
        let bytes = match body.data().await? {
            Ok(bytes) => bytes,
            Err(e) => return Some(Err(io::Error::other(e))),
        };
        // Refused only for more bytes than were received.
        let _ = body.flow_control().release_capacity(bytes.len());
        self.wire.read(self.stream, bytes.len());
        Some(Ok(bytes))
    }
}

impl Drop for H2Body {
    fn drop(&mut self) {
        if self.body.is_some() {
            self.wire.unwanted(self.stream);
        }
    }
}

/// Whether a field is longer than nginx accepts.
fn is_over_long(parts: &Parts) -> bool {
    let path = parts.uri.path_and_query().map_or(0, |p| p.as_str().len());
    let mut fields = parts.headers.iter();
    path > FIELD_MAX || fields.any(|(k, v)| k.as_str().len().max(v.len()) > FIELD_MAX)
}

async fn answer(
    serving: Serving,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<BoxFuture> {
    let Serving {
        site, one, wire, ..
    } = &serving;
    let stream = respond.stream_id().as_u32();
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(serving.came);
    if is_over_long(&parts) {
        wire.give_up(Reason::ENHANCE_YOUR_CALM);
        return None;
    }
    let empty = body.is_end_stream();
    let body = H2Body {
        body: Some(body),
        wire: wire.clone(),
        stream,
    };
    // A request that is cancelled gets no answer, and reaches no origin.
    let taken = tokio::select! {
        biased;
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return None,
        taken = site.take(one.as_deref(), parts, body, empty) => taken,
    };
    match taken {
        Taken::Tunnel(tunnel, rest, body, _) => {
            let body = body.into_inner()?;
            wire.tunnel(stream);
            let (head, ()) = site.tunnel_head().into_parts();
            wire.head(stream, &head);
            let outgoing = respond
                .send_response(Response::from_parts(head, ()), false)
                .ok()?;
            let Serving {
                tls, go_away, much, ..
            } = serving;
            let exported = tls.clone();
            let exporter = Box::new(move |label: &str, context: &[u8], out: &mut [u8]| {
                exported.with(|t| export(t.get_ref().1, label, context, out))
            });
            let records = Box::new(tls);
            let carrier = H2Tunnel::server(rest, body, outgoing, go_away, much, exporter, records);
            Some(tunnel(Box::new(carrier)))
        }
        Taken::Answer(response) => {
            let Serving {
                site, one, wire, ..
            } = serving;
            let mut sending: BoxFuture = Box::pin(async move {
                // An error here means that the visitor left.
                let _ = send(&wire, site.limits.send, response, respond).await;
                if let Some(one) = one.filter(|one| one.has_form()) {
                    // The answer leaves first.
                    tokio::task::yield_now().await;
                    site.note_form(&one);
                }
            });
            // If the client must be awaited, the larger future that found the answer is dropped.
            sending.as_mut().now_or_never().is_none().then_some(sending)
        }
    }
}

/// Number of bytes that the client's window allows; `None` if the stream is gone.
async fn window(out: &mut SendStream<Bytes>, wanted: usize) -> Option<usize> {
    out.reserve_capacity(wanted);
    match out.capacity() {
        0 => poll_fn(|cx| out.poll_capacity(cx)).await?.ok(),
        room => Some(room),
    }
}

/// Sends an answer. It is read only once the client's window and the connection's budget have room.
async fn send(
    wire: &Wire,
    limit: Duration,
    response: Response<Body>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let stream = respond.stream_id().as_u32();
    let (head, mut body) = response.into_parts();
    wire.head(stream, &head);
    let mut out = respond.send_response(Response::from_parts(head, ()), body.is_empty())?;
    let mut progress = Progress::new(limit);
    // The piece of an origin's body at hand.
    let mut piece = Bytes::new();
    while !piece.is_empty() || !body.is_empty() {
        let wanted = if piece.is_empty() { PIECE } else { piece.len() };
        let room = match timeout_at(progress.until(), window(&mut out, wanted)).await {
            Ok(Some(room)) => room.min(PIECE),
            Ok(None) => return Ok(()),
            Err(_) => {
                // As nginx ends a stream whose body fails.
                out.send_reset(Reason::PROTOCOL_ERROR);
                return Ok(());
            }
        };
        let asked = Instant::now();
        let budget = if piece.is_empty() {
            let next = tokio::select! {
                biased;
                _ = poll_fn(|cx| out.poll_reset(cx)) => return Ok(()),
                next = wire.next(&mut body, room) => next,
            };
            match next {
                Ok(Some((bytes, budget))) => {
                    piece = bytes;
                    Some(budget)
                }
                Ok(None) => break,
                Err(_) => {
                    out.send_reset(Reason::INTERNAL_ERROR);
                    return Ok(());
                }
            }
        } else {
            wire.room(room).await
        };
        let Some(mut budget) = budget else {
            return Ok(());
        };
        // Waits for the budget or an origin are not the client's fault.
        progress.waited(asked.elapsed());
        let mut part = piece.split_to(room.min(piece.len()));
        if let Some(spent) = budget.split(part.len()) {
            wire.gave(stream, part.len(), spent);
        }
        progress.moved(part.len());
        // Copied: each waiting frame would otherwise keep the whole piece that was read.
        let copied = part.len() > FRAME;
        while part.len() > FRAME {
            out.send_data(Bytes::copy_from_slice(&part[..FRAME]), false)?;
            part.advance(FRAME);
        }
        if copied {
            part = Bytes::copy_from_slice(&part);
        }
        let end = piece.is_empty() && body.is_empty();
        out.send_data(part, end)?;
        if end {
            return Ok(());
        }
    }
    out.send_data(Bytes::new(), true)
}

#[cfg(test)]
mod tests;
