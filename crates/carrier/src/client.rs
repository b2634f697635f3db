//! The client's side: TLS, the certificate's check, HTTP/2, and the request that becomes a tunnel.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_htx::ticket::{EXPORTER_CONTEXT, FIELD, Ticket};
use betanet_keys::PublicKey;
use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};
use zeroize::Zeroizing;

use crate::link::Link;
use crate::shared::{Shared, export};
use crate::tunnel::H2Tunnel;
use crate::{Carrier, Error};

/// TCP, TLS and HTTP/2 together.
const SETUP: Duration = Duration::from_secs(15);
/// HTTP/2 PING cadence of an idle tunnel.
const PING: Duration = Duration::from_secs(30);

/// How a client checks the certificate it is shown.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The SHA-256 of the certificate's SPKI.
    Pin([u8; 32]),
    /// Web PKI for the host name, with these roots.
    WebPki(Arc<RootCertStore>),
    /// Anything: for looking at a listener from outside, never for a session.
    Anything,
}

impl Trust {
    /// Web PKI with Mozilla's roots.
    #[must_use]
    pub fn web_pki() -> Self {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        Self::WebPki(Arc::new(roots))
    }
}

/// What the outer connection turned out to be.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `TLSv1_3`.
    pub version: String,
    /// The cipher suite.
    pub suite: String,
    /// The key exchange group.
    pub group: String,
    /// What ALPN selected.
    pub alpn: String,
    /// The SHA-256 of the certificate's SPKI.
    pub pin: [u8; 32],
}

