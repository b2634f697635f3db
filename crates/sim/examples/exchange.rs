//! A client and a recipient exchange a request and its answer over three relays of a simulated mix, on one thread.
//!
//! `cargo run -p betanet-sim --example exchange` prints the same each time: its clock and its randomness are simulated.
#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "an example prints, and numbers its few nodes by bytes"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use betanet_bar::{Access, Headers, MemoryStore, Method, Request, Service};
use betanet_machine::{Machine as _, Now, Rng, Seed, Time};
use betanet_mix::{
    Client, ClientInput, ClientTransmit, Command, Cover, Delivered, EpochKeys, Outcome, Packet,
    Recipient, RecipientConfig, Refusal, RelayKey, Setup, Via, Waiting, epoch_start, public_key,
    unwrap_batch,
};
use betanet_sim::{MixNetwork, MixServer};
use betanet_stack::{MixCommand, MixEvent, MixRequester};
use betanet_wire::{ChargeTo, NodeId};
use zeroize::Zeroizing;

const EPOCH: u32 = 159_000;
/// Delay of a packet from one node to the next.
const LINK: Duration = Duration::from_millis(20);
const RELAYS: usize = 30;
const GATEWAY: usize = RELAYS;
const CLIENT: usize = RELAYS + 1;
/// The relay with which the client has a session.
const GUARD: usize = 7;

const fn node(n: usize) -> NodeId {
    NodeId([n as u8; 20])
}

/// The clocks of every node.
fn at(mono: Time) -> Now {
    Now::new(mono, epoch_start(EPOCH) + mono.as_micros() / 1000)
}

/// A node that accepts packets: its keys, and the packets that wait for departure. A real one also has a replay memory.
struct Place {
    keys: EpochKeys,
    waiting: Waiting,
}

impl Place {
    fn new(keys: EpochKeys) -> Self {
        let waiting = Waiting::new(1024);
        Self { keys, waiting }
    }
}

struct World {
    now: Time,
    places: Vec<Place>,
    client: MixRequester,
    server: MixServer<Service<MemoryStore>>,
    /// Packets in flight, by arrival time.
    wire: BTreeMap<(Time, u64), (usize, Box<Packet>)>,
    sent: u64,
}

impl World {
    fn send(&mut self, to: usize, packet: Box<Packet>) {
        self.sent += 1;
        self.wire.insert((self.now + LINK, self.sent), (to, packet));
    }

    /// Takes the output of both ends, and returns the client's events.
    fn collect(&mut self) -> Result<Vec<MixEvent>, Box<dyn Error>> {
        let now = at(self.now);
        while let Some(transmit) = self.client.poll_transmit() {
            match transmit {
                // Expensive arithmetic leaves the machine, and its result returns as an input.
                ClientTransmit::Build(work) => {
                    let built = ClientInput::Built(work.run());
                    self.client.handle_input(now, built)?;
                }
                ClientTransmit::Packet(packet) => self.send(GUARD, packet),
            }
        }
        while let Some(reply) = self.server.poll_transmit() {
            self.send(usize::from(reply.first.0[0]), reply.packet);
        }
        while let Some(served) = self.server.poll_event() {
            println!("{}: the recipient answers with {}", self.now, served.0);
        }
        Ok(std::iter::from_fn(|| self.client.poll_event()).collect())
    }

    fn arrive(&mut self, to: usize, mut packet: Box<Packet>) -> Result<(), Box<dyn Error>> {
        let now = at(self.now);
        if to == CLIENT {
            let input = ClientInput::Packet(packet);
            return Ok(self.client.handle_input(now, input)?);
        }
        let via = Via {
            session: to as u64,
            charge: ChargeTo::Node(node(to)),
        };
        let place = self.places.get_mut(to).ok_or("no such node")?;
        let mut outcome: [Outcome; 1] = [Err(Refusal::Epoch)];
        let batch = std::slice::from_mut(&mut *packet);
        unwrap_batch(&place.keys, batch, |_, _, _| false, &mut outcome);
        let unwrapped = outcome[0]?;
        match unwrapped.command {
            Command::Forward { next, .. } => {
                let wait = unwrapped.wait_ms;
                let pushed = place.waiting.push(self.now, via, wait, next, packet);
                pushed.map_err(|(crowded, _)| crowded)?;
            }
            Command::Deliver { .. } => {
                let payload = Box::new(packet.payload().try_into()?);
                let delivered = Delivered { via, payload };
                self.server.handle_input(now, delivered)?;
            }
            // Cover packets end at a relay.
            _ => {}
        }
        Ok(())
    }

