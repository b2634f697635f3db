//! Purchases of vouchers: signed before they are sent, and followed until a final head shows what became of them.

use betanet_economy_service::rows::{Account, Balance, KeysetRow, balance_key, id_record, table};
use betanet_keys::Identity;
use betanet_runtime::NodeId;
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Asset, Code, Envelope, Hash, Id, Param, Request};
use betanet_wire::cbor::{self, Error as Cbor};
use betanet_wire::message;

use super::amount::{fog, shown};
use super::net::{Ledger, now_ms};
use super::words::meaning;
use crate::Fail;

/// Validity of a purchase, in ms. A wallet keeps one that was refused for so long, because the ledger could still take it.
const VALID_MS: u64 = 900_000;

message! {
    /// A purchase as a wallet keeps it.
    struct Kept<'a> {
        req "ledger" ledger: [u8; 32],
        req "envelope" envelope: &'a [u8],
    }
}

/// A signed purchase.
pub(crate) struct Purchase {
    ledger: Hash,
    envelope: Envelope,
}

impl Purchase {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Kept {
            ledger: self.ledger,
            envelope: &self.envelope.to_bytes(),
        })
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let kept: Kept<'_> = cbor::from_slice(bytes).ok()?;
        Some(Self {
            ledger: kept.ledger,
            envelope: Envelope::from_bytes(kept.envelope)?,
        })
    }

    /// The ledger that it is for.
    pub(crate) const fn ledger(&self) -> &Hash {
        &self.ledger
    }
}

/// What became of a purchase.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// A final head covers its record, of this number.
    Bought(u64),
    /// It never happened and never will, for this reason.
    Ended(String),
    /// It did not happen, and still can, for this reason.
    Open(String),
    /// The nonce was another's: sign it again.
    Nonce,
}

/// A keyset as the ledger has it, and the time of the head that proves it.
pub(crate) struct Proof {
    pub(crate) row: Option<KeysetRow>,
    pub(crate) ts: u64,
}

fn unread(error: Cbor) -> Fail {
    Fail::Peer(format!("a row of the ledger does not read: {error}"))
}

impl Ledger {
    /// The ledger's ID.
    pub(crate) fn id(&self) -> &Hash {
        self.trust.genesis().id()
    }

    /// A keyset under the final head.
    pub(crate) async fn keyset(&mut self, id: &Hash) -> Result<Proof, Fail> {
        let (head, rows) = self.rows(&[(table::KEYSETS, id.to_vec())]).await?;
        let row = rows.first().and_then(|row| row.as_deref());
        let row = row.map(KeysetRow::read).transpose().map_err(unread)?;
        let ts = head.head().ts;
        Ok(Proof { row, ts })
    }

    /// Refuses a purchase that the account cannot pay under the final head.
    pub(crate) async fn can_buy(&mut self, account: &NodeId, units: u64) -> Result<(), Fail> {
        let fee = Param::FeeTx.name().as_bytes().to_vec();
        let keys = [
            (table::ACCOUNTS, account.0.to_vec()),
            (table::BALANCES, balance_key(account, Asset::Units)),
            (table::BALANCES, balance_key(account, Asset::Fog)),
            (table::PARAMETERS, fee),
        ];
        let (_, rows) = self.rows(&keys).await?;
        let [row, own, coins, fee] = &rows[..] else {
            return Err(Fail::Peer("the ledger's node left out a row".into()));
        };
        if row.is_none() {
            let why = meaning(Code::UnknownSigner);
            return Err(Fail::Usage(format!("{}: {why}", shown(account))));
        }
        let balance = |row: &Option<Vec<u8>>| {
            let read = row.as_deref().map(Balance::read).transpose();
            Ok::<_, Fail>(read.map_err(unread)?.unwrap_or_default().available())
        };
        let (own, coins) = (balance(own)?, balance(coins)?);
        if own < u128::from(units) {
            let why = "betanet token swap gets more for FOG";
            return Err(Fail::Usage(format!(
                "{units} units are more than the {own} that {} has: {why}",
                shown(account)
            )));
        }
        let fee = fee.as_deref().map(betanet_economy_service::rows::parameter);
        let fee = u128::from(fee.transpose().map_err(unread)?.unwrap_or(0));
        match coins < fee {
            true => Err(Fail::Usage(format!(
                "{} has {} FOG, and the fee is {} FOG",
                shown(account),
                fog(coins),
                fog(fee)
            ))),
            false => Ok(()),
        }
    }

