//! A key schedule with OpenSSL's ticket nonces: 8 bytes, 0 and then 1, where rustls draws 32.

use std::cell::Cell;

use rustls::Error;
use rustls::crypto::tls13::{Hkdf as Inner, HkdfExpander, OkmBlock, OutputLengthError};
use rustls::crypto::{ActiveKeyExchange, hmac};

thread_local! {
    /// Number of this connection's tickets so far; the first is made in the call that derives its secret.
    static TICKETS: Cell<u64> = const { Cell::new(0) };
}

/// Length of a nonce of rustls.
pub(super) const DRAWN: usize = 32;

pub(super) struct Hkdf(&'static dyn Inner);

impl Hkdf {
    pub(super) const fn of(inner: &'static dyn Inner) -> Self {
        Self(inner)
    }
}

impl Inner for Hkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        Box::new(Expander(self.0.extract_from_zero_ikm(salt)))
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        Box::new(Expander(self.0.extract_from_secret(salt, secret)))
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer_pub_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, Error> {
        let inner = self
            .0
            .extract_from_kx_shared_secret(salt, kx, peer_pub_key)?;
        Ok(Box::new(Expander(inner)))
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        Box::new(Expander(self.0.expander_for_okm(okm)))
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> hmac::Tag {
        self.0.hmac_sign(key, message)
    }
}

struct Expander(Box<dyn HkdfExpander>);

/// `info` as it is, or for a ticket with the nonce that is sent; recognized by its label (RFC 8446 §7.1 and §4.6.1).
fn told<O>(info: &[&[u8]], expand: impl FnOnce(&[&[u8]]) -> O) -> O {
    match *info {
        [len, label_len, prefix, b"resumption", _, nonce] if nonce.len() == DRAWN => {
            let n = TICKETS.get();
            TICKETS.set(n.wrapping_add(1));
            expand(&[
                len,
                label_len,
                prefix,
                b"resumption",
                &[8],
                &n.to_be_bytes(),
            ])
        }
        [_, _, _, b"res master", ..] => {
            TICKETS.set(0);
            expand(info)
        }
        _ => expand(info),
    }
}

impl HkdfExpander for Expander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        told(info, |info| self.0.expand_slice(info, output))
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        told(info, |info| self.0.expand_block(info))
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }
}
