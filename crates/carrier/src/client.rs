//! The client side: TLS or QUIC, the certificate check, HTTP, and the request that becomes a tunnel.

use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_compat11::Reading;
use betanet_htx::ticket::{EXPORTER_CONTEXT, FIELD, Ticket};
use betanet_keys::{Address, Host, PublicKey};
use bytes::Bytes;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::rustls;
use zeroize::Zeroizing;

use crate::shared::Shared;
use crate::tunnel::H2Tunnel;
use crate::watch::Watch;
use crate::web_pki::web_pki_verifier;
use crate::{
    Carrier, Error, Fingerprint, Quic, Roots, Secure, Secured, SecuredQuic, ToQuic, exported,
};

/// Timeout of TCP, TLS and HTTP/2 setup together.
const SETUP: Duration = Duration::from_secs(10);
/// Interval of HTTP/2 PINGs on an idle tunnel, unless a template sets another.
const PING: Duration = Duration::from_secs(30);

/// A client's certificate check.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The SHA-256 of the certificate's SPKI.
    Pin([u8; 32]),
    /// Web PKI for the host name with these roots.
    WebPki(Roots),
    /// Accepts any certificate: for inspecting a listener, never for a session.
    Anything,
}

impl Trust {
    /// Web PKI with Mozilla's roots.
    #[must_use]
    pub fn web_pki() -> Self {
        Self::WebPki(Roots::mozilla())
    }

    /// Web PKI with the certificates of a PEM file as roots, instead of Mozilla's.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no usable root certificate.
    pub fn roots_of(file: &std::path::Path) -> Result<Self, Error> {
        Roots::read(file).map(Self::WebPki)
    }

    /// Checks whether a listener's certificates, in DER, are trusted for `host`: its own first, then the chain to a root. TLS
    /// itself verifies possession of the first one's key.
    ///
    /// # Errors
    ///
    /// [`Error::Pin`], [`Error::Certificate`], [`Error::Host`], or [`Error::Pem`] if there is no certificate.
    pub fn check<C: AsRef<[u8]>>(&self, shown: &[C], host: &str) -> Result<(), Error> {
        let shown: Vec<CertificateDer<'_>> = shown
            .iter()
            .map(|c| CertificateDer::from(c.as_ref()))
            .collect();
        let (own, between) = shown
            .split_first()
            .ok_or(Error::Pem("no certificate was shown"))?;
        match self {
            Self::Anything => Ok(()),
            Self::Pin(pin) if betanet_keys::same(pin, &crate::pin_of(own)?) => Ok(()),
            Self::Pin(_) => Err(Error::Pin),
            Self::WebPki(roots) => {
                let name = ServerName::try_from(host).map_err(|_| Error::Host)?;
                let bad = |e: rustls::Error| Error::Certificate(std::io::Error::other(e));
                let verifier = web_pki_verifier(roots.store())?;
                verifier
                    .verify_server_cert(own, between, &name, &[], UnixTime::now())
                    .map(|_| ())
                    .map_err(bad)
            }
        }
    }
}

/// Properties of an outer connection. The default means that nothing is known.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `TLSv1_3`, or `QUICv1`.
    pub version: String,
    /// The cipher suite; empty if unknown.
    pub suite: String,
    /// The key exchange group; empty if unknown.
    pub group: String,
    /// The protocol that ALPN selected.
    pub alpn: String,
    /// The SHA-256 of the certificate's SPKI.
    pub pin: [u8; 32],
    /// Reason for using TCP although QUIC was tried first.
    pub instead: Option<String>,
    /// Delay of the first request after the handshake.
    pub held: Duration,
}

/// An outer connection with a checked certificate, before its first request.
pub struct Outer {
    over: Over,
    host: Host,
    facts: Facts,
    ekm0: Zeroizing<[u8; 32]>,
    ping: Duration,
    watch: Option<Watch>,
}

