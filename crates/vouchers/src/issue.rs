use alloc::vec::Vec;
use core::fmt;

use betanet_bls::{G1Affine, G1Projective, Scalar};
use betanet_machine::Rng;
use zeroize::{Zeroize as _, Zeroizing};

use crate::batch::{Claim, all_hold, hold};
use crate::polynomial::lagrange;
use crate::voucher::message_point;
use crate::{Denomination, KeyShare, Keyset, Voucher};

/// Reason why answers of mints do not become vouchers.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// These shares' answers are wrong; their mints break the protocol.
    #[error("wrong answers of shares {0:?}")]
    BadShares(Vec<u8>),
    /// Fewer good answers than the threshold.
    #[error("{have} of {need} answers")]
    TooFew {
        /// Answers at hand.
        have: usize,
        /// The threshold.
        need: u8,
    },
    /// The keyset does not have a denomination.
    #[error("the keyset does not have the denomination")]
    NoSuchKey,
    /// Answers that were good one by one do not verify together: the keyset is not what it was checked to be.
    #[error("the joined signature does not verify")]
    Joined,
}

/// What a client keeps of one voucher that it has issued: the secret and the blinding factor. Wiped on drop, never printed.
#[derive(Clone)]
pub struct Blinding {
    denomination: Denomination,
    secret: Zeroizing<[u8; 32]>,
    factor: Scalar,
}

impl Blinding {
    /// Joins the parts; `None` for a factor of zero.
    #[must_use]
    pub fn new(denomination: Denomination, secret: &[u8; 32], factor: Scalar) -> Option<Self> {
        let good = !bool::from(factor.is_zero());
        good.then(|| Self {
            denomination,
            secret: Zeroizing::new(*secret),
            factor,
        })
    }

    /// The denomination.
    #[must_use]
    pub const fn denomination(&self) -> Denomination {
        self.denomination
    }

    /// The point that mints sign: `r · P`. It tells nothing of the voucher.
    #[must_use]
    pub fn blinded(&self, keyset: &Keyset) -> Option<G1Affine> {
        let point = message_point(&keyset.id(), self.denomination, &self.secret)?;
        point.times(&self.factor).to_affine()
    }

    /// The voucher of a joined signature.
    fn unblind(&self, keyset: &Keyset, joined: &G1Projective) -> Option<Voucher> {
        let signature = joined.times(&self.factor.inverse()).to_affine()?;
        let (id, secret) = (keyset.id(), &self.secret);
        Some(Voucher::new(&id, self.denomination, secret, &signature))
    }
}

impl Drop for Blinding {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.factor.zeroize();
    }
}

impl fmt::Debug for Blinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blinding(2^{}, …)", self.denomination.exponent())
    }
}

/// A mint's signature of a blinded point with its share, in constant time. `None` for the identity, which no good share gives.
#[must_use]
pub fn sign_blinded(share: &KeyShare, blinded: &G1Affine) -> Option<G1Affine> {
    blinded.times(&share.secret).to_affine()
}

/// One mint's answer: a signature for each blinded point, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Partials {
    /// Index of the share.
    pub share: u8,
    /// The signatures.
    pub signatures: Vec<G1Affine>,
}

/// Joins signatures of shares by Lagrange interpolation at zero. It checks nothing: [`finish`] does. `None` for an index that is zero
/// or occurs twice, for no parts, or for the identity.
#[must_use]
pub fn join(parts: &[(u8, G1Affine)]) -> Option<G1Affine> {
    let indices: Vec<u8> = parts.iter().map(|(i, _)| *i).collect();
    let points: Vec<G1Affine> = parts.iter().map(|(_, p)| *p).collect();
    G1Projective::sum_of_products(&points, &lagrange(&indices)?).to_affine()
}

