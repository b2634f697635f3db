//! Root certificates of web PKI.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls;

use crate::{Error, disk};

/// Root certificates. Clones share them.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

impl std::fmt::Debug for Roots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roots({})", self.0.len())
    }
}

impl Roots {
    /// Mozilla's root certificates.
    #[must_use]
    pub fn mozilla() -> Self {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        Self(Arc::new(roots))
    }

    /// Reads the certificates of a PEM file.
    ///
    /// # Errors
    ///
    /// The file cannot be read; otherwise as [`Roots::from_pem`].
    pub fn read(file: &Path) -> Result<Self, Error> {
        let pem = disk::read_bounded(file, disk::TEXT_MAX).map_err(|source| Error::File {
            path: file.display().to_string(),
            source,
        })?;
        Self::from_pem(&pem)
    }

    /// Parses the certificates of a PEM text.
    ///
    /// # Errors
    ///
    /// The text holds no certificate, or one that cannot be a root.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.map_err(|_| Error::Pem("the file of root certificates is not PEM"))?;
            let added = roots.add(certificate);
            added.map_err(|_| Error::Pem("a certificate of the file can be no root"))?;
        }
        if roots.is_empty() {
            return Err(Error::Pem("no certificate in the file of roots"));
        }
        Ok(Self(Arc::new(roots)))
    }

    /// The store in rustls's form.
    pub(crate) const fn store(&self) -> &Arc<RootCertStore> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_usable_root_is_refused() {
        let none = Roots::from_pem(b"").unwrap_err();
        assert!(
            matches!(none, Error::Pem(why) if why.contains("no certificate")),
            "{none:?}"
        );
        let no_root = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_root = Roots::from_pem(no_root).unwrap_err();
        assert!(
            matches!(no_root, Error::Pem(why) if why.contains("no root")),
            "{no_root:?}"
        );
        assert!(Roots::mozilla().store().len() > 50);
    }
}
