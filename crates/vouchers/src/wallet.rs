//! A wallet: a value that is rebuilt from a phrase, and that survives a crash at any point.

mod codec;
mod file;
mod pending;
mod phrase;
mod probe;
mod restore;
mod seed;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use betanet_machine::Rng;

use crate::message::{AnswerError, MessageError, VOUCHERS_MAX};
use crate::{
    Blinding, Denomination, Invalid, IssueError, Keyset, KeysetId, Keysets, Voucher, verify,
};

pub use file::{Cost, FILE_MAX, FileError, Sealed, WalletKey};
pub use pending::{ORDER_MAX, Receiver, Request};
use pending::{Pending, State};
pub use phrase::{Phrase, PhraseError};
pub use restore::{GAP, REQUESTS_MAX, Restore};
use seed::Seed;

/// Most vouchers in a wallet.
pub const COINS_MAX: usize = 1 << 14;
/// Most operations that are not ended.
pub const PENDING_MAX: usize = 128;
/// Most vouchers of one denomination that one operation issues: a restoring wallet looks past so many.
pub const SAME_MAX: usize = 64;

/// Reason why a wallet does not do something. It has changed nothing then.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WalletError {
    /// No vouchers at hand sum to the amount exactly: swap some first.
    #[error("no vouchers at hand sum to the amount exactly")]
    NoExact,
    /// Fewer units than the amount.
    #[error("not enough vouchers")]
    NotEnough,
    /// An amount of zero, of too many vouchers, or not in the keyset's denominations.
    #[error("the amount does not split into the keyset's denominations")]
    Amount,
    /// The number is that of another operation, or of none.
    #[error("the number does not fit")]
    Id,
    /// The wallet was not stored since the operation began: [`Wallet::stored`].
    #[error("the wallet has to be stored first")]
    NotStored,
    /// There is no proof of payment yet: [`Wallet::paid`].
    #[error("not paid yet")]
    NotPaid,
    /// The wallet holds as much as it may.
    #[error("the wallet is full")]
    Full,
    /// The counter of a denomination is used up, or a point could not be made.
    #[error("no more secrets under this keyset")]
    Exhausted,
    /// Answers of mints that do not become vouchers.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The service's answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A message that is none.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A voucher that is worth nothing.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// A voucher's place in the wallet: keyset, exponent, secret.
type Place = [u8; 65];

fn place(voucher: &Voucher) -> Place {
    let mut out = [0; 65];
    out[..32].copy_from_slice(&voucher.keyset().0);
    out[32..].copy_from_slice(&voucher.spend_key());
    out
}

/// A voucher at hand.
#[derive(Clone, Debug)]
struct Coin {
    voucher: Voucher,
    /// Somebody else made its secret: he may spend it too, and no phrase restores it. Swap it soon.
    foreign: bool,
    /// The operation that spends it.
    held: Option<[u8; 16]>,
}

/// Vouchers, the counters of their secrets, and the operations that are not ended.
///
/// All secrets derive from the phrase by keyset, denomination and counter. An operation advances the counters first; its request
/// comes out only after the caller said that the wallet is stored. So no secret is used twice, and a request that is sent again
/// after a crash has the same bytes.
#[derive(Clone)]
pub struct Wallet {
    seed: Seed,
    /// The next unused counter.
    counters: BTreeMap<(KeysetId, Denomination), u32>,
    coins: BTreeMap<Place, Coin>,
    pending: BTreeMap<[u8; 16], Pending>,
    /// Raised by every change.
    revision: u64,
    /// The last revision that is on disk.
    stored: u64,
}

impl Wallet {
    /// An empty wallet of this phrase. The BIP-39 passphrase may be empty.
    #[must_use]
    pub fn new(phrase: &Phrase, passphrase: &str) -> Self {
        Self::of(Seed::new(phrase, passphrase))
    }

    const fn of(seed: Seed) -> Self {
        Self {
            seed,
            counters: BTreeMap::new(),
            coins: BTreeMap::new(),
            pending: BTreeMap::new(),
            revision: 1,
            stored: 0,
        }
    }

    /// Number of the last change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Says that the wallet as it was at this revision is safely on disk (see [`Sealed::revision`]). Requests of operations that
    /// began by then come out from now on.
    pub fn stored(&mut self, revision: u64) {
        self.stored = self.stored.max(revision.min(self.revision));
    }

    /// Units at hand that no operation holds.
    #[must_use]
    pub fn free(&self, keysets: &Keysets, unit: &str) -> u64 {
        let mut sum = 0_u64;
        for coin in self.coins.values().filter(|c| c.held.is_none()) {
            let keyset = keysets.get(&coin.voucher.keyset());
            if keyset.is_some_and(|k| k.unit() == unit) {
                sum = sum.saturating_add(coin.voucher.value());
            }
        }
        sum
    }

