//! Files that are taken at once: some in all, and fewer of one account, so that none keeps the others out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_auth::AccountId;

/// Files of outputs that are taken at once.
pub(crate) const DOWNLOADS_MAX: usize = 4;
/// The same of one account.
pub(crate) const DOWNLOADS_AN_ACCOUNT: usize = 2;

/// Accounts that take files, with the number of each. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Downloads(Arc<Mutex<BTreeMap<AccountId, usize>>>);

impl Downloads {
    /// A place for a file that an account takes, until it is dropped.
    pub(crate) fn place(&self, account: AccountId) -> Option<Taken> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(&account).copied().unwrap_or(0);
        if own >= DOWNLOADS_AN_ACCOUNT || all.values().sum::<usize>() >= DOWNLOADS_MAX {
            return None;
        }
        all.insert(account, own + 1);
        Some(Taken {
            of: self.clone(),
            account,
        })
    }
}

/// The place of a file that is taken.
#[derive(Debug)]
pub(crate) struct Taken {
    of: Downloads,
    account: AccountId,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut all = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.account) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                all.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_taken_at_once_and_fewer_by_one_account() {
        let downloads = Downloads::default();
        let take = |n: u8| downloads.place(AccountId([n; 16]));
        let mut own: Vec<Taken> = std::iter::from_fn(|| take(1)).collect();
        assert_eq!(own.len(), DOWNLOADS_AN_ACCOUNT);
        let others: Vec<Taken> = (2..=9).filter_map(take).collect();
        assert_eq!(own.len() + others.len(), DOWNLOADS_MAX);
        own.pop();
        assert!(take(1).is_some());
        drop((own, others));
        assert!(downloads.0.lock().unwrap().is_empty());
    }
}
