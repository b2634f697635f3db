//! The server's side: a web site over HTTP/1.1 and HTTP/2, in which one kind of POST becomes a tunnel.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_htx::ticket::{EXPORTER_CONTEXT, FIELD, Ticket};
use betanet_keys::PublicKey;
use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::sync::CancellationToken;

use crate::cover::Body;
use crate::link::Link;
use crate::shared::{Shared, export};
use crate::tunnel::H2Tunnel;
use crate::{Carrier, CertSource, Cover, Error};

/// Bytes of a POST that are read before it is answered.
const POST_MAX: usize = 4096;
/// No POST is answered sooner after it was read: what a ticket's check and a handshake take disappears in it.
const POST_FLOOR: Duration = Duration::from_millis(3);
/// Receive window of a connection and its streams before it carries a tunnel.
const WINDOW: u32 = 256 << 10;
/// The same of one that does.
const TUNNEL_WINDOW: u32 = 8 << 20;

/// A future in a box.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A session that took message 1: run with the carrier, it goes on until the session ends.
pub type Tunnel = Box<dyn FnOnce(Box<dyn Carrier>) -> BoxFuture + Send>;

/// Whoever opens sessions behind a web site.
pub trait Gate: Send + Sync + 'static {
    /// The node's key, which tickets are made for.
    fn key(&self) -> &PublicKey;

    /// Tries message 1; `None` when it does not open, or no session is wanted.
    fn open(&self, ekm0: &[u8; 32], message1: &[u8], from: SocketAddr) -> Option<Tunnel>;
}

/// Times and numbers that a web site bears with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the TLS handshake.
    pub tls: Duration,
    /// For a request's head over HTTP/1.1.
    pub head: Duration,
    /// For a POST's body.
    pub post: Duration,
    /// Until a connection without requests is closed.
    pub idle: Duration,
    /// Requests at once on one connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tls: Duration::from_secs(10),
            head: Duration::from_secs(10),
            post: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            streams: 100,
        }
    }
}

/// What a web site counts.
#[derive(Debug, Default)]
pub struct Stats {
    /// TLS handshakes that failed.
    pub tls_failed: AtomicU64,
    /// Requests that the cover site answered.
    pub covered: AtomicU64,
    /// POSTs with a `bn-ticket` that was not right (L2_TICKET_INVALID).
    pub tickets_refused: AtomicU64,
    /// POSTs with a right ticket whose message 1 did not open.
    pub handshakes_refused: AtomicU64,
    /// Tunnels opened.
    pub tunnels: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// TLS 1.3 alone, without early data.
pub(crate) fn tls_config(certificate: Arc<CertSource>) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| Error::Pem("TLS 1.3 cannot be configured"))?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.max_early_data_size = 0;
    Ok(config)
}

/// A web site, with or without a gate behind it.
pub struct Site {
    acceptor: TlsAcceptor,
    cover: Cover,
    gate: Option<Arc<dyn Gate>>,
    limits: Limits,
    stats: Stats,
}

impl Site {
    /// A web site of static files. Without a gate it is nothing else.
    ///
    /// # Errors
    ///
    /// TLS cannot be configured.
    pub fn new(
        certificate: Arc<CertSource>,
        cover: Cover,
        gate: Option<Arc<dyn Gate>>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let mut config = tls_config(certificate)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            cover,
            gate,
            limits,
            stats: Stats::default(),
        })
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What the cover site gives.
    fn answer(&self, method: &Method, uri: &http::Uri, headers: &HeaderMap) -> Response<Body> {
        count(&self.stats.covered);
        self.cover.answer(method, uri, headers)
    }

    /// Whether a POST is a tunnel of this connection, and what runs it.
    fn try_tunnel(&self, one: &OneConnection, headers: &HeaderMap, body: &[u8]) -> Option<Tunnel> {
        let gate = self.gate.as_ref()?;
        let mut fields = headers.get_all(FIELD).iter();
        let field = fields.next()?;
        let refused = || {
            count(&self.stats.tickets_refused);
            tracing::debug!(code = %betanet_wire::Code::L2_TICKET_INVALID, "ticket refused");
        };
        let ticket = match (field.to_str().ok().map(Ticket::parse), fields.next()) {
            (Some(Ok(ticket)), None) => ticket,
            _ => {
                refused();
                return None;
            }
        };
        if !one.first_use(ticket.label()) || !ticket.verify(&one.ekm0, gate.key()) {
            refused();
            return None;
        }
        let message = split_message(body).map(|(m, _)| m);
        let tunnel = message.and_then(|m| gate.open(&one.ekm0, m, one.peer));
        if tunnel.is_none() {
            count(&self.stats.handshakes_refused);
        }
        tunnel
    }
}

