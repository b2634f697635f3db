//! A relay from `mix` alone: its keys, its replay memory, and the queue in which packets wait for their departure.
//!
//! `cargo run -p betanet-mix --example relay` lets a packet pass, refuses it the second time, and shows when it leaves.
#![allow(clippy::print_stdout, reason = "that is what an example is for")]

use std::error::Error;

use betanet_keys::VrfSecret;
use betanet_machine::{Rng, Seed, Time};
use betanet_mix::{
    Command, Delay, Departure, Hop, KeyRing, Noted, Outcome, PAYLOAD, Packet, Refusal, RelayKey,
    Replays, Taken, Via, Waiting, Way, build, epoch_at, epoch_start, unwrap_batch,
};
use betanet_wire::{ChargeTo, NodeId};

/// Packets that the replay memory has room for: a relay's rate times the life of its key.
const REPLAYS: usize = 100_000;
/// Packets that wait at once, at most.
const WAITING: usize = 4096;

/// A relay. It owns no socket and no clock: its caller brings packets, says what time it is, and sends what leaves.
struct Relay {
    keys: KeyRing,
    replays: Replays,
    waiting: Waiting,
}

impl Relay {
    fn new(unix_ms: u64, rng: &mut Rng) -> Self {
        let mut keys = KeyRing::new(VrfSecret::from_seed(&rng.array()));
        keys.turn(unix_ms, rng);
        Self {
            keys,
            replays: Replays::with_capacity(REPLAYS, &rng.array()),
            waiting: Waiting::new(WAITING),
        }
    }

    /// The key that senders build packets with: a relay publishes it in its record.
    fn key(&self, epoch: u32) -> Option<RelayKey> {
        RelayKey::check(self.keys.record().of(epoch)?)
    }

    /// Takes a packet's layer off. A packet for another relay waits for as long as the packet, and this relay's own dice, say.
    fn take(&mut self, now: Time, via: Via, mut packet: Box<Packet>) -> Result<(), Box<dyn Error>> {
        let mut outcome: [Outcome; 1] = [Err(Refusal::Epoch)];
        let replays = &mut self.replays;
        // A relay keeps one memory for each key, and counts by session and by payer.
        let (mut of_session, mut of_charge) = (0, 0);
        let seen = |_, _, tag: &[u8; 16]| {
            let mut noted = Noted {
                of_session: &mut of_session,
                of_charge: &mut of_charge,
            };
            replays.take(tag, &mut noted) != Taken::New
        };
        let batch = std::slice::from_mut(&mut *packet);
        unwrap_batch(self.keys.keys(), batch, seen, &mut outcome);
        let unwrapped = outcome[0]?;
        match unwrapped.command {
            Command::Forward { next, .. } => {
                let wait = unwrapped.wait_ms;
                let pushed = self.waiting.push(now, via, wait, next, packet);
                pushed.map_err(|(crowded, _)| crowded.into())
            }
            // Its path ends here. A node that answers requests hands it to a `RecipientMachine`.
            _ => Ok(()),
        }
    }

    /// The next packet that is due.
    fn leaves(&mut self, now: Time) -> Option<Departure> {
        self.waiting.pop(now)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // Draw it from the system's randomness.
    let mut rng = Rng::new(&Seed::from_number(1));
    let unix_ms = epoch_start(159_000);
    let epoch = epoch_at(unix_ms);
    let mut relay = Relay::new(unix_ms, &mut rng);
    let key = relay.key(epoch).ok_or("no key for this epoch")?;

    // A sender's half: a path over this relay to another one.
    let next = NodeId([2; 20]);
    let delay = Delay::Chosen(50);
    let end = RelayKey::check(betanet_mix::public_key(&rng.array())).ok_or("no key")?;
    let forward = Hop {
        key,
        command: Command::Forward { next, delay },
    };
    let deliver = Hop {
        key: end,
        command: Command::Deliver { id: rng.array() },
    };
    let way = Way {
        epoch: epoch.to_be_bytes()[3],
        hops: &[forward, deliver],
        x: rng.array(),
        pad: rng.array(),
    };
    let packet = Box::new(build(way, &[7; PAYLOAD])?);

    // The session that it comes on, and who pays for it.
    let via = Via {
        session: 1,
        charge: ChargeTo::Node(NodeId([1; 20])),
    };
    let arrived = Time::ZERO;
    relay.take(arrived, via, packet.clone())?;
    let again = relay.take(arrived, via, packet);
    let refused = again.err().ok_or("a replay passed")?;
    println!("the second time: {refused}");

    let due = relay.waiting.wake().ok_or("nothing waits")?;
    println!("the first leaves after {} us", (due - arrived).as_micros());
    let departure = relay.leaves(due).ok_or("it is not due")?;
    println!("next hop: {:?}", departure.next);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_packet_passes_once() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
