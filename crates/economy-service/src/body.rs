//! Bodies of requests and answers, and the signature of heads.

use betanet_log::{Domain, Hash, PROOF_MAX, Proof};
use betanet_tokenomics::{PATH_MAX, StateProof};
use betanet_wire::cbor::{self, Decode, Encode, Error, Reader, Writer};
use betanet_wire::message;

/// Label of the signatures of heads.
pub const HEAD_LABEL: &str = "BN-ECO-HEAD1";
/// Longest answer, in bytes. Answers of several records end before it, but have one record at least.
pub const ANSWER_MAX: usize = 256 << 10;
/// Most records of one answer.
pub const LIST_MAX: u64 = 1024;

/// The purpose of the heads of the ledger with this genesis.
#[must_use]
pub const fn domain(genesis: &Hash) -> Domain<'_> {
    Domain::within(HEAD_LABEL, genesis)
}

message! {
    /// A signed answer to a request.
    pub struct SignedAnswer<'a> {
        /// The leader's signature.
        req "sig" sig: [u8; 64],
        /// The answer, encoded.
        req "body" body: &'a [u8],
    }
}

message! {
    /// A record with its place in the log.
    pub struct RecordBody<'a> {
        /// The record.
        req "rec" record: &'a [u8],
        /// Inclusion proof.
        req "path" path: Proof,
    }
}

message! {
    /// A refusal that the machine did not decide.
    pub struct RefusalBody<'a> {
        /// The reason, for people.
        req "why" why: &'a str,
        /// The wire code, or 0 where the profile has none.
        req "code" code: u64,
    }
}

/// A value of the state, or its absence, with its proof.
///
/// It encodes as `{"path": [bstr[32]…], "other": [bstr[32], bstr] or [], "value": bstr}`. An empty value stands for none: no row is
/// encoded as nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateBody(pub StateProof);

impl Encode for StateBody {
    fn encode(&self, w: &mut Writer) {
        let proof = &self.0;
        w.map(3);
        w.text("path");
        w.array(proof.path.len());
        for hash in &proof.path {
            w.bytes(hash);
        }
        w.text("other");
        match &proof.other {
            Some((key, value)) => {
                w.array(2);
                w.bytes(key);
                w.bytes(value);
            }
            None => w.array(0),
        }
        w.text("value");
        w.bytes(proof.value.as_deref().unwrap_or_default());
    }
}

impl<'a> Decode<'a> for StateBody {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let key = |r: &mut Reader<'a>, name: &'static str| match r.text()? == name {
            true => Ok(()),
            false => Err(Error::Missing(name)),
        };
        if r.map()? != 3 {
            return Err(Error::Range("a proof of the state"));
        }
        key(r, "path")?;
        let n = r.array()?;
        if n > PATH_MAX {
            return Err(Error::Range("a path of at most 256 hashes"));
        }
        let mut path = Vec::with_capacity(n);
        for _ in 0..n {
            path.push(Hash::decode(r)?);
        }
        r.leave();
        key(r, "other")?;
        let other = match r.array()? {
            0 => None,
            2 => Some((Hash::decode(r)?, r.bytes()?.to_vec())),
            _ => return Err(Error::Range("a leaf")),
        };
        r.leave();
        key(r, "value")?;
        let value = r.bytes()?;
        r.leave();
        Ok(Self(StateProof {
            value: (!value.is_empty()).then(|| value.to_vec()),
            path,
            other,
        }))
    }
}

/// Encodes a consistency proof: a list of hashes.
pub(crate) fn hashes(proof: &Proof) -> Vec<u8> {
    cbor::to_vec(proof)
}

/// Reads a consistency proof.
///
/// # Errors
///
/// It does not decode, or has more than 65 hashes.
pub fn consistency(bytes: &[u8]) -> Result<Proof, Error> {
    let proof: Proof = cbor::from_slice(bytes)?;
    debug_assert!(proof.len() <= PROOF_MAX);
    Ok(proof)
}

/// The records of a sequence: each item of DET-CBOR is one.
///
/// # Errors
///
/// The sequence ends inside an item, or holds something that is none. Tells the number of whole records before it.
pub fn records(bytes: &[u8]) -> Result<Vec<&[u8]>, Cut<'_>> {
    let mut r = Reader::new(bytes);
    let mut all = Vec::new();
    while r.position() < bytes.len() {
        match r.skip() {
            Ok(item) => all.push(item),
            Err(_) => return Err(Cut { whole: all }),
        }
    }
    Ok(all)
}

/// The records of an answer to a request for at most so many. `None`: it does not read, is empty, or has more than asked for.
#[must_use]
pub fn asked_records(bytes: &[u8], most: u64) -> Option<Vec<&[u8]>> {
    let list = records(bytes).ok()?;
    (1..=most).contains(&(list.len() as u64)).then_some(list)
}

/// A sequence of records that breaks off.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("record {} does not read", .whole.len())]
pub struct Cut<'a> {
    /// The records before the break.
    pub whole: Vec<&'a [u8]>,
}

/// Reads bytes as each body. What decodes must equal its encoding.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(body) = cbor::from_slice::<StateBody>(data) {
        assert_eq!(cbor::to_vec(&body), data);
    }
    let _ = cbor::from_slice::<SignedAnswer<'_>>(data);
    let _ = cbor::from_slice::<RecordBody<'_>>(data);
    let _ = cbor::from_slice::<RefusalBody<'_>>(data);
    let _ = consistency(data);
    if let Ok(list) = records(data) {
        assert_eq!(list.concat(), data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpus() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fuzz/corpus/economy_bodies"
        );
        let mut inputs = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            crate::fuzz(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 5);
    }

    #[test]
    fn proofs_of_the_state_are_read_as_written_and_bounded() {
        for (value, other) in [
            (Some(vec![1, 2]), None),
            (None, None),
            (None, Some(([7; 32], vec![9]))),
        ] {
            let body = StateBody(StateProof {
                value,
                path: vec![[3; 32]; 256],
                other,
            });
            let bytes = cbor::to_vec(&body);
            assert_eq!(cbor::from_slice::<StateBody>(&bytes), Ok(body));
        }
        let long = StateBody(StateProof {
            value: None,
            path: vec![[3; 32]; 257],
            other: None,
        });
        assert!(cbor::from_slice::<StateBody>(&cbor::to_vec(&long)).is_err());
    }

    #[test]
    fn an_answer_with_more_records_than_asked_for_is_none() {
        let two = [0xa0, 0xa0];
        assert_eq!(asked_records(&two, 2).map(|list| list.len()), Some(2));
        assert_eq!(asked_records(&two, 1), None);
        assert_eq!(asked_records(&[], 9), None);
        assert_eq!(asked_records(&[0x42], 9), None);
    }

    #[test]
    fn a_sequence_that_breaks_off_tells_where() {
        let all = [&[0xa0][..], &[0x41, 7]].concat();
        assert_eq!(records(&all).unwrap().len(), 2);
        assert_eq!(records(&all[..2]).unwrap_err().whole, [&[0xa0][..]]);
    }
}
