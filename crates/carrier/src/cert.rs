use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use zeroize::Zeroizing;

use crate::Error;
use crate::disk::{Readers, read_regular, read_secret, write_new};

/// Bytes of a file of certificates.
const CHAIN_MAX: u64 = 1 << 20;

/// The SHA-256 of the SubjectPublicKeyInfo of a certificate in DER.
///
/// # Errors
///
/// [`Error::Pem`] when it does not parse.
pub fn pin_of(certificate: &[u8]) -> Result<[u8; 32], Error> {
    let certificate = CertificateDer::from(certificate);
    let parsed = webpki::EndEntityCert::try_from(&certificate)
        .map_err(|_| Error::Pem("the certificate does not parse"))?;
    Ok(Sha256::digest(parsed.subject_public_key_info()).into())
}

/// Whether a certificate is its own issuer's, by its names and by its signature: an authority may have the name of what it signs.
fn signs_itself(certificate: &CertificateDer<'_>, parsed: &X509Certificate<'_>) -> bool {
    let Ok(own) = webpki::EndEntityCert::try_from(certificate) else {
        return false;
    };
    let signed = parsed.tbs_certificate.as_ref();
    let signature = &parsed.signature_value.data;
    let algorithms = default_provider().signature_verification_algorithms;
    let mut algorithms = algorithms.all.iter();
    parsed.issuer().as_raw() == parsed.subject().as_raw()
        && algorithms.any(|a| own.verify_signature(*a, signed, signature).is_ok())
}

/// What a certificate says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertFacts {
    /// Whether it is signed by its own key: web PKI does not know it, and clients are told its pin.
    pub self_signed: bool,
    /// The hosts that it is for: names, of which one may begin with `*.`, and IP addresses.
    pub hosts: Vec<String>,
    /// From when on it counts, UNIX seconds.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
}

impl CertFacts {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let bad = Error::Pem("the certificate does not parse");
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
            return Err(bad);
        };
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map_or(&[][..], |n| &n.value.general_names);
        let host = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let ip = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
                Some(ip.ok()?.to_string())
            }
            _ => None,
        };
        Ok(Self {
            self_signed: signs_itself(certificate, &parsed),
            hosts: names.iter().filter_map(host).collect(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }

    /// Whether it counts at a time, UNIX seconds.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub const fn counts_at(&self, unix: i64) -> Result<(), &'static str> {
        if unix < self.not_before {
            Err("it does not count yet")
        } else if unix > self.not_after {
            Err("it has expired")
        } else {
            Ok(())
        }
    }
}

/// A certificate chain and its key, ready for use.
#[derive(Clone, Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    pin: [u8; 32],
    facts: CertFacts,
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File {
        path: path.display().to_string(),
        source,
    }
}

impl Certificate {
    /// Reads a PEM chain and a PEM key; both may stand in one file. The key's file is one that others may not read, but for its
    /// group.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or does not hold what it should.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, Error> {
        let chain_pem = read_regular(chain, CHAIN_MAX).map_err(file_error(chain))?;
        let key_pem = read_secret(key, Readers::Group).map_err(file_error(key))?;
        Self::from_pem(&chain_pem, &key_pem)
    }

    fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| Error::Pem("the chain is not PEM"))?;
        let first = chain
            .first()
            .ok_or(Error::Pem("no certificate in the file"))?;
        let (pin, facts) = (pin_of(first)?, CertFacts::of(first)?);
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| Error::Pem("no private key in the file"))?;
        let key = any_supported_type(&key)
            .map_err(|_| Error::Pem("the private key is of no supported type"))?;
        let certified = CertifiedKey::new(chain, key);
        if matches!(
            certified.keys_match(),
            Err(rustls::Error::InconsistentKeys(
                rustls::InconsistentKeys::KeyMismatch
            ))
        ) {
            return Err(Error::Pem("the key does not fit the certificate"));
        }
        Ok(Self {
            key: Arc::new(certified),
            pin,
            facts,
        })
    }

    /// A fresh self-signed certificate for these host names.
    ///
    /// # Errors
    ///
    /// [`Error::Pem`] for a host name that cannot stand in a certificate.
    pub fn self_signed(hosts: &[String]) -> Result<Self, Error> {
        let pem = make_pem(hosts)?;
        Self::from_pem(pem.as_bytes(), pem.as_bytes())
    }

    /// Reads the certificate that an earlier start left at `path`, or makes a self-signed one and leaves it there
    /// with mode 0600, so that the pin stays.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or does not hold what it should.
    pub fn load_or_create(path: &Path, hosts: &[String]) -> Result<Self, Error> {
        match read_secret(path, Readers::Owner) {
            Ok(pem) => Self::from_pem(&pem, &pem).map_err(|e| {
                let why = format!("{e}: remove the file, and another certificate is made there");
                file_error(path)(io::Error::new(io::ErrorKind::InvalidData, why))
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let pem = make_pem(hosts)?;
                write_new(path, pem.as_bytes()).map_err(file_error(path))?;
                Self::from_pem(pem.as_bytes(), pem.as_bytes())
            }
            Err(e) => Err(file_error(path)(e)),
        }
    }

    /// The SHA-256 of its SPKI.
    #[must_use]
    pub const fn pin(&self) -> &[u8; 32] {
        &self.pin
    }

    /// What it says of itself.
    #[must_use]
    pub const fn facts(&self) -> &CertFacts {
        &self.facts
    }
}

