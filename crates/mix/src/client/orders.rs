//! Contents of a client's packets: paths, reply blocks and payloads.

use alloc::vec::Vec;

use betanet_machine::Now;
use zeroize::Zeroizing;

use super::exchange::Wish;
use super::work::{Block, Order, Path, Purpose};
use super::{BUCKET_MS, Client, LoopHop, Recipient, SentLoop, Turn};
use crate::build::Hop;
use crate::delay::exponential_delay;
use crate::fragment::{Fragment, Kind};
use crate::lottery::{NoRoute, lottery_seed};
use crate::packet::{Command as PacketCommand, DELAY_MAX_MS, Delay, SLOTS};

/// Draws of a path before there is held to be none. With as many relays as hops, one misses with a probability of 1 in 19 000.
const DRAWS: u32 = 8;

impl Client {
    /// Draws a path's relays, the guard first. Where few relays can take a position, a draw may miss them all: then another is made.
    pub(super) fn draw(&mut self, now: Now) -> Result<Vec<usize>, NoRoute> {
        let bucket = now.unix_ms / BUCKET_MS;
        let (relays, guard) = (self.setup.relays, self.guard);
        let mut left = DRAWS;
        loop {
            let seed = lottery_seed(&self.setup.session_key, bucket, &self.rng.array());
            left -= 1;
            match self.setup.topology.draw(&seed, relays, Some(guard)) {
                Err(_) if left > 0 => {}
                drawn => return drawn,
            }
        }
    }

    fn delay(&mut self) -> Delay {
        if self.setup.topology.poisson() {
            Delay::Chosen(exponential_delay(&mut self.rng))
        } else {
            Delay::Sampled(DELAY_MAX_MS)
        }
    }

    /// The way over these relays to a last node.
    fn path(&mut self, relays: &[usize], last: Recipient, command: PacketCommand) -> Path {
        let mut hops = Vec::with_capacity(relays.len() + 1);
        for (i, at) in relays.iter().enumerate() {
            let next = relays.get(i + 1);
            let next = next.map_or(last.node, |n| self.setup.topology.relays()[*n].node);
            let delay = self.delay();
            hops.push(Hop {
                key: self.setup.topology.key(*at),
                command: PacketCommand::Forward { delay, next },
            });
        }
        hops.push(Hop {
            key: last.key,
            command,
        });
        Path {
            epoch: self.setup.topology.epoch().to_be_bytes()[3],
            hops,
            x: Zeroizing::new(self.rng.array()),
            pad: self.rng.array(),
        }
    }

    /// This client, as the last hop of what comes back.
    fn myself(&self) -> Option<Recipient> {
        let key = self.own_keys.get(&self.setup.topology.epoch())?;
        Some(Recipient {
            node: self.setup.own,
            key: *key,
        })
    }

    /// The way of a reply block: drawn relays, the guard, this client.
    fn block(&mut self, now: Now) -> Result<Option<Block>, NoRoute> {
        let mut relays = self.draw(now)?;
        relays.rotate_left(1);
        let Some(me) = self.myself() else {
            return Ok(None);
        };
        let id = self.rng.array();
        let path = self.path(&relays, me, PacketCommand::Reply { id });
        let first = self.setup.topology.relays()[relays[0]].node;
        let key = Zeroizing::new(self.rng.array());
        Ok(Some(Block { path, first, key }))
    }

    fn blocks(&mut self, now: Now, n: usize) -> Result<Vec<Block>, NoRoute> {
        let mut blocks = Vec::with_capacity(n);
        for _ in 0..n {
            blocks.extend(self.block(now)?);
        }
        Ok(blocks)
    }

    pub(super) fn order(&mut self, now: Now, turn: Turn) -> Result<Option<Order>, (u64, NoRoute)> {
        match turn {
            Turn::Wish(exchange, wish) => {
                let order = self.wish(now, exchange, wish);
                order.map_err(|why| (exchange, why))
            }
            Turn::Loop => Ok(self.loop_order(now)),
            Turn::Drop => Ok(self.drop_order(now)),
        }
    }

    fn wish(&mut self, now: Now, exchange: u64, wish: Wish) -> Result<Option<Order>, NoRoute> {
        let Some(x) = self.exchanges.get(&exchange) else {
            return Ok(None);
        };
        let (to, message) = (x.to, x.message);
        let ack = x.answer.ack();
        let (kind, index, count, data, blocks) = match wish {
            Wish::Piece {
                index,
                count,
                data,
                blocks,
            } => (Kind::Request, index, count, data, blocks),
            Wish::Ack { blocks } => {
                let data = ack.to_bytes().to_vec();
                (Kind::Acknowledgement, 0, 0, data, blocks)
            }
        };
        let relays = self.draw(now)?;
        let id = self.rng.array();
        let path = self.path(&relays, to, PacketCommand::Deliver { id });
        let blocks = self.blocks(now, blocks)?;
        Ok(Some(Order {
            purpose: Purpose::Exchange(exchange, now.mono),
            path,
            fragment: Fragment {
                kind,
                message,
                index,
                count,
                surbs: Vec::new(),
                data,
            },
            blocks,
        }))
    }

    /// A loop: guard, relays, guard, this client.
    fn loop_order(&mut self, now: Now) -> Option<Order> {
        let mut relays = self.draw(now).ok()?;
        relays.truncate(SLOTS - 2);
        relays.push(self.guard);
        let me = self.myself()?;
        let id = self.rng.array();
        let token: [u8; 32] = self.rng.array();
        let path = self.path(&relays, me, PacketCommand::Deliver { id });
        let nodes = relays
            .iter()
            .map(|at| self.setup.topology.relays()[*at].node);
        let hops = nodes
            .zip(&path.hops)
            .filter_map(|(node, hop)| match hop.command {
                PacketCommand::Forward { delay, .. } => Some(LoopHop {
                    node,
                    tag: [0; 16],
                    delay,
                }),
                _ => None,
            })
            .collect();
        let epoch = self.setup.topology.epoch();
        let sent = SentLoop {
            at: now.mono,
            epoch,
            hops,
        };
        self.loops.insert(token, sent);
        Some(Order {
            purpose: Purpose::Loop(token),
            path,
            fragment: Fragment {
                kind: Kind::Loop,
                message: self.rng.array(),
                index: 0,
                count: 0,
                surbs: Vec::new(),
                data: token.to_vec(),
            },
            blocks: Vec::new(),
        })
    }

    /// A cover packet to any relay, which drops it.
    fn drop_order(&mut self, now: Now) -> Option<Order> {
        let relays = self.draw(now).ok()?;
        let n = u64::try_from(self.setup.topology.relays().len()).ok()?;
        let at = usize::try_from(self.rng.below(n)).ok()?;
        let last = Recipient {
            node: self.setup.topology.relays()[at].node,
            key: self.setup.topology.key(at),
        };
        let id = self.rng.array();
        let path = self.path(&relays, last, PacketCommand::Drop { id });
        Some(Order {
            purpose: Purpose::Cover,
            path,
            fragment: Fragment {
                kind: Kind::Loop,
                message: self.rng.array(),
                index: 0,
                count: 0,
                surbs: Vec::new(),
                data: Vec::new(),
            },
            blocks: Vec::new(),
        })
    }
}
