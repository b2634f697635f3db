//! The machine under the contract checker: who gets into the table, and who does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops where it is surprised"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use betanet_keys::Identity;
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Seed, Time};
use betanet_mesh::{
    Addr, Carriage, Command, Draft, Event, Host, Input, Mesh, PEERS_EXCHANGES, Policy, Record,
    Role, Roles, Saved, SeedPeer, Setup, Transmit, kind, message,
};
use betanet_wire::{Code, NodeId, msg};
use bytes::Bytes;

const UNIX_MS: u64 = 1_800_000_000_000;

fn identity(n: u32) -> Identity {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}

fn ip(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn addr(ip: IpAddr) -> Addr {
    Addr {
        host: Host::Ip(ip),
        port: 443,
        carriage: Carriage::Tls(None),
    }
}

fn draft(ip: IpAddr, roles: &[Role]) -> Draft {
    Draft {
        addrs: vec![addr(ip)],
        roles: roles.iter().copied().collect(),
        ..Draft::default()
    }
}

fn record(n: u32, ip: IpAddr, seq: u64) -> Record {
    draft(ip, &[Role::Core]).sign(&identity(n), seq, 3_600_000)
}

/// One machine, and all that it is told by hand.
struct Bench {
    mesh: Checked<Mesh>,
    now: Time,
    exchange: u64,
    events: Vec<Event>,
    dials: Vec<(u64, [u8; 32], IpAddr)>,
    sent: Vec<Transmit>,
}

impl Bench {
    fn new(setup: impl FnOnce(&mut Setup)) -> Self {
        let mut all = Setup {
            identity: identity(1),
            draft: Some(draft(ip(8, 1, 1, 1), &[Role::Core])),
            seeds: Vec::new(),
            policy: Policy::default(),
            saved: Saved::default(),
            banned: Vec::new(),
        };
        setup(&mut all);
        let mesh = Mesh::new(Now::new(Time::ZERO, UNIX_MS), all, &Seed::from_number(1));
        let mut this = Self {
            mesh: Checked::new(mesh),
            now: Time::ZERO,
            exchange: PEERS_EXCHANGES,
            events: Vec::new(),
            dials: Vec::new(),
            sent: Vec::new(),
        };
        this.settle();
        this
    }

    fn clock(&self) -> Now {
        Now::new(self.now, UNIX_MS + self.now.as_micros() / 1000)
    }

    fn settle(&mut self) {
        while let Some(transmit) = self.mesh.poll_transmit() {
            match transmit {
                Transmit::Check(work) => {
                    let now = self.clock();
                    self.mesh
                        .handle_input(now, Input::Checked(work.run()))
                        .unwrap();
                }
                Transmit::Dial {
                    dial, key, addr, ..
                } => {
                    let Host::Ip(ip) = addr.host else {
                        panic!("no name was given")
                    };
                    self.dials.push((dial, key, ip));
                }
                other => self.sent.push(other),
            }
        }
        while let Some(event) = self.mesh.poll_event() {
            self.events.push(event);
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.clock();
        self.mesh.handle_input(now, input).unwrap();
        self.settle();
    }

    /// Lets time pass, timers fired when they are due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(wake) = self.mesh.poll_timeout().filter(|w| w.at <= end) {
            self.now = self.now.max(wake.at);
            let now = self.clock();
            self.mesh.handle_timeout(now);
            self.settle();
        }
        self.now = end;
    }

    /// A peer says that it has these records, and gives those that are wanted; what it was given for them.
    fn told_by(
        &mut self,
        teller: u32,
        from: IpAddr,
        records: &[Record],
    ) -> (Vec<Bytes>, Vec<NodeId>) {
        self.exchange += 1;
        let exchange = self.exchange;
        let peer = identity(teller).public().node_id();
        let (kind, from) = (kind::GOSSIP, Some(from));
        self.input(Input::Opened {
            exchange,
            kind,
            peer,
            from,
        });
        let have = records
            .iter()
            .map(|r| message::Have {
                node: r.node(),
                seq: r.seq(),
            })
            .collect();
        self.input(Input::Data {
            exchange,
            data: message::ask(have),
            fin: false,
        });
        let answer = self.sent.iter().rev().find_map(|t| match t {
            Transmit::Send {
                exchange: e, data, ..
            } if *e == exchange => Some(data.clone()),
            _ => None,
        });
        let Some(answer) = answer else {
            return Default::default();
        };
        let (cbor, _) = msg::split(&answer, msg::MAX).unwrap().unwrap();
        let (given, want) = message::read_answer(cbor).unwrap();
        let wanted: Vec<Record> = records
            .iter()
            .filter(|r| want.contains(&r.node()))
            .cloned()
            .collect();
        self.input(Input::Data {
            exchange,
            data: message::last(&wanted),
            fin: true,
        });
        (given, want)
    }

    /// The dials that are due are answered: reached where the address is in `there`.
    fn answer_dials(&mut self, there: &BTreeMap<[u8; 32], IpAddr>) {
        for (dial, key, at) in std::mem::take(&mut self.dials) {
            if there.get(&key) == Some(&at) {
                self.input(Input::Reached { dial, ip: at });
            } else {
                self.input(Input::Failed { dial });
            }
        }
    }

    fn run(&mut self, seconds: u64, there: &BTreeMap<[u8; 32], IpAddr>) {
        for _ in 0..seconds {
            self.pass(Duration::from_secs(1));
            self.answer_dials(there);
        }
    }

    fn tested(&self) -> usize {
        self.mesh.get().table().tested()
    }

    fn known(&self) -> usize {
        self.mesh.get().table().len()
    }
}

