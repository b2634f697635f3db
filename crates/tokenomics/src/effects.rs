//! Effects of proposals: their checks, and what they change.

use alloc::string::String;
use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::Asset;
use crate::Id;
use crate::account::{FROZEN, TREASURY};
use crate::apply::Context;
use crate::code::{Code, Lowest};
use crate::govern::effects;
use crate::params::{Param, Role};
use crate::request::Effect;
use crate::rows::{Flag, Keyset, Members, Parameter, Signal, stage};
use crate::state::Economy;

impl Economy {
    /// Checks an effect as far as it must hold when it is proposed.
    pub(crate) fn check_proposed(&self, effect: &Effect) -> Result<(), Code> {
        let known = |id: &NodeId| match self.has_account(id) {
            true => Ok(()),
            false => Err(Code::Unknown),
        };
        match effect {
            Effect::Param { param, value } => self.check_param(*param, *value),
            Effect::Spend { to, .. } => self.payee(to),
            Effect::Role { role, members } => {
                let id = |member: &Vec<u8>| member[..].try_into().map(NodeId).ok();
                match *role == Role::Signers {
                    true => Ok(()),
                    false => members.iter().filter_map(id).try_for_each(|id| known(&id)),
                }
            }
            Effect::Keyset { id, spender, .. } => {
                known(spender)?;
                match self.t.keysets.has(&(*id,)) {
                    true => Err(Code::Exists),
                    false => Ok(()),
                }
            }
            Effect::Freeze { id, .. } => known(id),
            Effect::Upgrade { .. } | Effect::Text => Ok(()),
        }
    }

    /// Whether a value is within the parameter's bounds and one step of the value in force.
    fn check_param(&self, param: Param, value: u64) -> Result<(), Code> {
        let rule = param.rule();
        let within = (rule.least..=rule.most).contains(&value);
        let step = self.parameter(param).abs_diff(value);
        match within && step <= rule.step {
            true => Ok(()),
            false => Err(Code::Bounds),
        }
    }

    pub(crate) fn execute(&mut self, c: &Context<'_>, pid: &Id) -> Result<(), Code> {
        let row = self.t.proposals.get(&(*pid,)).ok_or(Code::Unknown)?;
        let mut row = row.clone();
        match row.stage {
            stage::OPEN => return Err(Code::TooEarly),
            stage::PASSED if c.now < row.eta => return Err(Code::TooEarly),
            stage::PASSED => {}
            _ => return Err(Code::Over),
        }
        self.take_effect(c.now, &row.eff.0)?;
        row.stage = stage::EXECUTED;
        self.t.proposals.set((*pid,), row);
        Ok(())
    }

    /// Lets effects happen in their order. The caller undoes them if one is refused.
    pub(crate) fn take_effect(&mut self, now: u64, raw: &[u8]) -> Result<(), Code> {
        let spendable = self.spendable();
        let mut spent = 0_u128;
        let mut lowest = Lowest::default();
        for (effect, _) in effects(raw) {
            if let Effect::Spend { amt, .. } = effect {
                spent += u128::from(amt);
            }
            lowest.join(self.effect(now, &effect));
        }
        lowest.when(spent > u128::from(spendable), Code::Bounds);
        lowest.when(!self.unbonding_outlasts_votes(), Code::Bounds);
        lowest.done()
    }

    fn effect(&mut self, now: u64, effect: &Effect) -> Result<(), Code> {
        let mut lowest = Lowest::default();
        lowest.join(self.check_proposed(effect));
        match effect {
            Effect::Param { param, value } => {
                let changed = self.t.parameters.get(param).map_or(0, |row| row.changed);
                let rest = self.parameter(Param::CoolMs);
                let cools = changed != 0 && now < changed.saturating_add(rest);
                lowest.when(cools, Code::Cooldown);
                lowest.done()?;
                let row = Parameter {
                    value: *value,
                    changed: now,
                };
                self.t.parameters.set(*param, row);
            }
            Effect::Spend { to, amt } => {
                lowest.done()?;
                self.shift(TREASURY, *to, Asset::Fog, *amt);
            }
            Effect::Role { role, members } => {
                lowest.done()?;
                let list = members.clone();
                self.t.roles.set(*role, Members { list });
            }
            Effect::Keyset { id, spender, exp } => {
                lowest.when(*exp <= now, Code::Bounds);
                lowest.done()?;
                let row = Keyset {
                    spender: *spender,
                    exp: *exp,
                    issued: 0,
                    redeemed: 0,
                    swept: Flag(false),
                };
                self.t.keysets.set((*id,), row);
            }
            Effect::Freeze { id, on } => {
                lowest.done()?;
                if let Some(account) = self.t.accounts.get(&(*id,)) {
                    let mut account = account.clone();
                    account.flags &= !FROZEN;
                    if *on {
                        account.flags |= FROZEN;
                    }
                    self.t.accounts.set((*id,), account);
                }
            }
            Effect::Upgrade { name, at } => {
                self.t
                    .signals
                    .set(String::from(name.as_str()), Signal { at: *at });
            }
            Effect::Text => {}
        }
        Ok(())
    }
}
