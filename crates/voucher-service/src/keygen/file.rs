//! The file of one mint for one round.

use betanet_keys::Identity;
use betanet_wire::{cbor, message};

use super::{FileFault, Plan};

/// Longest file of a run, in bytes: 255 mints' shares of 41 denominations.
pub const FILE_MAX: usize = 4 << 20;

const LABEL: &str = "BN-DKG-FILE1";

/// The rounds, in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Round {
    Commit,
    Reveal,
    Share,
    Complain,
    Answer,
    Confirm,
}

impl Round {
    const ALL: [Self; 6] = [
        Self::Commit,
        Self::Reveal,
        Self::Share,
        Self::Complain,
        Self::Answer,
        Self::Confirm,
    ];

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Commit => 1,
            Self::Reveal => 2,
            Self::Share => 3,
            Self::Complain => 4,
            Self::Answer => 5,
            Self::Confirm => 6,
        }
    }

    /// The next round; the last is its own.
    pub(super) fn next(self) -> Self {
        let next = Self::ALL.get(usize::from(self.number()));
        next.copied().unwrap_or(self)
    }
}

message! {
    struct Signed<'a> {
        req "sig" sig: [u8; 64],
        req "body" body: &'a [u8],
    }
}

message! {
    struct Body<'a> {
        req "from" from: u16,
        req "plan" plan: [u8; 32],
        req "seen" seen: Vec<[u8; 32]>,
        req "round" round: u16,
        req "messages" messages: Vec<&'a [u8]>,
    }
}

/// A file whose signature holds.
#[derive(Debug)]
pub(super) struct RoundFile {
    bytes: Vec<u8>,
    pub(super) from: u8,
    pub(super) round: Round,
    pub(super) seen: Vec<[u8; 32]>,
    pub(super) messages: Vec<Vec<u8>>,
}

impl RoundFile {
    pub(super) fn read(bytes: &[u8], plan: &Plan) -> Result<Self, FileFault> {
        if bytes.len() > FILE_MAX {
            return Err(FileFault::Form);
        }
        let signed: Signed<'_> = cbor::from_slice(bytes).map_err(|_| FileFault::Form)?;
        let body: Body<'_> = cbor::from_slice(signed.body).map_err(|_| FileFault::Form)?;
        if body.plan != plan.id() {
            return Err(FileFault::Plan);
        }
        let from = u8::try_from(body.from).map_err(|_| FileFault::Form)?;
        let key = plan.member(from).ok_or(FileFault::Form)?;
        key.verify(LABEL, &[signed.body], &signed.sig)
            .map_err(|_| FileFault::Signature)?;
        let mut rounds = Round::ALL.into_iter();
        let round = rounds.find(|r| u16::from(r.number()) == body.round);
        if body.seen.len() != usize::from(plan.n()) {
            return Err(FileFault::Form);
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            from,
            round: round.ok_or(FileFault::Form)?,
            seen: body.seen,
            messages: body.messages.into_iter().map(<[u8]>::to_vec).collect(),
        })
    }

    pub(super) fn sign(
        me: &Identity,
        plan: &Plan,
        (from, round): (u8, Round),
        seen: &[[u8; 32]],
        messages: &[Vec<u8>],
    ) -> Vec<u8> {
        let body = cbor::to_vec(&Body {
            from: from.into(),
            plan: plan.id(),
            seen: seen.to_vec(),
            round: round.number().into(),
            messages: messages.iter().map(Vec::as_slice).collect(),
        });
        let sig = me.sign(LABEL, &[&body]);
        cbor::to_vec(&Signed { sig, body: &body })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
