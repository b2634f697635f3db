//! Nodes whose ledgers gossip: they come together, or find that signers showed them two views.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use std::collections::BTreeMap;
use std::time::Duration;

use betanet_log::{Proof, SignedHead};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Seed, Time};
use betanet_naming::gossip::{
    Answer, Command, Event, ExchangeId, Gossip, Input, PEERS_EXCHANGES, PEERS_MAX, Transmit,
};
use betanet_naming::message::{self, Ask, Hello, RECORDS_MAX};
use betanet_naming::testkit::{Network, T0, identity, owner};
use betanet_naming::{Accepted, Alias, Ledger, Status};
use betanet_wire::{ChargeTo, Code, NodeId, msg};
use bytes::Bytes;

fn alias(text: &str) -> Alias {
    Alias::from_wire(text).unwrap()
}

struct Node {
    machine: Checked<Gossip>,
    records: Vec<Bytes>,
    events: Vec<Event>,
    /// Exchange of the other side, by the node's own.
    streams: BTreeMap<ExchangeId, (usize, ExchangeId)>,
    next: ExchangeId,
}

/// Nodes with sessions between all of them. What is sent arrives at once and in order.
struct World {
    nodes: Vec<Node>,
    now: Now,
}

/// The address of a peer.
fn charge(peer: NodeId) -> ChargeTo {
    ChargeTo::V4([peer.0[0], peer.0[1], peer.0[2], peer.0[3]])
}

fn id(n: usize) -> NodeId {
    NodeId([u8::try_from(n).unwrap() + 1; 20])
}

impl World {
    fn new(ledgers: Vec<(Ledger, Vec<Bytes>)>) -> Self {
        let node = |(n, (ledger, records)): (usize, (Ledger, Vec<Bytes>))| Node {
            machine: Checked::new(Gossip::new(ledger, &Seed::from_number(n as u64))),
            records,
            events: Vec::new(),
            streams: BTreeMap::new(),
            next: PEERS_EXCHANGES,
        };
        let mut this = Self {
            nodes: ledgers.into_iter().enumerate().map(node).collect(),
            now: Now::new(Time::ZERO, T0),
        };
        for a in 0..this.nodes.len() {
            for b in 0..this.nodes.len() {
                if a != b {
                    this.input(a, Input::Linked { peer: id(b) });
                }
            }
        }
        this
    }

    fn ledger(&self, n: usize) -> &Ledger {
        self.nodes[n].machine.get().ledger()
    }

    fn input(&mut self, n: usize, input: Input) {
        self.nodes[n].machine.handle_input(self.now, input).unwrap();
    }

    fn command(&mut self, n: usize, command: Command) -> Answer {
        let answer = self.nodes[n].machine.handle_command(self.now, command);
        answer.unwrap()
    }

    /// Moves everything that waits at one node. Whether there was anything.
    fn flush(&mut self, n: usize) -> bool {
        let mut any = false;
        while let Some(event) = self.nodes[n].machine.poll_event() {
            any = true;
            if let Event::Final { from, records } = &event {
                let node = &mut self.nodes[n];
                assert_eq!(*from, node.records.len() as u64);
                node.records.extend(records.iter().cloned());
            }
            self.nodes[n].events.push(event);
        }
        while let Some(transmit) = self.nodes[n].machine.poll_transmit() {
            any = true;
            self.deliver(n, transmit);
        }
        any
    }

