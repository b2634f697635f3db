//! The relays and the gateway: their decisions come from the code that `runtime` runs, and their links are simulated.

use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Time};
use betanet_mix::links::{LinkEvent, LinkInput, LinkTransmit};
use betanet_mix::{
    Arrived, ClientInput, Delivered, Departure, EpochKeys, Fate, Links, Memory, Packet, Refusal,
    Via, Waiting, process,
};
use betanet_wire::{ChargeTo, NodeId};

use super::{CLIENT, GATEWAY, RELAYS, World, now_at};

/// A session with an address of its own to charge.
fn own_address(session: u64) -> Via {
    let mut payer = [0; 20];
    payer[..8].copy_from_slice(&session.to_be_bytes());
    let charge = ChargeTo::Node(NodeId(payer));
    Via { session, charge }
}

/// The keys, memory, queue and links of one relay, or of the gateway.
pub(super) struct Place {
    pub(super) keys: EpochKeys,
    memory: Memory,
    pub(super) waiting: Waiting,
    links: Checked<Links>,
    /// Time that its links last received.
    told: Time,
}

impl Place {
    pub(super) fn new(keys: EpochKeys, n: usize) -> Self {
        Self {
            keys,
            memory: Memory::new(100_000, &[n as u8; 16]),
            waiting: Waiting::new(4096),
            links: Checked::new(Links::new(4096)),
            told: Time::ZERO,
        }
    }
}

impl World {
    /// A relay or the gateway passes packets to the links with their next nodes, which are up at once.
    pub(super) fn onward(&mut self, from: usize, mut departures: Vec<Departure>) {
        if departures.is_empty() {
            return;
        }
        let now = now_at(self.now);
        let place = &mut self.places[from];
        if place.told < self.now {
            place.told = self.now;
            place.links.handle_timeout(now);
        }
        place.links.get_mut().send_all(
            now,
            &mut departures,
            |_, payer| payer,
            |not| panic!("{not:?}"),
        );
        while let Some(transmit) = self.places[from].links.poll_transmit() {
            let outcome = match transmit {
                LinkTransmit::Open { op, .. } => LinkInput::Opened { op },
                LinkTransmit::Write { op, packets, .. } => {
                    for one in &packets {
                        assert_eq!(one.next, op.next);
                        self.send(from, usize::from(op.next.0[0]), one.packet.clone());
                    }
                    LinkInput::Written { op, packets }
                }
                LinkTransmit::Close { .. } => continue,
            };
            let links = &mut self.places[from].links;
            links.handle_input(now, outcome).unwrap();
        }
        while let Some(event) = self.places[from].links.poll_event() {
            assert!(matches!(event, LinkEvent::Sent { .. }), "{event:?}");
        }
    }

    pub(super) fn arrive(&mut self, to: usize, packet: Box<Packet>) {
        let now = now_at(self.now);
        self.carried += 1;
        assert_eq!((packet.0[0], &packet.0[2..4]), (1, &[0, 0][..]));
        let seen = self.seen.entry(to).or_insert_with(|| (vec![0; 256], 0));
        seen.1 += 1;
        for byte in &packet.0[4..] {
            seen.0[usize::from(*byte)] += 1;
        }
        self.trace = self.trace.bytes(&packet.0[36..52]).word(to as u64);
        if to == CLIENT {
            if self.twice {
                let again = ClientInput::Packet(packet.clone());
                self.asker.handle_input(now, again).unwrap();
            }
            self.asker
                .handle_input(now, ClientInput::Packet(packet))
                .unwrap();
            return;
        }
        let place = &mut self.places[to];
        let memory = &mut place.memory;
        // Each packet counts as one of a session and an address of its own.
        let via = own_address(self.order);
        let ChargeTo::Node(peer) = via.charge else {
            panic!("{via:?}");
        };
        let mut arrived = [Arrived {
            via,
            peer,
            at: self.now,
            packet,
            data: (),
        }];
        let mut fate = [Fate::Cover];
        let take = |_, account, tag: &[u8; 16]| memory.take(account, tag);
        process(&place.keys, &mut arrived, to < RELAYS, take, &mut fate);
        let [Arrived { packet, .. }] = arrived;
        match fate[0] {
            Fate::Onward { next, due, .. } if due <= self.now => {
                let departure = Departure {
                    next,
                    packet,
                    due,
                    via,
                };
                self.onward(to, vec![departure]);
            }
            Fate::Onward { next, wait_ms, .. } => {
                let pushed = place.waiting.push(self.now, via, wait_ms, next, packet);
                assert!(pushed.is_ok());
            }
            Fate::Deliver => {
                assert_eq!(to, GATEWAY);
                let payload = Box::new(packet.payload().try_into().unwrap());
                let via = own_address(1);
                let delivered = Delivered { via, payload };
                self.server.handle_input(now, delivered).unwrap();
            }
            Fate::Cover => assert!(to < RELAYS),
            Fate::Refused(Refusal::Replay) if self.repeats => self.repeated.1 += 1,
            other => panic!("{other:?} at {to}"),
        }
    }
}
