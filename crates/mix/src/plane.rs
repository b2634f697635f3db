//! The way of a packet through a node: how many are unwrapped together, and what becomes of each.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::borrow::{Borrow, BorrowMut};
use core::time::Duration;

use betanet_machine::Time;
use betanet_wire::{ChargeTo, NodeId};

use crate::packet::{Command, PACKET, Packet};
use crate::replay::Taken;
use crate::share::Via;
use crate::unwrap::{EpochKeys, KeyId, Outcome, Refusal, unwrap_batch};
use crate::waiting::Pool;

/// Packets that a worker takes together: as many as are multiplied at once. More would only wait for each other.
pub const BATCH: usize = 8;
/// As few are multiplied at once without loss on most processors: what has come is shared among idle workers down to this.
pub const FEW: usize = 4;
/// Packets that wait to be unwrapped.
pub const UNREAD: usize = 4096;
/// Packets of one session that wait to be unwrapped before it is not read on; and of all sessions that one pays for.
pub const UNREAD_OF: (usize, usize) = (UNREAD / 16, UNREAD / 8);

/// How many of the packets that wait to be unwrapped one of so many workers takes.
#[must_use]
pub fn batch(unread: usize, workers: usize) -> usize {
    let share = unread.div_ceil(workers.max(1)).clamp(FEW, BATCH);
    unread.min(share)
}

/// A packet's next step at a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It goes on to the next node.
    Onward {
        /// The next node.
        next: NodeId,
        /// When it leaves, which may be over already.
        due: Time,
        /// How long that is after its arrival.
        wait_ms: u16,
    },
    /// Its payload is for this node.
    Deliver,
    /// It is cover, and ends here.
    Cover,
    /// It is for a reply block, and this node gives none out.
    NoReplyBlock,
    /// It wants to go on, and this node sends nothing on.
    NoRelay,
    /// It is refused.
    Refused(Refusal),
}

impl Fate {
    /// The fate of a packet that arrived then, at a node that sends packets on or not. Its wait counts from its arrival: a busy node
    /// does not add to what its delays prove.
    #[must_use]
    pub fn of(outcome: Outcome, arrived: Time, forwards: bool) -> Self {
        let unwrapped = match outcome {
            Ok(unwrapped) => unwrapped,
            Err(refusal) => return Self::Refused(refusal),
        };
        let wait_ms = unwrapped.wait_ms;
        match unwrapped.command {
            Command::Forward { next, .. } if forwards => Self::Onward {
                next,
                due: arrived + Duration::from_millis(wait_ms.into()),
                wait_ms,
            },
            Command::Forward { .. } => Self::NoRelay,
            Command::Deliver { .. } => Self::Deliver,
            Command::Drop { .. } => Self::Cover,
            Command::Reply { .. } => Self::NoReplyBlock,
        }
    }
}

/// A packet that arrived and is not unwrapped yet. `T` is data of the driver.
#[derive(Debug)]
pub struct Arrived<T> {
    /// The session that brought the packet, and the charged party.
    pub via: Via,
    /// The session's peer.
    pub peer: NodeId,
    /// Time of its arrival.
    pub at: Time,
    /// The packet.
    pub packet: Box<Packet>,
    /// Data of the driver.
    pub data: T,
}

impl<T> Borrow<Packet> for Arrived<T> {
    fn borrow(&self) -> &Packet {
        &self.packet
    }
}

impl<T> BorrowMut<Packet> for Arrived<T> {
    fn borrow_mut(&mut self) -> &mut Packet {
        &mut self.packet
    }
}

/// Unwraps packets in place and decides the fate of each, at a node that sends packets on or not. Writes the fates in the
/// packets' order, as many as both slices hold. `take` notes a tag in the replay memory of a key, on the account of a peer and
/// its charged party. Returns how many packets found that memory full. Nothing is allocated.
pub fn process<T>(
    keys: &EpochKeys,
    packets: &mut [Arrived<T>],
    forwards: bool,
    mut take: impl FnMut(KeyId, (NodeId, ChargeTo), &[u8; 16]) -> Taken,
    fates: &mut [Fate],
) -> u64 {
    let mut full = 0;
    for (packets, fates) in packets.chunks_mut(BATCH).zip(fates.chunks_mut(BATCH)) {
        let mut payers = [(NodeId([0; 20]), ChargeTo::Unknown); BATCH];
        for (payer, packet) in payers.iter_mut().zip(packets.iter()) {
            *payer = (packet.peer, packet.via.charge);
        }
        let mut outcomes: [Outcome; BATCH] = [Err(Refusal::Epoch); BATCH];
        let seen = |at: usize, key, tag: &[u8; 16]| {
            let taken = take(key, payers[at], tag);
            full += u64::from(taken == Taken::Full);
            taken != Taken::New
        };
        unwrap_batch(keys, packets, seen, &mut outcomes);
        for ((fate, packet), outcome) in fates.iter_mut().zip(packets).zip(outcomes) {
            *fate = Fate::of(outcome, packet.at, forwards);
        }
    }
    full
}

