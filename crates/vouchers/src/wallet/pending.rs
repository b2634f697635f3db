//! Operations: what they hold, what they send, what their answers do.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use betanet_machine::Rng;
use betanet_wire::{Code, NodeId};
use zeroize::Zeroizing;

use super::{Coin, Place, SAME_MAX, Wallet, WalletError, place};
use crate::message::{
    Answer, AnswerError, Blinded, IssueRequest, Op, PAY_MAX, RedeemRequest, SwapRequest,
    VOUCHERS_MAX, blinded_hash, blinded_value,
};
use crate::{Blinding, Denomination, Keyset, KeysetId, Partials, Voucher, digits, finish, is_good};

/// Longest purchase that a wallet keeps with an issue, in bytes.
pub const ORDER_MAX: usize = 2_048;

/// Secrets by denomination and counter.
pub(super) type Items = Vec<(Denomination, u32)>;

#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Revision of the wallet that has it.
    pub(super) since: u64,
    pub(super) state: State,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Points to be signed for a payment, once there is a proof of it.
    Issue {
        keyset: KeysetId,
        items: Items,
        pay: Option<Vec<u8>>,
        /// The purchase that is to pay for it, as its caller wrote it.
        order: Option<Vec<u8>>,
    },
    /// Vouchers to be redeemed to a node.
    Redeem { keyset: KeysetId, to: NodeId },
    /// Vouchers to be exchanged for points.
    Swap { keyset: KeysetId, items: Items },
    /// Vouchers that were given to somebody.
    Given,
}

/// Who a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Receiver {
    /// Any t mints of the keyset: `POST /vouchers/issue`.
    Mints,
    /// The spender: `POST /vouchers/redeem`.
    Redeem,
    /// The spender: `POST /vouchers/swap`.
    Swap,
}

/// A request to send, now or again.
#[derive(Clone)]
pub struct Request {
    /// Who it is for.
    pub receiver: Receiver,
    /// The bytes; those for the spender are money.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Request({:?}, {} bytes)",
            self.receiver,
            self.bytes.len()
        )
    }
}

impl Wallet {
    /// Begins to issue vouchers. Once the wallet is stored, [`Wallet::points`] are what the payment must name, and [`Wallet::paid`]
    /// takes the proof of it. The caller checked that the keyset is fit ([`Keyset::fit_for_issue`]).
    ///
    /// # Errors
    ///
    /// The amount does not split, the number is used, or the wallet is full.
    pub fn buy(&mut self, keyset: &Keyset, amount: u64, id: [u8; 16]) -> Result<(), WalletError> {
        let items = self.items(
            keyset,
            &digits(amount, VOUCHERS_MAX).ok_or(WalletError::Amount)?,
        )?;
        let state = State::Issue {
            keyset: keyset.id(),
            items: items.clone(),
            pay: None,
            order: None,
        };
        self.begin(id, &[], state)?;
        self.advance(&keyset.id(), &items);
        Ok(())
    }

    /// The points of an issue, which its payment names by [`crate::message::blinded_hash`], or of a swap.
    ///
    /// # Errors
    ///
    /// The wallet was not stored since, or the number is of neither.
    pub fn points(&self, id: &[u8; 16], keyset: &Keyset) -> Result<Vec<Blinded>, WalletError> {
        match &self.begun(id)?.state {
            State::Issue {
                keyset: of, items, ..
            }
            | State::Swap { keyset: of, items }
                if *of == keyset.id() =>
            {
                self.blinded(keyset, items)
            }
            _ => Err(WalletError::Id),
        }
    }

    /// Takes the proof that an issue is paid for. Store the wallet before it is sent.
    ///
    /// # Errors
    ///
    /// The number is of no issue, or of one that has another proof; or the proof is too long.
    pub fn paid(&mut self, id: &[u8; 16], proof: &[u8]) -> Result<(), WalletError> {
        let next = self.revision + 1;
        let Some(pending) = self.pending.get_mut(id) else {
            return Err(WalletError::Id);
        };
        let State::Issue { pay, .. } = &mut pending.state else {
            return Err(WalletError::Id);
        };
        match pay {
            Some(same) if same == proof => return Ok(()),
            Some(_) => return Err(WalletError::Id),
            None if proof.len() > PAY_MAX => return Err(WalletError::Amount),
            None => *pay = Some(proof.to_vec()),
        }
        (pending.since, self.revision) = (next, next);
        Ok(())
    }

