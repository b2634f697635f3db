//! The rows of the state's twenty tables.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_wire::cbor::{Decode, Encode, Error, Reader, Writer};

use crate::account::DAY_MS;
use crate::code::Code;
use crate::key::Key;
use crate::params::{Param, Role};
use crate::table::{Due, Row};
use crate::{Asset, Hash, Id};

/// A keyset's vouchers are redeemed for so long after it expires; then it is swept.
pub(crate) const SWEEP_MS: u64 = 30 * DAY_MS;

/// Classes of events, in the order in which they happen at one time.
pub(crate) mod class {
    pub(crate) const EPOCH: u8 = 0;
    pub(crate) const HOLD: u8 = 1;
    pub(crate) const RESERVATION: u8 = 2;
    pub(crate) const UNBONDING: u8 = 3;
    pub(crate) const REDELEGATION: u8 = 4;
    pub(crate) const SWEEP: u8 = 5;
    pub(crate) const VOTE: u8 = 6;
    pub(crate) const EXPIRY: u8 = 7;
}

/// Declares rows: fields in the order of the chapter's schema. A row of one field is that field.
macro_rules! rows {
    ($($(#[$meta:meta])* $name:ident, $table:literal, $key:ty {
        $($(#[$fmeta:meta])* $field:ident: $ty:ty,)+
    } [$($hook:item)*])*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub(crate) struct $name {
            $($(#[$fmeta])* pub(crate) $field: $ty,)+
        }

        impl Row for $name {
            const TABLE: u8 = $table;
            type Key = $key;
            const IS_INDEXED: bool = !{
                let hooks: &[&str] = &[$(stringify!($hook)),*];
                hooks.is_empty()
            };

            fn write(&self, w: &mut Writer) {
                const FIELDS: usize = [$(stringify!($field)),+].len();
                if FIELDS > 1 {
                    w.array(FIELDS);
                }
                $(self.$field.encode(w);)+
            }

            $($hook)*
        }

        impl<'a> Decode<'a> for $name {
            fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
                const FIELDS: usize = [$(stringify!($field)),+].len();
                if FIELDS > 1 && r.array()? != FIELDS {
                    return Err(Error::Range("a row"));
                }
                $(let $field = Decode::decode(r)?;)+
                if FIELDS > 1 {
                    r.leave();
                }
                Ok(Self { $($field),+ })
            }
        }
    )*};
}

/// A counter of a balance: 16 bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wide(pub(crate) u128);

impl Encode for Wide {
    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.0.to_be_bytes());
    }
}

impl<'a> Decode<'a> for Wide {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        <[u8; 16]>::decode(r).map(|b| Self(u128::from_be_bytes(b)))
    }
}

/// Yes or no, encoded as 1 or 0.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Flag(pub(crate) bool);

impl Encode for Flag {
    fn encode(&self, w: &mut Writer) {
        w.unsigned(u64::from(self.0));
    }
}

impl<'a> Decode<'a> for Flag {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        match r.unsigned()? {
            0 => Ok(Self(false)),
            1 => Ok(Self(true)),
            _ => Err(Error::Range("0 or 1")),
        }
    }
}

impl Encode for Asset {
    fn encode(&self, w: &mut Writer) {
        w.unsigned(u64::from(self.number()));
    }
}

impl<'a> Decode<'a> for Asset {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        Self::from_number(r.unsigned()?).ok_or(Error::Range("an asset"))
    }
}

/// A holder's part in a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Part(pub(crate) NodeId, pub(crate) u64);

impl Encode for Part {
    fn encode(&self, w: &mut Writer) {
        w.array(2);
        self.0.encode(w);
        w.unsigned(self.1);
    }
}

impl<'a> Decode<'a> for Part {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        if r.array()? != 2 {
            return Err(Error::Range("a holder and an amount"));
        }
        let part = Self(Decode::decode(r)?, r.unsigned()?);
        r.leave();
        Ok(part)
    }
}

