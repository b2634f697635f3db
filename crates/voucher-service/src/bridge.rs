//! The bridge to a ledger: vouchers are sold for its units, and redeemed to its accounts.
//!
//! A keyset of the unit [`LEDGER_UNIT`] belongs to the ledger. Its vouchers are issued for purchases that a final head proves, or for
//! swaps, and never for coupons: so no more of them are redeemed than units were paid for.

mod lookups;
mod purchase;

use std::sync::{Mutex, PoisonError};

use betanet_economy_service::rows::{Account, Balance, KeysetRow, balance_key, table};
use betanet_economy_service::{Remote, RemoteError};
use betanet_tokenomics::Asset;
use betanet_vouchers::message::IssueRequest;
use betanet_vouchers::{Keyset, KeysetId};
use betanet_wire::{Code, NodeId};
use tokio::sync::Notify;

pub use crate::keysets::LEDGER_UNIT;
use crate::payments::Payment;
use crate::refusal::{Asker, Refusal};
use crate::state::{Owed, Standing};
pub use lookups::LOOKUPS_MAX;
use lookups::Lookups;
#[cfg(any(test, feature = "testkit"))]
pub use purchase::fuzz;
pub use purchase::{purchase, purchase_number, purchase_pay};

/// Seconds after which a request may be repeated whose record no final head covers yet.
const RETRY_FINAL: u64 = 5;

/// What is known of redemptions on the ledger, for metrics and health.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Redemptions that wait.
    pub(crate) waiting: usize,
    /// Redemptions that the ledger refused.
    pub(crate) refusals: usize,
    /// The oldest of them.
    pub(crate) refused: Vec<Owed>,
    /// Why nothing is paid out now.
    pub(crate) fault: Option<String>,
}

/// The ledger of a service.
pub(crate) struct Bridge {
    pub(crate) remote: Remote,
    lookups: Lookups,
    /// Rings when a redemption was committed.
    pub(crate) wake: Notify,
    seen: Mutex<Seen>,
}

impl Bridge {
    pub(crate) fn new(remote: Remote) -> Self {
        Self {
            remote,
            lookups: Lookups::default(),
            wake: Notify::new(),
            seen: Mutex::default(),
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    pub(crate) fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What a purchase pays for: `None` for nothing, for ever. A ledger that does not answer, or a record that no final head covers
    /// yet, is a reason to ask again.
    pub(crate) async fn bought(
        &self,
        by: Asker,
        request: &IssueRequest,
        keyset: &Keyset,
    ) -> Result<Option<Payment>, Refusal> {
        let Some(n) = purchase_number(&request.pay) else {
            return Ok(None);
        };
        let _one = self.lookups.begin(by.charge).ok_or(Refusal::busy())?;
        match self.remote.record(n).await {
            Ok(Some(record)) => Ok(purchase(&record, request, keyset)),
            Ok(None) => Err(Refusal::later(RETRY_FINAL)),
            Err(error) => {
                tracing::debug!(%error, "a purchase is not looked up");
                Err(Refusal::unavailable())
            }
        }
    }

    /// What the ledger says of a redemption. An error within is a redemption that it would refuse.
    pub(crate) async fn standing(
        &self,
        by: Asker,
        keyset: &KeysetId,
        to: &NodeId,
        spender: &NodeId,
    ) -> Result<Result<Standing, Code>, Refusal> {
        let _one = self.lookups.begin(by.charge).ok_or(Refusal::busy())?;
        let standing = self.ledgers(keyset, to, spender).await.map_err(|error| {
            tracing::debug!(%error, "a redemption is not looked up");
            Refusal::unavailable()
        })?;
        Ok(standing.ok_or(Code::POLICY_REJECTED))
    }

    /// What a final head of now says of a redemption; `None`: it cannot happen.
    pub(crate) async fn ledgers(
        &self,
        keyset: &KeysetId,
        to: &NodeId,
        spender: &NodeId,
    ) -> Result<Option<Standing>, RemoteError> {
        let keys = [
            (table::ACCOUNTS, to.0.to_vec()),
            (table::BALANCES, balance_key(to, Asset::Units)),
            (table::KEYSETS, keyset.0.to_vec()),
        ];
        let (head, rows) = self.remote.rows(&keys).await?;
        Ok(standing_of(&rows, spender, head.head().size))
    }
}

/// Reads the rows of a redemption. `None`: the payee has no open account, or the keyset is not this spender's there, or was swept.
fn standing_of(rows: &[Option<Vec<u8>>], spender: &NodeId, size: u64) -> Option<Standing> {
    let [account, balance, keyset] = rows else {
        return None;
    };
    let account = Account::read(account.as_deref()?).ok()?;
    let keyset = KeysetRow::read(keyset.as_deref()?).ok()?;
    if account.is_closed() || keyset.spender != *spender || keyset.swept {
        return None;
    }
    let balance = match balance.as_deref() {
        Some(row) => Balance::read(row).ok()?,
        None => Balance::default(),
    };
    Some(Standing {
        available: u64::try_from(balance.available()).unwrap_or(u64::MAX),
        left: keyset.left(),
        size,
    })
}

#[cfg(test)]
mod tests {
    use betanet_wire::cbor::Writer;

    use super::*;

    fn row(numbers: impl FnOnce(&mut Writer), n: usize) -> Option<Vec<u8>> {
        let mut w = Writer::with_capacity(64);
        w.array(n);
        numbers(&mut w);
        Some(w.into_vec())
    }

    fn account(flags: u64) -> Option<Vec<u8>> {
        row(
            |w| {
                w.unsigned(0);
                w.unsigned(flags);
                w.bytes(&[1; 32]);
                w.unsigned(0);
            },
            4,
        )
    }

    fn keyset(spender: u8, swept: u64) -> Option<Vec<u8>> {
        row(
            |w| {
                w.bytes(&[spender; 20]);
                [100, 30, 10, swept].iter().for_each(|n| w.unsigned(*n));
            },
            5,
        )
    }

    #[test]
    fn a_redemption_needs_an_open_account_and_a_keyset_of_the_spender() {
        let spender = NodeId([7; 20]);
        let of = |account, keyset| standing_of(&[account, None, keyset], &spender, 3);
        let good = Standing {
            available: 0,
            left: 20,
            size: 3,
        };
        assert_eq!(of(account(1), keyset(7, 0)), Some(good));
        assert_eq!(of(None, keyset(7, 0)), None, "no account");
        assert_eq!(of(account(5), keyset(7, 0)), None, "closed");
        assert_eq!(of(account(1), keyset(8, 0)), None, "another spender");
        assert_eq!(of(account(1), keyset(7, 1)), None, "swept");
        assert_eq!(of(account(1), None), None, "no keyset");
    }
}
