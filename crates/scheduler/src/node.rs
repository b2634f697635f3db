//! A node as the placer sees it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::{Kind, Level, Resource, Resources, Tier, Word};
use betanet_wire::NodeId;

use crate::account::{Account, DEVICE};
use crate::attributes::{KeyId, ORG, ValueId};
use crate::fit::{ClassId, Fit, Offer};
use crate::groups::GroupId;
use crate::ordered::Key;

/// Most live copies of a node.
pub const COPIES_MAX: usize = 1_024;

/// How long a node rests after [`FAILURES`] failures in a row, in ms.
pub(crate) const REST: u64 = 60_000;

/// Losses and internal faults in a row after which a node rests.
pub(crate) const FAILURES: u32 = 5;

/// How often a silver task can be preempted.
pub(crate) const SILVER_YIELDS: u8 = 3;

/// Description of a node: its signed record, with the level that it has proved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeSpec {
    /// ID of the node.
    pub id: NodeId,
    /// What it has.
    pub capacity: Resources,
    /// Kind of the node.
    pub kind: Kind,
    /// Model of its devices, or empty.
    pub model: Word,
    /// Organisation that runs it.
    pub org: Word,
    /// Whether its join token names that organisation. All nodes whose token names none count as one organisation.
    pub vouched: bool,
    /// Region, or empty.
    pub region: Word,
    /// Zone, or empty.
    pub zone: Word,
    /// Attributes of its own, by name.
    pub labels: BTreeMap<Word, Word>,
    /// Highest level that it offers now.
    pub level: Level,
    /// Lowest price factor at which it works, in ppm.
    pub price: u32,
}

/// A live copy, without its grant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    pub(crate) slot: u32,
    pub(crate) group: GroupId,
    pub(crate) tier: Tier,
    pub(crate) prio: u8,
    /// How often its task was preempted before.
    pub(crate) preempted: u8,
    /// Whether it was placed by a draw.
    pub(crate) drawn: bool,
    /// The reservation in whose lots it runs.
    pub(crate) lots: Option<[u8; 16]>,
}

impl Live {
    /// Bit of [`takes`], where the copy yields to a higher tier at all.
    pub(crate) fn yields(&self) -> u8 {
        match self.tier {
            // Lots are paid for.
            _ if self.lots.is_some() => 0,
            Tier::Bronze => 1,
            Tier::Silver if self.preempted < SILVER_YIELDS => 2,
            _ => 0,
        }
    }
}

/// Bits of the tiers whose copies a tier may take.
pub(crate) fn takes(tier: Tier) -> u8 {
    match tier {
        Tier::Bronze => 0,
        Tier::Silver => 1,
        Tier::Gold | Tier::Platinum => 3,
    }
}

/// Orders of all open nodes. Each strategy uses one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// Load, then live copies.
    Load,
    /// Turn of `round_robin`.
    Turn,
    /// Free CPU.
    Cpu,
    /// Free thousandths of devices; nodes without devices are absent.
    Gpu,
}

/// Rank of a node that an order does not list.
pub(crate) const UNLISTED: u64 = u64::MAX;

/// What searches read of a node, in one place: [`Fit::NONE`] where it is not open, and its rank in each order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hot {
    pub(crate) fit: Fit,
    pub(crate) ranks: [u64; 4],
}

impl Hot {
    pub(crate) const NONE: Self = Self {
        fit: Fit::NONE,
        ranks: [UNLISTED; 4],
    };
}