/// Codes of an answer, a list. Most are of one transfer that went well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Codes {
    Done,
    List(Box<[Code]>),
}

impl Codes {
    pub(crate) fn of(codes: &[Code]) -> Self {
        match codes {
            [Code::Ok] => Self::Done,
            _ => Self::List(codes.into()),
        }
    }

    pub(crate) fn as_slice(&self) -> &[Code] {
        match self {
            Self::Done => &[Code::Ok],
            Self::List(codes) => codes,
        }
    }
}

impl Encode for Codes {
    fn encode(&self, w: &mut Writer) {
        let codes = self.as_slice();
        w.array(codes.len());
        for code in codes {
            w.unsigned(u64::from(code.number()));
        }
    }
}

impl<'a> Decode<'a> for Codes {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let codes = <Vec<u64>>::decode(r)?;
        let known = codes.into_iter().map(Code::from_number);
        let known: Option<Vec<Code>> = known.collect();
        Ok(Self::of(&known.ok_or(Error::Range("codes"))?))
    }
}

/// An encoded item that is kept as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Item(pub(crate) Vec<u8>);

impl Encode for Item {
    fn encode(&self, w: &mut Writer) {
        w.raw(&self.0);
    }
}

impl<'a> Decode<'a> for Item {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.skip().map(|bytes| Self(bytes.to_vec()))
    }
}

macro_rules! named_keys {
    ($($t:ty),*) => {$(
        impl Key for $t {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.name().as_bytes());
            }
            fn read(bytes: &[u8]) -> Option<Self> {
                Self::from_name(core::str::from_utf8(bytes).ok()?)
            }
        }
    )*};
}
named_keys!(Param, Role);

/// States of a proposal.
pub(crate) mod stage {
    pub(crate) const OPEN: u64 = 0;
    pub(crate) const PASSED: u64 = 1;
    pub(crate) const EXECUTED: u64 = 2;
    pub(crate) const DEFEATED: u64 = 3;
    pub(crate) const CANCELLED: u64 = 4;
    pub(crate) const VETOED: u64 = 5;
    pub(crate) const EXPIRED: u64 = 6;
}

