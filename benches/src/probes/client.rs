//! The TLS that requests are sent in: rustls, which takes any certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use betanet_carrier::testkit::Anybody;
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long an answer is waited for, but for kinds that say otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How long an ending is waited for where it is looked at.
pub(super) const LINGER: Duration = Duration::from_millis(40);

/// A client that offers these versions and protocols, and resumes nothing.
pub(super) fn config(
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::default()))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    config
}

pub(super) async fn tcp(to: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(to).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// Connects, and finishes the handshake of TLS 1.3.
pub(super) async fn connect(to: SocketAddr, config: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let connector = TlsConnector::from(Arc::clone(config));
    let name = "localhost".try_into().unwrap();
    connector.connect(name, tcp(to).await).await.unwrap()
}

/// How a stream of bytes stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    Open,
    /// close_notify within TLS, FIN without TLS.
    Orderly,
    /// FIN within TLS, without close_notify.
    Cut,
    Reset,
    Alert,
}

impl End {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "left open",
            Self::Orderly => "closed",
            Self::Cut => "closed without close_notify",
            Self::Reset => "reset",
            Self::Alert => "alert",
        }
    }
}

/// Reads once, for at most so long; nothing where nothing more comes, and how the stream stands.
pub(super) async fn read(
    from: &mut (impl AsyncRead + Unpin),
    into: &mut Vec<u8>,
    patience: Duration,
) -> Option<End> {
    let mut buf = [0; 16_640];
    match timeout(patience, from.read(&mut buf)).await {
        Err(_) => Some(End::Open),
        Ok(Ok(0)) => Some(End::Orderly),
        Ok(Ok(n)) => {
            into.extend_from_slice(&buf[..n]);
            None
        }
        Ok(Err(e)) => Some(match e.kind() {
            io::ErrorKind::UnexpectedEof => End::Cut,
            io::ErrorKind::InvalidData => End::Alert,
            _ => End::Reset,
        }),
    }
}