    /// Advances to the next event; `false` if there is none.
    fn step(&mut self) -> Result<bool, Box<dyn Error>> {
        let timers = [self.client.poll_timeout(), self.server.poll_timeout()];
        let timers = timers.into_iter().flatten().map(|wake| wake.at);
        let leaves = self.places.iter().filter_map(|p| p.waiting.wake());
        let arrives = self.wire.keys().next().map(|(at, _)| *at);
        let Some(next) = timers.chain(leaves).chain(arrives).min() else {
            return Ok(false);
        };
        self.now = self.now.max(next);
        let now = at(self.now);
        // Without a due timer this has no effect.
        self.client.handle_timeout(now);
        self.server.handle_timeout(now);
        for n in 0..self.places.len() {
            while let Some(out) = self.places[n].waiting.pop(self.now) {
                self.send(usize::from(out.next.0[0]), out.packet);
            }
        }
        while let Some(entry) = self.wire.first_entry()
            && entry.key().0 <= self.now
        {
            let (to, packet) = entry.remove();
            self.arrive(to, packet)?;
        }
        Ok(true)
    }
}

/// Requests the recipient's list of resources; returns the answer's status, and the number of packets of the exchange.
fn exchange() -> Result<(u16, u64), Box<dyn Error>> {
    let mut rng = Rng::new(&Seed::from_number(1));
    let network = MixNetwork::new(&mut rng, EPOCH, RELAYS as u8, false).ok_or("no directory")?;
    let MixNetwork {
        keys,
        records,
        directory,
        ..
    } = network;
    let mut places: Vec<Place> = keys.into_iter().map(Place::new).collect();
    let private = rng.array();
    let mut keys = EpochKeys::new();
    if !keys.add(EPOCH as u8, private, [0; 64]) {
        return Err("no room for a key".into());
    }
    places.push(Place::new(keys));
    let setup = Setup {
        own: node(CLIENT),
        session_key: Zeroizing::new([1; 32]),
        guard: node(GUARD),
        relays: 3,
        topology: directory.topology(&directory, |n| records.get(usize::from(n.0[0])).cloned()),
        cover: Cover {
            loops: None,
            packets: None,
        },
    };
    let store = MemoryStore::new(1 << 20);
    let service = Service::new(store, Access::Anyone);
    let mut world = World {
        now: Time::ZERO,
        places,
        client: MixRequester::new(Client::new(at(Time::ZERO), setup, &rng.seed())?),
        server: MixServer::new(RecipientConfig::default(), service),
        wire: BTreeMap::new(),
        sent: 0,
    };
    let to = Recipient {
        node: node(GATEWAY),
        key: RelayKey::check(public_key(&private)).ok_or("no key")?,
    };
    let request = Request::new(Method::Get, "/nothing-here", Headers::default());
    let ask = MixCommand::Ask {
        to,
        request,
        more: false,
    };
    world.client.handle_command(at(world.now), ask)?;
    let mut status = 0;
    loop {
        for event in world.collect()? {
            match event {
                MixEvent::Head { response, .. } => {
                    status = response.status;
                    println!("{}: the client has the answer: {status}", world.now);
                }
                MixEvent::End { .. } => return Ok((status, world.sent)),
                MixEvent::Failed { why, .. } => return Err(format!("{why:?}").into()),
                _ => {}
            }
        }
        if !world.step()? {
            return Err("nothing is under way, and there is no answer".into());
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (_, packets) = exchange()?;
    println!("{packets} packets from node to node");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_comes_over_the_mix() -> Result<(), Box<dyn Error>> {
        let (status, packets) = exchange()?;
        assert_eq!(status, 404);
        // Four hops there, and four back.
        assert!(packets >= 8, "{packets}");
        Ok(())
    }
}
