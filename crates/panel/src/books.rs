//! What the pages read of the ledger of tokens, in one look each.

use betanet_economy_service::rows::{Account, Proposal, table};
use betanet_economy_service::words::{effect, member};
use betanet_economy_service::{Ledger, View};
use betanet_tokenomics::account::{BURN, ISSUANCE, SYSTEM};
use betanet_tokenomics::params::{ROLES, RULES};
use betanet_tokenomics::request::Effect;
use betanet_tokenomics::{ASSETS, Asset, Code, Economy, effects_of};
use betanet_wire::NodeId;
use betanet_wire::text::hex;

use crate::fault::Fault;

/// Rows of a page.
pub(crate) const ROWS: usize = 50;
/// Number of the table of holds, and of reservations.
const HOLDS: u8 = 3;
const RESERVATIONS: u8 = 4;

/// The final head and what lies beyond it.
pub(crate) struct Head {
    pub(crate) name: String,
    pub(crate) genesis: String,
    /// Number of all records here, and of those that the final head covers.
    pub(crate) records: u64,
    pub(crate) size: u64,
    /// Time of the last record that is covered.
    pub(crate) at: u64,
    pub(crate) root: String,
    pub(crate) state: String,
    pub(crate) signed_by: Vec<String>,
    pub(crate) epoch: u64,
    pub(crate) epoch_end: u64,
    pub(crate) leads: bool,
    pub(crate) follows: Option<String>,
}

pub(crate) struct Tokens {
    pub(crate) head: Head,
    pub(crate) cap: u64,
    pub(crate) issued: u128,
    pub(crate) burned: u128,
    /// System accounts with their available FOG, units and credits.
    pub(crate) system: Vec<(&'static str, [u128; 3])>,
    /// Accounts, holds, reservations, proposals.
    pub(crate) counts: [usize; 4],
    pub(crate) accounts: Vec<Row>,
    /// Key of the last account of the page, if there are more.
    pub(crate) next: Option<String>,
    pub(crate) holds: Vec<Held>,
}

/// An account.
pub(crate) struct Row {
    pub(crate) id: NodeId,
    pub(crate) kind: &'static str,
    pub(crate) flags: u64,
    pub(crate) available: [u128; 3],
    pub(crate) held: u128,
}

/// A hold or a reservation.
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) from: NodeId,
    pub(crate) amt: u64,
    pub(crate) due: u64,
}

