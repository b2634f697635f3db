//! The machine after its genesis.

use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::account::{ISSUANCE, NUMBER_END, SOLVENT, TREASURY, address};
use crate::genesis::Genesis;
use crate::params::{Param, ROLES, RULES};
use crate::rows::{Account, Flag, Keyset, Members, Parameter};
use crate::state::Economy;
use crate::{Asset, Error, Hash};

impl Economy {
    /// The machine after its genesis, which is record 0.
    ///
    /// # Errors
    ///
    /// [`Error::Genesis`].
    pub fn new(genesis: &[u8]) -> Result<Self, Error> {
        let genesis = Genesis::from_bytes(genesis)?;
        let mut economy = Self::empty(genesis.clone());
        for rule in &RULES {
            let named = genesis.params.iter().find(|(p, _)| *p == rule.param);
            let value = named.map_or(rule.default, |(_, value)| *value);
            let row = Parameter { value, changed: 0 };
            economy.t.parameters.set(rule.param, row);
        }
        if !economy.unbonding_outlasts_votes() {
            return Err(Error::Genesis("votes outlast unbonding"));
        }
        for (role, _) in ROLES {
            let named = genesis.roles.iter().find(|(r, _)| *r == role);
            let list = named.map_or_else(Vec::new, |(_, list)| list.clone());
            economy.t.roles.set(role, Members { list });
        }
        for opened in &genesis.alloc {
            let id = address(&opened.key);
            economy.open_account(id, opened.key, opened.kind);
            economy.shift(ISSUANCE, id, Asset::Fog, opened.amt);
        }
        economy.shift(ISSUANCE, TREASURY, Asset::Fog, genesis.treasury);
        for (id, spender, exp) in &genesis.keysets {
            let keyset = Keyset {
                spender: *spender,
                exp: *exp,
                issued: 0,
                redeemed: 0,
                swept: Flag(false),
            };
            economy.t.keysets.set((*id,), keyset);
        }
        let mut meta = economy.meta();
        meta.records = 1;
        economy.set_meta(meta);
        economy.commit();
        Ok(economy)
    }

    pub(crate) fn open_account(&mut self, id: NodeId, key: Hash, kind: u64) {
        let account = Account {
            kind,
            flags: SOLVENT,
            key,
            nonce: 0,
        };
        self.t.accounts.set((id,), account);
    }

    /// Whether stake that votes stays bound until the vote's end has taken effect.
    pub(crate) fn unbonding_outlasts_votes(&self) -> bool {
        let times = [Param::DelayMs, Param::VoteMs, Param::ExtMs, Param::LockMs];
        let sum: u64 = times.iter().map(|p| self.parameter(*p)).sum();
        self.parameter(Param::UnbondMs) >= sum && sum < NUMBER_END
    }
}