    /// Keeps a purchase that is to pay for an issue, such as a signed request to a ledger, in place of an earlier one. Store the wallet
    /// before it is sent: from then on the points of the issue stay as they are.
    ///
    /// # Errors
    ///
    /// The number is of no issue, or of one that is paid for; or the purchase is longer than [`ORDER_MAX`].
    pub fn ordered(&mut self, id: &[u8; 16], purchase: &[u8]) -> Result<(), WalletError> {
        let next = self.revision + 1;
        let pending = self.pending.get_mut(id).ok_or(WalletError::Id)?;
        let State::Issue {
            pay: None, order, ..
        } = &mut pending.state
        else {
            return Err(WalletError::Id);
        };
        if purchase.len() > ORDER_MAX {
            return Err(WalletError::Amount);
        }
        *order = Some(purchase.to_vec());
        (pending.since, self.revision) = (next, next);
        Ok(())
    }

    /// The purchase that is to pay for an issue, which is not paid for yet, and the issue's keyset.
    ///
    /// # Errors
    ///
    /// The wallet was not stored since, or there is none.
    pub fn order(&self, id: &[u8; 16]) -> Result<(KeysetId, &[u8]), WalletError> {
        match &self.begun(id)?.state {
            State::Issue {
                keyset,
                pay: None,
                order: Some(order),
                ..
            } => Ok((*keyset, order)),
            _ => Err(WalletError::Id),
        }
    }

    /// Begins to redeem vouchers of exactly this amount to a node's balance.
    ///
    /// # Errors
    ///
    /// No vouchers sum to it, the number is used, or the wallet is full.
    pub fn redeem(
        &mut self,
        keyset: &KeysetId,
        amount: u64,
        to: NodeId,
        id: [u8; 16],
    ) -> Result<(), WalletError> {
        let places = self.exact(keyset, amount)?;
        let keyset = *keyset;
        self.begin(id, &places, State::Redeem { keyset, to })
    }

    /// Begins to exchange vouchers for others of the same keyset: `give` names amounts, each of which the new vouchers can pay
    /// exactly; what is left is split by its digits. With an empty `give` all foreign vouchers are renewed.
    ///
    /// # Errors
    ///
    /// Not enough vouchers, the number is used, or the wallet is full.
    pub fn swap(&mut self, keyset: &Keyset, give: &[u64], id: [u8; 16]) -> Result<(), WalletError> {
        let want = give
            .iter()
            .try_fold(0_u64, |a, b| a.checked_add(*b))
            .ok_or(WalletError::Amount)?;
        let mut free: Vec<(Place, u64, bool)> = self
            .of_keyset(&keyset.id())
            .map(|(p, c)| (*p, c.voucher.value(), c.foreign))
            .collect();
        // Foreign ones first; then the smallest, which makes room.
        free.sort_by_key(|(_, value, foreign)| (!foreign, *value));
        let (mut places, mut sum) = (Vec::new(), 0_u64);
        for (place, value, foreign) in free {
            if (sum < want || foreign) && places.len() < VOUCHERS_MAX {
                sum = sum.checked_add(value).ok_or(WalletError::Amount)?;
                places.push(place);
            }
        }
        if sum < want || places.is_empty() {
            return Err(WalletError::NotEnough);
        }
        let mut out = Vec::new();
        let rest = [sum - want];
        for amount in give.iter().chain(&rest).filter(|a| **a > 0) {
            out.extend(digits(*amount, VOUCHERS_MAX).ok_or(WalletError::Amount)?);
        }
        // In an order that tells nothing of the amounts.
        out.sort_unstable();
        let items = self.items(keyset, &out)?;
        let state = State::Swap {
            keyset: keyset.id(),
            items: items.clone(),
        };
        self.begin(id, &places, state)?;
        self.advance(&keyset.id(), &items);
        Ok(())
    }

