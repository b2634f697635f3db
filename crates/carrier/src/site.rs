//! A web site in which one kind of POST becomes a tunnel: the parts that all carriers share.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_compat11::{Reading, carried};
use betanet_htx::ticket::{FIELD, Ticket};
use betanet_keys::{Identity, PublicKey};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::stream::unfold;
use http::request::Parts;
use http::{Method, Response, header};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls;
use zeroize::Zeroizing;

use crate::came::Came;
use crate::cover::Body;
use crate::look::Look;
use crate::{Carrier, CertSource, Cover, Error, Http2Look, Jitter};

/// Maximum number of bytes of a form that are searched for a ticket of version 1.1.
const FORM_MAX: usize = 4096;

/// A boxed future.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A session that accepted message 1: run with the carrier, it lasts until the session ends.
pub type Tunnel = Box<dyn FnOnce(Box<dyn Carrier>) -> BoxFuture + Send>;

/// Opens sessions behind a web site.
pub trait SessionGate: Send + Sync + 'static {
    /// The node's key, for which clients make tickets.
    fn key(&self) -> &PublicKey;

    /// Reserves a place for a handshake on a connection from `from` while its message 1 is awaited; dropping it frees the
    /// place. `None` if the maximum number is under way.
    fn begin(&self, from: SocketAddr) -> Option<Box<dyn Send>> {
        let _ = from;
        Some(Box::new(()))
    }

    /// Tries message 1 of the request whose ticket has this label; `None` if it does not open, or no session is wanted.
    fn open(
        &self,
        ekm0: &[u8; 32],
        label: &str,
        message1: &[u8],
        from: SocketAddr,
    ) -> Option<Tunnel>;

    /// How requests carry tickets of version 1.1; `None` if these are not accepted (profile chapter 9).
    fn reads11(&self) -> Option<&Reading> {
        None
    }

    /// Tries a ticket of version 1.1 that a request of the same connection, from this address, carried; `None` if it is not
    /// valid.
    fn open11(&self, ticket: &str, from: SocketAddr) -> Option<Tunnel> {
        let _ = (ticket, from);
        None
    }
}

/// Timeouts and limits of a web site.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Timeout of the TLS handshake.
    pub tls: Duration,
    /// Timeout of a request's head.
    pub head: Duration,
    /// Timeout of message 1 after a valid ticket.
    pub message: Duration,
    /// Timeout between two pieces of a forwarded body.
    pub post: Duration,
    /// Time within which 4 KiB of an answer, or of a connection's output, must leave.
    pub send: Duration,
    /// Lifetime of a connection without requests.
    pub idle: Duration,
    /// Maximum number of concurrent requests on one connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tls: Duration::from_secs(60),
            head: Duration::from_secs(60),
            message: Duration::from_secs(10),
            post: Duration::from_secs(60),
            send: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            streams: 128,
        }
    }
}

/// Counters of a web site.
#[derive(Debug, Default)]
pub struct Stats {
    /// Number of failed TLS handshakes.
    pub tls_failed: AtomicU64,
    /// Number of requests that the cover site answered.
    pub covered: AtomicU64,
    /// Number of POSTs with an invalid `bn-ticket` (L2_TICKET_INVALID).
    pub tickets_refused: AtomicU64,
    /// Number of POSTs with a valid ticket whose message 1 did not open.
    pub handshakes_refused: AtomicU64,
    /// Number of tunnels opened.
    pub tunnels: AtomicU64,
    /// Answer bytes that were read and not yet sent; over HTTP/3, not yet accepted by QUIC.
    pub unsent: Arc<AtomicU64>,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// TLS 1.3 only, without early data: for QUIC, and for capturing browsers.
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

/// A ticket that is valid for no connection, with the key for which it is made.
fn stand_in() -> Result<(Ticket, PublicKey), Error> {
    let key = *Identity::from_seed(&[0; 32]).public();
    let ticket =
        Ticket::new(&[0; 32], &key, "000000000000000000000000").map_err(|_| Error::Export)?;
    Ok((ticket, key))
}

/// A web site, with or without a gate behind it.
pub struct Site {
    pub(crate) look: Look,
    /// The same certificate for QUIC.
    pub(crate) quic: Arc<ServerConfig>,
    pub(crate) cover: Cover,
    gate: Option<Arc<dyn SessionGate>>,
    /// A gate without entry: its work is done for equal timing, and the result is dropped.
    closed: Option<Arc<dyn SessionGate>>,
    pub(crate) limits: Limits,
    pub(crate) jitter: Option<Arc<Jitter>>,
    pub(crate) stats: Stats,
    pub(crate) http2: Http2Look,
    /// The ticket and key to check when a request has none, or no gate exists.
    stand_in: (Ticket, PublicKey),
}

impl Site {
    /// A web site that shows `cover`. Without a gate it opens no sessions.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(
        certificate: Arc<CertSource>,
        cover: Cover,
        gate: Option<Arc<dyn SessionGate>>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let look = Look::new(&certificate)?;
        let mut quic = tls_config(certificate)?;
        quic.alpn_protocols = vec![b"h3".to_vec()];
        Ok(Self {
            quic: Arc::new(quic),
            look,
            cover,
            gate,
            closed: None,
            limits,
            jitter: None,
            stats: Stats::default(),
            http2: Http2Look::nginx(),
            stand_in: stand_in()?,
        })
    }

