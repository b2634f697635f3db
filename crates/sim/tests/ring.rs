//! 200 nodes in a ring of sessions, cut and rekeyed for a minute.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a test stops where it is surprised, and may look at the clock"
)]

use core::time::Duration;
use std::collections::BTreeMap;

use betanet_bar::{Access, Expect, Handler, Headers, MemoryStore, Service, Store as _};
use betanet_htx::{Config, StreamId};
use betanet_keys::Identity;
use betanet_machine::{Rng, Seed, Time};
use betanet_sim::{Happening, Id, LinkId, Node, Progress, Side, Transfer, Weather, World, content};
use betanet_stack::{Command, Event};

const FILE: usize = 200_000;

/// Slow enough that most downloads experience a cut.
const WEATHER: Weather = Weather {
    bandwidth: 80_000,
    ..Weather::FOUL
};

type Net = World<Service<MemoryStore>>;

fn node(id: Id) -> Node<Service<MemoryStore>> {
    let mut store = MemoryStore::new(1 << 20);
    let mut writer = store.create().unwrap();
    store
        .write(&mut writer, &content(u64::from(id), FILE))
        .unwrap();
    store
        .commit(writer, "/file", &Headers::default(), &Expect::Absent)
        .unwrap();
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&id.to_be_bytes());
    Node {
        identity: Identity::from_seed(&seed),
        config: Config {
            rekey_bytes: 64 << 10,
            ..Config::default()
        },
        handler: Service::new(store, Access::Nobody),
        skew_ms: i64::from(id % 7) * 40_000 - 120_000,
    }
}

/// One node's download from its neighbour, over any open link.
struct Runner {
    link: LinkId,
    transfer: Transfer,
    done: u64,
}

/// Results of a run.
#[derive(Debug, PartialEq)]
struct Outcome {
    trace: u64,
    cuts: u64,
    rekeys: (u64, u64),
    completed: u64,
    resumed: u64,
}

struct Ring {
    world: Net,
    n: Id,
    runners: BTreeMap<Id, Runner>,
    by_link: BTreeMap<LinkId, Id>,
    dice: Rng,
    resumed: u64,
    draining: bool,
}

const CUT: u64 = 1 << 32;
const REKEY: u64 = 2 << 32;
const CRASH: u64 = 3 << 32;
const REDIAL: u64 = 4 << 32;

impl Ring {
    fn new(n: Id, seed: u64, weather: Weather) -> Self {
        let seed = Seed::from_number(seed);
        let mut world = World::new(&seed, weather);
        for id in 0..n {
            world.add(id, node(id));
        }
        let mut ring = Self {
            world,
            n,
            runners: BTreeMap::new(),
            by_link: BTreeMap::new(),
            dice: Rng::new(&seed.split("script")),
            resumed: 0,
            draining: false,
        };
        for id in 0..n {
            let expected = content(u64::from((id + 1) % n), FILE);
            let transfer = Transfer::new("/file", expected);
            ring.runners.insert(
                id,
                Runner {
                    link: 0,
                    transfer,
                    done: 0,
                },
            );
            ring.dial(id);
        }
        ring
    }

    fn dial(&mut self, id: Id) {
        let link = self.world.dial(id, (id + 1) % self.n).unwrap();
        self.by_link.insert(link, id);
        self.runners.get_mut(&id).unwrap().link = link;
    }

    fn at(&mut self, millis: u64, token: u64) {
        let at = Time::ZERO + Duration::from_millis(millis);
        self.world.set_timer(at, token);
    }

    fn random_node(&mut self) -> Id {
        Id::try_from(self.dice.below(u64::from(self.n))).unwrap()
    }

    fn run(mut self, seconds: u64, cuts: u64) -> Outcome {
        for _ in 0..cuts {
            let (when, who) = (self.dice.below(seconds * 1000), self.random_node());
            self.at(when, CUT + u64::from(who));
        }
        for id in 0..self.n {
            for s in (5..seconds).step_by(10) {
                self.at(s * 1000 + u64::from(id), REKEY + u64::from(id));
            }
        }
        for s in (10..seconds).step_by(10) {
            let who = self.random_node();
            self.at(s * 1000, CRASH + u64::from(who));
        }
        let end = Time::ZERO + Duration::from_secs(seconds);
        while let Some(h) = self.world.next(end) {
            self.happen(h);
        }
        // The minute is over: no more cuts, and running downloads must finish.
        self.draining = true;
        let end = end + Duration::from_secs(60);
        while let Some(h) = self.world.next(end) {
            self.happen(h);
        }
        let running = self
            .runners
            .values()
            .filter(|r| r.transfer.stream().is_some());
        assert_eq!(running.count(), 0, "a transfer never ended");
        let c = self.world.counters();
        Outcome {
            trace: self.world.trace(),
            cuts: c.cuts,
            rekeys: (c.rekeys_client, c.rekeys_server),
            completed: self.runners.values().map(|r| r.done).sum(),
            resumed: self.resumed,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Timer(token) => {
                let who = Id::try_from(token & 0xffff_ffff).unwrap();
                match token >> 32 << 32 {
                    CUT => {
                        let link = self.runners[&who].link;
                        self.world.cut(link);
                    }
                    REKEY => {
                        let link = self.runners[&who].link;
                        for side in [Side::Client, Side::Server] {
                            self.world.command(link, side, Command::Rekey);
                        }
                    }
                    CRASH => {
                        self.world.crash(who);
                        self.world.add(who, node(who));
                        // The restarted node's own downloads were in the memory that it lost.
                        let expected = content(u64::from((who + 1) % self.n), FILE);
                        let runner = self.runners.get_mut(&who).unwrap();
                        runner.transfer = Transfer::new("/file", expected);
                        self.by_link.remove(&runner.link);
                        self.dial(who);
                    }
                    REDIAL => self.dial(who),
                    other => panic!("{other}"),
                }
            }
            Happening::Event {
                link,
                side: Side::Client,
                event,
            } => {
                if let Some(id) = self.by_link.get(&link).copied() {
                    self.client_event(id, link, event);
                }
            }
            Happening::Event { .. } => {}
        }
    }