fn key(n: u32) -> [u8; 32] {
    *identity(n).public().as_bytes()
}

#[test]
fn a_record_is_used_once_its_peer_was_reached_and_dropped_when_it_is_not() {
    let mut b = Bench::new(|_| {});
    let (good, gone) = (
        record(10, ip(8, 10, 0, 1), UNIX_MS),
        record(11, ip(8, 11, 0, 1), UNIX_MS),
    );
    b.told_by(2, ip(9, 0, 0, 1), &[good.clone(), gone.clone()]);
    assert_eq!((b.known(), b.tested()), (2, 0));
    b.run(5, &BTreeMap::from([(key(10), ip(8, 10, 0, 1))]));
    assert_eq!((b.known(), b.tested()), (1, 1));
    assert!(
        b.events
            .iter()
            .any(|e| matches!(e, Event::Tested { record, .. } if *record == good))
    );
    // For a while nobody can tell of the other again.
    b.told_by(3, ip(9, 1, 0, 1), std::slice::from_ref(&gone));
    assert_eq!(b.known(), 1);
    b.pass(Duration::from_secs(700));
    b.told_by(3, ip(9, 1, 0, 1), &[gone]);
    assert_eq!(b.known(), 2);
}

#[test]
fn only_what_is_tested_is_passed_on() {
    let mut b = Bench::new(|_| {});
    let one = record(10, ip(8, 10, 0, 1), UNIX_MS);
    b.told_by(2, ip(9, 0, 0, 1), std::slice::from_ref(&one));
    let own = b.mesh.get().table().own().unwrap().envelope().clone();
    let (given, _) = b.told_by(3, ip(9, 1, 0, 1), &[]);
    assert_eq!(given, std::slice::from_ref(&own));
    b.run(2, &BTreeMap::from([(key(10), ip(8, 10, 0, 1))]));
    let (given, _) = b.told_by(3, ip(9, 1, 0, 1), &[]);
    assert_eq!(given.len(), 2);
}

#[test]
fn forged_expired_early_and_replayed_records_change_nothing() {
    let mut b = Bench::new(|_| {});
    let newer = record(10, ip(8, 10, 0, 1), UNIX_MS - 1000);
    b.told_by(2, ip(9, 0, 0, 1), std::slice::from_ref(&newer));
    let before = b.known();
    let old = record(10, ip(8, 66, 0, 1), UNIX_MS - 5000);
    let expired = draft(ip(8, 12, 0, 1), &[]).sign(&identity(12), UNIX_MS - 9000, 1000);
    let early = record(13, ip(8, 13, 0, 1), UNIX_MS + 600_000);
    for bad in [old, expired, early] {
        b.told_by(2, ip(9, 0, 0, 1), &[bad]);
    }
    assert_eq!(b.known(), before);
    // A forged one, given where a good one was promised.
    let good = record(14, ip(8, 14, 0, 1), UNIX_MS);
    let exchange = b.exchange + 1;
    b.exchange = exchange;
    let peer = identity(2).public().node_id();
    b.input(Input::Opened {
        exchange,
        kind: kind::GOSSIP,
        peer,
        from: None,
    });
    let have = vec![message::Have {
        node: good.node(),
        seq: good.seq(),
    }];
    b.input(Input::Data {
        exchange,
        data: message::ask(have),
        fin: false,
    });
    let mut bent = message::last(std::slice::from_ref(&good)).to_vec();
    let at = bent.len() - 1;
    bent[at] ^= 1;
    b.input(Input::Data {
        exchange,
        data: bent.into(),
        fin: true,
    });
    assert_eq!(b.known(), before);
    let known = b
        .mesh
        .get()
        .table()
        .get(newer.node())
        .unwrap()
        .record()
        .clone();
    assert_eq!(known, newer);
}