    /// Begins to give vouchers of exactly this amount to somebody, by hand or message. They come out of [`Wallet::given`] once
    /// the wallet is stored, so that they are not given twice.
    ///
    /// # Errors
    ///
    /// No vouchers sum to it, the number is used, or the wallet is full.
    pub fn give(
        &mut self,
        keyset: &KeysetId,
        amount: u64,
        id: [u8; 16],
    ) -> Result<(), WalletError> {
        let places = self.exact(keyset, amount)?;
        self.begin(id, &places, State::Given)
    }

    /// The vouchers that an operation gives away.
    ///
    /// # Errors
    ///
    /// The wallet was not stored since, or the number is none of a gift.
    pub fn given(&self, id: &[u8; 16]) -> Result<Vec<Voucher>, WalletError> {
        match self.begun(id)?.state {
            State::Given => Ok(self.held_by(id)),
            _ => Err(WalletError::Id),
        }
    }

    /// The request of an operation: the same bytes each time.
    ///
    /// # Errors
    ///
    /// The wallet was not stored since the operation began, the number is of none that sends, or the keyset is not the operation's:
    /// the vouchers are money for whoever reads the request.
    pub fn request(&self, id: &[u8; 16], keyset: &Keyset) -> Result<Request, WalletError> {
        let (receiver, bytes) = match &self.begun(id)?.state {
            State::Issue {
                keyset: of,
                items,
                pay,
                ..
            } if *of == keyset.id() => {
                let pay = pay.as_ref().ok_or(WalletError::NotPaid)?;
                let blinded = self.blinded(keyset, items)?;
                let bytes = IssueRequest::encode(*id, of, &blinded, pay);
                (Receiver::Mints, Zeroizing::new(bytes))
            }
            State::Swap { keyset: of, items } if *of == keyset.id() => {
                let blinded = self.blinded(keyset, items)?;
                let vouchers = self.held_of(id, of)?;
                (
                    Receiver::Swap,
                    SwapRequest::encode(*id, of, &vouchers, &blinded),
                )
            }
            State::Redeem { keyset: of, to } if *of == keyset.id() => {
                let vouchers = self.held_of(id, of)?;
                (
                    Receiver::Redeem,
                    RedeemRequest::encode(Op::Redeem, *to, *id, &vouchers),
                )
            }
            _ => return Err(WalletError::Id),
        };
        Ok(Request { receiver, bytes })
    }

    /// Whether a mint's answer to an issue is good, so that it may count: its signatures are of the share that it names.
    ///
    /// # Errors
    ///
    /// The number is of no issue under this keyset, or the wallet was not stored since.
    pub fn is_answer(
        &self,
        id: &[u8; 16],
        keyset: &Keyset,
        answer: &Partials,
        rng: &mut Rng,
    ) -> Result<bool, WalletError> {
        match &self.begun(id)?.state {
            State::Issue {
                keyset: of, items, ..
            } if *of == keyset.id() => {
                let blindings = self.blindings(keyset, items)?;
                Ok(is_good(keyset, &blindings, answer, rng))
            }
            _ => Err(WalletError::Id),
        }
    }

    /// Takes the answers of mints to an issue. Wrong ones are named, and the operation stays open: ask other mints.
    ///
    /// # Errors
    ///
    /// The answers do not become vouchers, or the number is of no issue.
    pub fn issued(
        &mut self,
        id: &[u8; 16],
        keyset: &Keyset,
        answers: &[Partials],
        rng: &mut Rng,
    ) -> Result<u64, WalletError> {
        let State::Issue {
            keyset: of, items, ..
        } = &self.begun(id)?.state
        else {
            return Err(WalletError::Id);
        };
        if *of != keyset.id() {
            return Err(WalletError::Id);
        }
        self.room(items.len())?;
        let blindings = self.blindings(keyset, items)?;
        let vouchers = finish(keyset, &blindings, answers, rng)?;
        self.pending.remove(id);
        Ok(self.put(vouchers))
    }