    /// Number of vouchers, held ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.coins.len()
    }

    /// Whether there are no vouchers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.coins.is_empty()
    }

    /// The vouchers that no operation holds.
    pub fn vouchers(&self) -> impl Iterator<Item = &Voucher> {
        let free = self.coins.values().filter(|c| c.held.is_none());
        free.map(|c| &c.voucher)
    }

    /// Vouchers that others made, which should be swapped.
    pub fn foreign(&self) -> impl Iterator<Item = &Voucher> {
        let free = self
            .coins
            .values()
            .filter(|c| c.held.is_none() && c.foreign);
        free.map(|c| &c.voucher)
    }

    /// Numbers of the operations that are not ended, as after a restart.
    pub fn open(&self) -> impl Iterator<Item = &[u8; 16]> {
        self.pending.keys()
    }

    /// Takes a voucher that somebody gave. It is verified here, offline; whether it is spent only the service knows, so swap it
    /// before you rely on it.
    ///
    /// # Errors
    ///
    /// It is worth nothing, or the wallet is full.
    pub fn accept(&mut self, voucher: Voucher, keysets: &Keysets) -> Result<(), WalletError> {
        verify(&voucher, keysets)?;
        let place = place(&voucher);
        if self.coins.contains_key(&place) {
            return Ok(());
        }
        self.room(1)?;
        let (foreign, held) = (true, None);
        self.coins.insert(
            place,
            Coin {
                voucher,
                foreign,
                held,
            },
        );
        self.revision += 1;
        Ok(())
    }

    /// A random time to wait before vouchers are spent: between ten minutes and six hours. Who spends at once can be told by the
    /// time.
    #[must_use]
    pub fn suggested_wait(rng: &mut Rng) -> Duration {
        Duration::from_secs(600 + rng.below(6 * 3_600 - 600))
    }

    fn room(&self, more: usize) -> Result<(), WalletError> {
        match self.coins.len() + more > COINS_MAX {
            true => Err(WalletError::Full),
            false => Ok(()),
        }
    }

    /// Places of free vouchers of a keyset that sum to the amount exactly, largest first. As each value divides the next, this
    /// finds a sum if there is one.
    fn exact(&self, keyset: &KeysetId, amount: u64) -> Result<Vec<Place>, WalletError> {
        let mut free: Vec<(&Place, &Coin)> = self.of_keyset(keyset).collect();
        let all = free
            .iter()
            .fold(0_u64, |s, (_, c)| s.saturating_add(c.voucher.value()));
        if amount == 0 || all < amount {
            return Err(WalletError::NotEnough);
        }
        // Foreign ones first among equals: they are the ones to get rid of.
        free.sort_by_key(|(_, c)| (core::cmp::Reverse(c.voucher.value()), !c.foreign));
        let (mut left, mut out) = (amount, Vec::new());
        for (place, coin) in free {
            if coin.voucher.value() <= left && out.len() < VOUCHERS_MAX {
                left -= coin.voucher.value();
                out.push(*place);
            }
        }
        match left {
            0 => Ok(out),
            _ => Err(WalletError::NoExact),
        }
    }

    fn of_keyset(&self, keyset: &KeysetId) -> impl Iterator<Item = (&Place, &Coin)> {
        let keyset = *keyset;
        let own = self
            .coins
            .iter()
            .filter(move |(_, c)| c.voucher.keyset() == keyset);
        own.filter(|(_, c)| c.held.is_none())
    }

    /// Begins an operation: holds its vouchers, and advances the revision.
    fn begin(&mut self, id: [u8; 16], spends: &[Place], state: State) -> Result<(), WalletError> {
        if self.pending.contains_key(&id) {
            return Err(WalletError::Id);
        }
        if self.pending.len() >= PENDING_MAX {
            return Err(WalletError::Full);
        }
        self.revision += 1;
        for place in spends {
            if let Some(coin) = self.coins.get_mut(place) {
                coin.held = Some(id);
            }
        }
        let since = self.revision;
        self.pending.insert(id, Pending { since, state });
        Ok(())
    }

    /// The secrets of one voucher.
    fn blinding(
        &self,
        keyset: &Keyset,
        e: Denomination,
        counter: u32,
    ) -> Result<Blinding, WalletError> {
        let blinding = self.seed.blinding(&keyset.id(), e, counter);
        blinding.ok_or(WalletError::Exhausted)
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (coins, pending) = (self.coins.len(), self.pending.len());
        write!(
            f,
            "Wallet({coins} vouchers, {pending} pending, revision {})",
            self.revision
        )
    }
}