#[test]
fn who_says_two_things_is_excluded_until_it_says_a_later_one() {
    let mut b = Bench::new(|_| {});
    let (one, other) = (
        record(10, ip(8, 10, 0, 1), UNIX_MS),
        record(10, ip(8, 11, 0, 1), UNIX_MS),
    );
    b.told_by(2, ip(9, 0, 0, 1), std::slice::from_ref(&one));
    b.run(2, &BTreeMap::from([(key(10), ip(8, 10, 0, 1))]));
    // Whoever has the other one is asked for it sooner or later, as both have the same number.
    for n in 0..40 {
        if b.mesh.get().table().evidence(one.node()).is_some() {
            break;
        }
        b.told_by(100 + n, ip(9, 1, 0, 1), std::slice::from_ref(&other));
    }
    assert!(b.events.contains(&Event::Excluded(one.node())));
    assert!(b.mesh.get().table().get(one.node()).is_none());
    // Who names it is given both.
    let (given, _) = b.told_by(3, ip(9, 2, 0, 1), std::slice::from_ref(&one));
    assert!(given.contains(one.envelope()) && given.contains(other.envelope()));
    b.told_by(
        4,
        ip(9, 3, 0, 1),
        &[record(10, ip(8, 10, 0, 1), UNIX_MS + 1)],
    );
    assert!(b.mesh.get().table().get(one.node()).is_some());
}

#[test]
fn a_record_of_its_own_key_from_elsewhere_is_told_once() {
    let mut b = Bench::new(|_| {});
    let own = |ip, seq| draft(ip, &[Role::Core]).sign(&identity(1), seq, 3_600_000);
    let away = own(ip(8, 9, 9, 9), UNIX_MS + 5);
    let told = |b: &Bench| {
        let seen = |e: &&Event| matches!(e, Event::Elsewhere(_));
        b.events.iter().filter(seen).count()
    };
    // What this node signed itself, or an earlier run of it, is nothing to tell.
    let mine = b.mesh.get().table().own().unwrap().clone();
    b.told_by(2, ip(9, 0, 0, 1), &[mine, own(ip(8, 9, 9, 9), UNIX_MS - 5)]);
    assert_eq!(told(&b), 0);
    for teller in 2..4 {
        b.told_by(teller, ip(9, 0, 0, 1), std::slice::from_ref(&away));
    }
    let last = Event::Elsewhere(away);
    assert_eq!((told(&b), b.events.contains(&last)), (1, true));
    assert_eq!(b.known(), 0, "it is no peer");
    b.told_by(4, ip(9, 0, 0, 1), &[own(ip(8, 9, 9, 8), UNIX_MS + 9)]);
    assert_eq!(told(&b), 2, "a later one is told");
}

#[test]
fn one_24_holds_two_places() {
    let mut b = Bench::new(|_| {});
    let crowd: Vec<Record> = (0..10)
        .map(|n| record(20 + n, ip(8, 20, 0, 1 + n as u8), UNIX_MS))
        .collect();
    b.told_by(2, ip(9, 0, 0, 1), &crowd);
    let there = (0..10)
        .map(|n| (key(20 + n), ip(8, 20, 0, 1 + n as u8)))
        .collect();
    b.run(900, &there);
    assert_eq!(b.tested(), 2);
}

