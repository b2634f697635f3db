use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h3::ConnectionState as _;
use http::Request;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{ClientConfig, ConnectionError, Endpoint, EndpointConfig, TransportErrorCode};
use rustls::pki_types::CertificateDer;
use tokio_rustls::rustls;

use super::tunnel::{Answer, H3Tunnel, Side, export};
use super::{NO_ERROR, client_transport};
use crate::client::{Facts, Trust};
use crate::verify::{Mismatch, tls_config};
use crate::{BoxedCarrier, Error, Quic, SecuredQuic, Visited};

/// TLS alerts that reject a certificate (RFC 8446 §6.2).
const CERTIFICATE_ALERTS: std::ops::RangeInclusive<u64> = 42..=48;

/// Connects over QUIC with rustls, whose fingerprint is its own.
pub(crate) async fn handshake(
    to: SocketAddr,
    from: Option<IpAddr>,
    host: &str,
    trust: &Trust,
) -> Result<SecuredQuic, Error> {
    let mismatch = Mismatch::default();
    let mut config = tls_config(trust, &mismatch)?;
    config.alpn_protocols = vec![b"h3".to_vec()];
    let suite = || Error::Pem("QUIC cannot be configured");
    let crypto = QuicClientConfig::try_from(config).map_err(|_| suite())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(client_transport());
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = from.filter(|f| f.is_ipv4() == to.is_ipv4()).unwrap_or(any);
    // A separate socket for each connection, as browsers do it.
    let socket = std::net::UdpSocket::bind((from, 0)).map_err(Error::Connect)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint =
        Endpoint::new(EndpointConfig::default(), None, socket, runtime).map_err(Error::Connect)?;
    let connecting = endpoint.connect_with(config, to, host);
    let connection = connecting.map_err(|_| Error::Host)?.await;
    let connection = connection.map_err(|e| {
        let refused = match &e {
            ConnectionError::TransportError(t) => {
                let alert = u64::from(t.code).checked_sub(TransportErrorCode::crypto(0).into());
                alert.is_some_and(|a| CERTIFICATE_ALERTS.contains(&a))
            }
            _ => false,
        };
        match (mismatch.seen(), refused) {
            (true, _) => Error::Pin,
            (_, true) => Error::Certificate(std::io::Error::other(e)),
            _ => Error::Quic(std::io::Error::other(e)),
        }
    })?;
    let facts = facts(&connection)?;
    Ok(SecuredQuic {
        quic: Box::new(Connected(connection)),
        facts,
    })
}

fn facts(connection: &quinn::Connection) -> Result<Facts, Error> {
    let shown = connection.peer_identity().and_then(|p| p.downcast().ok());
    let shown: Option<Box<Vec<CertificateDer<'static>>>> = shown;
    let certificate = shown
        .as_ref()
        .and_then(|c| c.first())
        .ok_or(Error::Pem("no certificate was shown"))?;
    let data = connection.handshake_data().and_then(|d| d.downcast().ok());
    let data: Option<Box<HandshakeData>> = data;
    Ok(Facts {
        version: "QUICv1".into(),
        // Quinn exposes neither suite nor group.
        suite: String::new(),
        group: String::new(),
        alpn: data
            .and_then(|d| d.protocol)
            .map_or_else(String::new, |p| String::from_utf8_lossy(&p).into_owned()),
        pin: crate::pin_of(certificate)?,
        instead: None,
        held: Duration::ZERO,
    })
}

struct Connected(quinn::Connection);

impl Quic for Connected {
    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        export(&self.0, label, context, out)
    }

    fn open(self: Box<Self>, request: Request<()>) -> BoxedCarrier {
        Box::pin(async move {
            let quic = h3_quinn::Connection::new(self.0.clone());
            let (mut connection, mut requests) = h3::client::builder()
                .max_field_section_size(262_144)
                .build::<_, _, Bytes>(quic)
                .await?;
            let stream = requests.send_request(request).await?;
            let (outgoing, mut incoming) = stream.split();
            let answer: Answer = Box::pin(async move {
                let head = incoming.recv_response().await?;
                Ok((head.status(), Box::new(incoming) as _))
            });
            let side = Side::Client {
                drive: Box::new(move |cx| connection.poll_close(cx).map(Error::from)),
                leaving: Box::new(move || requests.is_closing()),
                told: false,
                closing: None,
            };
            let tunnel = H3Tunnel::client(self.0, answer, Box::new(outgoing), side);
            Ok(Box::new(tunnel) as _)
        })
    }

    fn visit(self: Box<Self>, request: Request<()>) -> Visited {
        Box::pin(async move {
            let quic = h3_quinn::Connection::new(self.0.clone());
            let (mut connection, mut requests) =
                h3::client::builder().build::<_, _, Bytes>(quic).await?;
            let asked = async {
                let mut stream = requests.send_request(request).await?;
                // A server that has already answered may have asked to stop sending.
                let _ = stream.finish().await;
                Ok::<_, Error>(stream.recv_response().await?)
            };
            let answer = tokio::select! {
                answer = asked => answer?,
                error = connection.wait_idle() => return Err(error.into()),
            };
            self.0.close(NO_ERROR, b"");
            Ok(answer)
        })
    }
}