    /// Signs a purchase. Nothing is sent.
    pub(crate) async fn sign_purchase(
        &mut self,
        me: &Identity,
        op: &Op,
        id: Id,
        fresh: bool,
    ) -> Result<Purchase, Fail> {
        let account = me.public().node_id();
        let keys = [(table::ACCOUNTS, account.0.to_vec())];
        let (_, rows) = self.rows(&keys).await?;
        let row = rows.first().and_then(|row| row.as_deref());
        let row = row.map(Account::read).transpose().map_err(unread)?;
        let nonce = row.map_or(0, |row| row.nonce);
        // What this machine kept may be of records that were dropped.
        let nonce = match fresh {
            true => nonce,
            false => self.kept(&account).next().max(nonce),
        };
        let request = Request::new(&[(account, nonce)], now_ms() + VALID_MS, id, op);
        let request = request.ok_or_else(|| {
            Fail::Usage("the amount is out of the ledger's bounds: at most 2^40 units".into())
        })?;
        let ledger = *self.id();
        let envelope = Envelope::sign(request, &ledger, &[me]);
        Ok(Purchase { ledger, envelope })
    }

    /// Sends a purchase, once or again, and waits until a final head shows what became of it.
    pub(crate) async fn buy(&mut self, purchase: &Purchase) -> Result<Outcome, Fail> {
        let answer = self.post(&purchase.envelope).await?.answer;
        let request = &purchase.envelope.request;
        match answer.code {
            Code::Ok => {
                if let Some((account, nonce)) = request.by.first() {
                    let kept = self.kept(account);
                    kept.keep(kept.next().max(nonce + 1))?;
                }
                note!(
                    "bought: record {}; waiting until a final head covers it",
                    answer.seq
                );
                self.covered(answer.seq, request).await?;
                note!("a final head covers record {}", answer.seq);
                Ok(Outcome::Bought(answer.seq))
            }
            Code::BadNonce => match self.became(purchase).await? {
                Outcome::Open(_) => Ok(Outcome::Nonce),
                other => Ok(other),
            },
            code => {
                let why = format!("{}: {}", code.name(), meaning(code));
                match self.became(purchase).await? {
                    Outcome::Open(_) => Ok(Outcome::Open(why)),
                    other => Ok(other),
                }
            }
        }
    }

    /// What became of a purchase, by its ID in the state under the final head.
    pub(crate) async fn became(&mut self, purchase: &Purchase) -> Result<Outcome, Fail> {
        let request = &purchase.envelope.request;
        let keys = [(table::IDS, request.id.to_vec())];
        let (head, rows) = self.rows(&keys).await?;
        let Some(row) = rows.first().and_then(|row| row.as_deref()) else {
            let why = match head.head().ts >= request.exp {
                true => {
                    return Ok(Outcome::Ended(
                        "its request expired, and it did not happen".into(),
                    ));
                }
                false => "it did not happen, as far as the final head shows",
            };
            return Ok(Outcome::Open(why.into()));
        };
        let n = id_record(row).map_err(unread)?;
        let record = self.record(n, &head).await?;
        let read = Envelope::from_bytes(&record.req).map(|read| read.request);
        // Another request of this wallet under the same ID counts as well: it buys the same.
        let same = read.is_some_and(|read| read.id == request.id && read.op == request.op);
        Ok(match same {
            true => Outcome::Bought(n),
            false => Outcome::Ended("somebody else used its ID".into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purchase_is_read_as_it_was_kept() {
        let me = Identity::from_seed(&[1; 32]);
        let op = Op::Buy {
            bh: [1; 32],
            keyset: [2; 32],
            vu: 5,
        };
        let request = Request::new(&[(me.public().node_id(), 3)], 9, [4; 16], &op).unwrap();
        let purchase = Purchase {
            ledger: [7; 32],
            envelope: Envelope::sign(request, &[7; 32], &[&me]),
        };
        let bytes = purchase.to_bytes();
        assert!(bytes.len() < betanet_vouchers::wallet::ORDER_MAX);
        let read = Purchase::from_bytes(&bytes).unwrap();
        assert_eq!(read.ledger(), &[7; 32]);
        assert_eq!(read.envelope, purchase.envelope);
        assert!(Purchase::from_bytes(&bytes[1..]).is_none());
    }
}