    /// Delays its output over TCP by drawn times, except for tunnels that follow a shape, whose times already include jitter.
    #[must_use]
    pub fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = Some(Arc::new(jitter));
        self
    }

    /// Makes a site without sessions take as long for its answers as one with this gate.
    #[must_use]
    pub fn with_pace_of(mut self, gate: Arc<dyn SessionGate>) -> Self {
        self.closed = Some(gate);
        self
    }

    /// Sets its first HTTP/2 frames.
    #[must_use]
    pub fn with_http2_look(mut self, http2: Http2Look) -> Self {
        self.http2 = http2;
        self
    }

    /// Whether the site forwards bodies.
    pub(crate) const fn hands_on(&self) -> bool {
        self.cover.hands_on()
    }

    /// The site's counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Takes a request and returns the cover site's answer, or the tunnel that it opens if the connection can carry one.
    /// `empty` means that no body follows.
    ///
    /// A POST is decided here by its header section. Its body matters only after a valid ticket.
    pub(crate) async fn take<S: Incoming>(
        &self,
        one: Option<&OneConnection>,
        parts: Parts,
        mut source: S,
        empty: bool,
    ) -> Taken<S> {
        let mut read = Read {
            bytes: Bytes::new(),
            ended: empty,
        };
        if let Some(one) = one {
            self.note11(one, &parts);
            if parts.method == Method::POST {
                match self.decide(one, &parts, empty) {
                    Decided::Ticket(label) => {
                        match self.gate.as_ref().and_then(|g| g.begin(one.peer)) {
                            Some(place) => {
                                read = read_message(self.limits.message, &mut source, empty).await;
                                drop(place);
                                if let Some((tunnel, rest)) = self.open(one, &label, &read.bytes) {
                                    return Taken::Tunnel(tunnel, rest, source, true);
                                }
                            }
                            None => count(&self.stats.handshakes_refused),
                        }
                    }
                    Decided::Leg(tunnel) => {
                        count(&self.stats.tunnels);
                        return Taken::Tunnel(tunnel, Bytes::new(), source, false);
                    }
                    Decided::Site if is_form(&parts) && self.reads11() => {
                        read = read_ready(&mut source, empty);
                        if read.ended {
                            self.note_form(one);
                            *lock(&one.form) = Some(read.bytes.clone());
                        }
                    }
                    Decided::Site => {}
                }
            } else {
                self.look11("", one.peer);
            }
        }
        count(&self.stats.covered);
        let body = self.body(read, source);
        let came = parts.extensions.get::<Came>().copied();
        Taken::Answer(self.cover.answer(parts, came, body).await)
    }

    /// Classifies a POST by its header section alone. The work is the same for each: one `tok`, and, where legs of version 1.1
    /// are accepted, one check of a ticket of theirs. Every request of any method gets that check, because it takes longer than
    /// the rest of an answer.
    fn decide(&self, one: &OneConnection, parts: &Parts, empty: bool) -> Decided {
        let mut fields = parts.headers.get_all(FIELD).iter();
        let (field, more) = (fields.next(), fields.next());
        let alone = field.filter(|_| more.is_none());
        let ticket = alone.and_then(|f| Ticket::parse(f.to_str().ok()?).ok());
        let key = self.gate.as_ref().map_or(&self.stand_in.1, |g| g.key());
        let right = ticket
            .as_ref()
            .unwrap_or(&self.stand_in.0)
            .verify(&one.ekm0, key);
        let leg = self.decide11(one, parts, empty);
        match ticket {
            // Only labels of valid tickets are remembered: a visitor without one can observe no trace of it.
            Some(ticket) if right && self.gate.is_some() && one.first_use(ticket.label()) => {
                Decided::Ticket(ticket.label().into())
            }
            _ => {
                if field.is_some() && self.gate.is_some() {
                    count(&self.stats.tickets_refused);
                    tracing::debug!(code = %betanet_wire::Code::L2_TICKET_INVALID, "ticket refused");
                }
                leg.map_or(Decided::Site, Decided::Leg)
            }
        }
    }

    /// Whether a POST is the leg of version 1.1 for which an earlier or this request's ticket asked. A form never is.
    fn decide11(&self, one: &OneConnection, parts: &Parts, empty: bool) -> Option<Tunnel> {
        if self.reads11() {
            self.note_form(one);
        }
        let may_be = !empty && !is_form(parts);
        let ticket = may_be.then(|| lock(&one.ticket11).take()).flatten();
        // A text that is not formed like a ticket takes the same work.
        let tunnel = self.look11(ticket.as_deref().unwrap_or_default(), one.peer);
        if tunnel.is_none() && ticket.is_some() {
            count(&self.stats.tickets_refused);
        }
        tunnel
    }

    /// Checks a ticket of version 1.1, if these are accepted.
    fn look11(&self, ticket: &str, from: SocketAddr) -> Option<Tunnel> {
        let gate = self.gate.as_ref().or(self.closed.as_ref())?;
        gate.reads11()?;
        let ticket = if self.gate.is_some() { ticket } else { "" };
        let tunnel = gate.open11(ticket, from);
        tunnel.filter(|_| self.gate.is_some())
    }

    /// Tries message 1 at the start of a body; bytes read beyond it are returned with the tunnel.
    fn open(&self, one: &OneConnection, label: &str, body: &Bytes) -> Option<(Tunnel, Bytes)> {
        let gate = self.gate.as_ref()?;
        let message = split_message(body);
        let tunnel = message.and_then(|(m, _)| gate.open(&one.ekm0, label, m, one.peer));
        let (Some(tunnel), Some((message, _))) = (tunnel, message) else {
            count(&self.stats.handshakes_refused);
            return None;
        };
        count(&self.stats.tunnels);
        Some((tunnel, body.slice(2 + message.len()..)))
    }

    /// The head of the answer that becomes a tunnel.
    pub(crate) fn tunnel_head(&self) -> Response<()> {
        let mut head = Response::new(());
        self.cover.date(head.headers_mut());
        head
    }

    /// A request's body: the part already read, then the rest as it arrives.
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

    fn reads11(&self) -> bool {
        self.gate.as_ref().is_some_and(|g| g.reads11().is_some())
    }

    /// Keeps a ticket of version 1.1 for the next POST that begins a body, which verifies it; the request that carried it is
    /// answered like any other. Requests are searched even if none is accepted: half a microsecond would distinguish such a
    /// site.
    fn note11(&self, one: &OneConnection, parts: &Parts) {
        let cookies = parts.headers.get_all(header::COOKIE).iter();
        let cookies = cookies.filter_map(|c| c.to_str().ok());
        self.keep11(one, cookies, parts.uri.query(), None);
    }

    /// The same for a form that arrived with its header section: once it is answered, or before the next POST is decided,
    /// whichever is first.
    pub(crate) fn note_form(&self, one: &OneConnection) {
        let form = lock(&one.form).take();
        if let Some(form) = form {
            self.keep11(one, std::iter::empty(), None, Some(&form));
        }
    }

    fn keep11<'a>(
        &self,
        one: &OneConnection,
        cookies: impl Iterator<Item = &'a str>,
        query: Option<&'a str>,
        form: Option<&'a [u8]>,
    ) {
        let reads = self.gate.as_ref().and_then(|g| g.reads11());
        let reading = reads.unwrap_or(&Reading::PROFILE);
        if let Some(ticket) = carried(reading, cookies, query, form)
            && reads.is_some()
        {
            *lock(&one.ticket11) = Some(ticket.into());
        }
    }
}

