//! Points that somebody else has used: another device of the phrase, or this one after an older copy was brought back.

use alloc::vec::Vec;

use betanet_machine::Rng;
use betanet_wire::{Code, NodeId};
use zeroize::Zeroizing;

use super::pending::{Items, State};
use super::{SAME_MAX, Wallet, WalletError};
use crate::issue::are_of_share;
use crate::message::{Answer, AnswerError, Op, RedeemRequest, RestoreAnswer, RestoreRequest};
use crate::{Denomination, Keyset};

impl Wallet {
    /// Asks mints whether points of an operation were signed before: by another device of the phrase, or before this wallet was
    /// restored from an older copy. Ask t mints before an operation is paid for, or a swap is sent: a point that is signed already
    /// gives the voucher that somebody has.
    ///
    /// # Errors
    ///
    /// The wallet was not stored since, or the operation has no points or another keyset.
    pub fn probe(&self, id: &[u8; 16], keyset: &Keyset) -> Result<RestoreRequest, WalletError> {
        let blinded = self.blinded(keyset, self.unsent(id, keyset)?)?;
        let keyset = keyset.id();
        Ok(RestoreRequest { keyset, blinded })
    }

    /// Reads a mint's answer to [`Wallet::probe`]: whether it has signed one of the points. `None` for an answer that is wrong, as its
    /// signatures are not of its share.
    ///
    /// # Errors
    ///
    /// See [`Wallet::probe`].
    pub fn is_used(
        &self,
        id: &[u8; 16],
        keyset: &Keyset,
        answer: &RestoreAnswer,
        rng: &mut Rng,
    ) -> Result<Option<bool>, WalletError> {
        let blindings = self.blindings(keyset, self.unsent(id, keyset)?)?;
        let good = are_of_share(keyset, &blindings, answer.share, &answer.signatures, rng);
        Ok(good.then(|| answer.signatures.iter().any(Option::is_some)))
    }

    /// Gives an operation other points, past those of others. A swap that was sent must not have been committed:
    /// [`Wallet::check_held`] tells.
    ///
    /// # Errors
    ///
    /// The operation has no points, another keyset, or is paid for already; or the counters are used up.
    pub fn renew(&mut self, id: &[u8; 16], keyset: &Keyset) -> Result<(), WalletError> {
        let old = self.unsent(id, keyset)?.clone();
        for (e, counter) in &old {
            // As far as one operation of another device may have come.
            let next = counter.saturating_add(u32::try_from(SAME_MAX).unwrap_or(u32::MAX));
            let known = self.counters.entry((keyset.id(), *e)).or_default();
            *known = (*known).max(next);
        }
        let split: Vec<Denomination> = old.iter().map(|(e, _)| *e).collect();
        let new = self.items(keyset, &split)?;
        self.advance(&keyset.id(), &new);
        let next = self.revision + 1;
        let Some(pending) = self.pending.get_mut(id) else {
            return Err(WalletError::Id);
        };
        if let State::Issue { items, .. } | State::Swap { items, .. } = &mut pending.state {
            *items = new;
        }
        (pending.since, self.revision) = (next, next);
        Ok(())
    }

    /// The points of an operation that nothing was paid for yet, as far as the wallet knows.
    fn unsent(&self, id: &[u8; 16], keyset: &Keyset) -> Result<&Items, WalletError> {
        match &self.begun(id)?.state {
            State::Issue {
                keyset: of,
                items,
                pay: None,
                order: None,
            }
            | State::Swap { keyset: of, items }
                if *of == keyset.id() =>
            {
                Ok(items)
            }
            _ => Err(WalletError::Id),
        }
    }

    /// A request that asks the spender whether the vouchers of a swap are spent: then the swap was committed, or somebody else had
    /// them.
    ///
    /// # Errors
    ///
    /// The number is of no swap under this keyset, or the wallet was not stored since.
    pub fn check_held(
        &self,
        id: &[u8; 16],
        keyset: &Keyset,
        number: [u8; 16],
    ) -> Result<Zeroizing<Vec<u8>>, WalletError> {
        self.unsent(id, keyset)?;
        let held = self.held_of(id, &keyset.id())?;
        // Nobody is paid by a check.
        let nobody = NodeId([0; 20]);
        match held.is_empty() {
            true => Err(WalletError::Id),
            false => Ok(RedeemRequest::encode(Op::Check, nobody, number, &held)),
        }
    }

    /// Reads the answer to [`Wallet::check_held`]: whether any voucher of the swap is spent.
    ///
    /// # Errors
    ///
    /// Not the answer to this check.
    pub fn is_spent(
        &self,
        id: &[u8; 16],
        keyset: &Keyset,
        number: [u8; 16],
        answer: &[u8],
    ) -> Result<bool, WalletError> {
        let request = self.check_held(id, keyset, number)?;
        let signed = Answer::verify(answer, keyset.spender())?;
        match signed.request == betanet_keys::hash(&[&request]) {
            true => Ok(signed.codes.contains(&Code::VOUCHER_SPENT)),
            false => Err(AnswerError::OtherRequest.into()),
        }
    }
}
