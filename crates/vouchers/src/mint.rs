//! One mint: which points it signed, and for which payments.

mod books;
mod record;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_bls::G1Affine;
use betanet_keys::hash;
use betanet_wire::Code;

use crate::bank::JournalError;
use crate::held::{Decided, Held};
use crate::message::{
    Blinded, BlindedPoints, IssueAnswer, IssueRequest, RestoreAnswer, RestoreRequest, blinded_value,
};
use crate::{Denomination, KeyShare, Keyset, KeysetId, Partials, Phase, sign_blinded};

use books::Books;
pub use books::{OPENED_MAX, SIGNED_MAX};
use record::{Issued, Opened, Record, Swept};

/// A payment that the caller has verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Paid {
    /// Units that it pays for.
    pub amount: u64,
    /// Time of the purchase, in ms: before the keyset expired.
    pub at: u64,
}

/// One mint's shares of the keys of its keysets.
#[derive(Clone, Debug, Default)]
pub struct MintShares(BTreeMap<(KeysetId, Denomination), KeyShare>);

impl MintShares {
    /// Adds the shares of a keyset; `false`, and none, if one does not fit the keyset's record.
    pub fn add(&mut self, keyset: &Keyset, shares: impl IntoIterator<Item = KeyShare>) -> bool {
        let mut own = Vec::new();
        for share in shares {
            let key = keyset.key(share.denomination());
            let listed = key.and_then(|k| k.share(share.index()).copied());
            if listed.is_none() || listed != share.public() {
                return false;
            }
            own.push(share);
        }
        for share in own {
            self.0.insert((keyset.id(), share.denomination()), share);
        }
        true
    }

    /// Forgets a keyset's shares: they are wiped.
    pub fn remove(&mut self, keyset: &KeysetId) {
        self.0.retain(|(id, _), _| id != keyset);
    }

    fn sign(
        &self,
        keyset: &KeysetId,
        denomination: Denomination,
        point: &G1Affine,
    ) -> Option<(u8, G1Affine)> {
        let share = self.0.get(&(*keyset, denomination))?;
        Some((share.index(), sign_blinded(share, point)?))
    }
}

/// An issue that was decided: its points are to be signed once it is committed. Signing needs no state.
#[derive(Clone, Debug)]
pub struct ToSign {
    id: [u8; 16],
    keyset: KeysetId,
    points: Vec<(Denomination, G1Affine)>,
}

impl ToSign {
    /// Signs, in constant time: about 100 µs a point. `None` if a share is missing.
    #[must_use]
    pub fn sign(&self, shares: &MintShares) -> Option<IssueAnswer> {
        let (mut share, mut signatures) = (0, Vec::with_capacity(self.points.len()));
        for (e, point) in &self.points {
            let (index, signature) = shares.sign(&self.keyset, *e, point)?;
            share = index;
            signatures.push(signature);
        }
        Some(IssueAnswer {
            id: self.id,
            partials: Partials { share, signatures },
        })
    }
}

/// Points that this mint signed before, to be signed again.
#[derive(Clone, Debug)]
pub struct ToRestore {
    keyset: KeysetId,
    points: Vec<Option<Blinded>>,
}

impl ToRestore {
    /// Signs them again. `None` if a share is missing.
    #[must_use]
    pub fn sign(&self, shares: &MintShares) -> Option<RestoreAnswer> {
        let any = shares
            .0
            .range((self.keyset, Denomination::LEAST)..)
            .next()?;
        let (share, mut signatures) = (any.1.index(), Vec::with_capacity(self.points.len()));
        for blinded in &self.points {
            signatures.push(match blinded {
                None => None,
                Some(b) => {
                    let point = G1Affine::from_bytes(&b.point).ok()?;
                    Some(shares.sign(&self.keyset, b.denomination, &point)?.1)
                }
            });
        }
        Some(RestoreAnswer { share, signatures })
    }
}

/// One mint as a deterministic machine over a journal, in the style of [`crate::bank::Bank`].
#[derive(Clone, Debug, Default)]
pub struct Mint {
    books: Books,
}

impl Mint {
    /// A mint without keysets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the next record of the journal, as on start.
    ///
    /// # Errors
    ///
    /// Not the next record; nothing is changed then.
    pub fn apply(&mut self, record: &[u8]) -> Result<(), JournalError> {
        self.books.apply(&Record::from_bytes(record)?)
    }