#[test]
fn one_teller_tells_of_64_and_all_of_them_of_1024() {
    let mut b = Bench::new(|_| {});
    let many = |from: u32, n: u32| -> Vec<Record> {
        (0..n)
            .map(|i| record(from + i, ip(8, (from / 64) as u8, i as u8, 1), UNIX_MS))
            .collect()
    };
    for batch in 0..4 {
        b.told_by(2, ip(9, 0, 0, 1), &many(1000 + batch * 60, 60));
    }
    assert_eq!(b.known(), 64);
    for teller in 0..30_u32 {
        b.told_by(
            100 + teller,
            ip(9, 1 + teller as u8, 0, 1),
            &many(2000 + teller * 64, 60),
        );
    }
    let table = b.mesh.get().table();
    assert_eq!((table.untested(), table.tested()), (1024, 0));
}

#[test]
fn one_dial_a_second_and_one_a_minute_to_a_24() {
    let mut b = Bench::new(|_| {});
    let near: Vec<Record> = (0..5)
        .map(|n| record(20 + n, ip(8, 20, 0, 1 + n as u8), UNIX_MS))
        .collect();
    let far: Vec<Record> = (0..50)
        .map(|n| record(40 + n, ip(8, 40 + n as u8, 0, 1), UNIX_MS))
        .collect();
    b.told_by(2, ip(9, 0, 0, 1), &near);
    b.told_by(3, ip(9, 1, 0, 1), &far);
    let mut to_near = b.dials.len();
    b.answer_dials(&BTreeMap::new());
    for _ in 0..59 {
        b.pass(Duration::from_secs(1));
        assert!(b.dials.len() <= 1, "{:?}", b.dials);
        to_near += b.dials.iter().filter(|d| d.2 <= ip(8, 20, 0, 255)).count();
        b.answer_dials(&BTreeMap::new());
    }
    assert_eq!(to_near, 1);
}

#[test]
fn addresses_of_this_host_and_of_private_networks_are_not_dialled() {
    let mut b = Bench::new(|_| {});
    let inside = [
        ip(127, 0, 0, 1),
        ip(10, 0, 0, 1),
        ip(192, 168, 1, 1),
        ip(169, 254, 1, 1),
    ];
    let records: Vec<Record> = inside
        .iter()
        .zip(50..)
        .map(|(at, n)| record(n, *at, UNIX_MS))
        .collect();
    b.told_by(2, ip(9, 0, 0, 1), &records);
    assert_eq!(b.known(), 0);
}

#[test]
fn a_lookup_dials_no_private_address_that_stands_beside_a_public_one() {
    let mut b = Bench::new(|_| {});
    let both = Draft {
        addrs: vec![addr(ip(127, 0, 0, 1)), addr(ip(8, 50, 0, 1))],
        ..Draft::default()
    };
    let both = both.sign(&identity(50), UNIX_MS, 3_600_000);
    // Its own turn comes a second after that of another.
    b.told_by(2, ip(9, 0, 0, 1), &[record(51, ip(8, 51, 0, 1), UNIX_MS)]);
    b.told_by(2, ip(9, 0, 0, 1), std::slice::from_ref(&both));
    let now = b.clock();
    b.mesh
        .handle_command(now, Command::Lookup(both.node()))
        .unwrap();
    b.settle();
    let dialled: Vec<IpAddr> = b
        .dials
        .iter()
        .filter(|d| d.1 == key(50))
        .map(|d| d.2)
        .collect();
    assert_eq!(dialled, [ip(8, 50, 0, 1)]);
}

#[test]
fn a_dead_seed_is_dialled_again_after_waits_that_double() {
    let seed = |n: u32| SeedPeer {
        key: *identity(n).public(),
        addrs: vec![addr(ip(7, n as u8, 0, 1))],
        pin: None,
    };
    let mut b = Bench::new(|s| s.seeds = (200..205).map(seed).collect());
    assert_eq!(b.dials.len(), 3);
    let mut dials = 0;
    for _ in 0..3600 {
        dials += b.dials.len();
        b.answer_dials(&BTreeMap::new());
        b.pass(Duration::from_secs(1));
    }
    // Without jitter each would be dialled at 0, 10, 30, 70, 150, 310, 630, 1 230, …: some ten times in an hour.
    assert!((40..130).contains(&dials), "{dials}");
}

