//! Places of a node that gossips: strangers keep neither the named peers nor each other out.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::time::Duration;

use betanet_log::SignedHead;
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Seed, Time};
use betanet_naming::Ledger;
use betanet_naming::gossip::{
    Event, ExchangeId, Gossip, Input, PEERS_EXCHANGES, PEERS_MAX, Transmit,
};
use betanet_naming::message::{Answer, Hello};
use betanet_naming::testkit::{Network, T0, identity, owner};
use betanet_wire::{ChargeTo, Code, NodeId};
use bytes::Bytes;

fn id(n: u8) -> NodeId {
    NodeId([n; 20])
}

/// A node whose peers the test plays.
struct Played {
    machine: Checked<Gossip>,
    now: Now,
}

impl Played {
    fn new(ledger: Ledger) -> Self {
        Self {
            machine: Checked::new(Gossip::new(ledger, &Seed::from_number(7))),
            now: Now::new(Time::ZERO, T0),
        }
    }

    fn input(&mut self, input: Input) {
        self.machine.handle_input(self.now, input).unwrap();
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.machine.handle_timeout(self.now);
    }

    fn out(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.machine.poll_transmit()).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    /// An exchange with a peer that shows this head. Returns what the node sends then, by exchange: whether it ends the exchange.
    fn greeted_by(
        &mut self,
        peer: NodeId,
        head: &SignedHead,
    ) -> (ExchangeId, Vec<(ExchangeId, bool)>) {
        self.input(Input::Linked { peer });
        self.pass(Duration::from_secs(6));
        let opened = self.out().into_iter().find_map(|t| match t {
            Transmit::Open { exchange, .. } => Some(exchange),
            _ => None,
        });
        let (exchange, fin) = (opened.unwrap(), false);
        let (head, split) = (Some(head.clone()), None);
        let data = Hello { head, split }.to_bytes();
        self.input(Input::Data {
            exchange,
            data,
            fin,
        });
        let sent = |t| match t {
            Transmit::Send { exchange, fin, .. } => Some((exchange, fin)),
            _ => None,
        };
        (exchange, self.out().into_iter().filter_map(sent).collect())
    }
}

fn records(network: &Network, n: u64) -> Vec<Bytes> {
    let bound = |n| network.bound(&format!("n{n}"), &owner(1), 1, T0);
    (0..n).map(bound).collect()
}

/// A ledger of this many final records.
fn ledger(network: &Network, n: u64) -> Ledger {
    let mut ledger = network.ledger();
    for record in records(network, n) {
        ledger.apply(T0, record).unwrap();
    }
    let head = network.head(&ledger, T0, &[0, 1]);
    ledger.accept(head).unwrap();
    ledger
}

#[test]
fn a_head_without_signatures_holds_no_place() {
    let network = Network::new(3, 0);
    let mut node = Played::new(ledger(&network, 2));
    let longer = ledger(&network, 4);
    let unsigned = SignedHead::new(*longer.head().unwrap().head());
    node.greeted_by(id(1), &unsigned);
    let code = Code::ALIAS_SIG_INVALID;
    assert!(node.events().contains(&Event::Fault { peer: id(1), code }));
    assert_eq!(node.machine.get().exchanges(), 0);
    // The next peer is asked for its records.
    let (exchange, sent) = node.greeted_by(id(2), longer.head().unwrap());
    assert_eq!(sent, [(exchange, false)]);
}

#[test]
fn signed_heads_and_named_peers_go_before_others() {
    let network = Network::new(3, 0);
    let mut node = Played::new(ledger(&network, 2));
    let signed = ledger(&network, 4).head().unwrap().clone();
    // A head of signers that nobody knows yet.
    let other = Network {
        signers: (21..24).map(identity).collect(),
        ..Network::new(3, 0)
    };
    let unknown = ledger(&other, 4).head().unwrap().clone();
    let (first, sent) = node.greeted_by(id(1), &unknown);
    assert_eq!(sent, [(first, false)]);
    let (second, sent) = node.greeted_by(id(2), &unknown);
    assert_eq!(sent, [(second, true)], "one at a time");
    let (third, sent) = node.greeted_by(id(3), &signed);
    assert_eq!(sent, [(first, true), (third, false)]);
    let (fourth, sent) = node.greeted_by(id(4), &signed);
    assert_eq!(sent, [(fourth, true)], "no stranger displaces another");
    node.input(Input::Named { peer: id(5) });
    let (fifth, sent) = node.greeted_by(id(5), &signed);
    assert_eq!(sent, [(third, true), (fifth, false)]);
    assert!(
        node.events()
            .iter()
            .all(|e| !matches!(e, Event::Fault { .. }))
    );
}