/// What belongs to one TLS connection.
struct OneConnection {
    ekm0: [u8; 32],
    peer: SocketAddr,
    labels: Mutex<Vec<Box<str>>>,
}

/// Labels remembered for one connection; a client uses one.
const LABELS_MAX: usize = 128;

impl OneConnection {
    fn first_use(&self, label: &str) -> bool {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let first = labels.len() < LABELS_MAX && !labels.iter().any(|l| **l == *label);
        if first {
            labels.push(label.into());
        }
        first
    }
}

/// `u16 length || message || rest`.
fn split_message(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = body.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Whether enough of a POST was read.
fn post_is_read(body: &[u8]) -> bool {
    body.len() >= POST_MAX || split_message(body).is_some()
}

/// Reads a POST's body as far as every POST's is read.
async fn read_post<F, Fut>(limit: Duration, mut next: F) -> Bytes
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<Bytes>>,
{
    let deadline = Instant::now() + limit;
    let mut body = BytesMut::new();
    while !post_is_read(&body) {
        match timeout_at(deadline, next()).await {
            Ok(Some(bytes)) => body.extend_from_slice(&bytes),
            Ok(None) | Err(_) => break,
        }
    }
    body.freeze()
}

/// Serves one TCP connection to its end. `shutdown` asks for an orderly one.
pub async fn serve(site: Arc<Site>, tcp: TcpStream, peer: SocketAddr, shutdown: CancellationToken) {
    // Fails on a connection that is gone, which the handshake tells.
    let _ = tcp.set_nodelay(true);
    // In boxes: the task of an idle tunnel is no larger than what it still needs.
    let accepted = Box::pin(timeout(
        site.limits.tls,
        site.acceptor.accept(Link::new(tcp)),
    ));
    let Ok(Ok(tls)) = accepted.await else {
        count(&site.stats.tls_failed);
        return;
    };
    let served: BoxFuture = if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        match Box::pin(open_h2(site, tls, peer, shutdown)).await {
            Some(served) => served,
            None => return,
        }
    } else {
        Box::pin(serve_h1(site, tls, shutdown))
    };
    served.await;
}

async fn serve_h1(site: Arc<Site>, tls: TlsStream<Link<TcpStream>>, shutdown: CancellationToken) {
    let head = site.limits.head;
    let service = service_fn(move |request: Request<Incoming>| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(answer_h1(&site, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(tls), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

type H1Body = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

async fn answer_h1(site: &Site, request: Request<Incoming>) -> Response<H1Body> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::POST {
        let body = Arc::new(tokio::sync::Mutex::new(body));
        read_post(site.limits.post, || {
            let body = Arc::clone(&body);
            async move { body.lock().await.frame().await?.ok()?.into_data().ok() }
        })
        .await;
        tokio::time::sleep(POST_FLOOR).await;
    }
    site.answer(&parts.method, &parts.uri, &parts.headers)
        .map(|body| {
            let stream = futures_util::stream::unfold(body, |mut body| async move {
                match body.next() {
                    Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), body)),
                    Ok(None) => None,
                    Err(e) => Some((Err(e), Body::Full(Bytes::new()))),
                }
            });
            BodyExt::boxed(StreamBody::new(SyncStream(Mutex::new(Box::pin(stream)))))
        })
}

/// `BoxBody` asks for `Sync`, which a stream that is polled through `&mut` only may claim by a lock.
struct SyncStream<S>(Mutex<Pin<Box<S>>>);

impl<S: futures_util::Stream> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;
    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<S::Item>> {
        self.0
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .poll_next(cx)
    }
}

/// Begins HTTP/2; what is given back serves the connection to its end.
async fn open_h2(
    site: Arc<Site>,
    tls: TlsStream<Link<TcpStream>>,
    peer: SocketAddr,
    shutdown: CancellationToken,
) -> Option<BoxFuture> {
    let ekm0 = export(tls.get_ref().1, EXPORTER_CONTEXT).ok()?;
    let one = Arc::new(OneConnection {
        ekm0: *ekm0,
        peer,
        labels: Mutex::default(),
    });
    let tls = Shared::new(tls);
    let handshake = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(site.limits.streams)
        .max_header_list_size(16 << 10)
        .max_send_buffer_size(1 << 20)
        .handshake::<_, Bytes>(tls.clone());
    let handshake = tls.pushed(Box::pin(handshake));
    let connection = timeout(site.limits.tls, handshake).await.ok()?.ok()?;
    // In a box: an argument of an async function has its place twice.
    let connection = Box::new(connection);
    let served = Box::pin(serve_h2(site, one, connection, tls.clone(), shutdown));
    Some(Box::pin(tls.pushed(served)))
}

