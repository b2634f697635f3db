//! A TLS client that looks like no browser: rustls, for whoever builds with cargo alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

use crate::client::{Facts, Trust};
use crate::link::Link;
use crate::shared::export;
use crate::{Error, Fingerprint, Handshake, QuicHandshake, Secure, Secured, ToQuic};

/// The client shape of rustls. Its ClientHello is nobody's but its own: an observer can tell it from every browser's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

/// Whether a certificate was refused for its key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mismatch(Arc<AtomicBool>);

impl Mismatch {
    pub(crate) fn seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

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

/// Checks names and chains as browsers do.
pub(crate) fn web_pki_verifier(
    roots: &Arc<RootCertStore>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider)
        .build()
        .map_err(|_| Error::Pem("no roots to check certificates with"))
}

#[derive(Debug)]
struct PinVerifier {
    pin: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
    mismatch: Mismatch,
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
                self.mismatch.0.store(true, Ordering::Relaxed);
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

/// A client's TLS, with its check of certificates; ALPN is for the caller to say.
pub(crate) fn tls_config(trust: &Trust, mismatch: &Mismatch) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| Error::Pem("TLS 1.3 cannot be configured"))?;
    let pinned = |pin| {
        Arc::new(PinVerifier {
            pin,
            provider,
            mismatch: mismatch.clone(),
        })
    };
    let mut config = match trust {
        Trust::WebPki(roots) => builder
            .with_root_certificates(Arc::clone(roots.store()))
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
        instead: None,
        held: Duration::ZERO,
    })
}
