//! Bodies of requests and answers: DET-CBOR maps.

use betanet_keys::{Identity, PublicKey};
use betanet_log::{Hash, Proof as Path, Signature, SignedHead};
use betanet_naming::RECORD_MAX;
use betanet_wire::{cbor, message};

/// Most records of a list.
pub const LIST_MAX: u64 = 256;
/// Most records in the list of a registry.
pub const REGISTRY_MAX: usize = 64;
/// Longest answer, in bytes. Answers of several records end before it.
pub const ANSWER_MAX: usize = 4 << 20;
/// Longest body of a request, in bytes: a record or a proposal of the longest length.
pub const BODY_MAX: usize = PROPOSAL_MAX + (16 << 10);
/// Most bytes of the records of one proposal.
pub const PROPOSAL_MAX: usize = RECORD_MAX;
/// Most records of one proposal.
pub const PROPOSAL_RECORDS: usize = 256;
/// Label of a proposer's signature.
const LABEL: &str = "BN-L5-PROPOSE";

message! {
    /// The condition of an alias.
    pub struct AliasBody<'a> {
        /// UNIX milliseconds by the node's clock.
        req "ts" ts: u64,
        /// The newest signed head.
        opt "head" head: &'a [u8],
        /// Records that put other signers in force, in order.
        req "rots" rotations: Vec<&'a [u8]>,
        /// Proof of the latest record, if there is one.
        opt "proof" proof: &'a [u8],
        /// Proof of a record that contradicts the latest.
        opt "rival" rival: &'a [u8],
        /// `unknown`, `bound`, `expired`, `retired` or `conflicted`.
        req "status" status: &'a str,
    }
}

message! {
    /// The records of an alias that are kept.
    pub struct HistoryBody<'a> {
        /// UNIX milliseconds by the node's clock.
        req "ts" ts: u64,
        /// Records that put other signers in force, in order.
        req "rots" rotations: Vec<&'a [u8]>,
        /// Proofs, newest record first.
        req "proofs" proofs: Vec<&'a [u8]>,
    }
}

message! {
    /// The registry record that stands for a type and key.
    pub struct RegistryBody<'a> {
        /// UNIX milliseconds by the node's clock.
        req "ts" ts: u64,
        /// The newest signed head.
        opt "head" head: &'a [u8],
        /// Records that put other signers or maintainers in force, in order.
        req "rots" rotations: Vec<&'a [u8]>,
        /// Proof of the record, if there is one.
        opt "proof" proof: &'a [u8],
    }
}

message! {
    /// The registry records that stand for a type.
    pub struct RegistryListBody<'a> {
        /// UNIX milliseconds by the node's clock.
        req "ts" ts: u64,
        /// The newest signed head.
        opt "head" head: &'a [u8],
        /// Records that put other signers or maintainers in force, in order.
        req "rots" rotations: Vec<&'a [u8]>,
        /// Proofs of the records, in the order of their keys: at most 64, and 1 MiB of them.
        req "proofs" proofs: Vec<&'a [u8]>,
    }
}

message! {
    /// The newest head.
    pub struct HeadBody<'a> {
        /// UNIX milliseconds by the node's clock.
        req "ts" ts: u64,
        /// The signed head; missing before the first.
        opt "head" head: &'a [u8],
        /// Records that put other signers in force, in order.
        req "rots" rotations: Vec<&'a [u8]>,
        /// Evidence of two views of the ledger.
        opt "split" split: &'a [u8],
        /// Number of records that wait for a head.
        req "waiting" waiting: u64,
    }
}

message! {
    /// Final records in order.
    pub struct EntriesBody<'a> {
        /// Index of the first.
        req "from" from: u64,
        /// The records.
        req "recs" records: Vec<&'a [u8]>,
        /// Number of final records.
        req "size" size: u64,
    }
}

message! {
    /// A connection between an earlier size and the newest head.
    pub struct ConsistencyBody<'a> {
        /// The newest signed head.
        req "head" head: &'a [u8],
        /// Root of the records before the asked size.
        req "root" root: Hash,
        /// Consistency proof from there to the head.
        req "proof" proof: Path,
    }
}

message! {
    /// A submitted record waits.
    pub struct WaitsBody {
        /// Index that it would have if its node proposed now.
        req "index" index: u64,
    }
}

message! {
    /// A refusal.
    pub struct RefusalBody<'a> {
        /// The reason, for people.
        req "why" why: &'a str,
        /// The wire code.
        req "code" code: u64,
        /// Records of the proposal that this signer signed last and that is not final.
        opt "held" held: Vec<&'a [u8]>,
    }
}

message! {
    /// A signer's signature of a proposed head.
    pub struct SignatureBody {
        /// Key and signature.
        req "sig" signature: Signature,
    }
}

message! {
    struct ProposalForm<'a> {
        req "by" by: [u8; 32],
        req "sig" sig: [u8; 64],
        req "head" head: &'a [u8],
        req "recs" records: Vec<&'a [u8]>,
    }
}

