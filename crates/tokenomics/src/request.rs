//! Requests: their envelope, their body and the operation in it.

mod effect;
mod op;
mod transfer;
mod write;

pub use effect::{EFFECTS_MAX, Effect};
pub use op::{
    EVIDENCE_MAX, ITEMS_MAX, Item, OPS, Op, OpRule, Proof, RECORD_MAX, SENT_MAX, TASK_MAX,
};
pub use transfer::{HOLD_MAX_S, Kind, TRANSFERS_MAX, Transfer};

use alloc::vec::Vec;

use betanet_keys::{Identity, hash};
use betanet_wire::NodeId;
use betanet_wire::cbor::{self, Error as Cbor, Reader, Writer};

use crate::read::{self, Fields, ensure};
use crate::{Hash, Id};

/// Longest body of a request.
pub const BODY_MAX: usize = 65_536;
/// Most signers of a request.
pub const SIGNERS_MAX: usize = 16;
/// Longest envelope that is read: body, signatures and their heads.
pub const ENVELOPE_MAX: usize = BODY_MAX + SIGNERS_MAX * 66 + 32;
/// Label of the signatures.
pub const REQUEST_LABEL: &str = "BN-ECO-REQ1";

/// A request whose shape, types and ranges are right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    body: Vec<u8>,
    /// Its signers with their nonces. The first one pays.
    pub by: Vec<(NodeId, u64)>,
    /// Last moment at which it may be accepted, in UNIX ms.
    pub exp: u64,
    /// Its ID.
    pub id: Id,
    /// The operation.
    pub op: Op,
}

impl Request {
    /// Reads a body. `None`: it is malformed.
    #[must_use]
    pub fn from_bytes(body: &[u8]) -> Option<Self> {
        if body.len() > BODY_MAX {
            return None;
        }
        Self::read(body).ok()
    }

    fn read(body: &[u8]) -> Result<Self, Cbor> {
        let mut f = Fields::of(body)?;
        let name = f.get("op", Reader::text)?;
        let id = f.array("id")?;
        let exp = f.u("exp")?;
        let by = f.list("by", (1, SIGNERS_MAX), |r| {
            read::tuple(r, 2)?;
            let signer = (read::account(r)?, read::number(r)?);
            r.leave();
            Ok(signer)
        })?;
        let twice = |(i, (id, _)): (usize, &(NodeId, u64))| by[..i].iter().any(|(o, _)| o == id);
        ensure(!by.iter().enumerate().any(twice))?;
        let op = Op::read(name, &mut f)?;
        f.end()?;
        ensure(by.len() == 1 || op.many())?;
        Ok(Self {
            body: body.to_vec(),
            by,
            exp,
            id,
            op,
        })
    }

    /// The signed bytes.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// `H(body)`, by which a repeat is known.
    #[must_use]
    pub fn digest(&self) -> Hash {
        hash(&[&self.body])
    }

    /// The account that pays.
    #[must_use]
    pub fn payer(&self) -> NodeId {
        self.by.first().map_or(NodeId([0; 20]), |(id, _)| *id)
    }

    pub(crate) fn signed_by(&self, id: &NodeId) -> bool {
        self.by.iter().any(|(signer, _)| signer == id)
    }
}

/// A request with its signatures, in the order of its signers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    /// The request.
    pub request: Request,
    /// One signature of each signer.
    pub sigs: Vec<[u8; 64]>,
}

impl Envelope {
    /// Reads an envelope. `None`: it is malformed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > ENVELOPE_MAX {
            return None;
        }
        Self::read(bytes).ok()
    }

    fn read(bytes: &[u8]) -> Result<Self, Cbor> {
        let mut f = Fields::of(bytes)?;
        let request = Request::read(f.bytes("body", BODY_MAX)?)?;
        let sigs = f.list("sigs", (1, SIGNERS_MAX), read::array)?;
        f.end()?;
        ensure(sigs.len() == request.by.len())?;
        Ok(Self { request, sigs })
    }

    /// Signs a request, with the signers' identities in their order.
    #[must_use]
    pub fn sign(request: Request, genesis: &Hash, signers: &[&Identity]) -> Self {
        let sign = |signer: &&Identity| signer.sign(REQUEST_LABEL, &[genesis, request.body()]);
        let sigs = signers.iter().map(sign).collect();
        Self { request, sigs }
    }

    /// Encodes the envelope.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(self.request.body.len() + 128);
        w.map(2);
        w.text("body");
        w.bytes(&self.request.body);
        w.text("sigs");
        w.array(self.sigs.len());
        for sig in &self.sigs {
            w.bytes(sig);
        }
        w.into_vec()
    }
}

/// What is signed of a request: `H(label || G || body)`.
#[must_use]
pub fn request_digest(genesis: &Hash, body: &[u8]) -> Hash {
    hash(&[REQUEST_LABEL.as_bytes(), genesis, body])
}

/// The exact bytes of one item.
pub(crate) fn raw_item<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], cbor::Error> {
    r.skip()
}