pub(crate) enum Over {
    Tcp(Shared<Box<dyn Secure>>),
    Quic(Box<dyn Quic>),
}

/// Addresses of an outer connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// Resolved address of the host name; `None` lets the system resolve it.
    pub at: Option<IpAddr>,
    /// Local address to connect from; `None` lets the system choose.
    pub from: Option<IpAddr>,
}

/// Connects to `host:port` with the fingerprint `shape`, and checks the certificate for `host`.
///
/// # Errors
///
/// The connection or the check failed; no HTTP byte was sent.
pub async fn connect(
    address: &str,
    trust: &Trust,
    way: Way,
    shape: &dyn Fingerprint,
) -> Result<Outer, Error> {
    match tokio::time::timeout(SETUP, connect_unbounded(address, trust, way, shape)).await {
        Ok(done) => done,
        Err(_) => Err(Error::Timeout(SETUP.as_secs())),
    }
}

async fn resolve(address: &Address, way: Way) -> std::io::Result<Vec<SocketAddr>> {
    Ok(match (way.at, &address.host) {
        (Some(ip), _) => vec![(ip, address.port).into()],
        (None, Host::Ip(ip)) => vec![(*ip, address.port).into()],
        (None, Host::Name(name)) => {
            let found = tokio::net::lookup_host((name.as_str(), address.port)).await?;
            found.collect()
        }
    })
}

async fn reach(address: &Address, way: Way) -> std::io::Result<TcpStream> {
    let mut last = std::io::ErrorKind::NotFound.into();
    for to in resolve(address, way).await? {
        let socket = match to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(from) = way.from.filter(|f| f.is_ipv4() == to.is_ipv4()) {
            socket.bind((from, 0).into())?;
        }
        match socket.connect(to).await {
            Ok(tcp) => return Ok(tcp),
            Err(e) => last = e,
        }
    }
    Err(last)
}

async fn connect_unbounded(
    address: &str,
    trust: &Trust,
    way: Way,
    shape: &dyn Fingerprint,
) -> Result<Outer, Error> {
    let address = Address::dialled(address)?;
    let host = address.host.bare();
    let tcp = reach(&address, way).await.map_err(Error::Connect)?;
    crate::tuned(&tcp);
    let Secured { tls, facts } = shape.handshake(tcp, &host, trust).await?;
    Ok(Outer {
        facts,
        ekm0: exported(|label, out| tls.export_as(label, EXPORTER_CONTEXT, out))?,
        over: Over::Tcp(Shared::new(tls)),
        host: address.host,
        ping: PING,
        watch: None,
    })
}