    fn start(&mut self, id: Id) {
        let runner = self.runners.get_mut(&id).unwrap();
        let request = runner.transfer.request();
        let ask = Command::Ask {
            request,
            more: false,
        };
        let asked = self.world.command(runner.link, Side::Client, ask);
        let stream = asked.unwrap().unwrap().unwrap();
        runner.transfer.began(stream);
    }

    /// Completes a download and prepares the next.
    fn done(&mut self, id: Id) {
        let runner = self.runners.get_mut(&id).unwrap();
        runner.done += 1;
        let expected = content(u64::from((id + 1) % self.n), FILE);
        runner.transfer = Transfer::new("/file", expected);
    }

    fn client_event(&mut self, id: Id, link: LinkId, event: Event) {
        let runner = self.runners.get_mut(&id).unwrap();
        let own = |s: StreamId| runner.transfer.stream() == Some(s);
        match event {
            Event::Opened { .. } | Event::PathControl(_) => panic!("nobody builds paths here"),
            Event::Established => {
                if self.draining && runner.transfer.cuts() == 0 {
                    return;
                }
                self.resumed += u64::from(runner.transfer.cuts() > 0);
                self.start(id);
            }
            Event::Head { stream, response } => {
                assert!(own(stream));
                runner.transfer.head(&response).unwrap();
            }
            Event::Body { stream, data } => {
                assert!(own(stream));
                runner.transfer.body(&data).unwrap();
                let bytes = data.len() as u64;
                self.world.consume(link, Side::Client, stream, bytes);
            }
            Event::End { stream } => {
                assert!(own(stream));
                assert_eq!(runner.transfer.end().unwrap(), Progress::Done);
                self.done(id);
                if !self.draining {
                    self.start(id);
                }
            }
            Event::Failed {
                stream,
                code,
                delivered,
            } => {
                assert!(own(stream));
                assert_eq!(code, None, "only cuts end a transfer here");
                if runner.transfer.cut(delivered).unwrap() == Progress::Done {
                    self.done(id);
                }
            }
            Event::Closed { .. } => {
                self.by_link.remove(&link);
                let wait = Duration::from_millis(50 + self.dice.below(200));
                let at = self.world.now() + wait;
                self.world.set_timer(at, REDIAL + u64::from(id));
            }
            Event::Writable { .. } | Event::Pong { .. } | Event::GoingAway => {}
        }
    }
}

/// Trace digest; changes only with the protocol or the script above.
const GOLDEN: u64 = 3_112_985_776_105_811_809;

#[test]
fn two_hundred_nodes_one_minute() {
    let outcome = Ring::new(200, 7, WEATHER).run(60, 700);
    println!("{outcome:?}");
    assert!(outcome.cuts >= 500, "{outcome:?}");
    assert!(
        outcome.rekeys.0 >= 500 && outcome.rekeys.1 >= 500,
        "{outcome:?}"
    );
    assert!(outcome.resumed >= 400, "{outcome:?}");
    assert!(outcome.completed >= 2_000, "{outcome:?}");
    assert_eq!(outcome.trace, GOLDEN);
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_not() {
    let run = |seed| Ring::new(6, seed, WEATHER).run(8, 12);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).trace, run(2).trace);
}

#[test]
fn a_silent_link_is_found_by_ping() {
    let mut world: Net = World::new(&Seed::from_number(3), Weather::FAIR);
    world.add(0, node(0));
    world.add(1, node(1));
    let link = world.dial(0, 1).unwrap();
    let mut closed = Vec::new();
    world.set_timer(Time::ZERO + Duration::from_secs(1), 0);
    while let Some(h) = world.next(Time::ZERO + Duration::from_secs(120)) {
        match h {
            Happening::Timer(_) => world.silence(link),
            Happening::Event {
                side,
                event: Event::Closed { by, .. },
                ..
            } => {
                closed.push((side, by, world.now()));
            }
            Happening::Event { .. } => {}
        }
    }
    let by = betanet_htx::By::Cut;
    let mut ends: Vec<_> = closed.iter().map(|c| (c.0, c.1)).collect();
    ends.sort_by_key(|e| e.0);
    assert_eq!(ends, [(Side::Client, by), (Side::Server, by)]);
    // 30 s of silence, then two PINGs of 5 s each.
    for (_, _, at) in closed {
        assert!((Duration::from_secs(40)..Duration::from_secs(42)).contains(&(at - Time::ZERO)));
    }
}

#[test]
fn an_idle_service_has_nothing_to_read() {
    let mut service = node(0).handler;
    let get = betanet_bar::Request::new(betanet_bar::Method::Get, "/none", Headers::default());
    let mut x = service.begin(betanet_bar::Client::Anonymous, get).unwrap();
    assert_eq!(service.end(&mut x).status, 404);
    assert!(service.read(&mut x, 10).unwrap().is_empty());
}
