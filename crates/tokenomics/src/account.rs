//! Accounts, assets, and the addresses of system accounts.

use betanet_wire::NodeId;

/// SHA-256.
pub type Hash = [u8; 32];
/// ID of a request, a transfer or a proposal.
pub type Id = [u8; 16];

/// Bound of the chapter's numbers.
pub const NUMBER_END: u64 = 1 << 63;
/// µFOG in a FOG, and µ in a voucher unit.
pub const MICRO: u64 = 1_000_000;
/// A day in ms.
pub const DAY_MS: u64 = 86_400_000;

/// An asset of the ledger.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Asset {
    /// FOG, in millionths.
    Fog = 0,
    /// Voucher units, each worth 1 FOG.
    Units = 1,
    /// Credits of missed service levels, in millionths of a FOG.
    Credits = 2,
}

/// All assets, by number.
pub const ASSETS: [Asset; 3] = [Asset::Fog, Asset::Units, Asset::Credits];

impl Asset {
    /// The asset with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        ASSETS.into_iter().find(|a| u64::from(*a as u8) == number)
    }

    /// The asset's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

const fn system(kind: u8) -> NodeId {
    let mut id = [0; 20];
    id[19] = kind;
    NodeId(id)
}

/// The community's money; votes spend it.
pub const TREASURY: NodeId = system(2);
/// Reservations and the deposits of proposals.
pub const ESCROW: NodeId = system(3);
/// Bonded and delegated stake.
pub const STAKE: NodeId = system(4);
/// Stake on its way out.
pub const UNBONDING: NodeId = system(5);
/// Source of everything; the only account that may go negative.
pub const ISSUANCE: NodeId = system(6);
/// Destination of destroyed FOG.
pub const BURN: NodeId = system(7);
/// Rewards that wait for the end of an epoch.
pub const POOL: NodeId = system(8);
/// Fees that wait for the end of an epoch.
pub const FEES: NodeId = system(9);
/// FOG behind voucher units, and the units behind vouchers.
pub const RESERVE: NodeId = system(10);
/// FOG behind credits.
pub const BACKING: NodeId = system(11);

/// The system accounts with their names, by kind from 2 on.
pub const SYSTEM: [(&str, NodeId); 10] = [
    ("treasury", TREASURY),
    ("escrow", ESCROW),
    ("stake", STAKE),
    ("unbonding", UNBONDING),
    ("issuance", ISSUANCE),
    ("burn", BURN),
    ("pool", POOL),
    ("fees", FEES),
    ("reserve", RESERVE),
    ("backing", BACKING),
];

/// Whether an address is a system account.
#[must_use]
pub fn is_system(id: &NodeId) -> bool {
    SYSTEM.iter().any(|(_, account)| account == id)
}

/// The address of an account that is opened with a key: the key's NodeID.
#[must_use]
pub fn address(key: &Hash) -> NodeId {
    let mut id = [0; 20];
    id.copy_from_slice(&betanet_keys::hash(&[key])[..20]);
    NodeId(id)
}

/// Kind of a user's account.
pub const USER: u64 = 0;
/// Kind of a node's account.
pub const NODE: u64 = 1;
/// Flag: may not go negative.
pub const SOLVENT: u64 = 1;
/// Flag: does not pay.
pub const FROZEN: u64 = 2;
/// Flag: closed for ever.
pub const CLOSED: u64 = 4;