rows! {
    /// The machine's own numbers.
    Meta, 0, () {
        records: u64,
        ts: u64,
        epoch: u64,
        paused: u64,
        pauses: Vec<u64>,
        before_epoch: u64,
    } []

    /// A user's or node's account.
    Account, 1, (NodeId,) {
        kind: u64,
        flags: u64,
        key: Hash,
        nonce: u64,
    } []

    /// Counters of an account and asset.
    Balance, 2, (NodeId, u8) {
        debits_pending: Wide,
        debits: Wide,
        credits_pending: Wide,
        credits: Wide,
    } []

    /// A pending transfer.
    Hold, 3, (Id,) {
        from: NodeId,
        to: NodeId,
        asset: Asset,
        amt: u64,
        due: u64,
        /// 20 bytes, or none.
        arb: Vec<u8>,
        price: u64,
    } [
        fn due(&self, _key: &Self::Key) -> Option<Due> {
            Some((self.due, class::HOLD))
        }
    ]

    /// Escrow of a task or an auction.
    Reservation, 4, (Id,) {
        client: NodeId,
        kind: u64,
        of: Hash,
        /// All that is left, credits included.
        amt: u64,
        credit: u64,
        due: u64,
    } [
        fn due(&self, _key: &Self::Key) -> Option<Due> {
            Some((self.due, class::RESERVATION))
        }
        fn owners(&self, _key: &Self::Key) -> Vec<NodeId> {
            Vec::from([self.client])
        }
    ]

    /// A node, from its first bond on.
    Node, 5, (NodeId,) {
        comm: u64,
        /// Earliest end of its jail, 0 if it is not jailed.
        jailed: u64,
        banned: Flag,
        missed: u64,
        reputation: u64,
        jobs: u64,
        units: u64,
        fees: u64,
        sent: u64,
        returned: u64,
    } []

    /// A holder's stake with a node.
    Stake, 6, (NodeId, NodeId) {
        amt: u64,
    } [
        fn owners(&self, key: &Self::Key) -> Vec<NodeId> {
            Vec::from([key.1])
        }
    ]

    /// Stake on its way out.
    Unbonding, 7, (NodeId, NodeId, u64) {
        amt: u64,
    } [
        fn due(&self, key: &Self::Key) -> Option<Due> {
            Some((key.2, class::UNBONDING))
        }
        fn owners(&self, key: &Self::Key) -> Vec<NodeId> {
            Vec::from([key.1])
        }
    ]

    /// Moved stake that slashing of the old node still reaches. It is found under the old node.
    Redelegation, 8, (NodeId, NodeId, NodeId) {
        amt: u64,
        due: u64,
    } [
        fn due(&self, _key: &Self::Key) -> Option<Due> {
            Some((self.due, class::REDELEGATION))
        }
        fn owners(&self, key: &Self::Key) -> Vec<NodeId> {
            Vec::from([key.1])
        }
    ]

    /// A keyset of vouchers.
    Keyset, 9, (Hash,) {
        spender: NodeId,
        exp: u64,
        issued: u64,
        redeemed: u64,
        swept: Flag,
    } [
        fn due(&self, _key: &Self::Key) -> Option<Due> {
            (!self.swept.0).then_some((self.exp.saturating_add(SWEEP_MS), class::SWEEP))
        }
    ]

    /// A proposal. While open or passed it is found under its proposer.
    Proposal, 10, (Id,) {
        proposer: NodeId,
        stage: u64,
        /// Epoch of the snapshot that counts.
        epoch: u64,
        /// Number of the last record before that epoch's end.
        before: u64,
        open: u64,
        end: u64,
        extended: Flag,
        eta: u64,
        need: u64,
        pass: u64,
        yes: u64,
        no: u64,
        abstain: u64,
        deposit: u64,
        lock_ms: u64,
        grace_ms: u64,
        cool_ms: u64,
        ext_ms: u64,
        /// The effects, encoded.
        eff: Item,
        text: Hash,
    } [
        fn due(&self, _key: &Self::Key) -> Option<Due> {
            match self.stage {
                stage::OPEN => Some((self.end, class::VOTE)),
                stage::PASSED => Some((self.eta.saturating_add(self.grace_ms), class::EXPIRY)),
                _ => None,
            }
        }
        fn owners(&self, _key: &Self::Key) -> Vec<NodeId> {
            match self.stage {
                stage::OPEN | stage::PASSED => Vec::from([self.proposer]),
                _ => Vec::new(),
            }
        }
    ]

    /// A vote.
    Vote, 11, (Id, NodeId) {
        vote: u64,
        own: u64,
        lent: u64,
    } []

    /// A parameter in force.
    Parameter, 12, Param {
        value: u64,
        changed: u64,
    } []

    /// Members of a role: accounts of 20 bytes, or keys of 32.
    Members, 13, Role {
        list: Vec<Vec<u8>>,
    } []

    /// A node's last offence of a kind.
    Offence, 14, (u8, NodeId) {
        at: u64,
        stake: u64,
    } []

    /// A used ID.
    Seen, 15, (Id,) {
        hash: Hash,
        codes: Codes,
        record: u64,
    } []

    /// A mark that something was used.
    Once, 16, (Hash,) {
        one: u64,
    } []

    /// A node's holders when an epoch ended. It is found under each.
    Snapshot, 17, (u32, NodeId) {
        jailed: Flag,
        holders: Vec<Part>,
    } [
        fn owners(&self, _key: &Self::Key) -> Vec<NodeId> {
            self.holders.iter().map(|part| part.0).collect()
        }
    ]

    /// End of an effect's rest.
    Cooling, 18, (Hash,) {
        until: u64,
    } []

    /// A signalled upgrade.
    Signal, 19, String {
        at: u64,
    } []
}

impl Node {
    pub(crate) fn is_jailed(&self) -> bool {
        self.banned.0 || self.jailed != 0
    }
}