/// A request being answered; what it leaves behind is a tunnel.
type Answering = Pin<Box<dyn Future<Output = Option<BoxFuture>> + Send>>;

type H2Connection = h2::server::Connection<Shared<TlsStream<Link<TcpStream>>>, Bytes>;

async fn serve_h2(
    site: Arc<Site>,
    one: Arc<OneConnection>,
    mut connection: Box<H2Connection>,
    tls: Shared<TlsStream<Link<TcpStream>>>,
    shutdown: CancellationToken,
) {
    let go_away = Arc::new(Notify::new());
    let tunnel_opened = Arc::new(Notify::new());
    let mut streams: FuturesUnordered<Answering> = FuturesUnordered::new();
    let mut leaving = false;
    loop {
        tokio::select! {
            // The connection after those who have something to say: it then goes out at once.
            biased;
            Some(left) = streams.next(), if !streams.is_empty() => if let Some(tunnel) = left {
                // It lives for hours; the future that answered its request need not.
                streams.push(Box::pin(tunnel.map(|()| None)));
            },
            () = go_away.notified() => connection.graceful_shutdown(),
            () = tunnel_opened.notified() => {
                connection.set_target_window_size(TUNNEL_WINDOW);
                // Refused only while an earlier change is unacknowledged, and there is one change.
                let _ = connection.set_initial_window_size(TUNNEL_WINDOW / 4);
            }
            () = shutdown.cancelled(), if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            accepted = poll_fn(|cx| connection.poll_accept(cx)) => match accepted {
                Some(Ok((request, respond))) => streams.push(Box::pin(answer_h2(
                    Arc::clone(&site),
                    Arc::clone(&one),
                    tls.clone(),
                    Arc::clone(&go_away),
                    Arc::clone(&tunnel_opened),
                    request,
                    respond,
                ))),
                Some(Err(_)) | None => break,
            },
            () = tokio::time::sleep(site.limits.idle), if streams.is_empty() => {
                if leaving { break }
                leaving = true;
                connection.graceful_shutdown();
            }
        }
    }
}

async fn answer_h2(
    site: Arc<Site>,
    one: Arc<OneConnection>,
    tls: Shared<TlsStream<Link<TcpStream>>>,
    go_away: Arc<Notify>,
    tunnel_opened: Arc<Notify>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<BoxFuture> {
    let (parts, mut body) = request.into_parts();
    if parts.method == Method::POST {
        let first = {
            let shared = tokio::sync::Mutex::new(&mut body);
            read_post(site.limits.post, || async {
                let mut body = shared.lock().await;
                let bytes = body.data().await?.ok()?;
                body.flow_control().release_capacity(bytes.len()).ok()?;
                Some(bytes)
            })
            .await
        };
        let floor = Instant::now() + POST_FLOOR;
        if let Some(tunnel) = site.try_tunnel(&one, &parts.headers, &first) {
            let outgoing = respond.send_response(Response::new(()), false).ok()?;
            count(&site.stats.tunnels);
            tunnel_opened.notify_one();
            let read = split_message(&first).map_or(0, |(m, _)| 2 + m.len());
            let exporter =
                Box::new(move |context: &[u8]| tls.with(|t| export(t.get_ref().1, context)));
            let rest = Bytes::copy_from_slice(&first[read..]);
            let carrier = H2Tunnel::server(rest, body, outgoing, go_away, exporter);
            return Some(tunnel(Box::new(carrier)));
        }
        tokio::time::sleep_until(floor).await;
    }
    let response = site.answer(&parts.method, &parts.uri, &parts.headers);
    // An error here is a visitor who left.
    let _ = send_h2(response, respond).await;
    None
}

async fn send_h2(
    response: Response<Body>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (parts, mut body) = response.into_parts();
    let head = Response::from_parts(parts, ());
    let mut out = respond.send_response(head, body.is_empty())?;
    if body.is_empty() {
        return Ok(());
    }
    loop {
        let mut bytes = match body.next() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return out.send_data(Bytes::new(), true),
            Err(_) => {
                out.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
        };
        let last = body.is_empty();
        while !bytes.is_empty() {
            out.reserve_capacity(bytes.len());
            let room = match out.capacity() {
                0 => match poll_fn(|cx| out.poll_capacity(cx)).await {
                    Some(room) => room?,
                    None => return Ok(()),
                },
                room => room,
            };
            let part = bytes.split_to(room.min(bytes.len()));
            let end = last && bytes.is_empty();
            out.send_data(part, end)?;
        }
        if last {
            return Ok(());
        }
    }
}
