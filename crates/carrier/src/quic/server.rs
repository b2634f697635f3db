//! The server side over QUIC: HTTP/3.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use betanet_htx::ticket::EXPORTER_CONTEXT;
use bytes::{Buf as _, Bytes};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::{Method, Response, header};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, ServerConfig, VarInt};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use super::streams::{Counted, CountedStream, Ledger};
use super::tunnel::{H3Tunnel, ServerRecv, ServerSend, Useful, export};
use super::{NO_ERROR, SEND_WINDOW, TUNNEL_WINDOW, transport};
use crate::came::Came;
use crate::cover::Body;
use crate::frames::SEND_BUDGET;
use crate::site::{BoxFuture, Incoming, OneConnection, Site, Taken, count};
use crate::unsent::Unsent;
use crate::{Error, Limits, exported};

/// Receive window of a connection before it carries a tunnel.
const WINDOW: u32 = 256 << 10;
/// Maximum number of unidirectional streams: a control stream, QPACK's two, and those that browsers reserve.
const UNIDIRECTIONAL: u32 = 8;

/// Answer bytes of one connection that QUIC holds unacknowledged, and those read before. Together they equal the limit of a
/// connection over TCP.
const ANSWERS_WINDOW: usize = 192 << 10;
const IN_HAND: usize = SEND_BUDGET - ANSWERS_WINDOW;
/// Minimum and maximum number of answer bytes passed on together.
const PIECES: (u32, u32) = (512, 16 << 10);
/// Interval of flood checks, and the excess of useless bytes over an eighth of a connection's bytes.
const LOOK: Duration = Duration::from_secs(10);
const FLOOD: u64 = 1 << 20;

/// Time that the last bytes of a connection have to arrive.
const LINGER: Duration = Duration::from_secs(1);

/// UDP socket of a web site.
pub struct QuicListener {
    endpoint: Endpoint,
}

/// A client that starts a handshake.
pub struct Visitor(quinn::Incoming);

fn config(site: &Site, limits: &Limits) -> Result<ServerConfig, Error> {
    let crypto = QuicServerConfig::try_from(Arc::clone(&site.quic))
        .map_err(|_| Error::Pem("QUIC cannot be configured"))?;
    let mut transport = transport();
    transport
        .receive_window(VarInt::from_u32(WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams))
        .max_concurrent_uni_streams(VarInt::from_u32(UNIDIRECTIONAL));
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport)).migration(true);
    Ok(config)
}

impl QuicListener {
    /// Listens on a bound socket for a site's visitors.
    ///
    /// # Errors
    ///
    /// The socket or TLS cannot be set up.
    pub fn new(site: &Site, socket: UdpSocket) -> Result<Self, Error> {
        let config = config(site, &site.limits)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime);
        let endpoint = endpoint.map_err(Error::Connect)?;
        Ok(Self { endpoint })
    }

    /// The next client; `None` after [`QuicListener::close`].
    pub async fn accept(&self) -> Option<Visitor> {
        self.endpoint.accept().await.map(Visitor)
    }

    /// Closes all connections and waits until the close was sent.
    pub async fn close(&self) {
        self.endpoint.close(NO_ERROR, b"");
        self.endpoint.wait_idle().await;
    }
}

