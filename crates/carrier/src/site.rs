//! A web site in which one kind of POST becomes a tunnel: what its carriers have in common.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_compat11::{Reading, carried};
use betanet_htx::ticket::{FIELD, Ticket};
use betanet_keys::PublicKey;
use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use http::request::Parts;
use http::{HeaderMap, Method, Response, header};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, rustls};
use zeroize::Zeroizing;

use crate::cover::Body;
use crate::{Carrier, CertSource, Cover, Error, Jitter, floor};

/// Bytes of a POST that are read before it is answered.
const POST_MAX: usize = 4096;
/// No POST is answered sooner after it was read: what a ticket's check and a handshake take disappears in it.
const POST_FLOOR: Duration = Duration::from_millis(3);

/// A future in a box.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A session that took message 1: run with the carrier, it goes on until the session ends.
pub type Tunnel = Box<dyn FnOnce(Box<dyn Carrier>) -> BoxFuture + Send>;

/// Whoever opens sessions behind a web site.
pub trait Gate: Send + Sync + 'static {
    /// The node's key, which tickets are made for.
    fn key(&self) -> &PublicKey;

    /// Tries message 1 of the request whose ticket has this label; `None` when it does not open, or no session is wanted.
    fn open(
        &self,
        ekm0: &[u8; 32],
        label: &str,
        message1: &[u8],
        from: SocketAddr,
    ) -> Option<Tunnel>;

    /// How requests carry tickets of version 1.1, where those are looked for (profile chapter 9).
    fn reads11(&self) -> Option<&Reading> {
        None
    }

    /// Tries a ticket of 1.1 that a request of the same connection carried; `None` where it lets nobody in.
    fn open11(&self, ticket: &str) -> Option<Tunnel> {
        let _ = ticket;
        None
    }
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

pub(crate) fn count(counter: &AtomicU64) {
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
    pub(crate) acceptor: TlsAcceptor,
    /// The same certificate over QUIC.
    pub(crate) quic: Arc<ServerConfig>,
    cover: Cover,
    gate: Option<Arc<dyn Gate>>,
    pub(crate) limits: Limits,
    pub(crate) jitter: Option<Arc<Jitter>>,
    pub(crate) stats: Stats,
}