/// Cuts the bytes of one stream into packets.
#[derive(Debug)]
pub struct Cut {
    partial: Vec<u8>,
}

impl Default for Cut {
    fn default() -> Self {
        Self {
            partial: Vec::with_capacity(PACKET),
        }
    }
}

impl Cut {
    /// The whole packets among these bytes, in buffers of the pool; what is over waits for more.
    pub fn cut(&mut self, bytes: &[u8], pool: &mut Pool) -> Vec<Box<Packet>> {
        let (partial, mut rest) = (&mut self.partial, bytes);
        let mut packets = Vec::with_capacity((partial.len() + rest.len()) / PACKET);
        while partial.len() + rest.len() >= PACKET {
            let (now, after) = rest.split_at(PACKET - partial.len());
            let mut packet = pool.take();
            packet.0[..partial.len()].copy_from_slice(partial);
            packet.0[partial.len()..].copy_from_slice(now);
            partial.clear();
            packets.push(packet);
            rest = after;
        }
        partial.extend_from_slice(rest);
        packets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwrap::Unwrapped;

    #[test]
    fn what_has_come_is_shared_among_workers_down_to_few() {
        let of = |unread| batch(unread, 4);
        assert_eq!([0, 1, 3, 4, 9, 24, 400].map(of), [0, 1, 3, 4, 4, 6, 8]);
    }

    #[test]
    fn packets_are_whole_however_the_stream_is_cut() {
        let bytes: Vec<u8> = (0..5 * PACKET + 7).map(|n| n.to_le_bytes()[0]).collect();
        for step in [1, 999, PACKET - 1, PACKET, 3 * PACKET + 1] {
            let (mut cut, mut pool) = (Cut::default(), Pool::new(4));
            let chunks = bytes.chunks(step);
            let packets: Vec<_> = chunks.flat_map(|c| cut.cut(c, &mut pool)).collect();
            assert_eq!(packets.len(), 5);
            let joined: Vec<u8> = packets.iter().flat_map(|p| p.0).collect();
            assert_eq!(joined, bytes[..5 * PACKET]);
            assert_eq!(cut.partial, bytes[5 * PACKET..]);
        }
    }

    #[test]
    fn each_packet_is_noted_on_its_own_account_and_a_full_memory_refuses_it() {
        let private = [4; 32];
        let mut keys = EpochKeys::new();
        assert!(keys.add(7, private, [0; 64]));
        let key = crate::RelayKey::check(crate::public_key(&private)).unwrap();
        let packet = |n: u8| {
            let command = Command::Deliver { id: [n; 16] };
            let hops = &[crate::Hop { key, command }];
            let (x, pad) = ([n; 32], [n; 320]);
            let way = crate::Way {
                epoch: 7,
                hops,
                x,
                pad,
            };
            crate::build(way, &[n; crate::PAYLOAD]).unwrap()
        };
        let charge = |n: u8| ChargeTo::V4([192, 0, 2, n]);
        // More than one batch, each packet from a peer of its own, and the last one is a copy of the first.
        let arrived = |n: u8| Arrived {
            via: Via {
                session: n.into(),
                charge: charge(n),
            },
            peer: NodeId([n; 20]),
            at: Time::ZERO,
            packet: Box::new(packet(if n == 12 { 1 } else { n })),
            data: n,
        };
        let mut packets: Vec<_> = (1..=12).map(arrived).collect();
        let (mut noted, mut tags) = (Vec::new(), Vec::new());
        let take = |id: KeyId, account, tag: &[u8; 16]| {
            assert_eq!((id.epoch, id.generation), (7, 0));
            noted.push(account);
            if noted.len() == 3 {
                return Taken::Full;
            }
            if tags.contains(tag) {
                return Taken::Again;
            }
            tags.push(*tag);
            Taken::New
        };
        let mut fates = [Fate::Cover; 12];
        let full = process(&keys, &mut packets, true, take, &mut fates);
        assert_eq!(full, 1);
        let each: Vec<_> = (1..=12).map(|n| (NodeId([n; 20]), charge(n))).collect();
        assert_eq!(noted, each);
        for (i, fate) in fates.iter().enumerate() {
            let wanted = match i {
                2 | 11 => Fate::Refused(Refusal::Replay),
                _ => Fate::Deliver,
            };
            assert_eq!(*fate, wanted, "{i}");
        }
    }

    #[test]
    fn only_a_node_that_sends_packets_on_does_so_and_from_their_arrival_on() {
        let (next, arrived) = (NodeId([7; 20]), Time::from_micros(5_000));
        let delay = crate::Delay::Sampled(30);
        let outcome = Ok(Unwrapped {
            command: Command::Forward { next, delay },
            wait_ms: 30,
        });
        let due = Time::from_micros(35_000);
        let wait_ms = 30;
        let onward = Fate::Onward { next, due, wait_ms };
        assert_eq!(Fate::of(outcome, arrived, true), onward);
        assert_eq!(Fate::of(outcome, arrived, false), Fate::NoRelay);
        let refused = Fate::of(Err(Refusal::Replay), arrived, true);
        assert_eq!(refused, Fate::Refused(Refusal::Replay));
    }
}
