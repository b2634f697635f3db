//! Messages of DISCOVER and GOSSIP streams.

use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey};
use betanet_wire::{NodeId, cbor, message, msg};
use bytes::Bytes;

use crate::record::{ENVELOPE_MAX, Record, Role, Roles, SKEW_MS};

/// Most records of one DISCOVER.
pub const DISCOVER_MAX: u32 = 256;
/// Most entries in each list of a GOSSIP message.
pub const GOSSIP_MAX: usize = 64;
/// Greatest age of a seed's list.
const LIST_AGE_MS: u64 = 600 * 1000;
/// Longest request, in bytes.
pub(crate) const REQUEST_MAX: usize = 8 << 10;
/// Longest answer to DISCOVER.
pub(crate) const LIST_MAX: usize = msg::MAX;
/// Longest answer to GOSSIP, and longest last message of the asker.
pub(crate) const RECORDS_MAX: usize = GOSSIP_MAX * (ENVELOPE_MAX + 32);
const LIST_LABEL: &str = "BN-LIST1";

message! {
    /// Request to a seed.
    pub struct Discover<'a> {
        /// Number of records.
        req "n" n: u32,
        /// Roles that each peer must have.
        req "roles" roles: Vec<&'a str>,
    }
}

message! {
    struct Listed<'a> {
        req "sig" sig: &'a [u8; 64],
        req "list" list: &'a [u8],
    }
}

message! {
    struct List<'a> {
        req "ts" ts: u64,
        req "peers" peers: Vec<cbor::Raw<'a>>,
    }
}

message! {
    struct Ask {
        req "have" have: Vec<Have>,
    }
}

message! {
    struct Answer<'a> {
        req "recs" recs: Vec<cbor::Raw<'a>>,
        req "want" want: Vec<NodeId>,
    }
}

message! {
    struct Last<'a> {
        req "recs" recs: Vec<cbor::Raw<'a>>,
    }
}

/// Reason why a message is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The message does not decode.
    #[error("the message does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// More entries than the profile allows.
    #[error("{0} entries, where {1} are allowed")]
    TooMany(usize, usize),
    /// A role that the profile does not know.
    #[error("a role that is not known")]
    Role,
    /// The list is older than 10 minutes, or more than 2 minutes ahead.
    #[error("the seed's list is of another time")]
    Time,
    /// The seed's signature is invalid.
    #[error("the seed's list: its signature does not verify")]
    Signature,
}

/// An entry of an asker's list: a record of `node` with this `seq`. An entry with `seq` 0 is a bound. Between two bounds, the
/// asker names all of its records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Have {
    /// Node of the record.
    pub node: NodeId,
    /// Sequence number of the record.
    pub seq: u64,
}

impl cbor::Encode for Have {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        self.node.encode(w);
        self.seq.encode(w);
    }
    fn size_hint(&self) -> usize {
        31
    }
}

impl<'a> cbor::Decode<'a> for Have {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 2 {
            return Err(cbor::Error::Range("two entries"));
        }
        let node = NodeId::decode(r)?;
        let seq = u64::decode(r)?;
        r.leave();
        Ok(Self { node, seq })
    }
}

fn bounded<T>(list: Vec<T>, max: usize) -> Result<Vec<T>, MessageError> {
    if list.len() > max {
        return Err(MessageError::TooMany(list.len(), max));
    }
    Ok(list)
}

fn raws<'a>(records: &'a [Record]) -> Vec<cbor::Raw<'a>> {
    records.iter().map(|r| cbor::Raw(r.envelope())).collect()
}

