//! Genesis: the constants of a ledger and its first balances.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::hash;
use betanet_wire::NodeId;
use betanet_wire::cbor::{Error as Cbor, Reader, Writer};

use crate::account::{NODE, address};
use crate::params::{Param, ROLES, RULES, Role};
use crate::read::{self, Fields, ensure};
use crate::{Error, Hash};

/// Longest genesis that is read.
pub const GENESIS_MAX: usize = 1 << 20;
/// Most members of a role.
pub(crate) const MEMBERS_MAX: usize = 15;
/// Most accounts of a genesis.
const ALLOC_MAX: usize = 4_096;
/// Most keysets of a genesis.
const KEYSETS_MAX: usize = 1_024;
/// Longest name of a ledger.
const NAME_MAX: usize = 1_024;

/// A role with its members: accounts, or keys of signers.
pub(crate) type RoleMembers = (Role, Vec<Vec<u8>>);

/// A first account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Opened {
    pub(crate) key: Hash,
    pub(crate) kind: u64,
    pub(crate) amt: u64,
}

/// The constants of a ledger: nothing changes them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Genesis {
    bytes: Vec<u8>,
    id: Hash,
    /// The ledger's name.
    pub name: String,
    /// Start of epoch 0, in UNIX ms.
    pub t0: u64,
    /// Length of an epoch, in ms.
    pub epoch_ms: u64,
    /// Most µFOG that are ever issued.
    pub cap: u64,
    /// µFOG issued in an epoch, before halvings.
    pub base: u64,
    /// Epochs between two halvings.
    pub halving: u64,
    pub(crate) treasury: u64,
    pub(crate) alloc: Vec<Opened>,
    pub(crate) params: Vec<(Param, u64)>,
    pub(crate) roles: Vec<RoleMembers>,
    pub(crate) keysets: Vec<(Hash, NodeId, u64)>,
}

/// A genesis to be written.
#[derive(Clone, Debug, Default)]
pub struct GenesisDraft<'a> {
    /// The ledger's name.
    pub name: &'a str,
    /// Start of epoch 0, in UNIX ms.
    pub t0: u64,
    /// Length of an epoch, in ms.
    pub epoch_ms: u64,
    /// Most µFOG that are ever issued.
    pub cap: u64,
    /// µFOG issued in an epoch, before halvings.
    pub base: u64,
    /// Epochs between two halvings.
    pub halving: u64,
    /// First µFOG of the treasury.
    pub treasury: u64,
    /// First accounts: key, kind, µFOG.
    pub alloc: &'a [(Hash, u64, u64)],
    /// Parameters that are not the default.
    pub params: &'a [(Param, u64)],
    /// Members of roles, in any order; names not given have none.
    pub roles: &'a [(Role, Vec<Vec<u8>>)],
    /// First keysets: ID, spender, end of issue.
    pub keysets: &'a [(Hash, NodeId, u64)],
}

impl GenesisDraft<'_> {
    /// Encodes the genesis. Whether it is a good one, [`Genesis::from_bytes`] tells.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(1_024);
        w.map(12);
        let number = |w: &mut Writer, key: &str, n: u64| {
            w.text(key);
            w.unsigned(n);
        };
        number(&mut w, "v", 1);
        number(&mut w, "t0", self.t0);
        number(&mut w, "cap", self.cap);
        number(&mut w, "base", self.base);
        w.text("name");
        w.text(self.name);
        w.text("alloc");
        w.array(self.alloc.len());
        for (key, kind, amt) in self.alloc {
            w.array(3);
            w.bytes(key);
            w.unsigned(*kind);
            w.unsigned(*amt);
        }
        w.text("roles");
        let mut roles: Vec<_> = self.roles.iter().collect();
        roles.sort_by_key(|(role, _)| (role.name().len(), role.name()));
        w.map(roles.len());
        for (role, members) in roles {
            w.text(role.name());
            let mut members: Vec<&Vec<u8>> = members.iter().collect();
            members.sort_unstable();
            w.array(members.len());
            for member in members {
                w.bytes(member);
            }
        }
        w.text("params");
        let mut params: Vec<_> = self.params.iter().collect();
        params.sort_by_key(|(param, _)| (param.name().len(), param.name()));
        w.map(params.len());
        for (param, value) in params {
            number(&mut w, param.name(), *value);
        }
        number(&mut w, "halving", self.halving);
        w.text("keysets");
        w.array(self.keysets.len());
        for (id, spender, exp) in self.keysets {
            w.array(3);
            w.bytes(id);
            w.bytes(&spender.0);
            w.unsigned(*exp);
        }
        number(&mut w, "epoch_ms", self.epoch_ms);
        number(&mut w, "treasury", self.treasury);
        w.into_vec()
    }
}

