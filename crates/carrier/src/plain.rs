//! A TLS client that imitates no browser: rustls, for builds with cargo alone.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

use crate::client::{Facts, Trust};
use crate::link::Link;
use crate::shared::export;
use crate::verify::{Mismatch, tls_config};
use crate::{Error, Fingerprint, Handshake, QuicHandshake, Secure, Secured, ToQuic};

/// The fingerprint of rustls. An observer can distinguish its ClientHello from every browser's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Fingerprint for Plain {
    fn quic<'a>(&'a self, quic: ToQuic<'a>) -> QuicHandshake<'a> {
        Box::pin(crate::quic::handshake(
            quic.to, quic.from, quic.host, quic.trust,
        ))
    }

    fn handshake<'a>(&'a self, tcp: TcpStream, host: &'a str, trust: &'a Trust) -> Handshake<'a> {
        Box::pin(async move {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Host)?;
            let mismatch = Mismatch::default();
            let mut config = tls_config(trust, &mismatch)?;
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let connector = TlsConnector::from(Arc::new(config));
            let tls = connector.connect(name, Link::new(tcp)).await;
            let tls = tls.map_err(|e| {
                if mismatch.seen() {
                    return Error::Pin;
                }
                let inner = e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
                if matches!(inner, Some(rustls::Error::InvalidCertificate(_))) {
                    Error::Certificate(e)
                } else {
                    Error::Tls(e)
                }
            })?;
            Ok(Secured {
                facts: facts(&tls)?,
                tls: Box::new(tls),
            })
        })
    }
}

impl Secure for TlsStream<Link<TcpStream>> {
    fn hold(&mut self, held: bool) {
        self.get_mut().0.hold(held);
    }

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        export(self.get_ref().1, label, context, out)
    }
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
        instead: None,
        held: Duration::ZERO,
    })
}