#[test]
fn a_head_of_unknown_signers_has_a_minute() {
    let network = Network::new(3, 0);
    let mut node = Played::new(network.ledger());
    let other = Network {
        signers: (21..24).map(identity).collect(),
        ..Network::new(3, 0)
    };
    let longer = ledger(&other, 600);
    let (exchange, _) = node.greeted_by(id(1), longer.head().unwrap());
    let began = node.now.mono;
    node.pass(Duration::from_secs(20));
    let answer = Answer {
        records: records(&other, 256),
        root: None,
        proof: longer.log().consistency(256, 600).unwrap(),
    };
    let (data, fin) = (answer.to_bytes(), false);
    node.input(Input::Data {
        exchange,
        data,
        fin,
    });
    let work = node.out().into_iter().find_map(|t| match t {
        Transmit::Check(work) => Some(work),
        _ => None,
    });
    // Its messages come in time: it does not stall.
    node.pass(Duration::from_secs(25));
    node.input(Input::Checked(work.unwrap().run()));
    assert_eq!(node.machine.get().ledger().waiting().count(), 256);
    node.pass(Duration::from_secs(10));
    assert_eq!(
        (node.now.mono - began, node.machine.get().exchanges()),
        (Duration::from_secs(55), 1)
    );
    node.pass(Duration::from_secs(6));
    assert_eq!(node.machine.get().exchanges(), 0);
    let code = Code::STALLED;
    assert!(node.events().contains(&Event::Fault { peer: id(1), code }));
}

/// Opens an exchange of a peer at an address. Returns whether the node takes it.
fn opens(node: &mut Played, n: u64, peer: NodeId, address: u16) -> bool {
    let [a, b] = address.to_be_bytes();
    node.input(Input::Opened {
        exchange: PEERS_EXCHANGES + n,
        peer,
        charge: ChargeTo::V4([10, 0, a, b]),
    });
    let out = node.out();
    !out.iter().any(|t| matches!(t, Transmit::Abort { .. }))
}

fn identity_of(n: u64) -> NodeId {
    let mut id = [9; 20];
    id[..8].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

#[test]
fn strangers_are_charged_by_their_address_and_named_peers_by_themselves() {
    let network = Network::new(3, 0);
    let mut node = Played::new(ledger(&network, 2));
    for n in 0..4 {
        node.input(Input::Named { peer: id(n) });
    }
    // However many identities an address has, it has 8 exchanges at once.
    let taken = (0..100).filter(|n| opens(&mut node, *n, identity_of(*n), 1));
    assert_eq!(taken.count(), 8);
    for address in 2..9 {
        let from = 1000 * u64::from(address);
        let taken = (from..from + 10).filter(|n| opens(&mut node, *n, identity_of(*n), address));
        assert_eq!(taken.count(), 8, "{address}");
    }
    // Strangers have all their places; named peers have their own, at whatever address.
    assert!(!opens(&mut node, 20_000, identity_of(20_000), 20));
    for n in 0..4 {
        let first = 30_000 + 10 * u64::from(n);
        let taken = (first..first + 3).filter(|x| opens(&mut node, *x, id(n), 1));
        assert_eq!(taken.count(), 2);
    }
    // An address has 16 at first, by whichever identities.
    let mut node = Played::new(ledger(&network, 2));
    let mut taken = 0;
    for n in 0..40 {
        taken += u64::from(opens(&mut node, n, identity_of(n), 1));
        let exchange = PEERS_EXCHANGES + n;
        node.input(Input::Ended { exchange });
    }
    assert_eq!(taken, 16);
    // Addresses that are remembered.
    let mut taken = 0;
    for n in 100..100 + 2 * PEERS_MAX as u64 {
        let address = u16::try_from(n).unwrap();
        taken += usize::from(opens(&mut node, n, identity_of(n), address));
        let exchange = PEERS_EXCHANGES + n;
        node.input(Input::Ended { exchange });
    }
    assert_eq!(taken, PEERS_MAX - 1);
    node.pass(Duration::from_secs(65));
    assert!(opens(&mut node, 5000, identity_of(5000), 5000));
}