/// A known node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) level: Level,
    pub(crate) price: u32,
    pub(crate) rep: u32,
    pub(crate) vouched: bool,
    /// By number of the name, ascending.
    pub(crate) attrs: Vec<(KeyId, ValueId)>,
    pub(crate) account: Account,
    /// Fences of live copies, ascending.
    pub(crate) copies: Vec<u64>,
    /// Live copies that were placed by a draw.
    pub(crate) drawn: u64,
    /// Live copies that may be preempted: bronze, silver.
    pub(crate) yielding: [u16; 2],
    pub(crate) active: bool,
    pub(crate) work: bool,
    /// Losses and internal faults in a row.
    pub(crate) failures: u32,
    /// It takes nothing before, in ms.
    pub(crate) rests_until: u64,
    pub(crate) turn: u64,
    pub(crate) seat: usize,
    pub(crate) class: ClassId,
    /// Number of its trees.
    pub(crate) tree: usize,
    /// Whether it passes the test `state`.
    pub(crate) open: bool,
    /// What it adds to the totals of active nodes.
    pub(crate) counted: Option<(Resources, Resources, u32)>,
}

impl Node {
    /// Value of an attribute.
    pub(crate) fn value(&self, key: KeyId) -> Option<ValueId> {
        let at = self.attrs.binary_search_by_key(&key, |(k, _)| *k).ok()?;
        self.attrs.get(at).map(|(_, v)| *v)
    }

    /// The organisation for which copies are kept apart; `None` for all whose token names none.
    pub(crate) fn org(&self) -> Option<ValueId> {
        self.value(ORG).filter(|_| self.vouched)
    }

    /// Whether it takes copies now.
    pub(crate) fn takes_work(&self, now: u64) -> bool {
        self.active && self.work && self.copies.len() < COPIES_MAX && self.rests_until <= now
    }

    /// Weight of a draw.
    pub(crate) fn weight(&self) -> u64 {
        1 + self.account.free(Resource::Relay) / 1_000_000
    }

    /// What searches read of it, while it is open. `facts` are those of its class.
    pub(crate) fn hot(&self, facts: u64) -> Hot {
        let [bronze, silver] = self.yielding;
        let account = &self.account;
        let offer = Offer {
            free: account.rest(),
            devices: account.widest(),
            price: self.price,
            rep: self.rep,
            level: self.level,
            yielding: (bronze > 0, silver > 0),
        };
        let gpu = account.cap().get(Resource::Gpu) >= DEVICE;
        Hot {
            fit: Fit::new(&offer, self.class, facts),
            ranks: [
                self.load_rank(),
                self.turn,
                account.free(Resource::Cpu),
                if gpu {
                    account.free(Resource::Gpu)
                } else {
                    UNLISTED
                },
            ],
        }
    }

    /// Load, then live copies, in one number. A load of 2^53 ppm and more is one: capacity was lowered nearly to nothing.
    pub(crate) fn load_rank(&self) -> u64 {
        let load = self.account.load().min((1 << 53) - 1);
        let copies = u64::try_from(self.copies.len()).unwrap_or(0).min(2_047);
        load << 11 | copies
    }

    /// Its place in an order where it has this rank.
    pub(crate) fn key(&self, slot: u32, rank: u64) -> Key {
        let (high, middle, low) = words(&self.id);
        Key {
            rank,
            high,
            middle,
            low,
            slot,
        }
    }

    pub(crate) fn count(&mut self, copy: &Live, fence: u64) {
        if let Err(at) = self.copies.binary_search(&fence) {
            self.copies.insert(at, fence);
        }
        self.drawn += u64::from(copy.drawn);
        self.yielding[0] += u16::from(copy.yields() == 1);
        self.yielding[1] += u16::from(copy.yields() == 2);
    }

    pub(crate) fn discount(&mut self, copy: &Live, fence: u64) {
        if let Ok(at) = self.copies.binary_search(&fence) {
            self.copies.remove(at);
        }
        self.drawn = self.drawn.saturating_sub(u64::from(copy.drawn));
        let [bronze, silver] = &mut self.yielding;
        *bronze = bronze.saturating_sub(u16::from(copy.yields() == 1));
        *silver = silver.saturating_sub(u16::from(copy.yields() == 2));
    }
}

/// A NodeID as three numbers of the same order.
fn words(id: &NodeId) -> (u64, u64, u32) {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = id.0;
    (
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes([i, j, k, l, m, n, o, p]),
        u32::from_be_bytes([q, r, s, t]),
    )
}