#[derive(Debug)]
struct PinVerifier {
    pin: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
    mismatch: Arc<AtomicBool>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let shown = crate::pin_of(end_entity).map_err(|_| bad())?;
        match self.pin {
            Some(pin) if !betanet_keys::same(&pin, &shown) => {
                self.mismatch.store(true, Ordering::Relaxed);
                Err(rustls::Error::InvalidCertificate(
                    CertificateError::ApplicationVerificationFailure,
                ))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let schemes = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// An outer connection whose certificate was checked, before its first request.
pub struct Outer {
    tls: Shared<TlsStream<Link<TcpStream>>>,
    host: String,
    facts: Facts,
    ekm0: Zeroizing<[u8; 32]>,
}

/// How an outer connection is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Way {
    /// The address that the host name was resolved to; without one the system resolves it.
    pub at: Option<IpAddr>,
    /// The local address to connect from; without one the system chooses.
    pub from: Option<IpAddr>,
}

/// Connects to `host:port`, and checks the certificate for `host`.
///
/// # Errors
///
/// What failed; no HTTP byte was sent.
pub async fn connect(address: &str, trust: &Trust, way: Way) -> Result<Outer, Error> {
    match tokio::time::timeout(SETUP, connect_unbounded(address, trust, way)).await {
        Ok(done) => done,
        Err(_) => Err(Error::Timeout(SETUP.as_secs())),
    }
}

async fn reach(address: &str, way: Way) -> std::io::Result<TcpStream> {
    let (_, port) = address.rsplit_once(':').unwrap_or_default();
    let port = port.parse().map_err(std::io::Error::other)?;
    let to: Vec<SocketAddr> = match way.at {
        Some(ip) => vec![(ip, port).into()],
        None => tokio::net::lookup_host(address).await?.collect(),
    };
    let mut last = std::io::ErrorKind::NotFound.into();
    for to in to {
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

async fn connect_unbounded(address: &str, trust: &Trust, way: Way) -> Result<Outer, Error> {
    let (host, _) = address.rsplit_once(':').ok_or(Error::Host)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| Error::Host)?;
    let mismatch = Arc::new(AtomicBool::new(false));
    let config = tls_config(trust, &mismatch)?;
    let tcp = reach(address, way).await.map_err(Error::Connect)?;
    // Fails on a connection that is gone, which the handshake tells.
    let _ = tcp.set_nodelay(true);
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, Link::new(tcp))
        .await
        .map_err(|e| {
            if mismatch.load(Ordering::Relaxed) {
                return Error::Pin;
            }
            let inner = e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
            if matches!(inner, Some(rustls::Error::InvalidCertificate(_))) {
                Error::Certificate(e)
            } else {
                Error::Tls(e)
            }
        })?;
    Ok(Outer {
        facts: facts(&tls)?,
        ekm0: export(tls.get_ref().1, EXPORTER_CONTEXT)?,
        tls: Shared::new(tls),
        host,
    })
}

fn tls_config(trust: &Trust, mismatch: &Arc<AtomicBool>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| Error::Pem("TLS 1.3 cannot be configured"))?;
    let pinned = |pin| {
        Arc::new(PinVerifier {
            pin,
            provider,
            mismatch: Arc::clone(mismatch),
        })
    };
    let mut config = match trust {
        Trust::WebPki(roots) => builder
            .with_root_certificates(Arc::clone(roots))
            .with_no_client_auth(),
        Trust::Pin(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(pinned(Some(*pin)))
            .with_no_client_auth(),
        Trust::Anything => builder
            .dangerous()
            .with_custom_certificate_verifier(pinned(None))
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Every session is a fresh one: a resumed hello looks different.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn facts(tls: &TlsStream<Link<TcpStream>>) -> Result<Facts, Error> {
    let connection = tls.get_ref().1;
    let certificate = connection
        .peer_certificates()
        .and_then(|c| c.first())
        .ok_or(Error::Pem("no certificate was shown"))?;
    Ok(Facts {
        version: format!("{:?}", connection.protocol_version().ok_or(Error::Gone)?),
        suite: format!(
            "{:?}",
            connection
                .negotiated_cipher_suite()
                .ok_or(Error::Gone)?
                .suite()
        ),
        group: connection
            .negotiated_key_exchange_group()
            .map_or_else(String::new, |g| format!("{:?}", g.name())),
        alpn: String::from_utf8_lossy(connection.alpn_protocol().unwrap_or_default()).into_owned(),
        pin: crate::pin_of(certificate)?,
    })
}

fn builder() -> h2::client::Builder {
    // The SETTINGS and the window that Chromium sends.
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
    /// What the connection is.
    #[must_use]
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The exporter's value for epoch 0.
    #[must_use]
    pub fn ekm0(&self) -> &[u8; 32] {
        &self.ekm0
    }

    /// Sends the POST with its ticket for `responder`; the body is the session's from its first byte. `label` is
    /// fresh for each call.
    ///
    /// # Errors
    ///
    /// The server selected no HTTP/2, or the connection failed.
    pub async fn open(self, responder: &PublicKey, label: &str) -> Result<Box<dyn Carrier>, Error> {
        if self.facts.alpn != "h2" {
            return Err(Error::Alpn);
        }
        let ticket = Ticket::new(&self.ekm0, responder, label).map_err(|_| Error::Export)?;
        let (requests, mut connection) = builder().handshake::<_, Bytes>(self.tls.clone()).await?;
        let mut pings = connection.ping_pong();
        let drive = Box::pin(async move {
            let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
            loop {
                tokio::select! {
                    done = &mut connection => return done,
                    _ = beat.tick() => if let Some(p) = &mut pings {
                        // An unanswered PING is the session's to notice.
                        let _ = p.send_ping(h2::Ping::opaque());
                    },
                    _ = futures_util::future::poll_fn(|cx| match &mut pings {
                        Some(p) => p.poll_pong(cx),
                        None => Poll::Pending,
                    }) => {}
                }
            }
        });
        let mut value = http::HeaderValue::from_str(&ticket.value()).map_err(|_| Error::Export)?;
        value.set_sensitive(true);
        let request = http::Request::builder()
            .method(http::Method::POST)
            .uri(format!("https://{}/", self.host))
            .header("content-type", "application/octet-stream")
            .header(FIELD, value)
            .body(())
            .map_err(|_| Error::Host)?;
        // A connection's first request needs no turn of the connection: its head goes out with the SETTINGS, as a
        // browser's does.
        let mut requests = requests.ready().await?;
        let (response, outgoing) = requests.send_request(request, false)?;
        let tls = self.tls.clone();
        let exporter = Box::new(move |context: &[u8]| tls.with(|t| export(t.get_ref().1, context)));
        let tls = self.tls;
        let push = Box::new(move |cx: &mut Context<'_>| tls.push(cx));
        Ok(Box::new(H2Tunnel::client(
            response, outgoing, requests, drive, push, exporter,
        )))
    }

    /// Sends `GET /` as any visitor would: the status, and the `server` field if there is one.
    ///
    /// # Errors
    ///
    /// The server selected no HTTP/2, or the connection failed.
    pub async fn visit(self) -> Result<(u16, Option<String>), Error> {
        if self.facts.alpn != "h2" {
            return Err(Error::Alpn);
        }
        let (mut requests, connection) = builder().handshake::<_, Bytes>(self.tls.clone()).await?;
        let drive = tokio::spawn(self.tls.pushed(connection));
        let request = http::Request::get(format!("https://{}/", self.host))
            .body(())
            .map_err(|_| Error::Host)?;
        let (response, _) = requests.send_request(request, true)?;
        let answer = response.await?;
        let server = answer.headers().get("server");
        let server = server.and_then(|s| s.to_str().ok()).map(str::to_owned);
        drive.abort();
        Ok((answer.status().as_u16(), server))
    }
}