    /// Number of records so far, committed or not.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.books.records
    }

    /// Whether so many more points have room that nothing at the redemption service stands for: beyond this, the mint signs only what
    /// a swap has committed there, of which there are at most [`crate::bank::GRANTED_MAX`].
    #[must_use]
    pub const fn has_room(&self, points: usize) -> bool {
        self.books.has_room(points)
    }

    /// Vouchers issued of a denomination; one that was paid for twice counts once.
    #[must_use]
    pub fn issued(&self, keyset: &KeysetId, denomination: Denomination) -> u64 {
        self.books.issued(keyset, denomination)
    }

    /// A hash over the whole durable state: equal for equal states.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut so_far = [0; 32];
        self.snapshot(&mut |piece| so_far = hash(&[&so_far, &piece]));
        so_far
    }

    /// Gives the durable state as records in pieces of at most about 64 KiB, which [`Mint::apply`] takes in an empty mint.
    pub fn snapshot(&self, out: &mut dyn FnMut(Vec<u8>)) {
        self.books.snapshot(&mut |record| out(record.to_bytes()));
    }

    /// Opens a keyset. Of one unit only one is active at a time: `None` if another's active life overlaps, if it was opened
    /// before, or if there are too many.
    pub fn open(&mut self, keyset: &Keyset) -> Option<Vec<u8>> {
        let record = Record::Opened(Opened {
            exp: keyset.exp(),
            unit: keyset.unit().into(),
            keyset: keyset.id().0,
            not_before: keyset.not_before(),
        });
        self.books.apply(&record).ok()?;
        Some(record.to_bytes())
    }

    /// Decides an issue. `points` are the request's, checked; `paid` is what its proof pays for. The same request is signed again.
    /// A refusal is a wire code.
    pub fn issue(
        &mut self,
        unix_ms: u64,
        keyset: &Keyset,
        request: &IssueRequest,
        points: &BlindedPoints,
        paid: Paid,
    ) -> Decided<Result<ToSign, Code>> {
        let decision = self.decide(unix_ms, keyset, request, points, paid);
        let (record, answer) = match decision {
            Ok((record, to_sign)) => (record, Ok(to_sign)),
            Err(code) => (None, Err(code)),
        };
        Decided {
            record,
            answer: Held::new(self.books.records, answer),
        }
    }

    fn decide(
        &mut self,
        unix_ms: u64,
        keyset: &Keyset,
        request: &IssueRequest,
        points: &BlindedPoints,
        paid: Paid,
    ) -> Result<(Option<Vec<u8>>, ToSign), Code> {
        if points.request != request.hash || keyset.id() != request.keyset {
            return Err(Code::INTERNAL_ERROR);
        }
        let to_sign = ToSign {
            id: request.id,
            keyset: request.keyset,
            points: points.points.clone(),
        };
        match self.books.ids.get(&request.number()) {
            Some((same, _)) if *same == request.hash => return Ok((None, to_sign)),
            Some(_) => return Err(Code::POLICY_REJECTED),
            None => {}
        }
        let in_time = match keyset.phase(unix_ms) {
            Phase::Announced | Phase::Expired => false,
            Phase::Active | Phase::Retiring => paid.at < keyset.exp(),
        };
        let has_keys = request
            .blinded
            .iter()
            .all(|b| keyset.key(b.denomination).is_some());
        let sum = blinded_value(&request.blinded) == Some(paid.amount);
        // One point in two vouchers would be one voucher, paid twice.
        let distinct: BTreeSet<&[u8; 48]> = request.blinded.iter().map(|b| &b.point).collect();
        if !in_time || !has_keys || !sum || distinct.len() != request.blinded.len() {
            return Err(Code::POLICY_REJECTED);
        }
        // One payment can be encoded in many ways, each with a number of its own. Where every point was signed, none takes room.
        let known = |b: &Blinded| self.books.signed(&request.keyset, b);
        if request.blinded.iter().all(known) {
            return Ok((None, to_sign));
        }
        let record = Record::Issued(Issued {
            blinded: request.blinded.clone(),
            id: request.number(),
            request: request.hash,
            keyset: request.keyset.0,
        });
        // Refuses a keyset that is not open. A point that is paid again is signed again: it is the same voucher, and nobody can keep
        // another from it by paying first.
        self.books
            .apply(&record)
            .map_err(|_| Code::POLICY_REJECTED)?;
        Ok((Some(record.to_bytes()), to_sign))
    }

    /// Which of these points were signed, for a wallet that lost its memory. Whoever asks must know the points.
    #[must_use]
    pub fn restore(&self, request: &RestoreRequest) -> Held<ToRestore> {
        let signed = |b: &Blinded| self.books.signed(&request.keyset, b).then_some(*b);
        let points = request.blinded.iter().map(signed).collect();
        let keyset = request.keyset;
        Held::new(self.books.records, ToRestore { keyset, points })
    }

    /// Forgets what was signed under a keyset that is past its grace. It is never opened again. `None` if it is not past it.
    pub fn sweep(&mut self, unix_ms: u64, keyset: &Keyset) -> Option<Vec<u8>> {
        if keyset.phase(unix_ms) != Phase::Expired {
            return None;
        }
        let record = Record::Swept(Swept {
            keyset: keyset.id().0,
        });
        self.books.apply(&record).ok()?;
        Some(record.to_bytes())
    }
}