fn make_pem(hosts: &[String]) -> Result<Zeroizing<String>, Error> {
    let made = rcgen::generate_simple_self_signed(hosts)
        .map_err(|_| Error::Pem("a host name cannot stand in a certificate"))?;
    let key = Zeroizing::new(made.signing_key.serialize_pem());
    Ok(Zeroizing::new(made.cert.pem() + &key))
}

#[derive(Debug)]
struct Watched {
    chain: PathBuf,
    key: PathBuf,
}

impl Watched {
    fn stamp(&self) -> Option<(SystemTime, SystemTime)> {
        let modified = |p: &Path| fs::metadata(p).and_then(|m| m.modified()).ok();
        Some((modified(&self.chain)?, modified(&self.key)?))
    }
}

/// Where a listener's certificate comes from; PEM files are read again when they change.
#[derive(Debug)]
pub struct CertSource {
    current: RwLock<Certificate>,
    watched: Option<Watched>,
    stamp: RwLock<Option<(SystemTime, SystemTime)>>,
    /// Why the files cannot be used as they are now.
    problem: RwLock<Option<String>>,
}

fn read<T: Clone>(lock: &RwLock<T>) -> T {
    lock.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write<T>(lock: &RwLock<T>, value: T) {
    *lock.write().unwrap_or_else(PoisonError::into_inner) = value;
}

impl CertSource {
    /// One certificate for good.
    #[must_use]
    pub const fn fixed(certificate: Certificate) -> Self {
        Self {
            current: RwLock::new(certificate),
            watched: None,
            stamp: RwLock::new(None),
            problem: RwLock::new(None),
        }
    }

    /// PEM files, to be looked at by [`CertSource::reload`].
    ///
    /// # Errors
    ///
    /// They cannot be used now.
    pub fn files(chain: &Path, key: &Path) -> Result<Self, Error> {
        let watched = Watched {
            chain: chain.to_owned(),
            key: key.to_owned(),
        };
        let stamp = watched.stamp();
        Ok(Self {
            current: RwLock::new(Certificate::from_pem_files(chain, key)?),
            watched: Some(watched),
            stamp: RwLock::new(stamp),
            problem: RwLock::new(None),
        })
    }

    /// Reads the files again when they changed; whether they did.
    ///
    /// # Errors
    ///
    /// The changed files cannot be used: the certificate stays what it was.
    pub fn reload(&self) -> Result<bool, Error> {
        let Some(watched) = &self.watched else {
            return Ok(false);
        };
        let stamp = watched.stamp();
        if read(&self.stamp) == stamp {
            return Ok(false);
        }
        // Noted first: a file that cannot be used is complained of once, not at every look.
        write(&self.stamp, stamp);
        let fresh = Certificate::from_pem_files(&watched.chain, &watched.key);
        write(&self.problem, fresh.as_ref().err().map(told));
        write(&self.current, fresh?);
        Ok(true)
    }

    /// Why the files cannot be used as they were at the last look, if they cannot.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        read(&self.problem)
    }

    /// What the certificate that is shown now says of itself.
    #[must_use]
    pub fn facts(&self) -> CertFacts {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.facts.clone()
    }

    /// The pin of the certificate that is shown now.
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .pin
    }
}

/// An error and what caused it.
fn told(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl CertSource {
    /// The certificate that is shown now.
    pub(crate) fn current(&self) -> Arc<CertifiedKey> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current.key)
    }
}

impl ResolvesServerCert for CertSource {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
        PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    };

    use super::*;

    fn self_signed(certificate: &rcgen::Certificate) -> bool {
        CertFacts::of(certificate.der()).unwrap().self_signed
    }

    #[test]
    fn a_certificate_is_self_signed_by_every_kind_of_key() {
        for kind in [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ECDSA_P521_SHA512,
            &PKCS_ED25519,
            &PKCS_RSA_SHA256,
        ] {
            let key = KeyPair::generate_for(kind).unwrap();
            let own = CertificateParams::new(["localhost".to_owned()]).unwrap();
            assert!(self_signed(&own.self_signed(&key).unwrap()), "{kind:?}");
        }
    }

    #[test]
    fn what_an_authority_of_its_own_name_signed_is_not_self_signed() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        assert!(self_signed(&authority));
        let issuer = Issuer::new(params, key);
        let own = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&own, &issuer).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf.der()).unwrap();
        assert_eq!(parsed.issuer(), parsed.subject());
        assert!(!self_signed(&leaf));
        // Nor is what names itself and has another signature.
        let mut forged = authority.der().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert!(!CertFacts::of(&forged.into()).unwrap().self_signed);
    }
}
