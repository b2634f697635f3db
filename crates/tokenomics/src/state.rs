//! The machine's state: genesis, the twenty tables, and the tree over them.

use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::account::address;
use crate::genesis::Genesis;
use crate::params::{Param, Role};
use crate::rows::{
    Account, Balance, Cooling, Hold, Keyset, Members, Meta, Node, Offence, Once, Parameter,
    Proposal, Redelegation, Reservation, Seen, Signal, Snapshot, Stake, Unbonding, Vote,
};
use crate::table::Table;
use crate::tree::{Path, Tree, leaf_key};
use crate::voters::Voters;
use crate::{Error, Hash};

/// Number of tables.
pub const TABLES: usize = 20;

/// Does the same for every table.
macro_rules! each {
    ($tables:expr, $table:ident, $do:expr) => {{
        each!(@ $tables, $table, $do, meta accounts balances holds reservations nodes stakes unbondings
            redelegations keysets proposals votes parameters roles offences seen once snapshots cooling signals);
    }};
    (@ $tables:expr, $table:ident, $do:expr, $($name:ident)*) => {$(
        { let $table = &mut $tables.$name; $do; }
    )*};
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) meta: Table<Meta>,
    pub(crate) accounts: Table<Account>,
    pub(crate) balances: Table<Balance>,
    pub(crate) holds: Table<Hold>,
    pub(crate) reservations: Table<Reservation>,
    pub(crate) nodes: Table<Node>,
    pub(crate) stakes: Table<Stake>,
    pub(crate) unbondings: Table<Unbonding>,
    pub(crate) redelegations: Table<Redelegation>,
    pub(crate) keysets: Table<Keyset>,
    pub(crate) proposals: Table<Proposal>,
    pub(crate) votes: Table<Vote>,
    pub(crate) parameters: Table<Parameter>,
    pub(crate) roles: Table<Members>,
    pub(crate) offences: Table<Offence>,
    pub(crate) seen: Table<Seen>,
    pub(crate) once: Table<Once>,
    pub(crate) snapshots: Table<Snapshot>,
    pub(crate) cooling: Table<Cooling>,
    pub(crate) signals: Table<Signal>,
}

/// A place to which the tables can return.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark([usize; TABLES]);

impl Tables {
    pub(crate) fn mark(&mut self) -> Mark {
        let mut marks = [0; TABLES];
        let mut slots = marks.iter_mut();
        each!(self, table, {
            if let Some(slot) = slots.next() {
                *slot = table.mark();
            }
        });
        Mark(marks)
    }

    pub(crate) fn back(&mut self, mark: Mark) {
        let mut marks = mark.0.into_iter();
        each!(self, table, table.back(marks.next().unwrap_or(0)));
    }

    fn commit(&mut self) {
        each!(self, table, table.commit());
    }
}

/// The machine: a pure function of genesis and of the requests that it accepted.
#[derive(Clone, Debug)]
pub struct Economy {
    pub(crate) genesis: Genesis,
    pub(crate) t: Tables,
    pub(crate) tree: Tree,
    /// No part of the state: what makes votes faster.
    pub(crate) voters: Voters,
}

impl Economy {
    pub(crate) fn empty(genesis: Genesis) -> Self {
        Self {
            genesis,
            t: Tables::default(),
            tree: Tree::default(),
            voters: Voters::default(),
        }
    }

