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

/// Maximum size of a certificate file, bytes.
const CHAIN_MAX: u64 = 1 << 20;

/// The SHA-256 of the SubjectPublicKeyInfo of a certificate in DER.
///
/// # Errors
///
/// [`Error::Pem`] if the certificate does not parse.
pub fn pin_of(certificate: &[u8]) -> Result<[u8; 32], Error> {
    let certificate = CertificateDer::from(certificate);
    let parsed = webpki::EndEntityCert::try_from(&certificate)
        .map_err(|_| Error::Pem("the certificate does not parse"))?;
    Ok(Sha256::digest(parsed.subject_public_key_info()).into())
}

/// Whether a certificate is self-signed, by names and signature: an authority may share its name with a certificate it signs.
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

/// Facts from a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertFacts {
    /// Whether the certificate is self-signed: web PKI does not know it, and clients need its pin.
    pub self_signed: bool,
    /// Hosts of the certificate: names, of which one may begin with `*.`, and IP addresses.
    pub hosts: Vec<String>,
    /// Start of validity, UNIX seconds.
    pub not_before: i64,
    /// End of validity, UNIX seconds.
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

    /// Whether the certificate is valid at a time in UNIX seconds.
    ///
    /// # Errors
    ///
    /// The certificate is not valid at that time; the text says why.
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

/// A certificate chain and its key.
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
    /// Reads a PEM chain and a PEM key; one file may hold both. The key's file must not be readable by others, except by its
    /// group.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or its content is not a chain or a key.
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

    /// Makes a self-signed certificate for these host names.
    ///
    /// # Errors
    ///
    /// [`Error::Pem`] for a host name that a certificate cannot contain.
    pub fn self_signed(hosts: &[String]) -> Result<Self, Error> {
        let pem = make_pem(hosts)?;
        Self::from_pem(pem.as_bytes(), pem.as_bytes())
    }

    /// Loads the certificate from `path`, or makes a self-signed one and stores it there with mode 0600, so that the pin
    /// persists.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written, or its content is invalid.
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

    /// The SHA-256 of the certificate's SPKI.
    #[must_use]
    pub const fn pin(&self) -> &[u8; 32] {
        &self.pin
    }

    /// Facts from the certificate.
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

/// Source of a listener's certificate; changed PEM files are reloaded.
#[derive(Debug)]
pub struct CertSource {
    current: RwLock<Certificate>,
    watched: Option<Watched>,
    stamp: RwLock<Option<(SystemTime, SystemTime)>>,
    /// Reason why the present files are not usable.
    problem: RwLock<Option<String>>,
}

fn read<T: Clone>(lock: &RwLock<T>) -> T {
    lock.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write<T>(lock: &RwLock<T>, value: T) {
    *lock.write().unwrap_or_else(PoisonError::into_inner) = value;
}

impl CertSource {
    /// A fixed certificate.
    #[must_use]
    pub const fn fixed(certificate: Certificate) -> Self {
        Self {
            current: RwLock::new(certificate),
            watched: None,
            stamp: RwLock::new(None),
            problem: RwLock::new(None),
        }
    }

    /// Certificate from PEM files, reloaded by [`CertSource::reload`].
    ///
    /// # Errors
    ///
    /// The files are not usable now.
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

    /// Reloads the files if they changed; returns whether they did.
    ///
    /// # Errors
    ///
    /// The changed files are not usable; the certificate in use is kept.
    pub fn reload(&self) -> Result<bool, Error> {
        let Some(watched) = &self.watched else {
            return Ok(false);
        };
        let stamp = watched.stamp();
        if read(&self.stamp) == stamp {
            return Ok(false);
        }
        // Stored first, so that an unusable file is reported once, and not at every check.
        write(&self.stamp, stamp);
        let fresh = Certificate::from_pem_files(&watched.chain, &watched.key);
        write(&self.problem, fresh.as_ref().err().map(told));
        write(&self.current, fresh?);
        Ok(true)
    }

    /// Reason why the files were not usable at the last check; `None` if they were.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        read(&self.problem)
    }

    /// Facts from the certificate in use.
    #[must_use]
    pub fn facts(&self) -> CertFacts {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.facts.clone()
    }

    /// Pin of the certificate in use.
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .pin
    }
}

/// An error with its causes, as text.
fn told(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl CertSource {
    /// The certificate in use.
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
        // A certificate that names itself but has another signature is not self-signed either.
        let mut forged = authority.der().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert!(!CertFacts::of(&forged.into()).unwrap().self_signed);
    }
}