    fn deliver(&mut self, n: usize, transmit: Transmit) {
        match transmit {
            Transmit::Open {
                exchange,
                peer,
                data,
            } => {
                let to = (0..self.nodes.len()).find(|m| id(*m) == peer);
                let Some(to) = to else {
                    return self.input(n, Input::Ended { exchange });
                };
                let other = self.nodes[to].next;
                self.nodes[to].next += 1;
                self.nodes[n].streams.insert(exchange, (to, other));
                self.nodes[to].streams.insert(other, (n, exchange));
                let peer = id(n);
                self.input(
                    to,
                    Input::Opened {
                        exchange: other,
                        peer,
                        charge: charge(peer),
                    },
                );
                let (exchange, fin) = (other, false);
                self.input(
                    to,
                    Input::Data {
                        exchange,
                        data,
                        fin,
                    },
                );
            }
            Transmit::Send {
                exchange,
                data,
                fin,
            } => {
                if let Some((to, exchange)) = self.nodes[n].streams.get(&exchange).copied() {
                    self.input(
                        to,
                        Input::Data {
                            exchange,
                            data,
                            fin,
                        },
                    );
                }
            }
            Transmit::Abort { exchange, .. } => {
                if let Some((to, other)) = self.nodes[n].streams.remove(&exchange) {
                    self.input(to, Input::Ended { exchange: other });
                }
            }
            Transmit::Load {
                exchange,
                from,
                n: count,
            } => {
                let from = usize::try_from(from).unwrap();
                let count = usize::try_from(count).unwrap();
                let records = self.nodes[n].records[from..].iter().take(count);
                let records = records.cloned().collect();
                self.input(n, Input::Loaded { exchange, records });
            }
            Transmit::Check(work) => self.input(n, Input::Checked(work.run())),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now.mono + time;
        loop {
            while (0..self.nodes.len()).filter(|n| self.flush(*n)).count() > 0 {}
            let wakes = self.nodes.iter().filter_map(|n| n.machine.poll_timeout());
            let Some(at) = wakes.map(|w| w.at).min().filter(|at| *at <= end) else {
                break;
            };
            let at = at.max(self.now.mono);
            let passed = at - self.now.mono;
            let unix_ms = self.now.unix_ms + u64::try_from(passed.as_millis()).unwrap();
            self.now = Now::new(at, unix_ms);
            for n in 0..self.nodes.len() {
                let due = self.nodes[n]
                    .machine
                    .poll_timeout()
                    .is_some_and(|w| w.at <= at);
                if due {
                    self.nodes[n].machine.handle_timeout(self.now);
                }
            }
        }
    }

    fn saw(&self, n: usize, event: &Event) -> bool {
        self.nodes[n].events.contains(event)
    }
}

/// A ledger whose records are final by heads of the first two signers, `each` records a head.
fn grown(network: &Network, names: &[String], each: usize) -> (Ledger, Vec<Bytes>) {
    let (mut ledger, mut records) = (network.ledger(), Vec::new());
    for part in names.chunks(each) {
        for name in part {
            let record = network.bound(name, &owner(1), 1, T0);
            ledger.apply(T0, record.clone()).unwrap();
            records.push(record);
        }
        let head = network.head(&ledger, T0, &[0, 1]);
        assert_eq!(ledger.accept(head), Ok(Accepted::Extends));
    }
    (ledger, records)
}

fn names(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

fn empty(network: &Network) -> (Ledger, Vec<Bytes>) {
    (network.ledger(), Vec::new())
}

#[test]
fn ledgers_come_together() {
    let network = Network::new(3, 0);
    // More than one answer's records.
    let full = grown(&network, &names("n", 600), 300);
    let mut world = World::new(vec![full, empty(&network), empty(&network)]);
    world.run(Duration::from_secs(150));
    for n in [1, 2] {
        let (ours, theirs) = (world.ledger(n), world.ledger(0));
        assert_eq!(ours.final_size(), 600);
        assert_eq!(ours.snapshot().unwrap(), theirs.snapshot().unwrap());
        let found = ours.resolve(&alias("n599"), T0);
        assert_eq!(found.status, Status::Bound);
        assert_eq!(world.nodes[n].records, world.nodes[0].records);
    }
    // What is new travels at once.
    let record = network.bound("new", &owner(2), 1, T0);
    let answer = world.command(0, Command::Submit(record));
    assert!(matches!(answer, Answer::Submitted(Ok((600, _)))));
    let head = network.head(world.ledger(0), T0 + 1, &[1, 2]);
    let answer = world.command(0, Command::Head(head.clone()));
    assert_eq!(answer, Answer::Head(Ok(Accepted::Extends)));
    world.run(Duration::from_secs(15));
    for n in 0..3 {
        assert_eq!(world.ledger(n).final_size(), 601, "{n}");
        assert!(world.saw(n, &Event::Head(head.clone())));
        assert_eq!(world.nodes[n].machine.get().stats().faults, 0);
    }
}

#[test]
fn newcomers_come_over_rotations() {
    let mut network = Network::new(3, 0);
    let (mut ledger, mut records) = (network.ledger(), Vec::new());
    let mut step = |ledger: &mut Ledger, network: &Network, record: Bytes| {
        ledger.apply(T0, record.clone()).unwrap();
        records.push(record);
        let head = network.head(ledger, T0, &[0, 1]);
        let old = ledger.accept(head).is_ok();
        if !old {
            let new = Network {
                signers: (10..13).map(identity).collect(),
                maintainers: Vec::new(),
            };
            let head = new.head(ledger, T0, &[0, 1]);
            assert_eq!(ledger.accept(head), Ok(Accepted::Extends));
        }
    };
    step(&mut ledger, &network, network.bound("a", &owner(1), 1, T0));
    step(&mut ledger, &network, network.bound("b", &owner(1), 1, T0));
    step(
        &mut ledger,
        &network,
        network.rotation(&[10, 11, 12], 1, &[0, 1]),
    );
    let genesis = empty(&network);
    network.signers = (10..13).map(identity).collect();
    step(&mut ledger, &network, network.bound("c", &owner(1), 1, T0));
    let mut world = World::new(vec![(ledger, records), genesis]);
    world.run(Duration::from_secs(60));
    assert_eq!(world.ledger(1).final_size(), 4);
    assert_eq!(world.ledger(1).rotations(), 1);
    let (ours, theirs) = (world.ledger(1).snapshot(), world.ledger(0).snapshot());
    assert_eq!(ours, theirs);
}

/// Two ledgers to whose heads one signer lent its key twice.
fn two_views(network: &Network, common: usize, a: usize, b: usize) -> [(Ledger, Vec<Bytes>); 2] {
    let view = |prefix: &str, n: usize, by: &[usize]| {
        let (mut ledger, mut records) = grown(network, &names("n", common), common.max(1));
        for name in names(prefix, n) {
            let record = network.bound(&name, &owner(1), 1, T0);
            ledger.apply(T0, record.clone()).unwrap();
            records.push(record);
        }
        let head = network.head(&ledger, T0 + 1, by);
        assert_eq!(ledger.accept(head), Ok(Accepted::Extends));
        (ledger, records)
    };
    [view("a", a, &[0, 1]), view("b", b, &[1, 2])]
}

#[test]
fn an_equivocating_signer_is_caught_by_two_nodes_that_gossip() {
    let network = Network::new(3, 0);
    for (common, a, b) in [(0, 3, 3), (4, 2, 2), (4, 5, 2), (5, 1, 9), (8, 3, 300)] {
        let [first, second] = two_views(&network, common, a, b);
        let mut world = World::new(vec![first, second]);
        world.run(Duration::from_secs(130));
        for n in 0..2 {
            assert!(world.saw(n, &Event::Split), "{common} {a} {b}: node {n}");
            let split = world.ledger(n).split().unwrap();
            let signers = network.genesis().signers;
            let culprits = split.culprits(betanet_naming::DOMAIN, &signers, &signers);
            assert_eq!(culprits, [*identity(2).public()]);
            // Nothing of the other view was taken, and each still knows its own.
            let own = if n == 0 { "a0" } else { "b0" };
            let other = if n == 0 { "b0" } else { "a0" };
            assert_eq!(
                world.ledger(n).resolve(&alias(own), T0).status,
                Status::Bound
            );
            assert_eq!(
                world.ledger(n).resolve(&alias(other), T0).status,
                Status::Unknown
            );
        }
    }
}

#[test]
fn evidence_is_given_on() {
    let network = Network::new(3, 0);
    let [first, second] = two_views(&network, 4, 2, 3);
    let third = grown(&network, &names("n", 4), 4);
    let mut world = World::new(vec![first, second, third, empty(&network)]);
    world.run(Duration::from_secs(200));
    for n in 0..4 {
        assert!(world.ledger(n).split().is_some(), "node {n}");
        let times = world.nodes[n].events.iter().filter(|e| **e == Event::Split);
        assert_eq!(times.count(), 1);
    }
}

/// A node with a peer that the test plays.
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

    fn send(&mut self, exchange: ExchangeId, data: Bytes) {
        let fin = false;
        self.input(Input::Data {
            exchange,
            data,
            fin,
        });
    }

    /// Lets the node begin an exchange with a peer, and gives its ID.
    fn begun(&mut self, peer: usize) -> ExchangeId {
        self.input(Input::Linked { peer: id(peer) });
        self.pass(Duration::from_secs(6));
        let opened = self.out().into_iter().find_map(|t| match t {
            Transmit::Open { exchange, .. } => Some(exchange),
            _ => None,
        });
        opened.unwrap()
    }
}

fn hello(head: Option<SignedHead>) -> Bytes {
    Hello { head, split: None }.to_bytes()
}

#[test]
fn a_wrong_proof_or_record_stops_nobody_but_its_sender() {
    let network = Network::new(3, 0);
    let (ledger, _) = grown(&network, &names("n", 4), 4);
    let (longer, records) = grown(&network, &names("n", 8), 4);
    let newest = longer.head().unwrap().clone();
    let answer = |records: Vec<Bytes>, root, proof| message::Answer {
        records,
        root,
        proof,
    };
    let right = longer.log().consistency(4, 8).unwrap();
    // A proof that does not connect; records that are not the head's.
    for lie in [0, 1] {
        let mut node = Played::new(ledger.clone());
        let exchange = node.begun(1);
        node.send(exchange, hello(Some(newest.clone())));
        let wrong = answer(Vec::new(), Some([7; 32]), right.clone());
        let fine = answer(Vec::new(), None, right.clone());
        node.send(exchange, if lie == 0 { wrong } else { fine }.to_bytes());
        if lie == 1 {
            let mut part: Vec<Bytes> = records[4..].to_vec();
            part.swap(0, 1);
            node.send(exchange, answer(part, None, Proof::default()).to_bytes());
            let work = node.out().into_iter().find_map(|t| match t {
                Transmit::Check(work) => Some(work),
                _ => None,
            });
            node.input(Input::Checked(work.unwrap().run()));
        }
        let events = node.events();
        let unproven = |e: &Event| matches!(e, Event::Unproven { head, .. } if *head == newest);
        assert!(events.iter().any(unproven), "{events:?}");
        let fault = Event::Fault {
            peer: id(1),
            code: Code::POLICY_REJECTED,
        };
        assert!(events.contains(&fault));
        assert_eq!(node.machine.get().ledger().final_size(), 4);
        assert!(node.machine.get().ledger().split().is_none());
        assert_eq!(node.machine.get().exchanges(), 0);
        // Another peer still brings the head.
        let exchange = node.begun(2);
        node.send(exchange, hello(Some(newest.clone())));
        node.send(exchange, answer(Vec::new(), None, right.clone()).to_bytes());
        node.send(
            exchange,
            answer(records[4..].to_vec(), None, Proof::default()).to_bytes(),
        );
        for transmit in node.out() {
            if let Transmit::Check(work) = transmit {
                node.input(Input::Checked(work.run()));
            }
        }
        assert_eq!(node.machine.get().ledger().final_size(), 8);
    }
}

#[test]
fn records_come_while_others_are_verified_and_count_in_their_order() {
    let network = Network::new(3, 0);
    let most = usize::try_from(RECORDS_MAX).unwrap();
    let all = 4 + 6 * most;
    let (longer, records) = grown(&network, &names("n", all), 2048);
    let newest = longer.head().unwrap().clone();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let (ledger, _) = grown(&network, &names("n", 4), 4);
        let mut node = Played::new(ledger);
        let exchange = node.begun(1);
        node.send(exchange, hello(Some(newest.clone())));
        let (mut works, mut from) = (Vec::new(), 4);
        let mut answer = |node: &mut Played, n: usize| {
            let proof = longer.log().consistency((from + n) as u64, all as u64);
            let answer = message::Answer {
                records: records[from..from + n].to_vec(),
                root: None,
                proof: proof.unwrap(),
            };
            from += n;
            node.send(exchange, answer.to_bytes());
        };
        answer(&mut node, 0);
        node.out();
        let mut asked = 1;
        for n in 1..=4 {
            answer(&mut node, most);
            for transmit in node.out() {
                match transmit {
                    Transmit::Check(work) => works.push(work),
                    Transmit::Send { .. } => asked += 1,
                    other => panic!("{other:?}"),
                }
            }
            // The next request goes out before these are verified, until four wait.
            assert_eq!((works.len(), asked), (n, (n + 1).min(4)));
        }
        let mut done = Vec::new();
        for at in order {
            node.input(Input::Checked(works[at].clone().run()));
            done.push(at);
            let first = (0..4).take_while(|n| done.contains(n)).count();
            assert_eq!(
                node.machine.get().ledger().final_size(),
                (4 + first * most) as u64
            );
        }
        // Twice they count once.
        node.input(Input::Checked(works[0].clone().run()));
        node.out();
        answer(&mut node, most);
        answer(&mut node, most);
        for transmit in node.out() {
            if let Transmit::Check(work) = transmit {
                node.input(Input::Checked(work.run()));
            }
        }
        assert_eq!(
            node.machine.get().ledger().log().root(),
            longer.log().root()
        );
        assert!(
            node.events()
                .iter()
                .all(|e| matches!(e, Event::Final { .. } | Event::Head(_)))
        );
    }
}

