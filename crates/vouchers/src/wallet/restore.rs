//! A wallet of which only the phrase is left.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_machine::Rng;
use betanet_wire::{Code, NodeId};
use zeroize::Zeroizing;

use super::{SAME_MAX, Wallet, WalletError, place};
use crate::message::{
    Answer, AnswerError, Blinded, Op, RedeemRequest, RestoreAnswer, RestoreRequest, VOUCHERS_MAX,
};
use crate::{Blinding, Denomination, IssueError, Keyset, KeysetId, Partials, Voucher, finish};

/// Secrets in a row that no mint has signed, after which a denomination has no more: three operations that were given up.
pub const GAP: u32 = 4 * SAME;
/// Secrets that one operation may take, and the wallet therefore skips.
pub(super) const SAME: u32 = 64;
const _: () = assert!(SAME as usize == SAME_MAX);
/// Secrets of each denomination in one request.
const WINDOW: u32 = 24;

/// The search for what the mints signed under one keyset.
///
/// It tells the mints which of their points belong together. It tells them nothing of where the vouchers are spent.
#[derive(Debug)]
pub struct Restore {
    keyset: KeysetId,
    /// Of each denomination the next counter, and the one after the last that was signed.
    open: BTreeMap<Denomination, (u32, u32)>,
    asked: Vec<(Denomination, u32)>,
}

impl Restore {
    /// Begins, from the first secret of each denomination.
    #[must_use]
    pub fn new(keyset: &Keyset) -> Self {
        Self {
            keyset: keyset.id(),
            open: keyset.denominations().map(|e| (e, (0, 0))).collect(),
            asked: Vec::new(),
        }
    }

    /// The next request, for t mints; `None` when all is found.
    pub fn request(&mut self, wallet: &Wallet, keyset: &Keyset) -> Option<RestoreRequest> {
        self.asked.clear();
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
    /// spent: see [`Wallet::check`].
    ///
    /// # Errors
    ///
    /// Fewer than t mints, or wrong answers; then ask others the same.
    pub fn answered(
        &mut self,
        wallet: &mut Wallet,
        keyset: &Keyset,
        answers: &[RestoreAnswer],
        rng: &mut Rng,
    ) -> Result<usize, WalletError> {
        let need = usize::from(keyset.threshold());
        let complete = answers
            .iter()
            .filter(|a| a.signatures.len() == self.asked.len());
        let complete: Vec<&RestoreAnswer> = complete.collect();
        if complete.len() < need {
            let (have, need) = (complete.len(), keyset.threshold());
            return Err(IssueError::TooFew { have, need }.into());
        }
        let (mut used, mut found, mut blindings) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (e, counter)) in self.asked.iter().enumerate() {
            // What fewer than t mints signed is no voucher, but its secret is used up.
            let signed = complete
                .iter()
                .filter(|a| a.signatures[at].is_some())
                .count();
            if signed > 0 {
                used.push((*e, *counter));
            }
            if signed >= need {
                found.push(at);
                blindings.push(wallet.blinding(keyset, *e, *counter)?);
            }
        }
        let vouchers = Self::join(keyset, &found, &blindings, &complete, rng)?;
        wallet.room(vouchers.len())?;
        let n = vouchers.len();
        for (e, counter) in used {
            if let Some((_, after)) = self.open.get_mut(&e) {
                *after = (*after).max(counter + 1);
            }
        }
        wallet.put(vouchers);
        self.open.retain(|e, (next, after)| {
            *next = next.saturating_add(WINDOW);
            // Past what another device, or an operation before the loss, may still have signed.
            let free = if *after > 0 { *after + SAME } else { 0 };
            let known = wallet.counters.entry((self.keyset, *e)).or_default();
            *known = (*known).max(free);
            *next < after.saturating_add(GAP)
        });
        self.asked.clear();
        Ok(n)
    }

    /// Joins the vouchers. Mints that did not sign the same points cannot be joined together: so it goes by the set of mints.
    fn join(
        keyset: &Keyset,
        found: &[usize],
        blindings: &[Blinding],
        answers: &[&RestoreAnswer],
        rng: &mut Rng,
    ) -> Result<Vec<Voucher>, WalletError> {
        let mut groups: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (i, at) in found.iter().enumerate() {
            let signers = answers.iter().filter(|a| a.signatures[*at].is_some());
            groups
                .entry(signers.map(|a| a.share).collect())
                .or_default()
                .push(i);
        }
        let mut out = Vec::new();
        for (signers, members) in groups {
            let own: Vec<Blinding> = members
                .iter()
                .filter_map(|i| blindings.get(*i).cloned())
                .collect();
            let partials: Vec<Partials> = answers
                .iter()
                .filter(|a| signers.contains(&a.share))
                .map(|a| Partials {
                    share: a.share,
                    signatures: members
                        .iter()
                        .filter_map(|i| a.signatures[found[*i]])
                        .collect(),
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