impl Visitor {
    /// The client's apparent address.
    #[must_use]
    pub fn from(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Whether the client's address is validated.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// Requires address validation with a Retry (RFC 9000 §8.1.2).
    pub fn retry(self) {
        // A client that has already been through a Retry is dropped.
        let _ = self.0.retry();
    }

    /// Drops the client without an answer.
    pub fn ignore(self) {
        self.0.ignore();
    }
}

type Connection = h3::server::Connection<Counted<h3_quinn::Connection>, Bytes>;
type Resolver = RequestResolver<Counted<h3_quinn::Connection>, Bytes>;
type Stream = RequestStream<CountedStream<h3_quinn::BidiStream<Bytes>>, Bytes>;
/// A request being answered; it may leave a tunnel.
type Answering = Pin<Box<dyn Future<Output = Option<BoxFuture>> + Send>>;

/// A client with a completed handshake and a validated address.
pub struct Greeted {
    quic: quinn::Connection,
    http: Connection,
    one: Arc<OneConnection>,
    ledger: Arc<Ledger>,
}

impl Visitor {
    /// Runs the handshake; `None` if it fails or times out.
    pub async fn greet(self, site: &Site) -> Option<Greeted> {
        let peer = self.from();
        let greeted = async {
            let quic = self.0.accept().ok()?.await.ok()?;
            quic.set_send_window(ANSWERS_WINDOW as u64);
            let ledger = Ledger::new(quic.clone());
            let http = h3::server::builder()
                .max_field_section_size(16 << 10)
                .build(Counted::new(
                    h3_quinn::Connection::new(quic.clone()),
                    Arc::clone(&ledger),
                ))
                .await
                .ok()?;
            let one = Arc::new(OneConnection::new(
                exported(|label, out| export(&quic, label, EXPORTER_CONTEXT, out)).ok()?,
                peer,
            ));
            Some(Greeted {
                quic,
                http,
                one,
                ledger,
            })
        };
        let greeted = Box::pin(timeout(site.limits.tls, greeted)).await;
        let greeted = greeted.ok().flatten();
        if greeted.is_none() {
            count(&site.stats.tls_failed);
        }
        greeted
    }
}

impl Greeted {
    /// Serves the connection to its end; `shutdown` requests an orderly end. Returns whether it was closed as a flood of
    /// useless bytes.
    pub async fn serve(self, site: Arc<Site>, shutdown: CancellationToken) -> bool {
        let serving = Serving {
            site,
            one: self.one,
            quic: self.quic,
            ledger: self.ledger,
            budget: Arc::new(Semaphore::new(IN_HAND)),
            go_away: Arc::default(),
        };
        serve_h3(serving, self.http, shutdown).await
    }
}

/// State that all requests of a connection share.
#[derive(Clone)]
struct Serving {
    site: Arc<Site>,
    one: Arc<OneConnection>,
    quic: quinn::Connection,
    ledger: Arc<Ledger>,
    /// Remaining part of [`IN_HAND`].
    budget: Arc<Semaphore>,
    go_away: Arc<Notify>,
}

/// Whether less than one byte in eight of a connection's datagrams was useful. All sent bytes count as useful.
fn is_flood(serving: &Serving) -> bool {
    let stats = serving.quic.stats();
    let useful = serving.ledger.useful_bytes() + stats.udp_tx.bytes;
    stats.udp_rx.bytes / 8 > useful + FLOOD
}

async fn serve_h3(serving: Serving, mut http: Connection, shutdown: CancellationToken) -> bool {
    let Serving {
        site,
        quic,
        go_away,
        ..
    } = &serving;
    let mut streams: FuturesUnordered<Answering> = FuturesUnordered::new();
    let (mut leaving, mut told) = (false, false);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(left) = streams.next(), if !streams.is_empty() => if let Some(tunnel) = left {
                streams.push(Box::pin(tunnel.map(|()| None)));
            },
            () = go_away.notified(), if !leaving => leaving = true,
            () = shutdown.cancelled(), if !leaving => leaving = true,
            accepted = http.accept() => match accepted {
                Ok(Some(resolver)) => streams.push(Box::pin(answer(serving.clone(), resolver))),
                Ok(None) | Err(_) => break,
            },
            () = tokio::time::sleep(site.limits.idle), if streams.is_empty() => break,
            _ = looks.tick() => if is_flood(&serving) {
                serving.ledger.give_up();
                return true;
            },
        }
        if leaving && !told {
            told = true;
            // An unresponsive client gets no notice; its answers end in their own time.
            let told = timeout(LINGER, http.shutdown(0)).await;
            if !matches!(told, Ok(Ok(()))) {
                break;
            }
        }
        if leaving && streams.is_empty() {
            break;
        }
    }
    while let Some(left) = streams.next().await {
        if let Some(tunnel) = left {
            tunnel.await;
        }
    }
    // The last bytes must arrive before the connection closes; a client that has them closes itself.
    let _ = timeout(LINGER, quic.closed()).await;
    quic.close(NO_ERROR, b"");
    serving.ledger.is_given_up()
}

/// A request's body over HTTP/3. Dropped early, it stops the peer's sending without an error (RFC 9114 §4.1).
struct Bytes3 {
    stream: Option<RequestStream<ServerRecv, Bytes>>,
    ledger: Arc<Ledger>,
    /// Whether a read is in flight, so that the stream cannot be stopped.
    reading: bool,
}

impl Incoming for Bytes3 {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let stream = self.stream.as_mut()?;
        self.reading = true;
        let data = poll_fn(|cx| stream.poll_recv_data(cx)).await;
        self.reading = false;
        match data {
            Ok(data) => data.map(|mut d| {
                self.ledger.useful(d.remaining());
                Ok(d.copy_to_bytes(d.remaining()))
            }),
            Err(e) => Some(Err(io::Error::other(e))),
        }
    }
}