/// Connects to `host:port` over QUIC with the fingerprint `shape`, and checks the certificate for `host`.
///
/// # Errors
///
/// The connection or the check failed; no HTTP byte was sent.
pub async fn connect_quic(
    address: &str,
    trust: &Trust,
    way: Way,
    shape: &dyn Fingerprint,
) -> Result<Outer, Error> {
    let connected = async {
        let address = Address::dialled(address)?;
        let host = address.host.bare();
        let mut last = Error::Connect(std::io::ErrorKind::NotFound.into());
        for to in resolve(&address, way).await.map_err(Error::Connect)? {
            let to = ToQuic {
                to,
                from: way.from,
                host: &host,
                trust,
            };
            match shape.quic(to).await {
                Ok(SecuredQuic { quic, facts }) => {
                    return Ok(Outer {
                        facts,
                        ekm0: exported(|label, out| quic.export_as(label, EXPORTER_CONTEXT, out))?,
                        over: Over::Quic(quic),
                        host: address.host,
                        ping: PING,
                        watch: None,
                    });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    };
    match tokio::time::timeout(SETUP, connected).await {
        Ok(done) => done,
        Err(_) => Err(Error::Timeout(SETUP.as_secs())),
    }
}

/// Time that QUIC still has after TCP has failed.
const AFTER_TCP: Duration = Duration::from_secs(2);

/// Connects over QUIC, and also over TCP once `head_start` has passed without a connection (as RFC 8305 does for addresses).
/// The first connection wins, and the other is dropped; they share no data. TCP's [`Facts::instead`] gives the reason why QUIC
/// was not used.
///
/// # Errors
///
/// Both failed; this is TCP's error.
pub async fn race(
    quic: &str,
    tcp: &str,
    trust: &Trust,
    way: Way,
    shape: &dyn Fingerprint,
    head_start: Duration,
) -> Result<Outer, Error> {
    let start = tokio::time::Instant::now() + head_start;
    let mut over_quic = std::pin::pin!(connect_quic(quic, trust, way, shape));
    let mut why = match tokio::time::timeout_at(start, &mut over_quic).await {
        Ok(Ok(outer)) => return Ok(outer),
        Ok(Err(e)) => Some(e),
        Err(_) => None,
    };
    // Also after a failure: an immediate connection would reveal that both belong together.
    tokio::time::sleep_until(start).await;
    let mut over_tcp = std::pin::pin!(connect(tcp, trust, way, shape));
    loop {
        tokio::select! {
            done = &mut over_quic, if why.is_none() => match done {
                Ok(outer) => return Ok(outer),
                Err(e) => why = Some(e),
            },
            done = &mut over_tcp => match (done, why) {
                (Ok(mut outer), why) => {
                    outer.facts.instead = Some(told(&why.unwrap_or(Error::Late)));
                    return Ok(outer);
                }
                // If TCP is refused, QUIC seldom answers, and TCP's reason is the clearer one.
                (Err(e), None) => {
                    return match tokio::time::timeout(AFTER_TCP, &mut over_quic).await {
                        Ok(Ok(outer)) => Ok(outer),
                        Ok(Err(_)) | Err(_) => Err(e),
                    };
                }
                (Err(e), Some(_)) => return Err(e),
            },
        }
    }
}

/// An error with its causes, as text.
fn told(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

pub(crate) fn h2_builder() -> h2::client::Builder {
    // SETTINGS and window as Chromium sends them.
    let mut builder = h2::client::Builder::new();
    builder
        .header_table_size(65_536)
        .enable_push(false)
        .initial_window_size(6_291_456)
        .max_header_list_size(262_144)
        .initial_connection_window_size(65_535 + 15_663_105)
        .max_send_buffer_size(1 << 20);
    builder
}

impl Outer {
    /// Properties of the connection.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The exporter value for epoch 0.
    #[must_use]
    pub fn ekm0(&self) -> &[u8; 32] {
        &self.ekm0
    }

    pub(crate) fn into_parts(self) -> (Over, Host, Facts) {
        (self.over, self.host, self.facts)
    }

    /// Sets the interval of HTTP/2 PINGs for the tunnel.
    pub const fn pinging(&mut self, every: Duration) {
        self.ping = every;
    }

    /// Records the server's first HTTP/2 frames once the connection carries a tunnel.
    pub fn watched(&mut self) -> Watch {
        self.watch.get_or_insert_with(Watch::new).clone()
    }

    /// Pads the first request's record to this length if the client's fingerprint supports it, and enables cutting of later
    /// records.
    pub fn shaped(&self, first_record: u16) {
        if let Over::Tcp(tls) = &self.over {
            tls.with(|t| t.first_record(first_record));
            tls.cut(&[]);
        }
    }

    /// Sends the POST with its ticket for `responder`; the body carries the session from its first byte. `label` must be fresh
    /// for each call.
    ///
    /// # Errors
    ///
    /// The server selected no HTTP/2, or the connection failed.
    pub async fn open(self, responder: &PublicKey, label: &str) -> Result<Box<dyn Carrier>, Error> {
        let ticket = Ticket::new(&self.ekm0, responder, label).map_err(|_| Error::Export)?;
        self.open_with(FIELD, &ticket.value()).await
    }

    /// Sends a POST with a ticket of version 1.1 in its cookie; the body carries the leg from its first byte.
    ///
    /// # Errors
    ///
    /// The server selected no HTTP/2, or the connection failed.
    pub async fn open11(self, reading: &Reading, ticket: &str) -> Result<Box<dyn Carrier>, Error> {
        let cookie = format!("{}={ticket}", reading.cookie);
        self.open_with(http::header::COOKIE.as_str(), &cookie).await
    }

    async fn open_with(self, field: &str, value: &str) -> Result<Box<dyn Carrier>, Error> {
        let mut value = http::HeaderValue::from_str(value).map_err(|_| Error::Export)?;
        value.set_sensitive(true);
        let request = http::Request::builder()
            .method(http::Method::POST)
            .uri(format!("https://{}/", self.host))
            .header("content-type", "application/octet-stream")
            .header(field, value)
            .body(())
            .map_err(|_| Error::Host)?;
        match (self.over, self.facts.alpn.as_str()) {
            (Over::Tcp(tls), "h2") => match self.watch {
                Some(watch) => open_h2(watch.over(tls.clone()), tls, request, self.ping).await,
                None => open_h2(tls.clone(), tls, request, self.ping).await,
            },
            (Over::Quic(quic), "h3") => quic.open(request).await,
            _ => Err(Error::Alpn),
        }
    }

    /// Sends `GET /` as any visitor would; returns the status, and the `server` field if present.
    ///
    /// # Errors
    ///
    /// The server selected no HTTP/2, or the connection failed.
    pub async fn visit(self) -> Result<(u16, Option<String>), Error> {
        let request = http::Request::get(format!("https://{}/", self.host))
            .body(())
            .map_err(|_| Error::Host)?;
        let answer = match (self.over, self.facts.alpn.as_str()) {
            (Over::Tcp(tls), "h2") => {
                let (mut requests, connection) =
                    h2_builder().handshake::<_, Bytes>(tls.clone()).await?;
                let drive = tokio::spawn(tls.pushed(connection));
                let (response, _) = requests.send_request(request, true)?;
                let answer = response.await?.map(|_| ());
                drive.abort();
                answer
            }
            (Over::Quic(quic), "h3") => quic.visit(request).await?,
            _ => return Err(Error::Alpn),
        };
        let server = answer.headers().get("server");
        let server = server.and_then(|s| s.to_str().ok()).map(str::to_owned);
        Ok((answer.status().as_u16(), server))
    }
}

async fn open_h2<T>(
    stream: T,
    tls: Shared<Box<dyn Secure>>,
    request: http::Request<()>,
    every: Duration,
) -> Result<Box<dyn Carrier>, Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (requests, mut connection) = h2_builder().handshake::<_, Bytes>(stream).await?;
    let mut pings = connection.ping_pong();
    let drive = Box::pin(async move {
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        loop {
            tokio::select! {
                done = &mut connection => return done,
                _ = beat.tick() => if let Some(p) = &mut pings {
                    // The session notices an unanswered PING.
                    let _ = p.send_ping(h2::Ping::opaque());
                },
                _ = futures_util::future::poll_fn(|cx| match &mut pings {
                    Some(p) => p.poll_pong(cx),
                    None => Poll::Pending,
                }) => {}
            }
        }
    });
    // The first request needs no pass over the connection: its head leaves with the SETTINGS, as a browser's does.
    let mut requests = requests.ready().await?;
    let (response, outgoing) = requests.send_request(request, false)?;
    let exporting = tls.clone();
    let exporter = Box::new(move |label: &str, context: &[u8], out: &mut [u8]| {
        exporting.with(|t| t.export_as(label, context, out))
    });
    let records = Box::new(tls.clone());
    let push = Box::new(move |cx: &mut Context<'_>| tls.push(cx));
    Ok(Box::new(H2Tunnel::client(
        response, outgoing, requests, drive, push, exporter, records,
    )))
}
