use alloc::vec::Vec;

use betanet_keys::PublicKey;
use bytes::Bytes;

use crate::{Record, message};

/// Signatures to check outside the machine, for example on another thread. Answer with [`crate::Input::Checked`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Work {
    /// ID of the work.
    pub id: u64,
    /// A seed's list, whose signature is checked first: its CBOR, the seed's key, this node's UNIX milliseconds.
    pub list: Option<(Bytes, PublicKey, u64)>,
    /// Envelopes of peer records.
    pub envelopes: Vec<Bytes>,
}

/// Result of a [`Work`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Done {
    /// ID of the work.
    pub id: u64,
    /// Whether the list has the seed's signature; `true` without a list.
    pub list_stands: bool,
    /// The records with a valid signature.
    pub records: Vec<Record>,
}

impl Work {
    /// Checks the signatures on this thread.
    #[must_use]
    pub fn run(&self) -> Done {
        self.run_with(|envelope| Record::from_envelope(envelope).ok())
    }

    /// Checks the signatures with another function for envelopes, such as one with a cache.
    #[must_use]
    pub fn run_with(&self, mut check: impl FnMut(&Bytes) -> Option<Record>) -> Done {
        let listed = match &self.list {
            None => Some(Vec::new()),
            Some((cbor, seed, unix_ms)) => message::read_list(cbor, seed, *unix_ms).ok(),
        };
        let list_stands = listed.is_some();
        let listed = listed.unwrap_or_default();
        Done {
            id: self.id,
            list_stands,
            records: listed
                .iter()
                .chain(&self.envelopes)
                .filter_map(&mut check)
                .collect(),
        }
    }
}
