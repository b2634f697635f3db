//! Runs a scenario from its description to its outcome.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use betanet_keys::{Identity, hash};
use betanet_machine::{Rng, Seed, Time};
use betanet_mesh::{
    Addr, Admission, Carriage, Command, Draft, Host as AddrHost, Policy, Role, Roles, Saved,
    SeedPeer, Setup,
};
use betanet_stack::{Node, NodeCommand, NodeEvent, NodeInput};
use betanet_wire::NodeId;

use super::{Attack, Host, Id, Links, Net, Place, Task};

/// Interval of checks on the spread of a record.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Number of lookups of a run, and how long before its end they begin.
const LOOKUPS: usize = 100;
const LOOKUPS_BEFORE: Duration = Duration::from_secs(60);
/// Age from which a node's knowledge is measured, and from which others should know it.
const SETTLED: Duration = Duration::from_secs(120);
/// Start of counting control traffic.
const COUNTED_FROM: Duration = Duration::from_secs(120);
/// Approximate number of nodes sampled for each minute's report.
const SAMPLED: usize = 100;
/// Uplink of a slow seed, bytes per second.
const SLOW: u64 = 4_000;
/// A liar's apparent round-trip time in percent of the real one.
const LIE_PERCENT: u32 = 2;

/// A partition of the world into two halves for a while.
#[derive(Clone, Copy, Debug)]
pub struct Partition {
    /// First minute of the partition.
    pub from_min: u64,
    /// Minute in which the partition ends.
    pub until_min: u64,
}

/// Description of a run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Seed of all randomness.
    pub seed: u64,
    /// Number of nodes, including attackers.
    pub nodes: usize,
    /// Number of seed nodes among them.
    pub seeds: usize,
    /// Duration in minutes.
    pub minutes: u64,
    /// Number of seconds over which the nodes join.
    pub join_over_s: u64,
    /// Percentage of nodes that are relays.
    pub relays_percent: u32,
    /// The network between the nodes.
    pub links: Links,
    /// Percentage of nodes that are replaced per hour.
    pub churn_percent: u32,
    /// A partition of the world.
    pub partition: Option<Partition>,
    /// The attack, if any.
    pub attack: Option<Attack>,
    /// Maximum clock error in either direction, milliseconds.
    pub skew_ms: u64,
    /// Number of seed nodes with an uplink of 4 kB/s.
    pub slow_seeds: usize,
    /// Percentage of nodes that are relays with a falsified short round-trip time.
    pub liars_percent: u32,
    /// Minutes at which a node issues a new record, and another one joins.
    pub announce_min: Vec<u64>,
    /// The nodes' policy; private addresses are accepted.
    pub policy: Policy,
    /// Whether checks are answered from a cache by their exact input.
    pub cache: bool,
}

/// Spread of one record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spread {
    /// Time of issue, seconds.
    pub at_s: u64,
    /// Whether the record's node was new.
    pub newcomer: bool,
    /// Seconds until 95 % of the nodes had the record; `None` if they never did.
    pub seconds: Option<u64>,
}

/// State at a minute's end, over up to 100 nodes. Shares are in hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Minute {
    /// Share of the live peers that a node should know and does know.
    pub known: u64,
    /// Share of those peers that it has tested.
    pub tested: u64,
    /// Control bytes that a node sent and received per second in this minute.
    pub bytes_per_s: u64,
}