impl Drop for Bytes3 {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.as_mut().filter(|_| !self.reading) {
            stream.stop_sending(Code::H3_NO_ERROR);
        }
    }
}

async fn answer(serving: Serving, resolver: Resolver) -> Option<BoxFuture> {
    let Serving {
        site,
        one,
        ledger,
        budget,
        ..
    } = &serving;
    let resolved = timeout(site.limits.head, resolver.resolve_request()).await;
    let (request, stream): (_, Stream) = resolved.ok()?.ok()?;
    let (mut outgoing, incoming) = stream.split();
    let (mut parts, ()) = request.into_parts();
    let fields = parts.headers.iter();
    ledger.useful(fields.map(|(k, v)| k.as_str().len() + v.len()).sum());
    let bodiless = matches!(
        parts.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE | Method::TRACE
    );
    let empty = bodiless && !parts.headers.contains_key(header::CONTENT_LENGTH);
    parts.extensions.clear();
    parts.extensions.insert(Came {
        local: None,
        peer: serving.quic.remote_address(),
    });
    let body = Bytes3 {
        stream: Some(incoming),
        ledger: Arc::clone(ledger),
        reading: false,
    };
    match site.take(Some(one), parts, body, empty).await {
        Taken::Tunnel(tunnel, rest, mut body, speaks) => {
            let (incoming, ledger) = (body.stream.take()?, Arc::clone(ledger));
            if speaks {
                ledger.keep(outgoing.send_id());
            }
            outgoing.send_response(site.tunnel_head()).await.ok()?;
            let Serving { quic, go_away, .. } = serving;
            quic.set_receive_window(VarInt::from_u32(TUNNEL_WINDOW));
            quic.set_send_window(SEND_WINDOW);
            let (incoming, outgoing) = (Box::new(Useful(incoming, ledger)), Box::new(outgoing));
            let carrier = H3Tunnel::server(quic, rest, incoming, outgoing, go_away);
            Some(tunnel(Box::new(carrier)))
        }
        Taken::Answer(response) => {
            // An error here means that the visitor left.
            let unsent = Unsent::new(&site.stats.unsent);
            let _ = send((budget, unsent), site.limits.send, response, &mut outgoing).await;
            site.note_form(one);
            None
        }
    }
}

/// Sends an answer. Little of it waits for the client's window: pieces are small until one is accepted at once.
async fn send(
    (budget, mut unsent): (&Semaphore, Unsent),
    limit: Duration,
    response: Response<Body>,
    outgoing: &mut RequestStream<ServerSend, Bytes>,
) -> Result<(), StreamError> {
    let (head, mut body) = response.into_parts();
    let head = Response::from_parts(head, ());
    if timeout(limit, outgoing.send_response(head)).await.is_err() {
        outgoing.stop_stream(Code::H3_REQUEST_CANCELLED);
        return Ok(());
    }
    let mut size = PIECES.0;
    // The piece of an origin's body at hand.
    let mut piece = Bytes::new();
    while !piece.is_empty() || !body.is_empty() {
        let _held = if piece.is_empty() {
            match body.next_within(budget, size).await {
                Ok(Some((bytes, held))) => {
                    piece = bytes;
                    held
                }
                Ok(None) => break,
                Err(_) => {
                    outgoing.stop_stream(Code::H3_INTERNAL_ERROR);
                    return Ok(());
                }
            }
        } else {
            match budget.acquire_many(size).await {
                Ok(held) => held,
                Err(_) => return Ok(()),
            }
        };
        unsent.set(piece.len());
        let part = piece.split_to(piece.len().min(size as usize));
        let mut at_once = true;
        let sent = {
            let mut sending = std::pin::pin!(outgoing.send_data(part));
            match sending.as_mut().now_or_never() {
                Some(done) => Some(done),
                None => {
                    at_once = false;
                    timeout(limit, sending).await.ok()
                }
            }
        };
        let Some(done) = sent else {
            outgoing.stop_stream(Code::H3_REQUEST_CANCELLED);
            return Ok(());
        };
        done?;
        unsent.set(piece.len());
        size = if at_once {
            (2 * size).min(PIECES.1)
        } else {
            PIECES.0
        };
    }
    // The first answer of a connection ends with an extra frame, which also waits for the client's window.
    match timeout(limit, outgoing.finish()).await {
        Ok(done) => done,
        Err(_) => {
            outgoing.stop_stream(Code::H3_REQUEST_CANCELLED);
            Ok(())
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
