//! What the journal holds.

use alloc::string::String;
use alloc::vec::Vec;

use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};
use betanet_wire::{NodeId, message};

use crate::Denomination;
use crate::message::exponent;

/// A spent voucher without its keyset: exponent and secret.
pub(super) type SpendKey = [u8; 33];

message! {
    /// Vouchers of one keyset.
    pub(super) struct Spent {
        /// Their keys.
        req "v" keys: Vec<SpendKey>,
        /// The keyset.
        req "keyset" keyset: [u8; 32],
    }
}

/// A granted point without its keyset: the first bytes of its hash.
pub(super) type PointKey = [u8; 16];

message! {
    /// Granted points of one keyset.
    pub(super) struct Granted {
        req "b" points: Vec<PointKey>,
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    pub(super) struct Redeem {
        req "at" at: u64,
        req "id" id: [u8; 16],
        req "to" to: NodeId,
        req "req" request: [u8; 32],
        req "unit" unit: String,
        req "spent" spent: Vec<Spent>,
        /// Set if the value goes to the payee's account on a ledger, and not to its balance here: the balance that the answer shows.
        opt "ledger" ledger: u64,
    }
}

message! {
    pub(super) struct Swap {
        req "at" at: u64,
        req "bh" blinded: [u8; 32],
        req "id" id: [u8; 16],
        req "out" out: Vec<Count>,
        req "req" request: [u8; 32],
        req "spent" spent: Spent,
        /// The points; journals of before have none.
        opt "points" points: Vec<PointKey>,
    }
}

message! {
    pub(super) struct Issued {
        req "out" out: Vec<Count>,
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    pub(super) struct Debit {
        req "at" at: u64,
        req "id" id: [u8; 16],
        req "of" of: NodeId,
        req "unit" unit: String,
        req "amount" amount: u64,
    }
}

message! {
    pub(super) struct Swept {
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    /// A stored answer: enough to give the same bytes again.
    pub(super) struct Kept {
        req "n" n: u16,
        req "at" at: u64,
        opt "bh" blinded: [u8; 32],
        req "id" id: [u8; 16],
        opt "to" to: NodeId,
        req "bal" balance: u64,
        req "req" request: [u8; 32],
        req "total" total: u64,
        opt "keyset" keyset: [u8; 32],
        /// Set if whoever asks sees the balance: the body of an answer that a ledger takes is always the same.
        opt "ledger" ledger: bool,
    }
}

message! {
    /// A piece of a snapshot.
    pub(super) struct Piece {
        /// Spent vouchers.
        req "spent" spent: Vec<Spent>,
        /// Stored answers.
        req "answers" answers: Vec<Kept>,
        /// Granted points.
        opt "granted" granted: Granted,
        /// The number of records that the snapshot replaces.
        req "records" records: u64,
        /// Balances.
        req "balances" balances: Vec<Balance>,
        /// Counters.
        req "counters" counters: Vec<Counted>,
    }
}

message! {
    pub(super) struct Balance {
        req "of" of: NodeId,
        req "unit" unit: String,
        req "amount" amount: u64,
    }
}

message! {
    /// What is known of one keyset beside its spent set.
    pub(super) struct Counted {
        req "out" issued: Vec<Count>,
        req "swept" swept: bool,
        req "keyset" keyset: [u8; 32],
        req "watched" watched: bool,
        req "redeemed" redeemed: Vec<Count>,
    }
}

/// A denomination and a number, `[e, n]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Count(pub(super) Denomination, pub(super) u64);

impl Encode for Count {
    fn encode(&self, w: &mut Writer) {
        w.array(2);
        w.unsigned(self.0.exponent().into());
        w.unsigned(self.1);
    }
}

impl<'a> Decode<'a> for Count {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 2 {
            return Err(cbor::Error::Range("an exponent and a number"));
        }
        let out = Self(exponent(r.unsigned()?)?, r.unsigned()?);
        r.leave();
        Ok(out)
    }
}

/// Declares the records: `[number, map]`.
macro_rules! records {
    ($($n:literal $name:ident,)*) => {
        /// A record of the journal.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub(super) enum Record {
            $($name($name),)*
        }

        impl Encode for Record {
            fn encode(&self, w: &mut Writer) {
                w.array(2);
                match self {
                    $(Self::$name(r) => {
                        w.unsigned($n);
                        r.encode(w);
                    })*
                }
            }
        }

        impl<'a> Decode<'a> for Record {
            fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
                if r.array()? != 2 {
                    return Err(cbor::Error::Range("a number and a map"));
                }
                let out = match r.unsigned()? {
                    $($n => Self::$name(Decode::decode(r)?),)*
                    _ => return Err(cbor::Error::Range("a kind of record")),
                };
                r.leave();
                Ok(out)
            }
        }
    };
}

records! {
    1 Redeem,
    2 Swap,
    3 Issued,
    4 Debit,
    5 Swept,
    6 Piece,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, cbor::Error> {
        cbor::from_slice(bytes)
    }
}