fn owned(raws: &[cbor::Raw<'_>]) -> Vec<Bytes> {
    raws.iter().map(|r| Bytes::copy_from_slice(r.0)).collect()
}

/// Encodes a request to a seed.
#[must_use]
pub fn discover(n: u32, roles: Roles) -> Bytes {
    let roles = roles.iter().map(Role::name).collect();
    let n = n.min(DISCOVER_MAX);
    msg::to_vec(&Discover { n, roles }).into()
}

/// Decodes a request to a seed: the number of records, and the roles.
///
/// # Errors
///
/// The bytes are not such a request.
pub fn read_discover(cbor: &[u8]) -> Result<(u32, Roles), MessageError> {
    let request: Discover<'_> = cbor::from_slice(cbor)?;
    if request.n > DISCOVER_MAX {
        return Err(MessageError::TooMany(
            request.n as usize,
            DISCOVER_MAX as usize,
        ));
    }
    match Roles::of_names(request.roles.iter().copied()) {
        (roles, true) => Ok((request.n, roles)),
        (_, false) => Err(MessageError::Role),
    }
}

/// Encodes and signs a seed's answer.
#[must_use]
pub fn list(seed: &Identity, unix_ms: u64, records: &[Record]) -> Bytes {
    let list = cbor::to_vec(&List {
        ts: unix_ms,
        peers: raws(records),
    });
    let sig = seed.sign(LIST_LABEL, &[&list]);
    msg::to_vec(&Listed {
        sig: &sig,
        list: &list,
    })
    .into()
}

/// Decodes a seed's answer. Each record still needs a check.
///
/// # Errors
///
/// The bytes are not such an answer, it is too old or ahead, or its signature is not this seed's.
pub fn read_list(cbor: &[u8], seed: &PublicKey, unix_ms: u64) -> Result<Vec<Bytes>, MessageError> {
    let listed: Listed<'_> = cbor::from_slice(cbor)?;
    let list: List<'_> = cbor::from_slice(listed.list)?;
    let peers = bounded(list.peers, DISCOVER_MAX as usize)?;
    let oldest = unix_ms.saturating_sub(LIST_AGE_MS);
    if !(oldest..=unix_ms.saturating_add(SKEW_MS)).contains(&list.ts) {
        return Err(MessageError::Time);
    }
    seed.verify(LIST_LABEL, &[listed.list], listed.sig)
        .map_err(|_| MessageError::Signature)?;
    Ok(owned(&peers))
}

/// Encodes an asker's list.
#[must_use]
pub fn ask(have: Vec<Have>) -> Bytes {
    msg::to_vec(&Ask { have }).into()
}

/// Decodes an asker's list.
///
/// # Errors
///
/// The bytes are not such a message.
pub fn read_ask(cbor: &[u8]) -> Result<Vec<Have>, MessageError> {
    let ask: Ask = cbor::from_slice(cbor)?;
    bounded(ask.have, GOSSIP_MAX)
}

/// Encodes an answer: records for the asker, and the nodes whose records are wanted.
#[must_use]
pub fn answer(records: &[Record], want: Vec<NodeId>) -> Bytes {
    let recs = raws(records);
    msg::to_vec(&Answer { recs, want }).into()
}

/// Decodes an answer: envelopes that still need a check, and the nodes whose records are wanted.
///
/// # Errors
///
/// The bytes are not such a message.
pub fn read_answer(cbor: &[u8]) -> Result<(Vec<Bytes>, Vec<NodeId>), MessageError> {
    let answer: Answer<'_> = cbor::from_slice(cbor)?;
    let recs = bounded(answer.recs, GOSSIP_MAX)?;
    Ok((owned(&recs), bounded(answer.want, GOSSIP_MAX)?))
}

/// Encodes the asker's last message: the wanted records.
#[must_use]
pub fn last(records: &[Record]) -> Bytes {
    let recs = raws(records);
    msg::to_vec(&Last { recs }).into()
}

/// Decodes the asker's last message.
///
/// # Errors
///
/// The bytes are not such a message.
pub fn read_last(cbor: &[u8]) -> Result<Vec<Bytes>, MessageError> {
    let last: Last<'_> = cbor::from_slice(cbor)?;
    Ok(owned(&bounded(last.recs, GOSSIP_MAX)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draft;

    fn body(message: &Bytes) -> &[u8] {
        &message[4..]
    }

    fn record(n: u8) -> Record {
        Draft::default().sign(&Identity::from_seed(&[n; 32]), 1_000_000, 5000)
    }

    #[test]
    fn messages_read_back() {
        let roles = Roles::from_iter([Role::Entry, Role::Exit]);
        assert_eq!(read_discover(body(&discover(999, roles))), Ok((256, roles)));
        let have = Vec::from([Have {
            node: NodeId([3; 20]),
            seq: 9,
        }]);
        assert_eq!(read_ask(body(&ask(have.clone()))), Ok(have));
        let records = [record(1), record(2)];
        let raw: Vec<Bytes> = records.iter().map(|r| r.envelope().clone()).collect();
        let want = Vec::from([NodeId([4; 20])]);
        assert_eq!(
            read_answer(body(&answer(&records, want.clone()))),
            Ok((raw.clone(), want))
        );
        assert_eq!(read_last(body(&last(&records))), Ok(raw));
    }

    #[test]
    fn a_list_stands_for_its_seed_and_its_time() {
        let seed = Identity::from_seed(&[9; 32]);
        let other = Identity::from_seed(&[8; 32]);
        let now = 10_000_000;
        let message = list(&seed, now, &[record(1)]);
        let read = |key: &Identity, at| read_list(body(&message), key.public(), at);
        assert_eq!(read(&seed, now).map(|l| l.len()), Ok(1));
        assert_eq!(read(&seed, now + LIST_AGE_MS + 1), Err(MessageError::Time));
        assert_eq!(read(&seed, now - SKEW_MS - 1), Err(MessageError::Time));
        assert_eq!(read(&other, now), Err(MessageError::Signature));
        let mut bent = body(&message).to_vec();
        let end = bent.len() - 1;
        bent[end] ^= 1;
        assert!(read_list(&bent, seed.public(), now).is_err());
    }

    #[test]
    fn too_many_entries_and_unknown_roles_are_refused() {
        let have = alloc::vec![Have { node: NodeId([0; 20]), seq: 0 }; 65];
        assert_eq!(
            read_ask(body(&ask(have))),
            Err(MessageError::TooMany(65, 64))
        );
        let many: Vec<Record> = (0..65).map(|_| record(1)).collect();
        assert_eq!(
            read_last(body(&last(&many))),
            Err(MessageError::TooMany(65, 64))
        );
        let request = msg::to_vec(&Discover {
            n: 257,
            roles: Vec::new(),
        });
        assert_eq!(
            read_discover(&request[4..]),
            Err(MessageError::TooMany(257, 256))
        );
        let request = msg::to_vec(&Discover {
            n: 1,
            roles: Vec::from(["king"]),
        });
        assert_eq!(read_discover(&request[4..]), Err(MessageError::Role));
    }
}
