//! What is in a wallet's file, before it is encrypted.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};
use betanet_wire::{NodeId, message};
use zeroize::Zeroizing;

use super::pending::{Items, Pending, State};
use super::seed::Seed;
use super::{COINS_MAX, Coin, FileError, ORDER_MAX, PENDING_MAX, Wallet, place};
use crate::message::{PAY_MAX, VOUCHERS_MAX, exponent};
use crate::{Denomination, KeysetId, VOUCHER, Voucher};

/// Kinds of operations.
const ISSUE: u16 = 1;
const REDEEM: u16 = 2;
const SWAP: u16 = 3;
const GIVEN: u16 = 4;

message! {
    struct Counter {
        req "e" e: u16,
        req "n" n: u32,
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    struct Held<'a> {
        req "v" voucher: &'a [u8; VOUCHER],
        opt "by" by: [u8; 16],
        req "foreign" foreign: bool,
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Item(Denomination, u32);

impl Encode for Item {
    fn encode(&self, w: &mut Writer) {
        w.array(2);
        w.unsigned(self.0.exponent().into());
        w.unsigned(self.1.into());
    }
}

impl<'a> Decode<'a> for Item {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 2 {
            return Err(cbor::Error::Range("an exponent and a counter"));
        }
        let out = Self(exponent(r.unsigned()?)?, u32::decode(r)?);
        r.leave();
        Ok(out)
    }
}

message! {
    struct Operation<'a> {
        req "id" id: [u8; 16],
        opt "to" to: NodeId,
        opt "pay" pay: &'a [u8],
        req "kind" kind: u16,
        req "items" items: Vec<Item>,
        opt "order" order: &'a [u8],
        opt "keyset" keyset: [u8; 32],
    }
}

message! {
    struct Body<'a> {
        req "seed" seed: &'a [u8; 32],
        req "coins" coins: Vec<Held<'a>>,
        req "pending" pending: Vec<Operation<'a>>,
        req "counters" counters: Vec<Counter>,
        req "revision" revision: u64,
    }
}

impl Wallet {
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let counters = self.counters.iter().map(|((keyset, e), n)| Counter {
            e: e.exponent().into(),
            n: *n,
            keyset: keyset.0,
        });
        let coins = self.coins.values().map(|c| Held {
            voucher: c.voucher.as_bytes(),
            by: c.held,
            foreign: c.foreign,
        });
        let pending = self.pending.iter().map(|(id, p)| {
            let empty = Operation {
                id: *id,
                to: None,
                pay: None,
                kind: GIVEN,
                items: Vec::new(),
                order: None,
                keyset: None,
            };
            let list = |items: &Items| items.iter().map(|(e, n)| Item(*e, *n)).collect();
            match &p.state {
                State::Issue {
                    keyset,
                    items,
                    pay,
                    order,
                } => Operation {
                    pay: pay.as_deref(),
                    order: order.as_deref(),
                    kind: ISSUE,
                    items: list(items),
                    keyset: Some(keyset.0),
                    ..empty
                },
                State::Redeem { keyset, to } => Operation {
                    to: Some(*to),
                    kind: REDEEM,
                    keyset: Some(keyset.0),
                    ..empty
                },
                State::Swap { keyset, items } => Operation {
                    kind: SWAP,
                    items: list(items),
                    keyset: Some(keyset.0),
                    ..empty
                },
                State::Given => empty,
            }
        });
        Zeroizing::new(cbor::to_vec(&Body {
            seed: self.seed.as_bytes(),
            coins: coins.collect(),
            pending: pending.collect(),
            counters: counters.collect(),
            revision: self.revision,
        }))
    }

    /// Everything in it counts as stored.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FileError> {
        let body: Body<'_> = cbor::from_slice(bytes).map_err(FileError::Body)?;
        if body.coins.len() > COINS_MAX || body.pending.len() > PENDING_MAX {
            return Err(FileError::TooMuch);
        }
        let mut wallet = Self::of(Seed::from_bytes(*body.seed));
        (wallet.revision, wallet.stored) = (body.revision, body.revision);
        for c in &body.counters {
            let e = exponent(c.e.into()).map_err(FileError::Body)?;
            wallet.counters.insert((KeysetId(c.keyset), e), c.n);
        }
        for held in &body.coins {
            let voucher = Voucher::from_bytes(held.voucher).map_err(|_| FileError::Voucher)?;
            let (foreign, held) = (held.foreign, held.by);
            wallet.coins.insert(
                place(&voucher),
                Coin {
                    voucher,
                    foreign,
                    held,
                },
            );
        }
        let mut pending = BTreeMap::new();
        for p in body.pending {
            if p.items.len() > VOUCHERS_MAX
                || p.pay.is_some_and(|p| p.len() > PAY_MAX)
                || p.order.is_some_and(|o| o.len() > ORDER_MAX)
            {
                return Err(FileError::TooMuch);
            }
            let items: Items = p.items.iter().map(|i| (i.0, i.1)).collect();
            let pay = p.pay.map(<[u8]>::to_vec);
            let order = p.order.map(<[u8]>::to_vec);
            // Older files name no keyset of a redemption: its vouchers do.
            let held = || wallet.coins.values().find(|c| c.held == Some(p.id));
            let keyset = match p.kind {
                REDEEM => p.keyset.or_else(|| Some(held()?.voucher.keyset().0)),
                _ => p.keyset,
            };
            let state = match (p.kind, keyset.map(KeysetId), p.to) {
                (ISSUE, Some(keyset), None) => State::Issue {
                    keyset,
                    items,
                    pay,
                    order,
                },
                (SWAP, Some(keyset), None) => State::Swap { keyset, items },
                (REDEEM, Some(keyset), Some(to)) => State::Redeem { keyset, to },
                (GIVEN, None, None) => State::Given,
                _ => return Err(FileError::Operation),
            };
            let since = body.revision;
            pending.insert(p.id, Pending { since, state });
        }
        wallet.pending = pending;
        Ok(wallet)
    }
}
