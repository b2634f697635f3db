//! The accounts behind the journal.

use std::collections::BTreeMap;

use betanet_durable::{Now, State, Unreadable};
use betanet_journal::{Kind, Record};
use betanet_keys::PublicKey;
use betanet_vouchers::account::{Account, Countersigned};
use betanet_vouchers::accounts::{Accounts, Given, Taken};
use betanet_vouchers::meter::Batch;
use betanet_wire::{Code, NodeId};

const ACCOUNT: Kind = match Kind::new("account") {
    Some(kind) => kind,
    // Evaluated by the compiler.
    None => unreachable!(),
};

/// Rows of each side in a view.
const SHOWN_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) enum Ask {
    /// Adds counts.
    Count(Batch),
    /// The number of the last batch of counts.
    Last,
    /// Peers that have something to countersign.
    Due,
    /// The claims on a peer.
    Claim(NodeId),
    /// A peer's answer to a claim.
    Answered(Account, Box<Result<Countersigned, Code>>),
    /// Whether a relay's record is countersigned.
    Sign(Account, Box<(PublicKey, [u8; 64])>),
    View,
    Evidence(PublicKey),
}

#[derive(Debug)]
pub(crate) enum Said {
    /// Bytes for which there was no row.
    Lost(u64),
    Last(u64),
    Due(Vec<NodeId>),
    Claims(Vec<Account>),
    /// An answer was taken, or is to an older claim.
    Taken,
    /// If not, also how many bytes this node counted.
    Signed(Result<(), (Code, u64)>),
    View(Box<AccountView>),
    Evidence(Vec<Countersigned>),
}

/// Totals and rows of a node's accounts.
#[derive(Clone, Debug, Default)]
pub struct AccountView {
    /// Bytes of each peer that are not countersigned and can still be claimed.
    pub open: BTreeMap<NodeId, u64>,
    /// Bytes forwarded for peers, and how many of them are countersigned.
    pub given: (u64, u64),
    /// Bytes that relays were sent, and how many of them this node countersigned.
    pub taken: (u64, u64),
    /// The newest rows of what was forwarded for peers, by period and peer.
    pub of_peers: Vec<((u64, NodeId), Given)>,
    /// The newest rows of what relays forwarded, by period and relay.
    pub of_relays: Vec<((u64, NodeId), Taken)>,
}

impl AccountView {
    fn of(unix_ms: u64, accounts: &Accounts) -> Self {
        let mut view = Self {
            open: accounts.open(unix_ms),
            ..Self::default()
        };
        let add = |(all, signed): &mut (u64, u64), bytes: u64, agreed: u64| {
            *all = all.saturating_add(bytes);
            *signed = signed.saturating_add(agreed);
        };
        for (_, row) in accounts.given() {
            add(
                &mut view.given,
                row.bytes,
                row.settled.as_ref().map_or(0, |s| s.bytes),
            );
        }
        for (_, row) in accounts.taken() {
            add(
                &mut view.taken,
                row.bytes,
                row.signed.as_ref().map_or(0, |s| s.bytes),
            );
        }
        let newest = accounts.given().rev().take(SHOWN_MAX);
        view.of_peers = newest.map(|(key, row)| (*key, row.clone())).collect();
        let newest = accounts.taken().rev().take(SHOWN_MAX);
        view.of_relays = newest.map(|(key, row)| (*key, row.clone())).collect();
        view
    }
}

/// The state behind [`betanet_durable::Durable`].
#[derive(Debug)]
pub(crate) struct AccountState {
    me: NodeId,
    accounts: Accounts,
}

impl AccountState {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self {
            me,
            accounts: Accounts::new(me),
        }
    }
}

impl State for AccountState {
    type Request = Ask;
    type Answer = Said;

    fn apply(&mut self, record: &Record) -> Result<(), Unreadable> {
        match record.kind {
            ACCOUNT => self.accounts.apply(&record.body).map_err(|_| Unreadable),
            _ => Err(Unreadable),
        }
    }

    fn decide(&mut self, now: Now, ask: Ask, records: &mut Vec<Record>) -> Said {
        let mut keep = |record: Option<Vec<u8>>| {
            records.extend(record.map(|r| Record::new(ACCOUNT, r)));
        };
        match ask {
            Ask::Count(batch) => {
                let (record, lost) = self.accounts.count(now.unix_ms, &batch);
                keep(record);
                Said::Lost(lost)
            }
            Ask::Last => Said::Last(self.accounts.last_batch()),
            Ask::Due => Said::Due(self.accounts.due(now.unix_ms)),
            Ask::Claim(peer) => {
                let (claims, record) = self.accounts.claim(now.unix_ms, &peer);
                keep(record);
                Said::Claims(claims)
            }
            Ask::Answered(claim, answer) => {
                let answer = answer.as_ref().as_ref().map_err(|code| *code);
                keep(self.accounts.answered(&claim, answer));
                Said::Taken
            }
            Ask::Sign(account, relay) => {
                let signed = self.accounts.sign(now.unix_ms, &account, &relay);
                let counted = self.accounts.counted(&account);
                Said::Signed(signed.map_err(|code| (code, counted)).map(|record| {
                    keep(record);
                }))
            }
            Ask::View => Said::View(Box::new(AccountView::of(now.unix_ms, &self.accounts))),
            Ask::Evidence(me) => Said::Evidence(self.accounts.evidence(&me).collect()),
        }
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        self.accounts.snapshot()
    }

    fn restore(&mut self, parts: Vec<Vec<u8>>) -> Result<(), Unreadable> {
        *self = Self::new(self.me);
        for part in parts {
            self.accounts.apply(&part).map_err(|_| Unreadable)?;
        }
        Ok(())
    }
}
