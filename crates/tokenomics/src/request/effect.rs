use alloc::string::String;
use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_wire::cbor::{Error as Cbor, Reader};

use crate::Hash;
use crate::genesis::{MEMBERS_MAX, members};
use crate::params::{Param, Role};
use crate::read::{self, ensure};

/// Most effects of a proposal.
pub const EFFECTS_MAX: usize = 8;
/// Fewest members that a proposal may name for a role.
const MEMBERS_MIN: usize = 3;
/// Longest text of a signalled upgrade.
const UPGRADE_MAX: usize = 64;

/// An effect of a proposal. There is no other: no proposal carries code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Changes a parameter.
    Param {
        /// The parameter.
        param: Param,
        /// Its new value.
        value: u64,
    },
    /// Pays FOG from the treasury.
    Spend {
        /// Payee.
        to: NodeId,
        /// µFOG.
        amt: u64,
    },
    /// Replaces the members of a role.
    Role {
        /// The role.
        role: Role,
        /// Its new members: accounts, or keys of signers.
        members: Vec<Vec<u8>>,
    },
    /// Adds a keyset of vouchers.
    Keyset {
        /// ID of the keyset.
        id: Hash,
        /// Account that redeems.
        spender: NodeId,
        /// End of its issue, in UNIX ms.
        exp: u64,
    },
    /// Freezes an account, or thaws it.
    Freeze {
        /// The account.
        id: NodeId,
        /// Whether it is frozen from now on.
        on: bool,
    },
    /// Signals an upgrade.
    Upgrade {
        /// Its name.
        name: String,
        /// When, in UNIX ms.
        at: u64,
    },
    /// Nothing but the proposal's text.
    Text,
}

impl Effect {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, Cbor> {
        let items = r.array()?;
        let kind = r.text()?;
        let size = |n: usize| ensure(items == n);
        let effect = match kind {
            "param" => {
                size(3)?;
                let param = Param::from_name(r.text()?).ok_or(Cbor::Range("a parameter"))?;
                let value = read::number(r)?;
                Self::Param { param, value }
            }
            "spend" => {
                size(3)?;
                let to = read::account(r)?;
                let amt = read::positive(r)?;
                Self::Spend { to, amt }
            }
            "role" => {
                size(3)?;
                let role = Role::from_name(r.text()?).ok_or(Cbor::Range("a role"))?;
                let members = members(role, (MEMBERS_MIN, MEMBERS_MAX), r)?;
                Self::Role { role, members }
            }
            "keyset" => {
                size(4)?;
                let id = read::array(r)?;
                let spender = read::account(r)?;
                let exp = read::number(r)?;
                Self::Keyset { id, spender, exp }
            }
            "freeze" => {
                size(3)?;
                let id = read::account(r)?;
                let on = r.boolean()?;
                Self::Freeze { id, on }
            }
            "upgrade" => {
                size(3)?;
                let name = r.text()?;
                ensure(!name.is_empty() && name.len() <= UPGRADE_MAX)?;
                let at = read::number(r)?;
                Self::Upgrade {
                    name: String::from(name),
                    at,
                }
            }
            "text" => {
                size(1)?;
                Self::Text
            }
            _ => return Err(Cbor::Range("an effect")),
        };
        r.leave();
        Ok(effect)
    }

    /// Whether more than half must agree: the effect changes the rules or the powers.
    #[must_use]
    pub const fn is_constitutional(&self) -> bool {
        matches!(
            self,
            Self::Param { .. } | Self::Role { .. } | Self::Keyset { .. } | Self::Freeze { .. }
        )
    }
}
