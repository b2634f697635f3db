use alloc::vec::Vec;

use betanet_keys::PublicKey;
use bytes::Bytes;

use crate::{Record, message};

/// Signatures to be checked away from the machine, by whoever has threads; answer with [`crate::Input::Checked`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Work {
    /// Which.
    pub id: u64,
    /// A seed's list, whose signature comes first: its CBOR, the seed's key, this node's UNIX milliseconds.
    pub list: Option<(Bytes, PublicKey, u64)>,
    /// Envelopes of peer records.
    pub envelopes: Vec<Bytes>,
}

/// What came of a [`Work`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Done {
    /// Which.
    pub id: u64,
    /// Whether the list, if there was one, is the seed's.
    pub list_stands: bool,
    /// The records whose signatures stand.
    pub records: Vec<Record>,
}

impl Work {
    /// Does it here and now.
    #[must_use]
    pub fn run(&self) -> Done {
        self.run_with(|envelope| Record::from_envelope(envelope).ok())
    }

    /// Does it with another way to check an envelope, such as one that remembers.
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
