//! Bodies: a settlement with all that it follows from, and its signature.

use betanet_fog::Tier;
use betanet_wire::cbor::{Decode, Encode, Error, Reader, Writer};
use betanet_wire::message;

use crate::bills::BidKey;

/// Longest proposal.
pub(crate) const PROPOSAL_MAX: usize = 256 << 10;
/// Most receipts of a proposal: as many copies decide a task at most.
pub(crate) const RECEIPTS_MAX: usize = 15;

/// A receipt and its node's signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Shown {
    pub(crate) rec: Vec<u8>,
    pub(crate) sig: [u8; 64],
}

impl Encode for Shown {
    fn encode(&self, w: &mut Writer) {
        w.array(2);
        w.bytes(&self.rec);
        self.sig.encode(w);
    }
}

impl<'a> Decode<'a> for Shown {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        if r.array()? != 2 {
            return Err(Error::Range("a receipt and a signature"));
        }
        let rec = r.bytes()?.to_vec();
        let sig = Decode::decode(r)?;
        r.leave();
        Ok(Self { rec, sig })
    }
}

/// All receipts that decided a task.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Receipts(pub(crate) Vec<Shown>);

impl Encode for Receipts {
    fn encode(&self, w: &mut Writer) {
        w.array(self.0.len());
        for shown in &self.0 {
            shown.encode(w);
        }
    }
}

impl<'a> Decode<'a> for Receipts {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let n = r.array()?;
        if n > RECEIPTS_MAX {
            return Err(Error::Range("at most 15 receipts"));
        }
        let all: Result<Vec<Shown>, Error> = (0..n).map(|_| Shown::decode(r)).collect();
        r.leave();
        Ok(Self(all?))
    }
}

impl Encode for BidKey {
    fn encode(&self, w: &mut Writer) {
        w.array(4);
        w.unsigned(self.round);
        w.text(self.tier.as_str());
        self.commit.encode(w);
        self.by.encode(w);
    }
}

impl<'a> Decode<'a> for BidKey {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        if r.array()? != 4 {
            return Err(Error::Range("round, tier, commitment and owner"));
        }
        let round = u64::decode(r)?;
        let tier = Tier::from_word(r.text()?).ok_or(Error::Range("a tier"))?;
        let (commit, by) = (Decode::decode(r)?, Decode::decode(r)?);
        r.leave();
        Ok(Self {
            round,
            tier,
            commit,
            by,
        })
    }
}

message! {
    /// A settlement that is to be signed, with what it follows from.
    pub(crate) struct Proposal<'a> {
        /// The bid that it is for; without one it is for a task.
        opt "bid" bid: BidKey,
        /// Body of the ledger's request.
        req "req" request: &'a [u8],
        /// Percent of the pay that the client gets back.
        req "sla" percent: u64,
        /// The signed task; empty for a bid.
        req "task" task: &'a [u8],
        /// All receipts that decided the task, those that are not paid included.
        req "rcpts" receipts: Receipts,
        /// Price factor at which the task was placed, in ppm.
        req "factor" factor: u64,
    }
}

message! {
    /// The signature of the coordinator that was asked.
    pub(crate) struct SignedBody {
        /// Its signature of the request.
        req "sig" sig: [u8; 64],
    }
}

message! {
    /// A refusal.
    pub(crate) struct RefusedBody<'a> {
        /// The reason, for people.
        req "why" why: &'a str,
    }
}

#[cfg(test)]
mod tests {
    use betanet_wire::cbor;

    use super::*;

    #[test]
    fn a_proposal_reads_back_and_has_15_receipts_at_most() {
        let shown = Shown {
            rec: vec![1; 40],
            sig: [2; 64],
        };
        let bid = BidKey {
            round: 7,
            tier: Tier::Gold,
            commit: [3; 32],
            by: [4; 32],
        };
        let with = |n| Proposal {
            bid: Some(bid),
            request: &[5, 6],
            percent: 10,
            task: &[7],
            receipts: Receipts(vec![shown.clone(); n]),
            factor: 500_000,
        };
        let most = cbor::to_vec(&with(RECEIPTS_MAX));
        assert_eq!(cbor::from_slice::<Proposal<'_>>(&most), Ok(with(15)));
        let more = cbor::to_vec(&with(RECEIPTS_MAX + 1));
        assert!(cbor::from_slice::<Proposal<'_>>(&more).is_err());
        for end in 0..most.len() {
            assert!(cbor::from_slice::<Proposal<'_>>(&most[..end]).is_err());
        }
    }
}
