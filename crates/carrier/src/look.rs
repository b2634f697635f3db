//! Gives a listener the TLS fingerprint of Debian 12's nginx with OpenSSL 3.0 in Debian's configuration: versions, ciphers and
//! groups with the side whose order counts, extensions and their order, records, tickets. SECURITY.md lists the features that
//! rustls lacks.
//!
//! Three messages of rustls are rewritten: ServerHello below TLS ([`Outgoing`]), EncryptedExtensions and NewSessionTicket where
//! they are sealed ([`seal`]). The transcript takes in the same bytes ([`hash`]): each end hashes the sent bytes, and a
//! difference would fail the handshake at Finished.

mod expand;
mod hash;
mod hello;
mod outgoing;
mod refuse;
mod seal;
mod tickets;

use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CipherSuiteCommon, CryptoProvider, SupportedKxGroup};
use rustls::{ServerConfig, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite};

pub(crate) use hello::Client;
pub(crate) use outgoing::Outgoing;
pub(crate) use refuse::Refusal;

use crate::{CertSource, Error};

/// Facts of the ServerHello on which later messages depend.
#[derive(Clone, Copy, Debug, Default)]
struct Agreed {
    /// Group of the key share.
    group: u16,
    /// Whether a ticket was accepted.
    resumed: bool,
    /// Whether the client named the server.
    named: bool,
}

thread_local! {
    /// Passed from the transcript to the sealing: rustls derives the keys in the call that has hashed the ServerHello.
    static AGREED: Cell<Agreed> = const { Cell::new(Agreed { group: 0, resumed: false, named: false }) };
}

/// Suites in the order of `ssl_ciphers HIGH:!aNULL:!MD5`, as far as rustls has them.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// OpenSSL's default groups in its order, as far as rustls has them.
const GROUPS: [&dyn SupportedKxGroup; 3] =
    [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// The suites with OpenSSL's transcript, sealing and key schedule. Made once for the life of the process, because rustls
/// requires static suites.
static LOOKING: LazyLock<Vec<SupportedCipherSuite>> =
    LazyLock::new(|| SUITES.iter().map(looking).collect());

fn looking(suite: &SupportedCipherSuite) -> SupportedCipherSuite {
    match *suite {
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: Box::leak(Box::new(expand::Hkdf::of(suite.hkdf_provider))),
                aead_alg: Box::leak(Box::new(seal::Aead::of(suite.aead_alg))),
                quic: None,
            })))
        }
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
            })))
        }
    }
}

fn common(of: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: of.suite,
        hash_provider: Box::leak(Box::new(hash::Transcript::of(of.hash_provider))),
        confidentiality_limit: of.confidentiality_limit,
    }
}

/// A listener's TLS: one configuration per group, since OpenSSL and rustls choose differently among several.
pub(crate) struct Look {
    configs: [Arc<ServerConfig>; GROUPS.len()],
    certificate: Arc<CertSource>,
}

impl Look {
    pub(crate) fn new(certificate: &Arc<CertSource>) -> Result<Self, Error> {
        let base = aws_lc_rs::default_provider();
        let tickets = Arc::new(tickets::Tickets::new(base.secure_random)?);
        let config = |group: &'static dyn SupportedKxGroup| {
            let provider = CryptoProvider {
                cipher_suites: LOOKING.clone(),
                kx_groups: vec![group],
                ..aws_lc_rs::default_provider()
            };
            let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
            let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&versions)
                .map_err(|_| Error::Pem("TLS cannot be configured"))?
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(certificate) as _);
            config.alpn_protocols = refuse::PROTOCOLS.map(<[u8]>::to_vec).into();
            config.ignore_client_order = true;
            config.max_early_data_size = 0;
            config.send_tls13_tickets = 2;
            config.ticketer = Arc::clone(&tickets) as _;
            config.session_storage = Arc::new(tickets::Forgetful);
            Ok::<_, Error>(Arc::new(config))
        };
        let [x25519, p256, p384] = GROUPS;
        Ok(Self {
            configs: [config(x25519)?, config(p256)?, config(p384)?],
            certificate: Arc::clone(certificate),
        })
    }

    /// Configuration for this client. In TLS 1.3 the first usable share counts; without one, and in TLS 1.2, the server's order
    /// counts.
    pub(crate) fn config(&self, client: Option<&Client>) -> Arc<ServerConfig> {
        let of = |group: &u16| GROUPS.iter().position(|g| u16::from(g.name()) == *group);
        let chosen = client.and_then(|client| {
            let named = client.group_set();
            let shared = client.shares.iter().filter(|g| named.contains(g));
            let shared = shared.filter(|_| client.tls13).find_map(of);
            shared.or_else(|| client.groups.iter().filter_map(of).min())
        });
        Arc::clone(&self.configs[chosen.unwrap_or(0)])
    }

    /// Refusal of this client before it is answered, if any.
    pub(crate) fn refuses(&self, client: Option<&Client>) -> Option<Refusal> {
        Refusal::of_hello(client?, &self.certificate.current())
    }
}

#[cfg(test)]
mod tests;