/// Classification of a POST by its header section.
enum Decided {
    /// A valid ticket with this label: message 1 is awaited.
    Ticket(Box<str>),
    /// A leg of version 1.1.
    Leg(Tunnel),
    /// A request for the cover site.
    Site,
}

fn is_form(parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|k| k.as_bytes().starts_with(FORM))
}

/// State of one TLS or QUIC connection.
pub(crate) struct OneConnection {
    ekm0: Zeroizing<[u8; 32]>,
    peer: SocketAddr,
    labels: Mutex<Vec<Box<str>>>,
    /// A received ticket of version 1.1 that is not yet checked.
    ticket11: Mutex<Option<Box<str>>>,
    /// A received form that is not yet searched for a ticket.
    form: Mutex<Option<Bytes>>,
}

/// Lengths of message 1, without and with an ML-KEM-768 key.
const MESSAGE1: [usize; 2] = [48, 48 + 1184];

/// Prefix of a form's media type.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Maximum number of labels remembered for one connection; a client uses one.
const LABELS_MAX: usize = 128;

impl OneConnection {
    pub(crate) fn new(ekm0: Zeroizing<[u8; 32]>, peer: SocketAddr) -> Self {
        Self {
            ekm0,
            peer,
            labels: Mutex::default(),
            ticket11: Mutex::default(),
            form: Mutex::default(),
        }
    }

