//! A wallet of which only the phrase is left.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_bls::G1Affine;
use betanet_machine::Rng;
use betanet_wire::{Code, NodeId};
use zeroize::Zeroizing;

use super::{SAME_MAX, Wallet, WalletError, place};
use crate::issue::are_of_share;
use crate::message::{
    Answer, AnswerError, Blinded, Op, RedeemRequest, RestoreAnswer, RestoreRequest, VOUCHERS_MAX,
};
use crate::{Blinding, Denomination, IssueError, Keyset, KeysetId, Partials, Voucher, finish};

/// Secrets in a row that no mint has signed, after which a denomination has no more: three operations that were given up.
pub const GAP: u32 = 4 * SAME;
/// Secrets that one operation may take, and the wallet therefore skips.
const SAME: u32 = 64;
const _: () = assert!(SAME as usize == SAME_MAX);
/// Secrets of each denomination in one request.
const WINDOW: u32 = 24;
/// Most requests of one search: mints that sign everything end it.
pub const REQUESTS_MAX: u32 = 4_096;

/// The search for what the mints signed under one keyset.
///
/// It tells the mints which of their points belong together. It tells them nothing of where the vouchers are spent.
#[derive(Debug)]
pub struct Restore {
    keyset: KeysetId,
    /// Of each denomination the next counter, and the one after the last that was signed.
    open: BTreeMap<Denomination, (u32, u32)>,
    asked: Vec<(Denomination, u32)>,
    requests: u32,
    /// Shares that answered wrongly.
    liars: BTreeSet<u8>,
}

/// The verified signatures of one share: one for each point that was asked, or none.
type Signed = BTreeMap<u8, Vec<Option<G1Affine>>>;

impl Restore {
    /// Begins, from the first secret of each denomination.
    #[must_use]
    pub fn new(keyset: &Keyset) -> Self {
        Self {
            keyset: keyset.id(),
            open: keyset.denominations().map(|e| (e, (0, 0))).collect(),
            asked: Vec::new(),
            requests: 0,
            liars: BTreeSet::new(),
        }
    }