impl Site {
    /// A web site that shows `cover`. Without a gate it is nothing else.
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
        let mut config = tls_config(Arc::clone(&certificate))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut quic = tls_config(certificate)?;
        quic.alpn_protocols = vec![b"h3".to_vec()];
        Ok(Self {
            quic: Arc::new(quic),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            cover,
            gate,
            limits,
            jitter: None,
            stats: Stats::default(),
        })
    }

    /// With what it says over TCP leaving after a drawn time; but for a tunnel that follows a shape, in whose times jitter is already.
    #[must_use]
    pub fn jittered(mut self, jitter: Jitter) -> Self {
        self.jitter = Some(Arc::new(jitter));
        self
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Takes a request: what the cover site answers, or the tunnel that it opens where the connection can carry one. `empty` says
    /// that no body follows.
    pub(crate) async fn take<S: Incoming>(
        &self,
        one: Option<&OneConnection>,
        parts: Parts,
        mut source: S,
        empty: bool,
    ) -> Taken<S> {
        let body = if parts.method == Method::POST {
            let read = read_post(self.limits.post, &mut source).await;
            let at_least = Instant::now() + POST_FLOOR;
            if let Some(one) = one {
                self.note11(one, &parts, Some(&read));
                if let Some(tunnel) = self.try_tunnel(one, &parts.headers, &read.bytes) {
                    count(&self.stats.tunnels);
                    let used = split_message(&read.bytes).map_or(0, |(m, _)| 2 + m.len());
                    let rest = Bytes::copy_from_slice(&read.bytes[used..]);
                    return Taken::Tunnel(tunnel, rest, source);
                }
                if let Some(tunnel) = self.try_tunnel11(one, &read) {
                    count(&self.stats.tunnels);
                    return Taken::Tunnel(tunnel, read.bytes, source);
                }
            }
            floor::until(at_least).await;
            self.body(read, source)
        } else {
            if let Some(one) = one {
                self.note11(one, &parts, None);
            }
            let bytes = Bytes::new();
            self.body(
                Read {
                    bytes,
                    ended: empty,
                },
                source,
            )
        };
        count(&self.stats.covered);
        Taken::Answer(self.cover.answer(parts, body).await)
    }

    /// The head of the answer that becomes a tunnel.
    pub(crate) fn tunnel_head(&self) -> Response<()> {
        let mut head = Response::new(());
        self.cover.date(head.headers_mut());
        head
    }

    /// A request's body: what was read of it, then the rest as it comes.
    fn body<S: Incoming>(&self, read: Read, source: S) -> Body {
        if read.ended {
            return Body::Full(read.bytes);
        }
        let first = (!read.bytes.is_empty()).then_some(read.bytes);
        let patience = self.limits.post;
        let coming = unfold((first, Some(source)), move |(first, source)| async move {
            let mut source = source?;
            if let Some(first) = first {
                return Some((Ok(first), (None, Some(source))));
            }
            match timeout(patience, source.next()).await {
                Ok(Some(Ok(bytes))) => Some((Ok(bytes), (None, Some(source)))),
                Ok(Some(Err(e))) => Some((Err(e), (None, None))),
                Ok(None) => None,
                Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), (None, None))),
            }
        });
        Body::Coming(Box::pin(coming))
    }

    /// Keeps a ticket of 1.1 for the next POST that begins a body. Nothing is looked at sooner: under that POST's floor it takes no
    /// time that shows, and whatever carried the ticket is answered as any request. Where nobody is let in by one it is looked for all
    /// the same: half a microsecond that one site takes and another does not tells them apart.
    fn note11(&self, one: &OneConnection, parts: &Parts, form: Option<&Read>) {
        let reads = self.gate.as_ref().and_then(|g| g.reads11());
        let reading = reads.unwrap_or(&Reading::PROFILE);
        let cookies = parts.headers.get_all(header::COOKIE).iter();
        let cookies = cookies.filter_map(|c| c.to_str().ok());
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_form = kind.is_some_and(|k| k.as_bytes().starts_with(FORM));
        let form = form.filter(|read| read.ended && is_form);
        let (query, form) = (parts.uri.query(), form.map(|r| &r.bytes[..]));
        if let Some(ticket) = carried(reading, cookies, query, form)
            && reads.is_some()
        {
            *lock(&one.ticket11) = Some(ticket.into());
        }
    }

    /// Whether a POST is the leg of 1.1 that a ticket before or in it asked for.
    fn try_tunnel11(&self, one: &OneConnection, read: &Read) -> Option<Tunnel> {
        if read.ended {
            return None;
        }
        let ticket = lock(&one.ticket11).take()?;
        let tunnel = self.gate.as_ref()?.open11(&ticket);
        if tunnel.is_none() {
            count(&self.stats.tickets_refused);
        }
        tunnel
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
        let tunnel = message.and_then(|m| gate.open(&one.ekm0, ticket.label(), m, one.peer));
        if tunnel.is_none() {
            count(&self.stats.handshakes_refused);
        }
        tunnel
    }
}

/// What belongs to one TLS or QUIC connection.
pub(crate) struct OneConnection {
    ekm0: Zeroizing<[u8; 32]>,
    peer: SocketAddr,
    labels: Mutex<Vec<Box<str>>>,
    /// A ticket of 1.1 that came in and was not looked at.
    ticket11: Mutex<Option<Box<str>>>,
}

/// What a form's media type begins with.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Labels remembered for one connection; a client uses one.
const LABELS_MAX: usize = 128;

impl OneConnection {
    pub(crate) fn new(ekm0: Zeroizing<[u8; 32]>, peer: SocketAddr) -> Self {
        Self {
            ekm0,
            peer,
            labels: Mutex::default(),
            ticket11: Mutex::default(),
        }
    }

    fn first_use(&self, label: &str) -> bool {
        let mut labels = lock(&self.labels);
        let first = labels.len() < LABELS_MAX && !labels.iter().any(|l| **l == *label);
        if first {
            labels.push(label.into());
        }
        first
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A request's body as it comes in.
pub(crate) trait Incoming: Send + 'static {
    /// The next bytes; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<io::Result<Bytes>>> + Send;
}

/// What becomes of a request.
pub(crate) enum Taken<S> {
    /// A tunnel, what was read beyond message 1, and what it comes from.
    Tunnel(Tunnel, Bytes, S),
    Answer(Response<Body>),
}

/// What was read of a body.
struct Read {
    bytes: Bytes,
    /// Whether it is all of it.
    ended: bool,
}

/// Reads a POST's body as far as every POST's is read.
async fn read_post<S: Incoming>(limit: Duration, source: &mut S) -> Read {
    let deadline = Instant::now() + limit;
    let mut body = BytesMut::new();
    let mut ended = false;
    while !post_is_read(&body) {
        match timeout_at(deadline, source.next()).await {
            Ok(Some(Ok(bytes))) => body.extend_from_slice(&bytes),
            Ok(None) => {
                ended = true;
                break;
            }
            // One that breaks off says so again to whoever reads on.
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    Read {
        bytes: body.freeze(),
        ended,
    }
}
