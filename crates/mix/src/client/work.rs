//! Packets and reply blocks to build. This needs many multiplications, so it may run on another thread.

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_machine::Time;
use betanet_wire::NodeId;
use zeroize::Zeroizing;

use crate::build::{Hop, Opener, ReplyWay, Way, build_tagged, surb_batch};
use crate::fragment::Fragment;
use crate::packet::{BETA, Packet};

/// A way with its random values.
#[derive(Clone)]
pub(super) struct Path {
    pub(super) epoch: u8,
    pub(super) hops: Vec<Hop>,
    pub(super) x: Zeroizing<[u8; 32]>,
    pub(super) pad: [u8; BETA],
}

impl Path {
    fn way(&self) -> Way<'_> {
        Way {
            epoch: self.epoch,
            hops: &self.hops,
            x: *self.x,
            pad: self.pad,
        }
    }
}

/// A reply block to build.
pub(super) struct Block {
    pub(super) path: Path,
    pub(super) first: NodeId,
    pub(super) key: Zeroizing<[u8; 32]>,
}

/// Purpose of a packet after it is built.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Purpose {
    /// A part of this exchange; with the time when its reply blocks were issued.
    Exchange(u64, Time),
    /// A loop with this token.
    Loop([u8; 32]),
    /// Cover traffic.
    Cover,
}

/// One packet.
pub(super) struct Order {
    pub(super) purpose: Purpose,
    pub(super) path: Path,
    pub(super) fragment: Fragment,
    pub(super) blocks: Vec<Block>,
}

/// Packets to build with [`Work::run`].
pub struct Work(pub(super) Vec<Order>);

impl core::hash::Hash for Work {
    /// What its packets are for: their keys and paths were drawn from dice that are counted.
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        for order in &self.0 {
            order.purpose.hash(state);
        }
        self.0.len().hash(state);
    }
}

impl core::fmt::Debug for Work {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Work({} packets)", self.0.len())
    }
}

pub(super) struct Built {
    pub(super) purpose: Purpose,
    pub(super) packet: Box<Packet>,
    pub(super) openers: Vec<Opener>,
    /// Tags by which the hops know a loop.
    pub(super) tags: Vec<[u8; 16]>,
}

/// Built packets, to return to their client.
pub struct Done(pub(super) Vec<Built>);

impl core::fmt::Debug for Done {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Done({} packets)", self.0.len())
    }
}

impl Work {
    /// Number of packets.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no packets.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Builds the packets: first the reply blocks of all packets, then the packets.
    #[must_use]
    pub fn run(self) -> Done {
        let reply_way = |b: &'_ Block| -> (Path, NodeId, Zeroizing<[u8; 32]>) {
            (b.path.clone(), b.first, b.key.clone())
        };
        let wanted: Vec<_> = self
            .0
            .iter()
            .flat_map(|o| o.blocks.iter())
            .map(reply_way)
            .collect();
        let ways: Vec<ReplyWay<'_>> = wanted
            .iter()
            .map(|(path, first, key)| ReplyWay {
                way: path.way(),
                first: *first,
                key: key.clone(),
            })
            .collect();
        let mut made = surb_batch(&ways).into_iter();
        let mut built = Vec::with_capacity(self.0.len());
        for order in self.0 {
            let Order {
                purpose,
                path,
                mut fragment,
                blocks,
            } = order;
            let mut openers = Vec::with_capacity(blocks.len());
            // Ways that the client drew are ways that can be built.
            for (surb, opener) in made.by_ref().take(blocks.len()).flatten() {
                fragment.surbs.push(surb);
                openers.push(opener);
            }
            let Ok(payload) = fragment.to_payload() else {
                continue;
            };
            let Ok((packet, tags)) = build_tagged(&path.way(), &Zeroizing::new(payload)) else {
                continue;
            };
            built.push(Built {
                tags: match purpose {
                    Purpose::Loop(_) => tags,
                    _ => Vec::new(),
                },
                purpose,
                packet: Box::new(packet),
                openers,
            });
        }
        Done(built)
    }
}