pub(crate) struct Governance {
    pub(crate) head: Head,
    pub(crate) count: usize,
    pub(crate) proposals: Vec<Shown>,
    pub(crate) next: Option<String>,
    /// Name, value in force, default, least, most, step.
    pub(crate) parameters: Vec<(&'static str, [u64; 5])>,
    pub(crate) roles: Vec<(&'static str, Vec<String>)>,
}

/// A proposal with its effects in words.
pub(crate) struct Shown {
    pub(crate) pid: String,
    pub(crate) row: Proposal,
    pub(crate) effects: Vec<String>,
    /// What would come of an execution now; of an open or passed one only.
    pub(crate) tried: Option<Code>,
}

fn head(ledger: &Ledger, view: &View<'_>) -> Head {
    let genesis = ledger.genesis();
    let latest = &*view.latest;
    let of = view.head.map(betanet_log::SignedHead::head);
    let signatures = view.head.map(|h| h.signatures()).unwrap_or_default();
    let epoch = latest.epoch();
    Head {
        name: genesis.name.clone(),
        genesis: hex(genesis.id()),
        records: latest.records(),
        size: of.map_or(0, |h| h.size),
        at: of.map_or(0, |h| h.ts),
        root: of.map_or_else(String::new, |h| hex(&h.root)),
        state: of
            .and_then(|h| h.state)
            .map_or_else(String::new, |s| hex(&s)),
        signed_by: signatures.iter().map(|s| hex(&s.signer)).collect(),
        epoch,
        epoch_end: genesis.epoch_end(epoch),
        leads: ledger.leads(),
        follows: ledger.follows(),
    }
}

fn available(state: &Economy, id: &NodeId) -> [u128; 3] {
    ASSETS.map(|asset| state.counters(id, asset).available())
}

/// Reads a page of a ledger with a reader of its own. The reader has the head, and the state that it is of: the covered one, or all
/// records before the first head.
async fn look<T: Send + 'static>(
    ledger: &Ledger,
    read: impl FnOnce(Head, &Economy) -> T + Send + 'static,
) -> Result<T, Fault> {
    let own = ledger.clone();
    let looked = ledger.look(move |view| {
        let head = head(&own, view);
        read(head, view.covered.unwrap_or(&*view.latest))
    });
    looked.await.map_err(|_| Fault::Unavailable)
}

/// Encoded rows, and the key to go on from if there are more.
type Listed = (Vec<(Vec<u8>, Vec<u8>)>, Option<String>);

/// The first rows after a key.
fn page(state: &Economy, table: u8, after: Option<&[u8]>) -> Listed {
    let mut rows = state.page(table, after, ROWS + 1);
    let more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let next = rows.last().filter(|_| more).map(|(key, _)| hex(key));
    (rows, next)
}

/// An account, by its encoded row.
fn row(state: &Economy, key: &[u8], value: &[u8]) -> Option<Row> {
    let id = NodeId(key.try_into().ok()?);
    let row = Account::read(value).ok()?;
    Some(Row {
        id,
        kind: if row.kind == 0 { "user" } else { "node" },
        flags: row.flags,
        available: available(state, &id),
        held: state.counters(&id, Asset::Fog).debits_pending,
    })
}

/// The first accounts, with the head that they are of, and whether there are more.
pub(crate) async fn accounts(
    ledger: &Ledger,
    most: usize,
) -> Result<(Head, Vec<Row>, bool), Fault> {
    look(ledger, move |head, state| {
        let rows = state.page(table::ACCOUNTS, None, most.saturating_add(1));
        let more = rows.len() > most;
        let first = rows.iter().take(most);
        let accounts = first.filter_map(|(key, value)| row(state, key, value));
        (head, accounts.collect(), more)
    })
    .await
}

pub(crate) async fn tokens(ledger: &Ledger, after: Option<Vec<u8>>) -> Result<Tokens, Fault> {
    let cap = ledger.genesis().cap;
    look(ledger, move |head, state| {
        let (rows, next) = page(state, table::ACCOUNTS, after.as_deref());
        let accounts = rows
            .iter()
            .filter_map(|(key, value)| row(state, key, value));
        Tokens {
            cap,
            issued: state.counters(&ISSUANCE, Asset::Fog).debits,
            burned: state.counters(&BURN, Asset::Fog).credits,
            system: SYSTEM
                .iter()
                .map(|(name, id)| (*name, available(state, id)))
                .collect(),
            counts: state.counts(),
            accounts: accounts.collect(),
            next,
            holds: holds(state),
            head,
        }
    })
    .await
}

/// The first holds and reservations.
fn holds(state: &Economy) -> Vec<Held> {
    use betanet_wire::cbor::Reader;
    let account = |r: &mut Reader<'_>| Some(NodeId(r.bytes().ok()?.try_into().ok()?));
    let transfers = state.page(HOLDS, None, ROWS).into_iter();
    let transfers = transfers.filter_map(|(key, value)| {
        let mut r = Reader::new(&value);
        r.array().ok()?;
        let from = account(&mut r)?;
        account(&mut r)?;
        r.unsigned().ok()?;
        Some(Held {
            id: hex(&key),
            kind: "transfer",
            from,
            amt: r.unsigned().ok()?,
            due: r.unsigned().ok()?,
        })
    });
    let reservations = state.page(RESERVATIONS, None, ROWS).into_iter();
    let reservations = reservations.filter_map(|(key, value)| {
        let mut r = Reader::new(&value);
        r.array().ok()?;
        let from = account(&mut r)?;
        let kind = r.unsigned().ok()?;
        r.bytes().ok()?;
        let amt = r.unsigned().ok()?;
        r.unsigned().ok()?;
        Some(Held {
            id: hex(&key),
            kind: if kind == 0 { "task" } else { "bid" },
            from,
            amt,
            due: r.unsigned().ok()?,
        })
    });
    reservations.chain(transfers).collect()
}

pub(crate) async fn governance(
    ledger: &Ledger,
    after: Option<Vec<u8>>,
    now_ms: u64,
) -> Result<Governance, Fault> {
    let own = ledger.clone();
    let looked = ledger.look(move |view| {
        let head = head(&own, view);
        let state = view.covered.unwrap_or(&*view.latest);
        let (rows, next) = page(state, table::PROPOSALS, after.as_deref());
        let mut proposals: Vec<(Vec<u8>, Shown)> = rows
            .into_iter()
            .filter_map(|(key, value)| {
                let row = Proposal::read(&value).ok()?;
                let before = |e: &Effect| match e {
                    Effect::Param { param, .. } => Some(state.parameter(*param)),
                    _ => None,
                };
                // What was executed or refused is not compared with what is in force now.
                let going = row.stage < 2;
                let effects = effects_of(&row.eff).into_iter();
                let effects = effects.map(|e| effect(&e, before(&e).filter(|_| going)));
                let shown = Shown {
                    pid: hex(&key),
                    effects: effects.collect(),
                    tried: None,
                    row,
                };
                Some((key, shown))
            })
            .collect();
        let parameters = RULES.iter().map(|rule| {
            let value = state.parameter(rule.param);
            (
                rule.name,
                [value, rule.default, rule.least, rule.most, rule.step],
            )
        });
        let parameters = parameters.collect();
        let roles = ROLES.iter().map(|(role, name)| {
            let members = state.role(*role).iter();
            (*name, members.map(|m| member(m)).collect())
        });
        let roles = roles.collect();
        let count = state.counts()[3];
        let now = now_ms.max(view.latest.time());
        for (key, shown) in proposals.iter_mut().filter(|(_, s)| s.row.stage < 2) {
            let pid: Option<[u8; 16]> = key[..].try_into().ok();
            shown.tried = pid.and_then(|pid| view.latest.try_effects(&pid, now));
        }
        let mut proposals: Vec<Shown> = proposals.into_iter().map(|(_, s)| s).collect();
        proposals.sort_by_key(|s| (s.row.stage, s.row.end));
        Governance {
            head,
            count,
            proposals,
            next,
            parameters,
            roles,
        }
    });
    looked.await.map_err(|_| Fault::Unavailable)
}