    /// Puts own vouchers in; gives their value.
    pub(super) fn put(&mut self, vouchers: Vec<Voucher>) -> u64 {
        let mut value = 0_u64;
        for voucher in vouchers {
            value = value.saturating_add(voucher.value());
            let (foreign, held) = (false, None);
            self.coins.entry(place(&voucher)).or_insert(Coin {
                voucher,
                foreign,
                held,
            });
        }
        self.revision += 1;
        value
    }

    /// Takes the spender's answer to a redemption or a swap. A redemption ends: its vouchers are gone, and the redeemed value comes
    /// back. An accepted swap goes on as an issue under the same number: store the wallet, then send [`Wallet::request`] to the
    /// mints. After a refusal the vouchers that are spent or worth nothing are dropped, and the others are free again.
    ///
    /// # Errors
    ///
    /// Not an answer to this operation, or [`AnswerError::Refused`] with the first code: then the operation has ended.
    pub fn answered(
        &mut self,
        id: &[u8; 16],
        keyset: &Keyset,
        answer: &[u8],
    ) -> Result<u64, WalletError> {
        let request = self.request(id, keyset)?;
        let state = self.begun(id)?.state.clone();
        let signed = Answer::verify(answer, keyset.spender())?;
        let vouchers = self.held_by(id);
        let named = signed.request == betanet_keys::hash(&[&request.bytes]) && signed.id == *id;
        if !named || signed.codes.len() != vouchers.len() {
            return Err(AnswerError::OtherRequest.into());
        }
        let Some(refusal) = signed.codes.iter().find(|c| **c != Code::OK) else {
            let next = match state {
                State::Redeem { .. } => None,
                State::Swap { keyset: of, items } => {
                    let blinded = self.blinded(keyset, &items)?;
                    let grants = signed
                        .swapped
                        .is_some_and(|s| s.keyset == of && s.blinded == blinded_hash(&blinded));
                    let sum = blinded_value(&blinded) == Some(signed.total);
                    if !grants || !sum || answer.len() > PAY_MAX {
                        return Err(AnswerError::OtherRequest.into());
                    }
                    let (keyset, pay) = (of, Some(answer.to_vec()));
                    Some(State::Issue {
                        keyset,
                        items,
                        pay,
                        order: None,
                    })
                }
                _ => return Err(AnswerError::OtherRequest.into()),
            };
            vouchers
                .iter()
                .for_each(|v| drop(self.coins.remove(&place(v))));
            self.pending.remove(id);
            self.revision += 1;
            if let Some(state) = next {
                let since = self.revision;
                self.pending.insert(*id, Pending { since, state });
            }
            return Ok(signed.total);
        };
        for (voucher, code) in vouchers.iter().zip(&signed.codes) {
            let place = place(voucher);
            if matches!(*code, Code::VOUCHER_SPENT | Code::VOUCHER_INVALID) {
                self.coins.remove(&place);
            } else if let Some(coin) = self.coins.get_mut(&place) {
                coin.held = None;
            }
        }
        self.pending.remove(id);
        self.revision += 1;
        Err(AnswerError::Refused(*refusal).into())
    }

    /// Ends a gift: its vouchers are gone, as when the friend says that it has swapped them.
    ///
    /// # Errors
    ///
    /// The number is of no gift.
    pub fn gone(&mut self, id: &[u8; 16]) -> Result<(), WalletError> {
        self.end_gift(id, true)
    }

    /// Takes a gift back. If the friend has spent the vouchers, the service says so when they are used.
    ///
    /// # Errors
    ///
    /// The number is of no gift.
    pub fn take_back(&mut self, id: &[u8; 16]) -> Result<(), WalletError> {
        self.end_gift(id, false)
    }