#[test]
fn records_that_another_way_brought_first_are_no_fault_of_their_sender() {
    let network = Network::new(3, 0);
    let (ledger, _) = grown(&network, &names("n", 4), 4);
    let (longer, records) = grown(&network, &names("n", 8), 4);
    let newest = longer.head().unwrap().clone();
    let mut node = Played::new(ledger);
    let exchange = node.begun(1);
    node.send(exchange, hello(Some(newest.clone())));
    for part in [&[][..], &records[4..]] {
        let proof = longer.log().consistency(4 + part.len() as u64, 8).unwrap();
        let answer = message::Answer {
            records: part.to_vec(),
            root: None,
            proof,
        };
        node.send(exchange, answer.to_bytes());
    }
    let work = node.out().into_iter().find_map(|t| match t {
        Transmit::Check(work) => Some(work),
        _ => None,
    });
    // Its own records, and a head of them, while those are verified.
    for record in &records[4..] {
        let submitted = node
            .machine
            .handle_command(node.now, Command::Submit(record.clone()));
        assert!(matches!(submitted, Ok(Answer::Submitted(Ok(_)))));
    }
    let taken = node.machine.handle_command(node.now, Command::Head(newest));
    assert_eq!(taken, Ok(Answer::Head(Ok(Accepted::Extends))));
    node.events();
    node.input(Input::Checked(work.unwrap().run()));
    assert_eq!(node.machine.get().ledger().final_size(), 8);
    assert!(node.events().is_empty());
}