    /// Whether a received form is not yet searched for a ticket.
    pub(crate) fn has_form(&self) -> bool {
        lock(&self.form).is_some()
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

/// Whether the bytes may begin message 1, which has one of two lengths.
fn message_may_come(body: &[u8]) -> bool {
    let len = body.split_first_chunk::<2>();
    len.is_none_or(|(len, rest)| {
        let len = usize::from(u16::from_be_bytes(*len));
        MESSAGE1.contains(&len) && rest.len() < len
    })
}

/// Splits `u16 length || message || rest`.
fn split_message(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = body.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// An incoming request body.
pub(crate) trait Incoming: Send + 'static {
    /// The next bytes; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Option<io::Result<Bytes>>> + Send;
}

/// Outcome of a request.
pub(crate) enum Taken<S> {
    /// A tunnel, the bytes read beyond message 1, its source, and whether message 2 follows the answer's head at once.
    Tunnel(Tunnel, Bytes, S, bool),
    /// The cover site's answer; call [`Site::note_form`] once it was sent.
    Answer(Response<Body>),
}

/// The part of a body that was read.
struct Read {
    bytes: Bytes,
    /// Whether the body is complete.
    ended: bool,
}

/// Reads a body up to the end of message 1, or less if no message 1 can come of it.
async fn read_message<S: Incoming>(limit: Duration, source: &mut S, ended: bool) -> Read {
    let deadline = Instant::now() + limit;
    let mut body = BytesMut::new();
    let mut ended = ended;
    while !ended && message_may_come(&body) {
        match timeout_at(deadline, source.next()).await {
            Ok(Some(Ok(bytes))) => body.extend_from_slice(&bytes),
            Ok(None) => ended = true,
            // The later reader gets the same error from a broken body.
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    Read {
        bytes: body.freeze(),
        ended,
    }
}

/// Reads the bytes of a form that have arrived, without waiting.
fn read_ready<S: Incoming>(source: &mut S, ended: bool) -> Read {
    let mut body = BytesMut::new();
    let mut ended = ended;
    while !ended && body.len() < FORM_MAX {
        match source.next().now_or_never() {
            Some(Some(Ok(bytes))) => body.extend_from_slice(&bytes),
            Some(None) => ended = true,
            Some(Some(Err(_))) | None => break,
        }
    }
    Read {
        bytes: body.freeze(),
        ended,
    }
}

#[cfg(test)]
mod tests;
