//! Bootstrap peers that a network's maintainers vouch for, beside the seeds of its file.

use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_wire::{cbor, message};

use crate::{Addr, SeedPeer};

/// Type of the registry record.
pub const BOOTSTRAP_TYPE: &str = "BootstrapPeer";
/// Most addresses of one record.
const ADDRS_MAX: usize = 8;

message! {
    struct Form<'a> {
        req "exp" exp: u64,
        req "key" key: &'a [u8],
        req "pin" pin: &'a [u8],
        req "seq" seq: u64,
        req "list" list: [u8; 32],
        req "type" ty: &'a str,
        req "addrs" addrs: Vec<&'a str>,
    }
}

/// A peer that nodes ask first, as a registry record describes it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Bootstrap {
    /// The peer; without addresses, it is withdrawn.
    pub peer: SeedPeer,
    /// Sequence number: the highest of a key is valid.
    pub seq: u64,
    /// UNIX milliseconds from which it no longer counts.
    pub exp: u64,
}

/// Reason why a registry record describes no bootstrap peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The record does not decode.
    #[error("the record does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// The record has another type.
    #[error("not a BootstrapPeer record")]
    Kind,
    /// The record's key is no public key, or its pin has another length than 32 bytes.
    #[error("the key is no public key, or the pin is no SHA-256")]
    Key,
    /// More than eight addresses.
    #[error("{0} addresses, where 8 are allowed")]
    Addresses(usize),
}

impl Bootstrap {
    /// Encodes the record, to be signed by the maintainers of the list with this hash.
    #[must_use]
    pub fn record(&self, list: [u8; 32]) -> Vec<u8> {
        let addrs: Vec<String> = self.peer.addrs.iter().map(Addr::to_string).collect();
        cbor::to_vec(&Form {
            exp: self.exp,
            key: self.peer.key.as_bytes(),
            pin: self.peer.pin.as_ref().map_or(&[], |pin| pin),
            seq: self.seq,
            list,
            ty: BOOTSTRAP_TYPE,
            addrs: addrs.iter().map(String::as_str).collect(),
        })
    }

    /// Reads a record. Whether enough maintainers signed it, the caller has checked. Addresses of unknown forms are left out.
    ///
    /// # Errors
    ///
    /// [`BootstrapError`].
    pub fn from_record(record: &[u8]) -> Result<Self, BootstrapError> {
        let form: Form<'_> = cbor::from_slice(record)?;
        if form.ty != BOOTSTRAP_TYPE {
            return Err(BootstrapError::Kind);
        }
        if form.addrs.len() > ADDRS_MAX {
            return Err(BootstrapError::Addresses(form.addrs.len()));
        }
        let key: &[u8; 32] = form.key.try_into().map_err(|_| BootstrapError::Key)?;
        let pin = match form.pin {
            [] => None,
            pin => Some(pin.try_into().map_err(|_| BootstrapError::Key)?),
        };
        Ok(Self {
            peer: SeedPeer {
                key: PublicKey::from_bytes(key).map_err(|_| BootstrapError::Key)?,
                addrs: form.addrs.iter().filter_map(|a| a.parse().ok()).collect(),
                pin,
            },
            seq: form.seq,
            exp: form.exp,
        })
    }

    /// Whether the peer may be asked at this time.
    #[must_use]
    pub const fn counts(&self, unix_ms: u64) -> bool {
        unix_ms < self.exp && !self.peer.addrs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;

    use super::*;

    fn bootstrap() -> Bootstrap {
        Bootstrap {
            peer: SeedPeer {
                key: *Identity::from_seed(&[3; 32]).public(),
                addrs: alloc::vec![
                    "/ip4/192.0.2.1/tcp/443/tls".parse().unwrap(),
                    "/dns4/seed.example/udp/443/quic-v1".parse().unwrap(),
                ],
                pin: Some([7; 32]),
            },
            seq: 5,
            exp: 1_000,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut one = bootstrap();
        assert_eq!(
            Bootstrap::from_record(&one.record([9; 32])),
            Ok(one.clone())
        );
        assert!(one.counts(999) && !one.counts(1_000));
        one.peer.pin = None;
        assert_eq!(
            Bootstrap::from_record(&one.record([9; 32])),
            Ok(one.clone())
        );
        // A withdrawn one.
        one.peer.addrs.clear();
        assert_eq!(
            Bootstrap::from_record(&one.record([9; 32])),
            Ok(one.clone())
        );
        assert!(!one.counts(0));
    }

    #[test]
    fn what_is_no_bootstrap_peer_is_refused() {
        let changed = |change: &dyn Fn(&mut Form<'_>)| {
            let bytes = bootstrap().record([9; 32]);
            let mut form: Form<'_> = cbor::from_slice(&bytes).unwrap();
            change(&mut form);
            Bootstrap::from_record(&cbor::to_vec(&form))
        };
        assert_eq!(changed(&|_| ()), Ok(bootstrap()));
        let error = |change: &dyn Fn(&mut Form<'_>)| changed(change).unwrap_err();
        assert_eq!(error(&|f| f.ty = "MixDirectory"), BootstrapError::Kind);
        assert_eq!(error(&|f| f.key = &[7; 31]), BootstrapError::Key);
        assert_eq!(error(&|f| f.key = &[0xff; 32]), BootstrapError::Key);
        assert_eq!(error(&|f| f.pin = &[7; 33]), BootstrapError::Key);
        let nine = ["/ip4/192.0.2.1/tcp/443/tls"; 9];
        let many = error(&|f| f.addrs = nine.to_vec());
        assert_eq!(many, BootstrapError::Addresses(9));
        let unknown = changed(&|f| f.addrs = alloc::vec!["/carrier-pigeon"]).unwrap();
        assert!(unknown.peer.addrs.is_empty());
        assert!(matches!(
            Bootstrap::from_record(b"\xa0"),
            Err(BootstrapError::Form(_))
        ));
    }
}