#[test]
fn heads_that_do_not_count_are_faults() {
    let network = Network::new(3, 0);
    let (ledger, _) = grown(&network, &names("n", 4), 4);
    let (longer, _) = grown(&network, &names("m", 8), 4);
    let forged = network.sign(*longer.head().unwrap().head(), &[2]);
    let mut node = Played::new(ledger.clone());
    let exchange = node.begun(1);
    node.send(exchange, hello(Some(forged)));
    let link = message::Answer {
        records: Vec::new(),
        root: Some(longer.log().root_at(4).unwrap()),
        proof: longer.log().consistency(4, 8).unwrap(),
    };
    node.send(exchange, link.to_bytes());
    let fault = |code| Event::Fault { peer: id(1), code };
    assert!(node.events().contains(&fault(Code::ALIAS_SIG_INVALID)));
    assert!(node.machine.get().ledger().split().is_none());
    // Nor does such a head of a served peer.
    let mut node = Played::new(ledger);
    let exchange = PEERS_EXCHANGES;
    node.input(Input::Opened {
        exchange,
        peer: id(1),
        charge: charge(id(1)),
    });
    let mut wrong = *longer.head().unwrap().head();
    wrong.size = 3;
    node.send(exchange, hello(Some(network.sign(wrong, &[1]))));
    assert!(node.events().contains(&fault(Code::ALIAS_SIG_INVALID)));
}

