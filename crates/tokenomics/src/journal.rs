//! Records of the journal, their replay, and signed answers.

use alloc::vec::Vec;

use betanet_keys::{Identity, KeyError, PublicKey, hash};
use betanet_wire::cbor::{Error as Cbor, Reader, Writer};

use crate::apply::Answer;
use crate::code::Code;
use crate::genesis::GENESIS_MAX;
use crate::read::{Fields, list, number};
use crate::request::{ENVELOPE_MAX, Envelope, TRANSFERS_MAX};
use crate::state::Economy;
use crate::{Error, Hash};

/// Label of the signatures of answers.
pub const ANSWER_LABEL: &str = "BN-ECO-ANS1";
/// Longest record: number 0 holds the genesis.
pub const RECORD_MAX: usize = GENESIS_MAX + 64;

/// A record of the journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The genesis in record 0, an envelope, or nothing for a tick.
    pub req: Vec<u8>,
    /// Its number.
    pub seq: u64,
    /// The leader's time, in UNIX ms.
    pub ts: u64,
}

impl Record {
    /// Reads a record. `None`: it does not read.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > RECORD_MAX {
            return None;
        }
        let read = || -> Result<Self, Cbor> {
            let mut f = Fields::of(bytes)?;
            let record = Self {
                req: f.bytes("req", GENESIS_MAX)?.to_vec(),
                seq: f.u("seq")?,
                ts: f.u("ts")?,
            };
            f.end()?;
            Ok(record)
        };
        let record = read().ok()?;
        (record.seq == 0 || record.req.len() <= ENVELOPE_MAX).then_some(record)
    }

    /// Encodes the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(self.req.len() + 40);
        w.map(3);
        w.text("ts");
        w.unsigned(self.ts);
        w.text("req");
        w.bytes(&self.req);
        w.text("seq");
        w.unsigned(self.seq);
        w.into_vec()
    }
}

impl Economy {
    /// The first record of a ledger.
    #[must_use]
    pub fn first_record(&self) -> Record {
        Record {
            req: self.genesis.as_bytes().to_vec(),
            seq: 0,
            ts: self.genesis.t0,
        }
    }

    /// The machine after the first record of a journal.
    ///
    /// # Errors
    ///
    /// [`Error::Record`], [`Error::Place`] or [`Error::Genesis`].
    pub fn from_first(record: &[u8]) -> Result<Self, Error> {
        let record = Record::from_bytes(record).ok_or(Error::Record(0))?;
        if record.seq != 0 {
            return Err(Error::Place {
                found: record.seq,
                place: 0,
            });
        }
        let economy = Self::new(&record.req)?;
        match record.ts == economy.genesis.t0 {
            true => Ok(economy),
            false => Err(Error::Record(0)),
        }
    }

    /// Applies the next record of a journal. A record that is refused or repeats another is not one.
    ///
    /// # Errors
    ///
    /// [`Error::Record`], [`Error::Place`], [`Error::Clock`] or [`Error::Refused`]; the machine stays as it was.
    pub fn replay(&mut self, record: &[u8]) -> Result<Answer, Error> {
        let place = self.records();
        let record = Record::from_bytes(record).ok_or(Error::Record(place))?;
        if record.seq != place {
            return Err(Error::Place {
                found: record.seq,
                place,
            });
        }
        let answer = match record.req.is_empty() {
            true => self.tick(record.ts)?,
            false => self.apply(record.ts, &record.req)?,
        };
        match answer.is_new() {
            true => Ok(answer),
            false => Err(Error::Refused {
                record: place,
                code: match answer.code {
                    Code::Ok => Code::IdReused,
                    code => code,
                },
            }),
        }
    }

    /// Reads an envelope, as [`Economy::apply`] does, so that its signatures can be checked elsewhere.
    #[must_use]
    pub fn read(envelope: &[u8]) -> Option<Envelope> {
        Envelope::from_bytes(envelope)
    }
}

/// The answer that travels: an [`Answer`] to the request with this digest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnswerBody {
    /// The answer.
    pub answer: Answer,
    /// `H(body asked)`.
    pub req: Hash,
}

impl AnswerBody {
    /// Reads an answer's body. `None`: it does not read. Whether it repeats another is not part of it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let code = |r: &mut Reader<'_>| {
            let code = Code::from_number(number(r)?);
            code.ok_or(Cbor::Range("a code"))
        };
        let read = || -> Result<Self, Cbor> {
            let mut f = Fields::of(bytes)?;
            let body = Self {
                answer: Answer {
                    code: f.get("code", code)?,
                    codes: f.get("codes", |r| list(r, (0, TRANSFERS_MAX), code))?,
                    seq: f.u("seq")?,
                    repeat: false,
                },
                req: f.array("req")?,
            };
            f.end()?;
            Ok(body)
        };
        read().ok()
    }

    /// Encodes the body.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(64);
        w.map(4);
        w.text("req");
        w.bytes(&self.req);
        w.text("seq");
        w.unsigned(self.answer.seq);
        w.text("code");
        w.unsigned(u64::from(self.answer.code.number()));
        w.text("codes");
        w.array(self.answer.codes.len());
        for code in &self.answer.codes {
            w.unsigned(u64::from(code.number()));
        }
        w.into_vec()
    }

    /// Signs the body as the leader.
    #[must_use]
    pub fn sign(&self, leader: &Identity) -> [u8; 64] {
        leader.sign(ANSWER_LABEL, &[&self.to_bytes()])
    }

    /// What is signed.
    #[must_use]
    pub fn digest(&self) -> Hash {
        hash(&[ANSWER_LABEL.as_bytes(), &self.to_bytes()])
    }

    /// Verifies the leader's signature.
    ///
    /// # Errors
    ///
    /// The signature is not the leader's.
    pub fn verify(&self, leader: &PublicKey, sig: &[u8; 64]) -> Result<(), KeyError> {
        leader.verify(ANSWER_LABEL, &[&self.to_bytes()], sig)
    }
}