impl Genesis {
    /// Reads and checks a genesis.
    ///
    /// # Errors
    ///
    /// [`Error::Genesis`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > GENESIS_MAX {
            return Err(Error::Genesis("longer than 1 MiB"));
        }
        let genesis = Self::read(bytes).map_err(|_| Error::Genesis("wrong shape"))?;
        genesis.check()?;
        Ok(genesis)
    }

    fn read(bytes: &[u8]) -> Result<Self, Cbor> {
        let mut f = Fields::of(bytes)?;
        ensure(f.u("v")? == 1)?;
        let opened = |r: &mut Reader<'_>| {
            read::tuple(r, 3)?;
            let key = read::array(r)?;
            let kind = read::at_most(r, NODE)?;
            let amt = read::number(r)?;
            r.leave();
            Ok(Opened { key, kind, amt })
        };
        let keyset = |r: &mut Reader<'_>| {
            read::tuple(r, 3)?;
            let keyset = (read::array(r)?, read::account(r)?, read::number(r)?);
            r.leave();
            Ok(keyset)
        };
        let genesis = Self {
            id: hash(&[b"BN-ECO-GEN1", bytes]),
            bytes: bytes.to_vec(),
            name: String::from(f.get("name", Reader::text)?),
            t0: f.u("t0")?,
            epoch_ms: f.p("epoch_ms")?,
            cap: f.u("cap")?,
            base: f.u("base")?,
            halving: f.p("halving")?,
            treasury: f.u("treasury")?,
            alloc: f.list("alloc", (0, ALLOC_MAX), opened)?,
            params: params(f.raw("params")?)?,
            roles: roles(f.raw("roles")?)?,
            keysets: f.list("keysets", (0, KEYSETS_MAX), keyset)?,
        };
        f.end()?;
        Ok(genesis)
    }

    fn check(&self) -> Result<(), Error> {
        let mut accounts = BTreeSet::new();
        let mut issued = u128::from(self.treasury);
        for opened in &self.alloc {
            if !accounts.insert(address(&opened.key)) {
                return Err(Error::Genesis("an account stands twice"));
            }
            issued += u128::from(opened.amt);
        }
        if self.name.len() > NAME_MAX {
            return Err(Error::Genesis("a name of over 1 024 bytes"));
        }
        if issued > u128::from(self.cap) {
            return Err(Error::Genesis("more than the cap is issued"));
        }
        for (param, value) in &self.params {
            let rule = param.rule();
            if *value < rule.least || *value > rule.most {
                return Err(Error::Genesis("a parameter is out of bounds"));
            }
        }
        let mut keysets = BTreeSet::new();
        for (id, spender, _) in &self.keysets {
            if !keysets.insert(id) || !accounts.contains(spender) {
                return Err(Error::Genesis("a keyset stands twice or has no spender"));
            }
        }
        for (role, members) in &self.roles {
            let known = |member: &Vec<u8>| {
                <[u8; 20]>::try_from(&member[..]).is_ok_and(|id| accounts.contains(&NodeId(id)))
            };
            if *role != Role::Signers && !members.iter().all(known) {
                return Err(Error::Genesis("a role names no account"));
            }
        }
        Ok(())
    }

    /// The genesis as it was read.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// G, which every signature of the ledger covers.
    #[must_use]
    pub const fn id(&self) -> &Hash {
        &self.id
    }

    /// When an epoch ends.
    #[must_use]
    pub const fn epoch_end(&self, epoch: u64) -> u64 {
        self.t0
            .saturating_add(epoch.saturating_add(1).saturating_mul(self.epoch_ms))
    }

    /// Keys that sign the first heads.
    #[must_use]
    pub fn signers(&self) -> Vec<Hash> {
        let signers = self.roles.iter().find(|(role, _)| *role == Role::Signers);
        let keys = signers.map_or(&[][..], |(_, members)| members);
        keys.iter()
            .filter_map(|key| key[..].try_into().ok())
            .collect()
    }
}

/// Reads a map with text keys.
fn named<T>(
    raw: &[u8],
    most: usize,
    mut entry: impl FnMut(&str, &mut Reader<'_>) -> Result<T, Cbor>,
) -> Result<Vec<T>, Cbor> {
    let mut r = Reader::new(raw);
    let n = r.map()?;
    ensure(n <= most)?;
    let mut entries = Vec::with_capacity(n);
    for _ in 0..n {
        let name = r.text()?;
        entries.push(entry(name, &mut r)?);
    }
    Ok(entries)
}

fn params(raw: &[u8]) -> Result<Vec<(Param, u64)>, Cbor> {
    named(raw, RULES.len(), |name, r| {
        let param = Param::from_name(name).ok_or(Cbor::Range("a parameter"))?;
        Ok((param, read::number(r)?))
    })
}

fn roles(raw: &[u8]) -> Result<Vec<RoleMembers>, Cbor> {
    named(raw, ROLES.len(), |name, r| {
        let role = Role::from_name(name).ok_or(Cbor::Range("a role"))?;
        Ok((role, members(role, (0, MEMBERS_MAX), r)?))
    })
}

/// Reads the ascending members of a role.
pub(crate) fn members(
    role: Role,
    bounds: (usize, usize),
    r: &mut Reader<'_>,
) -> Result<Vec<Vec<u8>>, Cbor> {
    let list = read::list(r, bounds, |r| r.bytes().map(<[u8]>::to_vec))?;
    ensure(list.iter().all(|m| m.len() == role.member_len()))?;
    ensure(list.windows(2).all(|pair| pair[0] < pair[1]))?;
    Ok(list)
}