/// Results of a run. Shares are in hundredths of a percent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// A digest of everything that nodes sent, with the times.
    pub trace: u64,
    /// Number of honest nodes at the end.
    pub live: usize,
    /// Share of the live peers that a node should know and does know: the worst node's share.
    pub known_least: u64,
    /// The same share, averaged over all nodes.
    pub known_mean: u64,
    /// Share of those peers that were tested, averaged over all nodes.
    pub tested_mean: u64,
    /// Average number of records that a node keeps.
    pub records_mean: u64,
    /// The widest share of all NodeIDs that a node keeps, as a number of fixed bits.
    pub share_bits: u32,
    /// Average control bytes that a node sends per second, from minute 2 on.
    pub sent_per_s: u64,
    /// Average control bytes that a node receives per second, from minute 2 on.
    pub received_per_s: u64,
    /// Average number of handshakes that a node began in the whole run.
    pub handshakes: u64,
    /// Number of signatures checked.
    pub checked: u64,
    /// Spread of the announced records.
    pub spreads: Vec<Spread>,
    /// Share of attackers among the tested records of honest nodes: over all nodes, and the worst.
    pub attackers: (u64, u64),
    /// Share of attackers among all records.
    pub attackers_untested: u64,
    /// Number of invalid records in honest tables, by reason.
    pub faults: BTreeMap<&'static str, u64>,
    /// Number of streams that the limiter refused.
    pub not_admitted: u64,
    /// Number of lookups begun, and of those that found the peer.
    pub lookups: (usize, usize),
    /// Share of liars among the first hops of paths.
    pub liars_first: u64,
    /// Report of each minute.
    pub minutes: Vec<Minute>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Join(Id),
    Count,
    Churn,
    Part(bool),
    Announce,
    Look,
    Lookups,
    Attacker(Id),
}

struct Watched {
    node: NodeId,
    seq: u64,
    at: Time,
    newcomer: bool,
    reached: Option<Time>,
}

struct Run<'a, H> {
    net: Net<H>,
    scenario: &'a Scenario,
    seed: Seed,
    dice: Rng,
    seeds: Vec<SeedPeer>,
    counted: Vec<(u64, u64)>,
    watched: Vec<Watched>,
    asked: Vec<(Id, NodeId)>,
    minutes: Vec<Minute>,
    /// Control bytes of the sampled nodes at the end of the last minute.
    told: BTreeMap<Id, u64>,
    end: Time,
}

fn identity(seed: u64, id: Id) -> Identity {
    let n = u64::try_from(id).unwrap_or(u64::MAX);
    Identity::from_seed(&hash(&[b"node", &seed.to_be_bytes(), &n.to_be_bytes()]))
}

/// Each honest node has a /16 of its own, as long as there are fewer than 16 384.
fn ip(id: Id) -> Ipv4Addr {
    let byte = |n: usize| u8::try_from(n % 256).unwrap_or(0);
    Ipv4Addr::new(
        byte(130 + id % 64),
        byte(id / 64),
        byte(id * 37),
        byte(1 + id / 16_384),
    )
}

fn address(ip: IpAddr) -> Addr {
    Addr {
        host: AddrHost::Ip(ip),
        port: 443,
        carriage: Carriage::Tls(None),
    }
}

/// Runs a scenario with nodes of this kind: `stack::Node`, or the same wrapped in the contract checker.
pub fn run<H: Host>(scenario: &Scenario, progress: &mut dyn FnMut(Duration)) -> Outcome {
    let seed = Seed::from_number(scenario.seed);
    let policy = Policy {
        private: true,
        ..scenario.policy.clone()
    };
    let mut run = Run {
        net: Net::<H>::new(&seed, scenario.links.clone(), policy, scenario.cache),
        scenario,
        dice: Rng::new(&seed.split("script")),
        seeds: (0..scenario.seeds)
            .map(|id| SeedPeer {
                key: *identity(scenario.seed, id).public(),
                addrs: Vec::from([address(IpAddr::V4(ip(id)))]),
                pin: Some([1; 32]),
            })
            .collect(),
        seed,
        counted: Vec::new(),
        watched: Vec::new(),
        asked: Vec::new(),
        minutes: Vec::new(),
        told: BTreeMap::new(),
        end: Time::ZERO + Duration::from_secs(scenario.minutes * 60),
    };
    run.prepare();
    let mut minute = Time::ZERO;
    while minute < run.end {
        minute = minute + Duration::from_secs(60);
        while let Some(step) = run.net.next(minute) {
            run.step(step);
        }
        run.note_minute();
        progress(minute - Time::ZERO);
    }
    run.outcome()
}

