//! Accounts of forwarded bytes between a relay and a peer.

use alloc::vec::Vec;

use betanet_keys::{Identity, KeyError, PublicKey};
use betanet_wire::cbor;
use betanet_wire::{NodeId, message};

/// Label of both signatures.
pub const ACCOUNT_LABEL: &str = "BN-ACCT1";
/// Length of a period, in ms: a UTC day.
pub const PERIOD: u64 = 86_400_000;
/// Longest record that is read.
const ACCOUNT_MAX: usize = 512;
/// Numbers of a ledger are below this.
const NUMBERS: u64 = 1 << 63;

message! {
    struct Wire {
        req "seq" seq: u64,
        req "from" from: NodeId,
        req "bytes" bytes: u64,
        req "relay" relay: NodeId,
        req "period" period: u64,
    }
}

/// Bytes that a relay forwarded for a peer in one period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Account {
    /// Bytes, below 2^63.
    pub bytes: u64,
    /// The peer.
    pub from: NodeId,
    /// Number of the UTC day since 1970.
    pub period: u64,
    /// The relay.
    pub relay: NodeId,
    /// Raised by each record of the same period; the highest counts.
    pub seq: u64,
}

/// Reason why a record does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Not the DET-CBOR of a record, or a number of 2^63 or more.
    #[error("not an account: {0}")]
    Malformed(#[from] cbor::Error),
    /// A key whose NodeID is not the record's.
    #[error("the key is not the one that the record names")]
    OtherKey,
    /// A signature does not verify.
    #[error("a signature: {0}")]
    Signature(KeyError),
    /// Relay and peer are one.
    #[error("the relay accounts for itself")]
    Itself,
}

impl Account {
    /// Reads a record.
    ///
    /// # Errors
    ///
    /// Not a record, or relay and peer are one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AccountError> {
        if bytes.len() > ACCOUNT_MAX {
            return Err(cbor::Error::Range("an account").into());
        }
        let wire: Wire = cbor::from_slice(bytes)?;
        if [wire.seq, wire.bytes, wire.period]
            .iter()
            .any(|n| *n >= NUMBERS)
        {
            return Err(cbor::Error::Range("a number below 2^63").into());
        }
        if wire.from == wire.relay {
            return Err(AccountError::Itself);
        }
        Ok(Self {
            bytes: wire.bytes,
            from: wire.from,
            period: wire.period,
            relay: wire.relay,
            seq: wire.seq,
        })
    }

    /// Encodes the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Wire {
            seq: self.seq,
            from: self.from,
            bytes: self.bytes,
            relay: self.relay,
            period: self.period,
        })
    }

    /// Signs it, as the relay or as the peer: both sign the same.
    #[must_use]
    pub fn sign(&self, identity: &Identity) -> [u8; 64] {
        identity.sign(ACCOUNT_LABEL, &[&self.to_bytes()])
    }

    /// Whether a peer that counted so many bytes itself signs it: it grants the relay 1/64 and 64 KiB for what was on its way at the
    /// period's ends.
    #[must_use]
    pub const fn agrees(&self, counted: u64) -> bool {
        self.bytes <= counted.saturating_add(counted / 64).saturating_add(65_536)
    }
}

/// A record with both signatures: only so it counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Countersigned {
    /// The record's bytes.
    pub record: Vec<u8>,
    /// The relay's key and signature.
    pub relay: (PublicKey, [u8; 64]),
    /// The peer's key and signature.
    pub from: (PublicKey, [u8; 64]),
}

impl Countersigned {
    /// Verifies both signatures, by the keys that the record names.
    ///
    /// # Errors
    ///
    /// The record does not count.
    pub fn verify(&self) -> Result<Account, AccountError> {
        let account = Account::from_bytes(&self.record)?;
        for ((key, sig), node) in [(&self.relay, account.relay), (&self.from, account.from)] {
            if key.node_id() != node {
                return Err(AccountError::OtherKey);
            }
            key.verify(ACCOUNT_LABEL, &[&self.record], sig)
                .map_err(AccountError::Signature)?;
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Identity, Identity, Account) {
        let (relay, from) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let account = Account {
            bytes: 1 << 20,
            from: from.public().node_id(),
            period: 20_000,
            relay: relay.public().node_id(),
            seq: 3,
        };
        (relay, from, account)
    }

    #[test]
    fn a_record_counts_with_both_signatures_only() {
        let (relay, from, account) = pair();
        let good = Countersigned {
            record: account.to_bytes(),
            relay: (*relay.public(), account.sign(&relay)),
            from: (*from.public(), account.sign(&from)),
        };
        assert_eq!(good.verify(), Ok(account));
        let mut other = good.clone();
        other.from = (*from.public(), account.sign(&relay));
        assert!(matches!(other.verify(), Err(AccountError::Signature(_))));
        let mut swapped = good.clone();
        core::mem::swap(&mut swapped.from, &mut swapped.relay);
        assert_eq!(swapped.verify(), Err(AccountError::OtherKey));
        for at in 0..good.record.len() {
            let mut bad = good.clone();
            bad.record[at] ^= 1;
            assert!(bad.verify().is_err(), "byte {at}");
        }
    }

    #[test]
    fn bounds_and_agreement() {
        let (.., account) = pair();
        let own = Account {
            from: account.relay,
            ..account
        };
        assert_eq!(
            Account::from_bytes(&own.to_bytes()),
            Err(AccountError::Itself)
        );
        let high = Account {
            seq: NUMBERS,
            ..account
        };
        assert!(matches!(
            Account::from_bytes(&high.to_bytes()),
            Err(AccountError::Malformed(_))
        ));
        assert!(Account::from_bytes(&[0; ACCOUNT_MAX + 1]).is_err());
        assert!(account.agrees(1 << 20) && account.agrees((1 << 20) - 65_536));
        assert!(!account.agrees((1 << 20) - 90_000));
        assert!(
            Account {
                bytes: 65_536,
                ..account
            }
            .agrees(0)
        );
    }
}