    /// The ledger's constants.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    pub(crate) fn meta(&self) -> Meta {
        let start = Meta {
            records: 0,
            ts: self.genesis.t0,
            epoch: 0,
            paused: 0,
            pauses: Vec::new(),
            before_epoch: 0,
        };
        self.t.meta.get(&()).cloned().unwrap_or(start)
    }

    pub(crate) fn set_meta(&mut self, meta: Meta) {
        self.t.meta.set((), meta);
    }

    /// Number of records so far; the next one has this number.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.meta().records
    }

    /// Time of the last record, in UNIX ms.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.meta().ts
    }

    /// Number of the epoch that runs.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.meta().epoch
    }

    /// A parameter in force.
    #[must_use]
    pub fn parameter(&self, param: Param) -> u64 {
        let row = self.t.parameters.get(&param);
        row.map_or(param.rule().default, |row| row.value)
    }

    /// Members of a role: accounts, or keys of signers.
    #[must_use]
    pub fn role(&self, role: Role) -> &[Vec<u8>] {
        self.t.roles.get(&role).map_or(&[], |row| &row.list)
    }

    /// Whether an account exists, closed or not. System accounts are none of these.
    #[must_use]
    pub fn has_account(&self, id: &NodeId) -> bool {
        self.t.accounts.has(&(*id,))
    }

    /// Key of an account that may sign.
    #[must_use]
    pub fn key(&self, id: &NodeId) -> Option<Hash> {
        let account = self.t.accounts.get(&(*id,))?;
        (account.flags & crate::account::CLOSED == 0).then_some(account.key)
    }

    /// Nonce of an account's next request.
    #[must_use]
    pub fn nonce(&self, id: &NodeId) -> Option<u64> {
        self.t.accounts.get(&(*id,)).map(|account| account.nonce)
    }

    /// Row of the node that a key belongs to.
    pub(crate) fn node_of(&self, key: &Hash) -> Option<(NodeId, &Node)> {
        let id = address(key);
        self.t.nodes.get(&(id,)).map(|node| (id, node))
    }

    pub(crate) fn commit(&mut self) {
        self.t.commit();
    }

    /// Root of the state.
    pub fn root(&mut self) -> Hash {
        let mut changes = Vec::new();
        each!(self.t, table, table.changes(&mut changes));
        self.tree.change(changes);
        self.tree.root()
    }

    /// Root of each table alone, by number.
    #[must_use]
    pub fn table_roots(&self) -> Vec<Hash> {
        let mut roots = Vec::with_capacity(TABLES);
        let mut tables = self.t.clone();
        each!(tables, table, {
            let mut tree = Tree::default();
            tree.change(table.leaves());
            roots.push(tree.root());
        });
        roots
    }

    /// The value under a table's key, encoded.
    #[must_use]
    pub fn value(&mut self, table: u8, key: &[u8]) -> Option<Vec<u8>> {
        let mut found = None;
        each!(self.t, rows, {
            if rows.number() == table {
                found = rows.value(key);
            }
        });
        found
    }

    /// Value and proof of a table's key, present or not, under [`Economy::root`].
    pub fn prove(&mut self, table: u8, key: &[u8]) -> StateProof {
        self.root();
        let Path { siblings, leaf } = self.tree.path(&leaf_key(table, key));
        let value = self.value(table, key);
        let other = match (&value, leaf) {
            (None, Some((at, name))) => name.split_first().and_then(|(table, key)| {
                let value = self.value(*table, key)?;
                Some((at, value))
            }),
            _ => None,
        };
        StateProof {
            value,
            path: siblings,
            other,
        }
    }

    /// Every row, as table, key and value. With genesis they are a snapshot.
    pub fn dump(&mut self, each: &mut dyn FnMut(u8, Vec<u8>, Vec<u8>)) {
        each!(self.t, table, table.dump(each));
    }

    /// The state that was [dumped](Economy::dump). It is good only if its root is that of a final head.
    ///
    /// # Errors
    ///
    /// [`Error::Genesis`] or [`Error::Row`].
    pub fn load(
        genesis: &[u8],
        rows: impl IntoIterator<Item = (u8, Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, Error> {
        let mut economy = Self::empty(Genesis::from_bytes(genesis)?);
        for (table, key, value) in rows {
            let mut read = None;
            each!(economy.t, rows, {
                if rows.number() == table {
                    read = rows.load(&key, &value);
                }
            });
            read.ok_or(Error::Row(table))?;
        }
        Ok(economy)
    }
}

/// A value, or its absence, with the proof of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StateProof {
    /// The value, encoded.
    pub value: Option<Vec<u8>>,
    /// Siblings from the root down.
    pub path: Vec<Hash>,
    /// Key and value of the leaf that stands where an absent one would be.
    pub other: Option<(Hash, Vec<u8>)>,
}