/// A head that a signer proposes, with the records that it adds to the final ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proposal {
    by: [u8; 32],
    sig: [u8; 64],
    head: SignedHead,
    records: Vec<bytes::Bytes>,
}

/// Reason why a proposal is not one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// It does not decode.
    #[error("the proposal does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// Its head does not decode.
    #[error("the proposal's head: {0}")]
    Head(#[from] betanet_log::Error),
    /// More records or bytes than one proposal may have.
    #[error("a proposal has at most 256 records and 1 000 000 bytes")]
    TooMuch,
    /// The proposer's signature does not verify.
    #[error("the proposer's signature does not verify")]
    Signature,
}

impl Proposal {
    /// A proposal of this signer.
    #[must_use]
    pub fn new(head: SignedHead, records: Vec<bytes::Bytes>, by: &Identity) -> Self {
        Self {
            by: *by.public().as_bytes(),
            sig: by.sign(LABEL, &[head.signed_bytes()]),
            head,
            records,
        }
    }

    /// Reads a proposal, and verifies the proposer's signature.
    ///
    /// # Errors
    ///
    /// [`ProposalError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProposalError> {
        let form: ProposalForm<'_> = cbor::from_slice(bytes)?;
        let total: usize = form.records.iter().map(|r| r.len()).sum();
        if form.records.len() > PROPOSAL_RECORDS || total > PROPOSAL_MAX {
            return Err(ProposalError::TooMuch);
        }
        let head = SignedHead::from_bytes(form.head)?;
        let key = PublicKey::from_bytes(&form.by).map_err(|_| ProposalError::Signature)?;
        key.verify(LABEL, &[head.signed_bytes()], &form.sig)
            .map_err(|_| ProposalError::Signature)?;
        let records = form.records.into_iter();
        Ok(Self {
            by: form.by,
            sig: form.sig,
            head,
            records: records.map(bytes::Bytes::copy_from_slice).collect(),
        })
    }

    /// Encodes the proposal.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&ProposalForm {
            by: self.by,
            sig: self.sig,
            head: &self.head.to_bytes(),
            records: self.records.iter().map(AsRef::as_ref).collect(),
        })
    }

    /// Key of the proposer.
    #[must_use]
    pub const fn by(&self) -> &[u8; 32] {
        &self.by
    }

    /// The head. Its own signatures count for nothing here.
    #[must_use]
    pub const fn head(&self) -> &SignedHead {
        &self.head
    }

    /// The records.
    #[must_use]
    pub fn records(&self) -> &[bytes::Bytes] {
        &self.records
    }
}

/// Reads bytes as each body.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(proposal) = Proposal::from_bytes(data) {
        assert_eq!(Proposal::from_bytes(&proposal.to_bytes()), Ok(proposal));
    }
    let _ = cbor::from_slice::<AliasBody<'_>>(data);
    let _ = cbor::from_slice::<HistoryBody<'_>>(data);
    let _ = cbor::from_slice::<HeadBody<'_>>(data);
    let _ = cbor::from_slice::<EntriesBody<'_>>(data);
    let _ = cbor::from_slice::<ConsistencyBody<'_>>(data);
    let _ = cbor::from_slice::<RefusalBody<'_>>(data);
    let _ = cbor::from_slice::<SignatureBody>(data);
}

#[cfg(test)]
mod tests {
    use betanet_log::Head;
    use bytes::Bytes;

    use super::*;

    fn proposal(records: usize, bytes: usize) -> Proposal {
        let head = Head {
            ts: 1,
            set: [1; 32],
            root: [2; 32],
            size: 3,
            state: None,
        };
        let record = Bytes::from(vec![7; bytes]);
        let by = Identity::from_seed(&[5; 32]);
        Proposal::new(SignedHead::new(head), vec![record; records], &by)
    }

    #[test]
    fn proposals_are_bounded_and_signed() {
        let read = |p: &Proposal| Proposal::from_bytes(&p.to_bytes());
        let fits = proposal(256, 10);
        assert_eq!(read(&fits), Ok(fits));
        let long = proposal(1, PROPOSAL_MAX);
        assert!(long.to_bytes().len() <= BODY_MAX);
        assert_eq!(read(&long), Ok(long));
        assert_eq!(read(&proposal(257, 1)), Err(ProposalError::TooMuch));
        assert_eq!(
            read(&proposal(1, PROPOSAL_MAX + 1)),
            Err(ProposalError::TooMuch)
        );
        let mut forged = proposal(1, 1);
        forged.sig[9] ^= 1;
        assert_eq!(read(&forged), Err(ProposalError::Signature));
        // Of another head.
        let mut other = proposal(1, 1);
        other.head = SignedHead::new(Head {
            size: 4,
            ..*other.head.head()
        });
        assert_eq!(read(&other), Err(ProposalError::Signature));
        assert!(matches!(
            Proposal::from_bytes(b"x"),
            Err(ProposalError::Form(_))
        ));
    }

    #[test]
    fn corpus() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fuzz/corpus/names_bodies"
        );
        let mut inputs = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            crate::fuzz(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 10);
    }
}