    fn end_gift(&mut self, id: &[u8; 16], gone: bool) -> Result<(), WalletError> {
        let is_gift = matches!(self.pending.get(id), Some(p) if matches!(p.state, State::Given));
        if !is_gift {
            return Err(WalletError::Id);
        }
        self.pending.remove(id);
        self.revision += 1;
        for voucher in self.held_by(id) {
            let place = place(&voucher);
            match self.coins.get_mut(&place) {
                Some(coin) if !gone => coin.held = None,
                _ => drop(self.coins.remove(&place)),
            }
        }
        Ok(())
    }

    /// Gives up an issue for which nothing was paid. Its secrets are never used again.
    ///
    /// # Errors
    ///
    /// The number is of no issue.
    pub fn abandon(&mut self, id: &[u8; 16]) -> Result<(), WalletError> {
        match self.pending.get(id) {
            Some(p) if matches!(p.state, State::Issue { .. }) => {
                self.pending.remove(id);
                self.revision += 1;
                Ok(())
            }
            _ => Err(WalletError::Id),
        }
    }

    /// An operation, once the wallet that has it is stored.
    pub(super) fn begun(&self, id: &[u8; 16]) -> Result<&Pending, WalletError> {
        let pending = self.pending.get(id).ok_or(WalletError::Id)?;
        match pending.since <= self.stored {
            true => Ok(pending),
            false => Err(WalletError::NotStored),
        }
    }

    /// The vouchers that an operation holds, in the order of their places.
    fn held_by(&self, id: &[u8; 16]) -> Vec<Voucher> {
        let held = self.coins.values().filter(|c| c.held == Some(*id));
        held.map(|c| c.voucher.clone()).collect()
    }

    /// The same, if all of them are of this keyset.
    pub(super) fn held_of(
        &self,
        id: &[u8; 16],
        keyset: &KeysetId,
    ) -> Result<Vec<Voucher>, WalletError> {
        let held = self.held_by(id);
        let own = held.iter().all(|v| v.keyset() == *keyset);
        own.then_some(held).ok_or(WalletError::Id)
    }

    /// Reserves a counter for each voucher.
    pub(super) fn items(
        &self,
        keyset: &Keyset,
        split: &[Denomination],
    ) -> Result<Items, WalletError> {
        if split.len() > VOUCHERS_MAX {
            return Err(WalletError::Amount);
        }
        self.room(split.len())?;
        let mut used: BTreeMap<Denomination, u32> = BTreeMap::new();
        let mut items = Vec::with_capacity(split.len());
        for e in split {
            let used = used.entry(*e).or_default();
            if keyset.key(*e).is_none() || *used as usize >= SAME_MAX {
                return Err(WalletError::Amount);
            }
            let next = self.counters.get(&(keyset.id(), *e)).copied().unwrap_or(0);
            items.push((*e, next.checked_add(*used).ok_or(WalletError::Exhausted)?));
            *used += 1;
        }
        Ok(items)
    }

    /// Moves the counters past these.
    pub(super) fn advance(&mut self, keyset: &KeysetId, items: &Items) {
        for (e, counter) in items {
            let next = self.counters.entry((*keyset, *e)).or_default();
            *next = (*next).max(counter.saturating_add(1));
        }
    }

    pub(super) fn blindings(
        &self,
        keyset: &Keyset,
        items: &Items,
    ) -> Result<Vec<Blinding>, WalletError> {
        let one = |(e, counter): &(Denomination, u32)| self.blinding(keyset, *e, *counter);
        items.iter().map(one).collect()
    }

    pub(super) fn blinded(
        &self,
        keyset: &Keyset,
        items: &Items,
    ) -> Result<Vec<Blinded>, WalletError> {
        let mut out = Vec::with_capacity(items.len());
        for blinding in self.blindings(keyset, items)? {
            let point = blinding.blinded(keyset).ok_or(WalletError::Exhausted)?;
            out.push(Blinded {
                denomination: blinding.denomination(),
                point: point.to_bytes(),
            });
        }
        Ok(out)
    }
}
