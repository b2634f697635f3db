//! Web PKI certificate verification.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls;

use crate::Error;

/// Verifies names and chains as browsers do.
pub(crate) fn web_pki_verifier(
    roots: &Arc<RootCertStore>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider)
        .build()
        .map_err(|_| Error::Pem("no roots to check certificates with"))
}