    /// Whether the search was cut off after [`REQUESTS_MAX`] requests, with vouchers found to the last.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.requests > REQUESTS_MAX
    }

    /// Shares that were named in wrong answers, by the mints that have them or by others.
    pub fn liars(&self) -> impl Iterator<Item = u8> {
        self.liars.iter().copied()
    }

    /// The next request, for all mints; `None` when all is found.
    pub fn request(&mut self, wallet: &Wallet, keyset: &Keyset) -> Option<RestoreRequest> {
        self.asked.clear();
        self.requests = self.requests.saturating_add(1);
        if self.requests > REQUESTS_MAX {
            return None;
        }
        let mut blinded = Vec::new();
        for (e, (next, _)) in &self.open {
            for counter in *next..next.saturating_add(WINDOW) {
                let blinding = wallet.blinding(keyset, *e, counter).ok()?;
                let point = blinding.blinded(keyset)?.to_bytes();
                self.asked.push((*e, counter));
                blinded.push(Blinded {
                    denomination: *e,
                    point,
                });
            }
        }
        let keyset = self.keyset;
        (!blinded.is_empty()).then_some(RestoreRequest { keyset, blinded })
    }

    /// Takes the answers of mints to the last request, and puts the vouchers into the wallet. Gives how many were found. They may be
    /// spent: see [`Wallet::check`]. An answer counts only if all its signatures are of the share that it names; the others do not
    /// suffer from a wrong one. Only vouchers, which t mints signed, make the search go on: one mint alone cannot make it endless.
    ///
    /// # Errors
    ///
    /// Fewer than t mints with good answers; then ask others the same.
    pub fn answered(
        &mut self,
        wallet: &mut Wallet,
        keyset: &Keyset,
        answers: &[RestoreAnswer],
        rng: &mut Rng,
    ) -> Result<usize, WalletError> {
        let need = usize::from(keyset.threshold());
        let asked = self.asked.iter();
        let blindings = asked.map(|(e, counter)| wallet.blinding(keyset, *e, *counter));
        let blindings: Vec<Blinding> = blindings.collect::<Result<_, _>>()?;
        let signed = self.signed(keyset, &blindings, answers, rng);
        if signed.len() < need {
            let (have, need) = (signed.len(), keyset.threshold());
            return Err(IssueError::TooFew { have, need }.into());
        }
        let (mut used, mut found) = (BTreeMap::new(), Vec::new());
        for (at, (e, counter)) in self.asked.iter().enumerate() {
            let n = signed.values().filter(|s| s[at].is_some()).count();
            if n > 0 {
                // What fewer than t mints signed is no voucher, but its secret is used up.
                used.insert(*e, counter.saturating_add(1));
            }
            if n >= need {
                found.push(at);
            }
        }
        let vouchers = Self::join(keyset, &found, &blindings, &signed, rng)?;
        wallet.room(vouchers.len())?;
        let n = vouchers.len();
        for at in found {
            let (e, counter) = self.asked[at];
            if let Some((_, after)) = self.open.get_mut(&e) {
                *after = (*after).max(counter.saturating_add(1));
            }
        }
        wallet.put(vouchers);
        for (e, after) in used {
            // Past what another device, or an operation before the loss, may still have signed.
            let known = wallet.counters.entry((self.keyset, e)).or_default();
            *known = (*known).max(after.saturating_add(SAME));
        }
        self.open.retain(|_, (next, after)| {
            *next = next.saturating_add(WINDOW);
            *next < after.saturating_add(GAP)
        });
        self.asked.clear();
        Ok(n)
    }

    /// The good signatures by share. Two answers of one share add up.
    fn signed(
        &mut self,
        keyset: &Keyset,
        blindings: &[Blinding],
        answers: &[RestoreAnswer],
        rng: &mut Rng,
    ) -> Signed {
        let mut signed = Signed::new();
        for answer in answers {
            if !are_of_share(keyset, blindings, answer.share, &answer.signatures, rng) {
                self.liars.insert(answer.share);
                continue;
            }
            let of = signed
                .entry(answer.share)
                .or_insert_with(|| alloc::vec![None; blindings.len()]);
            for (known, more) in of.iter_mut().zip(&answer.signatures) {
                *known = known.or(*more);
            }
        }
        signed
    }

    /// Joins the vouchers. Mints that did not sign the same points cannot be joined together: so it goes by the set of mints.
    fn join(
        keyset: &Keyset,
        found: &[usize],
        blindings: &[Blinding],
        signed: &Signed,
        rng: &mut Rng,
    ) -> Result<Vec<Voucher>, WalletError> {
        let mut groups: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for at in found {
            let signers = signed.iter().filter(|(_, s)| s[*at].is_some());
            let signers = signers.map(|(share, _)| *share).collect();
            groups.entry(signers).or_default().push(*at);
        }
        let mut out = Vec::new();
        for (signers, members) in groups {
            let own: Vec<Blinding> = members.iter().map(|at| blindings[*at].clone()).collect();
            let partials: Vec<Partials> = signers
                .iter()
                .filter_map(|share| Some((*share, signed.get(share)?)))
                .map(|(share, of)| Partials {
                    share,
                    signatures: members.iter().filter_map(|at| of[*at]).collect(),
                })
                .collect();
            out.extend(finish(keyset, &own, &partials, rng)?);
        }
        Ok(out)
    }
}

impl Wallet {
    /// A request that asks the spender which free vouchers of a keyset are spent, from this number of them on.
    #[must_use]
    pub fn check(
        &self,
        keyset: &KeysetId,
        from: usize,
        id: [u8; 16],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let vouchers: Vec<Voucher> = self.checked_ones(keyset, from);
        // Nobody is paid by a check.
        (!vouchers.is_empty())
            .then(|| RedeemRequest::encode(Op::Check, NodeId([0; 20]), id, &vouchers))
    }

    /// Takes the answer to [`Wallet::check`], and drops vouchers that are spent or worth nothing. Gives how many were dropped.
    ///
    /// # Errors
    ///
    /// Not the answer to this check.
    pub fn checked(
        &mut self,
        keyset: &Keyset,
        from: usize,
        id: [u8; 16],
        answer: &[u8],
    ) -> Result<usize, WalletError> {
        let request = self.check(&keyset.id(), from, id).ok_or(WalletError::Id)?;
        let signed = Answer::verify(answer, keyset.spender())?;
        let vouchers = self.checked_ones(&keyset.id(), from);
        let named = signed.request == betanet_keys::hash(&[&request]);
        if !named || signed.codes.len() != vouchers.len() {
            return Err(AnswerError::OtherRequest.into());
        }
        let mut dropped = 0;
        for (voucher, code) in vouchers.iter().zip(&signed.codes) {
            if matches!(*code, Code::VOUCHER_SPENT | Code::VOUCHER_INVALID) {
                self.coins.remove(&place(voucher));
                dropped += 1;
            }
        }
        self.revision += 1;
        Ok(dropped)
    }

    fn checked_ones(&self, keyset: &KeysetId, from: usize) -> Vec<Voucher> {
        let own = self.of_keyset(keyset).skip(from).take(VOUCHERS_MAX);
        own.map(|(_, c)| c.voucher.clone()).collect()
    }
}