/// Joins the answers of any t mints, unblinds, and verifies what comes out.
///
/// # Errors
///
/// Wrong answers are named, and then no voucher comes out: ask other mints.
pub fn finish(
    keyset: &Keyset,
    blindings: &[Blinding],
    answers: &[Partials],
    rng: &mut Rng,
) -> Result<Vec<Voucher>, IssueError> {
    let need = keyset.threshold();
    let mut chosen: Vec<&Partials> = Vec::new();
    for answer in answers {
        let is_new = chosen.iter().all(|c| c.share != answer.share);
        if is_new && chosen.len() < usize::from(need) {
            chosen.push(answer);
        }
    }
    let have = chosen.len();
    if have < usize::from(need) {
        return Err(IssueError::TooFew { have, need });
    }
    let bad = bad_shares(keyset, blindings, &chosen, rng)?;
    if !bad.is_empty() {
        return Err(IssueError::BadShares(bad));
    }
    let indices: Vec<u8> = chosen.iter().map(|a| a.share).collect();
    let weights = lagrange(&indices).ok_or(IssueError::Joined)?;
    let (mut vouchers, mut claims) = (Vec::new(), Vec::new());
    for (at, blinding) in blindings.iter().enumerate() {
        let parts: Vec<G1Affine> = chosen
            .iter()
            .filter_map(|a| a.signatures.get(at))
            .copied()
            .collect();
        let joined = G1Projective::sum_of_products(&parts, &weights);
        let voucher = blinding
            .unblind(keyset, &joined)
            .ok_or(IssueError::Joined)?;
        let key = keyset
            .key(blinding.denomination)
            .ok_or(IssueError::NoSuchKey)?;
        claims.push(Claim {
            base: voucher.point().ok_or(IssueError::Joined)?,
            signature: G1Affine::from_bytes(&voucher.signature())
                .map_err(|_| IssueError::Joined)?,
            key: key.public,
        });
        vouchers.push(voucher);
    }
    match all_hold(&claims, rng) {
        true => Ok(vouchers),
        false => Err(IssueError::Joined),
    }
}

/// Whether one mint's answer is what it should be: a signature of each point with the share that it names. Check each answer before
/// it counts: a mint that names another's share would take its place.
#[must_use]
pub fn is_good(keyset: &Keyset, blindings: &[Blinding], answer: &Partials, rng: &mut Rng) -> bool {
    let all: Vec<Option<G1Affine>> = answer.signatures.iter().copied().map(Some).collect();
    are_of_share(keyset, blindings, answer.share, &all, rng)
}

/// Whether the signatures that there are were made with this share, one for each point at most.
pub(crate) fn are_of_share(
    keyset: &Keyset,
    blindings: &[Blinding],
    share: u8,
    signatures: &[Option<G1Affine>],
    rng: &mut Rng,
) -> bool {
    if blindings.len() != signatures.len() || !(1..=keyset.shares()).contains(&share) {
        return false;
    }
    let mut claims = Vec::new();
    for (blinding, signature) in blindings.iter().zip(signatures) {
        let Some(signature) = *signature else {
            continue;
        };
        let key = keyset.key(blinding.denomination);
        let (Some(key), Some(base)) = (
            key.and_then(|k| k.share(share)).copied(),
            blinding.blinded(keyset),
        ) else {
            return false;
        };
        claims.push(Claim {
            base,
            signature,
            key,
        });
    }
    all_hold(&claims, rng)
}

/// Shares whose answers are wrong.
fn bad_shares(
    keyset: &Keyset,
    blindings: &[Blinding],
    answers: &[&Partials],
    rng: &mut Rng,
) -> Result<Vec<u8>, IssueError> {
    let blinded: Option<Vec<G1Affine>> = blindings.iter().map(|b| b.blinded(keyset)).collect();
    let blinded = blinded.ok_or(IssueError::Joined)?;
    let (mut claims, mut owners, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for answer in answers {
        if answer.signatures.len() != blindings.len() {
            bad.push(answer.share);
            continue;
        }
        for ((blinding, base), signature) in blindings.iter().zip(&blinded).zip(&answer.signatures)
        {
            let key = keyset
                .key(blinding.denomination)
                .ok_or(IssueError::NoSuchKey)?;
            let Some(key) = key.share(answer.share) else {
                bad.push(answer.share);
                break;
            };
            let (base, signature, key) = (*base, *signature, *key);
            claims.push(Claim {
                base,
                signature,
                key,
            });
            owners.push(answer.share);
        }
    }
    for (good, owner) in hold(&claims, rng).into_iter().zip(owners) {
        if !good && !bad.contains(&owner) {
            bad.push(owner);
        }
    }
    bad.sort_unstable();
    bad.dedup();
    Ok(bad)
}