#[test]
fn bootstrap_peers_are_asked_beside_dead_seeds_until_others_take_their_place() {
    let peer = |n: u32| SeedPeer {
        key: *identity(n).public(),
        addrs: vec![addr(ip(7, n as u8, 0, 1))],
        pin: None,
    };
    let mut b = Bench::new(|s| s.seeds = (200..205).map(peer).collect());
    let command = |b: &mut Bench, peers: Vec<SeedPeer>| {
        while !b.dials.is_empty() {
            b.answer_dials(&BTreeMap::new());
        }
        let now = b.clock();
        b.mesh
            .handle_command(now, Command::Bootstrap(peers))
            .unwrap();
        b.settle();
    };
    let dialled = |b: &mut Bench| -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..60 {
            let at = |dial: &(u64, [u8; 32], IpAddr)| match dial.2 {
                IpAddr::V4(ip) => ip.octets()[1],
                IpAddr::V6(_) => 0,
            };
            all.extend(b.dials.iter().map(at));
            b.answer_dials(&BTreeMap::new());
            b.pass(Duration::from_secs(10));
        }
        all.sort_unstable();
        all.dedup();
        all
    };
    assert_eq!(dialled(&mut b), [200, 201, 202, 203, 204]);
    // This node itself, one without an address, a seed with another address, and two that are new.
    let mut moved = peer(200);
    moved.addrs = vec![addr(ip(7, 99, 0, 1))];
    let nowhere = SeedPeer {
        addrs: Vec::new(),
        ..peer(212)
    };
    let peers = vec![peer(1), nowhere, moved, peer(210), peer(211)];
    command(&mut b, peers);
    assert_eq!(dialled(&mut b), [200, 201, 202, 203, 204, 210, 211]);
    // One moves, and one is no longer there.
    let mut moved = peer(210);
    moved.addrs = vec![addr(ip(7, 98, 0, 1))];
    command(&mut b, vec![moved]);
    assert_eq!(dialled(&mut b), [98, 200, 201, 202, 203, 204]);
    // However many there are, they are bounded.
    let many: Vec<SeedPeer> = (1_000..1_400).map(peer).collect();
    command(&mut b, many);
    let keys: std::collections::BTreeSet<[u8; 32]> = {
        let mut keys = std::collections::BTreeSet::new();
        for _ in 0..3_000 {
            keys.extend(b.dials.iter().map(|dial| dial.1));
            b.answer_dials(&BTreeMap::new());
            b.pass(Duration::from_secs(10));
        }
        keys
    };
    assert_eq!(keys.len(), betanet_mesh::SEEDS_MAX);
}

#[test]
fn a_seed_answers_and_others_do_not() {
    for (roles, answers) in [(vec![Role::Seed], true), (vec![Role::Core], false)] {
        let mut b = Bench::new(|s| s.draft = Some(draft(ip(8, 1, 1, 1), &roles)));
        let exchange = PEERS_EXCHANGES + 7;
        let peer = identity(2).public().node_id();
        b.input(Input::Opened {
            exchange,
            kind: kind::DISCOVER,
            peer,
            from: None,
        });
        let refused = Transmit::Abort {
            exchange,
            code: Code::POLICY_REJECTED,
        };
        assert_eq!(b.sent.contains(&refused), !answers);
        if answers {
            let data = message::discover(5, Roles::default());
            b.input(Input::Data {
                exchange,
                data,
                fin: true,
            });
            let list = b.sent.iter().find_map(|t| match t {
                Transmit::Send {
                    data, fin: true, ..
                } => Some(data.clone()),
                _ => None,
            });
            let list = list.unwrap();
            let read = message::read_list(&list[4..], identity(1).public(), UNIX_MS).unwrap();
            assert_eq!(read.len(), 1);
        }
    }
}

#[test]
fn what_breaks_the_format_ends_the_exchange_and_is_counted() {
    for data in [
        Bytes::from_static(&[0xff; 16]),
        Bytes::from_static(&[0, 0, 0, 1, 0xff]),
        Bytes::from(vec![0; 10_000]),
        message::discover(1, Roles::default()),
    ] {
        let mut b = Bench::new(|_| {});
        let exchange = PEERS_EXCHANGES + 1;
        let peer = identity(2).public().node_id();
        b.input(Input::Opened {
            exchange,
            kind: kind::GOSSIP,
            peer,
            from: None,
        });
        b.input(Input::Data {
            exchange,
            data,
            fin: false,
        });
        let code = Code::MALFORMED_FRAME;
        assert!(
            b.sent.contains(&Transmit::Abort { exchange, code }),
            "{:?}",
            b.sent
        );
        assert_eq!(b.mesh.get().stats().malformed, 1);
    }
}