#[test]
fn messages_are_bounded() {
    let network = Network::new(3, 0);
    let (ledger, _) = grown(&network, &names("n", 4), 4);
    let open = |node: &mut Played, exchange| {
        node.input(Input::Opened {
            exchange,
            peer: id(1),
            charge: charge(id(1)),
        });
    };
    let long = |n: u32| Bytes::from(n.to_be_bytes().to_vec());
    let fault = Event::Fault {
        peer: id(1),
        code: Code::MALFORMED_FRAME,
    };
    let limit = u32::try_from(message::HELLO_MAX).unwrap();
    for data in [
        long(limit + 1),
        Bytes::from(vec![0; message::HELLO_MAX + 5]),
        Bytes::from(msg::to_vec(&7_u64)),
        // Two messages where one is due.
        Bytes::from([&hello(None)[..], &hello(None)[..]].concat()),
    ] {
        let mut node = Played::new(ledger.clone());
        open(&mut node, PEERS_EXCHANGES);
        node.send(PEERS_EXCHANGES, data);
        assert!(node.events().contains(&fault));
        assert_eq!(node.machine.get().exchanges(), 0);
    }
    let asks = [
        (
            Ask {
                from: 0,
                n: RECORDS_MAX + 1,
            },
            Code::MALFORMED_FRAME,
        ),
        (Ask { from: 3, n: 2 }, Code::POLICY_REJECTED),
        (
            Ask {
                from: u64::MAX,
                n: 2,
            },
            Code::POLICY_REJECTED,
        ),
    ];
    for (ask, code) in asks {
        let mut node = Played::new(ledger.clone());
        open(&mut node, PEERS_EXCHANGES);
        node.send(PEERS_EXCHANGES, hello(None));
        node.send(PEERS_EXCHANGES, ask.to_bytes());
        let fault = Event::Fault { peer: id(1), code };
        assert!(node.events().contains(&fault), "{ask:?}");
    }
    // An exchange that stands still ends.
    let mut node = Played::new(ledger);
    open(&mut node, PEERS_EXCHANGES);
    node.send(PEERS_EXCHANGES, hello(None).slice(..3));
    node.pass(Duration::from_secs(31));
    assert_eq!(node.machine.get().exchanges(), 0);
}

