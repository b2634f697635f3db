//! Evidence: a file of records with both signatures, as the ledger of the economy takes them one by one (profile chapter 11).

use betanet_keys::PublicKey;
use betanet_vouchers::account::{Account, AccountError, Countersigned};
use betanet_wire::{cbor, message};

/// Most bytes of a file of evidence.
pub const EVIDENCE_MAX: usize = 32 << 20;

message! {
    /// One record: keys and signatures of payer (c) and relay (r).
    struct One {
        req "rec" rec: Vec<u8>,
        req "ckey" ckey: [u8; 32],
        req "csig" csig: [u8; 64],
        req "rkey" rkey: [u8; 32],
        req "rsig" rsig: [u8; 64],
    }
}

message! {
    struct File {
        req "v" v: Vec<One>,
    }
}

/// Records that both sides signed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Evidence(pub Vec<Countersigned>);

/// Reason why a file is no evidence.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Not the DET-CBOR of a file of evidence.
    #[error("not a file of evidence: {0}")]
    Malformed(cbor::Error),
    /// A record does not count.
    #[error("record {at}: {why}")]
    Record {
        /// Its place, from 0.
        at: usize,
        /// The reason.
        why: AccountError,
    },
}

impl Evidence {
    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let one = |signed: &Countersigned| One {
            rec: signed.record.clone(),
            ckey: *signed.from.0.as_bytes(),
            csig: signed.from.1,
            rkey: *signed.relay.0.as_bytes(),
            rsig: signed.relay.1,
        };
        cbor::to_vec(&File {
            v: self.0.iter().map(one).collect(),
        })
    }

    /// Reads a file, and verifies both signatures of each record.
    ///
    /// # Errors
    ///
    /// It is no such file, or a record does not count.
    pub fn from_bytes(bytes: &[u8]) -> Result<(Self, Vec<Account>), EvidenceError> {
        if bytes.len() > EVIDENCE_MAX {
            return Err(EvidenceError::Malformed(cbor::Error::Range(
                "a file of 32 MiB",
            )));
        }
        let File { v } = cbor::from_slice(bytes).map_err(EvidenceError::Malformed)?;
        let (mut all, mut accounts) = (Vec::new(), Vec::new());
        for (at, one) in v.into_iter().enumerate() {
            let key = |bytes| {
                let bad = cbor::Error::Range("a public key");
                PublicKey::from_bytes(bytes).map_err(|_| EvidenceError::Malformed(bad))
            };
            let signed = Countersigned {
                relay: (key(&one.rkey)?, one.rsig),
                from: (key(&one.ckey)?, one.csig),
                record: one.rec,
            };
            let account = signed.verify();
            accounts.push(account.map_err(|why| EvidenceError::Record { at, why })?);
            all.push(signed);
        }
        Ok((Self(all), accounts))
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;

    use super::*;

    #[test]
    fn a_file_is_read_as_written_and_a_changed_bit_is_found() {
        let (relay, from) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let account = Account {
            bytes: 1 << 30,
            from: from.public().node_id(),
            period: 20_000,
            relay: relay.public().node_id(),
            seq: 2,
        };
        let signed = Countersigned {
            record: account.to_bytes(),
            relay: (*relay.public(), account.sign(&relay)),
            from: (*from.public(), account.sign(&from)),
        };
        let evidence = Evidence(vec![signed]);
        let bytes = evidence.to_bytes();
        assert_eq!(Evidence::from_bytes(&bytes), Ok((evidence, vec![account])));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert!(Evidence::from_bytes(&bad).is_err(), "byte {at}");
        }
        assert!(Evidence::from_bytes(&vec![0; EVIDENCE_MAX + 1]).is_err());
    }
}