#[test]
fn one_peer_has_four_exchanges_at_once_and_eight_a_minute() {
    let mut b = Bench::new(|_| {});
    let peer = identity(2).public().node_id();
    let open = |b: &mut Bench, exchange: u64| {
        b.input(Input::Opened {
            exchange,
            kind: kind::GOSSIP,
            peer,
            from: None,
        });
        b.sent
            .iter()
            .any(|t| matches!(t, Transmit::Abort { exchange: e, .. } if *e == exchange))
    };
    let refused: Vec<bool> = (1..=6).map(|n| open(&mut b, PEERS_EXCHANGES + n)).collect();
    assert_eq!(refused, [false, false, false, false, true, true]);
    for n in 1..=4 {
        b.input(Input::Ended {
            exchange: PEERS_EXCHANGES + n,
        });
    }
    let mut taken = 4;
    for n in 10..30 {
        if !open(&mut b, PEERS_EXCHANGES + n) {
            taken += 1;
            b.input(Input::Ended {
                exchange: PEERS_EXCHANGES + n,
            });
        }
    }
    assert_eq!(taken, 8);
}

#[test]
fn a_restart_keeps_the_number_and_dials_the_anchors_first() {
    let kept = Saved {
        seq: UNIX_MS + 5_000_000,
        anchors: vec![
            record(10, ip(8, 10, 0, 1), UNIX_MS - 1000)
                .envelope()
                .clone(),
        ],
    };
    let mut b = Bench::new(|s| s.saved = kept.clone());
    assert_eq!(b.mesh.get().table().own().unwrap().seq(), kept.seq + 1);
    b.pass(Duration::from_secs(1));
    assert_eq!(b.dials.first().map(|d| d.2), Some(ip(8, 10, 0, 1)));
}

#[test]
fn a_ban_forgets_a_peer_and_keeps_it_out() {
    let mut b = Bench::new(|_| {});
    let one = record(10, ip(8, 10, 0, 1), UNIX_MS);
    b.told_by(2, ip(9, 0, 0, 1), std::slice::from_ref(&one));
    b.run(2, &BTreeMap::from([(key(10), ip(8, 10, 0, 1))]));
    let now = b.clock();
    b.mesh
        .handle_command(now, Command::Ban(one.node()))
        .unwrap();
    b.settle();
    assert!(b.events.contains(&Event::Gone(one.node())));
    b.told_by(2, ip(9, 0, 0, 1), std::slice::from_ref(&one));
    assert_eq!(b.known(), 0);
    let now = b.clock();
    b.mesh
        .handle_command(now, Command::Unban(one.node()))
        .unwrap();
    b.settle();
    b.told_by(2, ip(9, 0, 0, 1), &[one]);
    assert_eq!(b.known(), 1);
}

#[test]
fn a_lookup_of_nobody_ends_and_too_many_are_refused() {
    let mut b = Bench::new(|_| {});
    for n in 0..16 {
        let now = b.clock();
        b.mesh
            .handle_command(now, Command::Lookup(NodeId([n; 20])))
            .unwrap();
    }
    let now = b.clock();
    let refused = b
        .mesh
        .handle_command(now, Command::Lookup(NodeId([99; 20])));
    assert_eq!(refused, Err(betanet_mesh::Error::Lookups));
    b.pass(Duration::from_secs(30));
    let ends = b
        .events
        .iter()
        .filter(|e| matches!(e, Event::NotFound(_)))
        .count();
    assert_eq!(ends, 16);
}

#[test]
fn a_record_is_renewed_in_time_and_old_ones_go() {
    let mut b = Bench::new(|_| {});
    let first = b.mesh.get().table().own().unwrap().seq();
    b.told_by(2, ip(9, 0, 0, 1), &[record(10, ip(8, 10, 0, 1), UNIX_MS)]);
    b.run(2, &BTreeMap::from([(key(10), ip(8, 10, 0, 1))]));
    assert_eq!(b.tested(), 1);
    b.pass(Duration::from_secs(3600 + 700));
    assert_eq!(b.known(), 0);
    b.pass(Duration::from_secs(12 * 3600));
    assert!(b.mesh.get().table().own().unwrap().seq() > first);
}