impl<H: Host> Run<'_, H> {
    fn prepare(&mut self) {
        let s = self.scenario;
        let percent = |n: u32| s.nodes * usize::try_from(n).unwrap_or(0) / 100;
        let attackers = s.attack.map_or(0, |a| percent(a.percent));
        let honest = s.nodes - attackers;
        for id in 0..honest {
            self.place(id);
            // The seeds are present from the start.
            let over = s.join_over_s * 1_000_000;
            let late = if id < s.seeds {
                0
            } else {
                self.dice.below(over + 1)
            };
            self.net
                .push(Time::from_micros(late), Task::Script(Step::Join(id)));
        }
        let at = |min: u64| Time::ZERO + Duration::from_secs(min * 60);
        self.net
            .push(Time::ZERO + COUNTED_FROM, Task::Script(Step::Count));
        if s.churn_percent > 0 {
            self.net.push(at(2), Task::Script(Step::Churn));
        }
        if let Some(p) = s.partition {
            self.net
                .push(at(p.from_min), Task::Script(Step::Part(true)));
            self.net
                .push(at(p.until_min), Task::Script(Step::Part(false)));
        }
        for min in &s.announce_min {
            self.net.push(at(*min), Task::Script(Step::Announce));
        }
        if let Some(start) = (self.end - Time::ZERO).checked_sub(LOOKUPS_BEFORE) {
            self.net
                .push(Time::ZERO + start, Task::Script(Step::Lookups));
        }
        if let Some(attack) = s.attack {
            self.let_attackers_in(&attack, attackers);
        }
    }

    fn let_attackers_in(&mut self, attack: &Attack, attackers: usize) {
        let mut hosts = Vec::new();
        for n in 0..attackers {
            let id = self.net.places.len();
            self.place(id);
            let prefixes = usize::try_from(attack.prefixes).unwrap_or(1).max(1);
            let byte = |n: usize| u8::try_from(n % 256).unwrap_or(0);
            let at = Ipv4Addr::new(50, byte(n % prefixes), 7, byte(1 + n / prefixes));
            let place = &mut self.net.places[id];
            self.net.by_ip.remove(&place.ip);
            place.ip = IpAddr::V4(at);
            self.net.by_ip.insert(place.ip, id);
            hosts.push((id, at));
        }
        let unix_ms = super::EPOCH_MS;
        self.net.let_in(attack, &hosts, unix_ms, &mut self.dice);
        for (id, _) in hosts {
            let first = Time::from_micros(self.dice.below(60_000_000));
            self.net.push(first, Task::Script(Step::Attacker(id)));
        }
    }

    fn place(&mut self, id: Id) {
        let s = self.scenario;
        let issuer = identity(s.seed, id);
        let regions = u64::try_from(s.links.latency_ms.len()).unwrap_or(1);
        let skew = self.dice.below(2 * s.skew_ms + 1).cast_signed() - s.skew_ms.cast_signed();
        let liar = id >= s.seeds && self.dice.below(100) < u64::from(s.liars_percent);
        let at = IpAddr::V4(ip(id));
        let uplink = if id < s.slow_seeds {
            SLOW
        } else {
            s.links.bandwidth
        };
        self.net.by_ip.insert(at, id);
        self.net.places.push(Place {
            host: None,
            node: issuer.public().node_id(),
            key: *issuer.public().as_bytes(),
            ip: at,
            region: usize::try_from(self.dice.below(regions)).unwrap_or(0),
            skew_ms: skew,
            side: self.dice.below(2) == 0,
            uplink,
            free_at: Time::ZERO,
            joined: Time::ZERO,
            wake: None,
            links: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            admission: Admission::new(&self.net.policy),
            pace_percent: if liar { LIE_PERCENT } else { 100 },
        });
        self.counted.push((0, 0));
    }

    fn draft(&self, id: Id) -> Draft {
        let s = self.scenario;
        let mut roles = Vec::from([Role::Gateway]);
        if id < s.seeds {
            roles.push(Role::Seed);
        }
        if (id * 61) % 100 < usize::try_from(s.relays_percent).unwrap_or(0) {
            roles.extend([Role::Entry, Role::Core, Role::Exit]);
        }
        Draft {
            addrs: Vec::from([address(self.net.places[id].ip)]),
            roles: Roles::from_iter(roles),
            feat: Vec::from(["pq".into()]),
            org: "Example".into(),
            pin: Some([1; 32]),
            ..Draft::default()
        }
    }

    fn join(&mut self, id: Id) {
        let now = self.net.clock(id);
        let setup = Setup {
            identity: identity(self.scenario.seed, id),
            draft: Some(self.draft(id)),
            seeds: self.seeds.clone(),
            policy: self.net.policy.clone(),
            saved: Saved::default(),
            banned: Vec::new(),
        };
        let seed = self.seed.split("host").split(&alloc::format!("{id}"));
        let host = H::host(Node::new(now, setup, &seed), now.mono);
        let place = &mut self.net.places[id];
        place.host = Some(host);
        place.joined = now.mono;
        self.net.collect(id);
    }

    /// A random live node that is not a seed.
    fn someone(&mut self) -> Id {
        let first = self.scenario.seeds;
        loop {
            let span = u64::try_from(self.net.places.len() - first).unwrap_or(1);
            let id = first + usize::try_from(self.dice.below(span)).unwrap_or(0);
            if self.net.is_honest(id) {
                return id;
            }
        }
    }

    fn newcomer(&mut self) -> Id {
        let id = self.net.places.len();
        self.place(id);
        self.join(id);
        id
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join(id) => self.join(id),
            Step::Count => {
                for (id, place) in self.net.places.iter().enumerate() {
                    self.counted[id] = traffic(place);
                }
            }
            Step::Churn => {
                let leaves = self.someone();
                self.net.crash(leaves);
                self.newcomer();
                let per_hour =
                    self.scenario.nodes as u64 * u64::from(self.scenario.churn_percent) / 100;
                // On average; between zero and twice the mean.
                let mean = 3_600_000_000 / per_hour.max(1);
                let wait = Duration::from_micros(self.dice.below(2 * mean + 1));
                let at = self.net.now + wait;
                self.net.push(at, Task::Script(Step::Churn));
            }
            Step::Part(parted) => self.net.part(parted),
            Step::Announce => self.announce(),
            Step::Look => self.look(),
            Step::Lookups => self.lookups(),
            Step::Attacker(id) => {
                let end = self.end;
                self.net.attacker_turn(id, &mut self.dice, end);
            }
        }
    }

    fn announce(&mut self) {
        let id = self.someone();
        let old = self.net.places[id]
            .host
            .as_ref()
            .and_then(|h| h.node().mesh().table().own().cloned());
        if let Some(old) = old {
            self.net.record_for_replay(old);
        }
        let draft = self.draft(id);
        self.net
            .command(id, NodeCommand::Mesh(Command::Announce(Some(draft))));
        let newcomer = self.newcomer();
        for (id, newcomer) in [(id, false), (newcomer, true)] {
            let own = self.net.places[id]
                .host
                .as_ref()
                .and_then(|h| h.node().mesh().table().own());
            if let Some(seq) = own.map(betanet_mesh::Record::seq) {
                let node = self.net.places[id].node;
                let at = self.net.now;
                self.watched.push(Watched {
                    node,
                    seq,
                    at,
                    newcomer,
                    reached: None,
                });
            }
        }
        let at = self.net.now + LOOK_EVERY;
        self.net.push(at, Task::Script(Step::Look));
    }

    fn hosts(&self) -> impl Iterator<Item = (Id, &Place<H>, &Node)> {
        let hosts = self.net.places.iter().enumerate();
        hosts.filter_map(|(id, p)| p.host.as_ref().map(|h| (id, p, h.node())))
    }

    fn look(&mut self) {
        let live = self.hosts().count();
        let now = self.net.now;
        let mut watched = core::mem::take(&mut self.watched);
        for w in watched.iter_mut().filter(|w| w.reached.is_none()) {
            let knows = |n: &Node| {
                let entry = n.mesh().table().get(w.node);
                // A node that keeps only a share is asked only about its share.
                let far = !n.mesh().table().share().holds(w.node);
                far || entry.is_some_and(|e| e.record().seq() >= w.seq)
            };
            let with = self
                .hosts()
                .filter(|(_, p, n)| p.node == w.node || knows(n))
                .count();
            if with * 100 >= live * 95 {
                w.reached = Some(now);
            }
        }
        self.watched = watched;
        if self.watched.iter().any(|w| w.reached.is_none()) {
            self.net.push(now + LOOK_EVERY, Task::Script(Step::Look));
        }
    }

    fn lookups(&mut self) {
        for _ in 0..LOOKUPS {
            let (asker, wanted) = (self.someone(), self.someone());
            let node = self.net.places[wanted].node;
            if asker != wanted
                && self
                    .net
                    .command(asker, NodeCommand::Mesh(Command::Lookup(node)))
            {
                self.asked.push((asker, node));
            }
        }
    }

    fn note_minute(&mut self) {
        let live: Vec<NodeId> = self.hosts().map(|(_, p, _)| p.node).collect();
        let every = (live.len() / SAMPLED).max(1);
        let (mut nodes, mut known, mut tested, mut bytes) = (0, 0, 0, 0);
        let mut told = BTreeMap::new();
        for (id, place, node) in self.hosts().step_by(every) {
            let table = node.mesh().table();
            let (mut all, mut has, mut has_tested) = (0, 0, 0);
            for peer in live
                .iter()
                .filter(|n| **n != place.node && table.share().holds(**n))
            {
                all += 1;
                let entry = table.get(*peer);
                has += u64::from(entry.is_some());
                has_tested += u64::from(entry.is_some_and(|e| e.tested().is_some()));
            }
            let (sent, received) = traffic(place);
            nodes += 1;
            known += has * 10_000 / u64::max(all, 1);
            tested += has_tested * 10_000 / u64::max(all, 1);
            bytes += sent + received - self.told.get(&id).copied().unwrap_or(0);
            told.insert(id, sent + received);
        }
        let nodes = u64::max(nodes, 1);
        self.told = told;
        self.minutes.push(Minute {
            known: known / nodes,
            tested: tested / nodes,
            bytes_per_s: bytes / nodes / 60,
        });
    }

    fn outcome(mut self) -> Outcome {
        let trace = self.net.trace;
        let liars_first = self.first_hops();
        let mut out = Outcome {
            trace,
            liars_first,
            checked: self.net.checks.checked,
            not_admitted: self.net.attack.not_admitted,
            minutes: core::mem::take(&mut self.minutes),
            ..Outcome::default()
        };
        let settled = |p: &Place<H>| p.joined + SETTLED <= self.end;
        let expected: Vec<NodeId> = self
            .hosts()
            .filter(|(_, p, _)| settled(p))
            .map(|(_, p, _)| p.node)
            .collect();
        out.live = self.hosts().count();
        let (mut asked, mut least, mut known, mut tested, mut records) = (0, 10_000, 0, 0, 0);
        let (mut sent, mut received, mut counted) = (0, 0, 0);
        let (mut ours, mut theirs, mut ours_all, mut theirs_all, mut worst) = (0, 0, 0, 0, 0);
        for (id, place, node) in self.hosts() {
            let table = node.mesh().table();
            records += table.len() as u64;
            out.share_bits = out.share_bits.max(table.share().bits());
            out.handshakes += node.mesh().stats().reached;
            if place.joined + COUNTED_FROM <= self.end {
                let (out_before, in_before) = self.counted[id];
                let (out_now, in_now) = traffic(place);
                let from = (place.joined).max(Time::ZERO + COUNTED_FROM);
                let micros = u64::try_from((self.end - from).as_micros())
                    .unwrap_or(1)
                    .max(1);
                sent += (out_now - out_before) * 1_000_000 / micros;
                received += (in_now - in_before) * 1_000_000 / micros;
                counted += 1;
            }
            let (mut bad, mut good) = (0, 0);
            let unix_ms = self.net.clock(id).unix_ms;
            for entry in table.iter() {
                let attacker = self.net.attack.nodes.contains(&entry.record().node());
                let is_tested = entry.tested().is_some();
                bad += u64::from(attacker && is_tested);
                good += u64::from(!attacker && is_tested);
                theirs_all += u64::from(attacker);
                ours_all += u64::from(!attacker);
                if let Some(fault) = self.net.attack.fault(entry.record(), unix_ms) {
                    *out.faults.entry(fault).or_default() += 1;
                }
                let node = entry.record().node();
                let newest = self
                    .watched
                    .iter()
                    .filter(|w| w.node == node)
                    .map(|w| w.seq)
                    .max();
                if newest.is_some_and(|seq| entry.record().seq() < seq) {
                    *out.faults.entry("replayed").or_default() += 1;
                }
            }
            ours += good;
            theirs += bad;
            worst = worst.max(bad * 10_000 / (bad + good).max(1));
            // A seed that cannot send its answers learns little itself.
            if settled(place) && id >= self.scenario.slow_seeds {
                let wanted = expected
                    .iter()
                    .filter(|n| **n != place.node && table.share().holds(**n));
                let (mut all, mut has, mut has_tested) = (0, 0, 0);
                for n in wanted {
                    all += 1;
                    let entry = table.get(*n);
                    has += u64::from(entry.is_some());
                    has_tested += u64::from(entry.is_some_and(|e| e.tested().is_some()));
                }
                let all = all.max(1);
                known += has * 10_000 / all;
                tested += has_tested * 10_000 / all;
                least = least.min(has * 10_000 / all);
                asked += 1;
            }
        }
        let live = (out.live as u64).max(1);
        let (asked, counted): (u64, u64) = (asked.max(1), counted.max(1));
        out.known_least = least;
        out.known_mean = known / asked;
        out.tested_mean = tested / asked;
        out.records_mean = records / live;
        out.handshakes /= live;
        out.sent_per_s = sent / counted;
        out.received_per_s = received / counted;
        out.attackers = (theirs * 10_000 / (ours + theirs).max(1), worst);
        out.attackers_untested = theirs_all * 10_000 / (ours_all + theirs_all).max(1);
        let found: BTreeSet<(Id, NodeId)> = self.net.attack.found.iter().copied().collect();
        out.lookups = (
            self.asked.len(),
            self.asked.iter().filter(|a| found.contains(a)).count(),
        );
        out.spreads = self
            .watched
            .iter()
            .map(|w| Spread {
                at_s: (w.at - Time::ZERO).as_secs(),
                newcomer: w.newcomer,
                seconds: w.reached.map(|t| (t - w.at).as_secs()),
            })
            .collect();
        out
    }

    /// Share of liars among the first hops that nodes choose, given the round-trip times that liars fake.
    fn first_hops(&mut self) -> u64 {
        if self.scenario.liars_percent == 0 {
            return 0;
        }
        let liars: BTreeSet<NodeId> = self
            .net
            .places
            .iter()
            .filter(|p| p.pace_percent < 100)
            .map(|p| p.node)
            .collect();
        let (mut all, mut lying) = (0, 0);
        let ids: Vec<Id> = self.hosts().map(|(id, ..)| id).take(100).collect();
        for id in ids {
            let tested: Vec<NodeId> = match &self.net.places[id].host {
                Some(h) => h
                    .node()
                    .mesh()
                    .table()
                    .iter()
                    .filter(|e| e.tested().is_some())
                    .map(|e| e.record().node())
                    .collect(),
                None => continue,
            };
            let now = self.net.clock(id);
            for node in &tested {
                let to = self.net.places.iter().position(|p| p.node == *node);
                let rtt = to.map(|to| self.net.delay(id, to) * 2).unwrap_or_default();
                if let Some(host) = &mut self.net.places[id].host {
                    let _ = host.handle_input(now, NodeInput::Answered { node: *node, rtt });
                }
            }
            let Some(exit) = tested.first().copied() else {
                continue;
            };
            for _ in 0..100 {
                let Some(host) = &mut self.net.places[id].host else {
                    break;
                };
                let path = NodeCommand::Ways {
                    exit,
                    nodes: 3,
                    not: Vec::new(),
                };
                let _ = host.handle_command(now, path);
                while let Some(event) = host.poll_event() {
                    if let NodeEvent::Ways { ways, .. } = event
                        && let Some(first) = ways.first().and_then(|way| way.first())
                    {
                        all += 1;
                        lying += u64::from(liars.contains(first));
                    }
                }
            }
        }
        lying * 10_000 / all.max(1)
    }
}

fn traffic<H: Host>(place: &Place<H>) -> (u64, u64) {
    let stats = place
        .host
        .as_ref()
        .map(|h| *h.node().mesh().stats())
        .unwrap_or_default();
    (stats.bytes_out, stats.bytes_in)
}