#[test]
fn exchanges_requests_and_peers_are_few() {
    let network = Network::new(3, 0);
    let (ledger, _) = grown(&network, &names("n", 4), 4);
    let mut node = Played::new(ledger);
    let refused = |out: &[Transmit]| {
        let aborts = out.iter().filter(|t| matches!(t, Transmit::Abort { .. }));
        aborts.count()
    };
    // Two at once of one peer.
    for n in 0..3 {
        let exchange = PEERS_EXCHANGES + n;
        node.input(Input::Opened {
            exchange,
            peer: id(1),
            charge: charge(id(1)),
        });
    }
    assert_eq!(
        (refused(&node.out()), node.machine.get().exchanges()),
        (1, 2)
    );
    // 64 in all.
    for n in 0..70_usize {
        let exchange = PEERS_EXCHANGES + 10 + n as u64;
        node.input(Input::Opened {
            exchange,
            peer: id(2 + n),
            charge: charge(id(2 + n)),
        });
    }
    assert_eq!(
        (refused(&node.out()), node.machine.get().exchanges()),
        (8, 64)
    );
    node.pass(Duration::from_secs(31));
    node.out();
    node.events();
    // 256 requests at once of one peer, 128 more a second.
    let exchange = PEERS_EXCHANGES + 1000;
    node.input(Input::Opened {
        exchange,
        peer: id(100),
        charge: charge(id(100)),
    });
    node.send(exchange, hello(None));
    let mut answered = 0;
    loop {
        node.out();
        node.send(exchange, Ask { from: 4, n: 0 }.to_bytes());
        match node.out()[..] {
            [Transmit::Send { .. }] => answered += 1,
            [] => break,
            ref other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered, 256);
    // The next one is put off, and not refused.
    node.pass(Duration::from_millis(7));
    assert!(node.out().is_empty());
    let mut answered = 0;
    for _ in 0..1000 {
        node.pass(Duration::from_millis(1));
        match node.out()[..] {
            [] => {}
            [Transmit::Send { .. }] => {
                answered += 1;
                node.send(exchange, Ask { from: 4, n: 0 }.to_bytes());
            }
            ref other => panic!("{other:?}"),
        }
    }
    assert!((128..=129).contains(&answered), "{answered}");
    // Until then, its peer asks for nothing else.
    node.send(exchange, Ask { from: 4, n: 0 }.to_bytes());
    assert!(matches!(node.out()[..], [Transmit::Abort { .. }]));
    // 16 exchanges at once of one peer, and one more every four seconds.
    let mut opened = 0;
    for n in 0..20 {
        let exchange = PEERS_EXCHANGES + 2000 + n;
        node.input(Input::Opened {
            exchange,
            peer: id(101),
            charge: charge(id(101)),
        });
        opened += usize::from(refused(&node.out()) == 0);
        node.input(Input::Ended { exchange });
    }
    assert_eq!(opened, 16);
    // Peers that this node gossips with.
    for n in 0..150_usize {
        let mut peer = [9; 20];
        peer[..8].copy_from_slice(&n.to_be_bytes());
        node.input(Input::Linked { peer: NodeId(peer) });
    }
    node.pass(Duration::from_secs(6));
    // Those that only asked take no place from them.
    assert_eq!(node.out().len(), PEERS_MAX);
}

#[test]
fn what_a_peer_says_breaks_nothing() {
    let network = Network::new(3, 0);
    let (ledger, records) = grown(&network, &names("n", 4), 4);
    let pieces: Vec<Bytes> = vec![
        hello(None),
        hello(ledger.head().cloned()),
        Ask { from: 0, n: 2 }.to_bytes(),
        message::Answer {
            records,
            root: None,
            proof: Proof::default(),
        }
        .to_bytes(),
        Bytes::from_static(&[0, 0, 0, 1, 0xa0]),
        Bytes::new(),
        Bytes::from_static(&[0xff; 9]),
    ];
    let mut rng = betanet_machine::Rng::new(&Seed::from_number(3));
    for _ in 0..200 {
        let mut node = Played::new(ledger.clone());
        let own = node.begun(1);
        let mut ids = vec![own];
        for n in 0..12 {
            let pick = |rng: &mut betanet_machine::Rng, of: usize| {
                usize::try_from(rng.below(of as u64)).unwrap()
            };
            match rng.below(6) {
                0 => {
                    let exchange = PEERS_EXCHANGES + n;
                    node.input(Input::Opened {
                        exchange,
                        peer: id(pick(&mut rng, 3)),
                        charge: charge(id(pick(&mut rng, 3))),
                    });
                    ids.push(exchange);
                }
                1 => {
                    let exchange = ids[pick(&mut rng, ids.len())];
                    let records = vec![Bytes::from_static(b"\xa0"); pick(&mut rng, 3)];
                    node.input(Input::Loaded { exchange, records });
                }
                2 => node.pass(Duration::from_secs(rng.below(20))),
                3 => {
                    for transmit in node.out() {
                        if let Transmit::Check(work) = transmit {
                            node.input(Input::Checked(work.run()));
                        }
                    }
                }
                _ => {
                    let exchange = ids[pick(&mut rng, ids.len())];
                    let data = pieces[pick(&mut rng, pieces.len())].clone();
                    let fin = rng.below(5) == 0;
                    node.input(Input::Data {
                        exchange,
                        data,
                        fin,
                    });
                }
            }
        }
        node.events();
        node.out();
        assert_eq!(node.machine.get().ledger().final_size(), 4);
    }
}
