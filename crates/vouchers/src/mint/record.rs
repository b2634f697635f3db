//! What the journal holds.

use alloc::string::String;
use alloc::vec::Vec;

use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};
use betanet_wire::message;

use crate::message::Blinded;

message! {
    pub(super) struct Opened {
        req "exp" exp: u64,
        req "unit" unit: String,
        req "keyset" keyset: [u8; 32],
        req "not_before" not_before: u64,
    }
}

message! {
    pub(super) struct Issued {
        req "b" blinded: Vec<Blinded>,
        req "id" id: [u8; 16],
        req "req" request: [u8; 32],
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    pub(super) struct Swept {
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    /// A number that was used.
    pub(super) struct Used {
        req "id" id: [u8; 16],
        req "req" request: [u8; 32],
    }
}

message! {
    /// A piece of a snapshot: part of one keyset, or none.
    pub(super) struct Piece {
        req "b" blinded: Vec<Blinded>,
        req "exp" exp: u64,
        req "ids" ids: Vec<Used>,
        req "unit" unit: String,
        req "swept" swept: bool,
        opt "keyset" keyset: [u8; 32],
        req "records" records: u64,
        req "not_before" not_before: u64,
    }
}

/// A record of the journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Record {
    Opened(Opened),
    Issued(Issued),
    Swept(Swept),
    Piece(Piece),
}

impl Encode for Record {
    fn encode(&self, w: &mut Writer) {
        w.array(2);
        match self {
            Self::Opened(r) => {
                w.unsigned(1);
                r.encode(w);
            }
            Self::Issued(r) => {
                w.unsigned(2);
                r.encode(w);
            }
            Self::Swept(r) => {
                w.unsigned(3);
                r.encode(w);
            }
            Self::Piece(r) => {
                w.unsigned(4);
                r.encode(w);
            }
        }
    }
}

impl<'a> Decode<'a> for Record {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 2 {
            return Err(cbor::Error::Range("a number and a map"));
        }
        let out = match r.unsigned()? {
            1 => Self::Opened(Decode::decode(r)?),
            2 => Self::Issued(Decode::decode(r)?),
            3 => Self::Swept(Decode::decode(r)?),
            4 => Self::Piece(Decode::decode(r)?),
            _ => return Err(cbor::Error::Range("a kind of record")),
        };
        r.leave();
        Ok(out)
    }
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, cbor::Error> {
        cbor::from_slice(bytes)
    }
}
