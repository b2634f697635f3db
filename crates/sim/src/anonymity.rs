//! Measures how well a mix hides the senders of messages. Packets of many clients pass relays in layers. The observer sees
//! every link at all times, and everything that corrupt relays do.
//!
//! At each honest relay, the observer weighs by the delay distribution which departure each arrival may be, with arrivals and
//! departures matched one to one (Danezis, "The Traffic Analysis of Continuous-Time Mixes", 2004). It follows a message's
//! probability over the relays (Piotrowska et al., "The Loopix Anonymity System", 2017). The entropy of the anonymity set is
//! that of the places where the message may have come out.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use betanet_machine::{Rng, Seed, Time};
use betanet_mix::{
    Net, PACKET, Packet, Pool, Ticket, Via, Waiting, draw, exponential_delay, poisson_gap,
};
use betanet_wire::{ChargeTo, NodeId};
use core::time::Duration;

/// Number of balancing steps when arrivals and departures are matched.
const BALANCING: usize = 12;
/// Maximum stay of a packet at one relay, including its sending time.
const STAY: Duration = Duration::from_millis(151);
/// Probability below which a path is no longer followed.
const LEAST: f64 = 1e-7;

/// Parameters of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Seed of all randomness.
    pub seed: u64,
    /// Number of relays, evenly spread over the layers.
    pub relays: usize,
    /// Number of layers.
    pub layers: u8,
    /// Number of clients.
    pub clients: usize,
    /// Packets per second of each client.
    pub rate: f64,
    /// Percentage of relays that reveal everything to the observer.
    pub corrupt_percent: usize,
    /// Number of followed messages.
    pub followed: usize,
}

/// Results of a simulation, entropies in bits.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Entropy at one honest relay.
    pub one: f64,
    /// Entropy that the rate and the delays predict at one honest relay.
    pub one_predicted: f64,
    /// Entropy over the whole path.
    pub path: f64,
    /// Predicted entropy over the whole path for a network with links too busy to reveal anything.
    pub path_predicted: f64,
    /// Share of messages that the observer follows with certainty.
    pub certain: f64,
    /// Packets per second at one relay.
    pub relay_rate: f64,
}

/// One packet at one relay.
#[derive(Clone, Copy)]
struct Stay {
    relay: usize,
    arrived: Time,
    left: Time,
    /// Index of the packet's stay at the next relay.
    next: Option<usize>,
}

/// A packet in flight.
struct Journey {
    path: Vec<usize>,
    at: usize,
    before: Option<usize>,
    arrived: Time,
}

fn node(n: usize) -> NodeId {
    let mut id = [0; 20];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    NodeId(id)
}

/// Simulates sending clients for `length` and records every stay at every relay.
fn run(setting: &Setting, length: Duration, rng: &mut Rng) -> Vec<Stay> {
    let orgs = names(setting);
    let tickets = tickets(setting, &orgs);
    let mean = Duration::from_secs_f64(1.0 / (setting.rate * setting.clients as f64));
    let mut waiting: Vec<Waiting> = (0..setting.relays).map(|_| Waiting::new(1 << 20)).collect();
    let mut wakes: BTreeMap<(Time, usize), ()> = BTreeMap::new();
    let mut journeys: BTreeMap<u64, Journey> = BTreeMap::new();
    let mut pool = Pool::new(1 << 20);
    let mut stays: Vec<Stay> = Vec::new();
    let (mut now, mut next_id) = (Time::ZERO, 0_u64);
    let mut next_packet = now + poisson_gap(rng, mean);
    let end = now + length;
    loop {
        let due = wakes
            .first_key_value()
            .map(|((at, relay), ())| (*at, *relay));
        let sends = due.is_none_or(|(at, _)| next_packet < at);
        if sends && next_packet >= end {
            if due.is_none() {
                return stays;
            }
            next_packet = Time::from_micros(u64::MAX);
            continue;
        }
        let arriving = if sends {
            now = next_packet;
            next_packet = now + poisson_gap(rng, mean);
            let path = draw(
                &rng.array(),
                &tickets,
                setting.layers,
                usize::from(setting.layers),
                None,
            );
            let Ok(path) = path else { continue };
            next_id += 1;
            let journey = Journey {
                path,
                at: 0,
                before: None,
                arrived: now,
            };
            journeys.insert(next_id, journey);
            let mut packet = pool.take();
            packet.0[..8].copy_from_slice(&next_id.to_be_bytes());
            packet
        } else {
            let Some((at, relay)) = due else { return stays };
            now = at;
            wakes.remove(&(at, relay));
            let Some(departure) = waiting[relay].pop(now) else {
                continue;
            };
            if let Some(wake) = waiting[relay].wake() {
                wakes.insert((wake, relay), ());
            }
            departed(
                departure.packet,
                relay,
                now,
                (&mut stays, &mut journeys, &mut pool),
                rng,
            )
        };
        arrive(
            arriving,
            now,
            &mut waiting,
            &mut wakes,
            (&journeys, &mut pool),
            rng,
        );
    }
}

/// Records a finished stay and passes the packet on.
fn departed(
    packet: alloc::boxed::Box<Packet>,
    relay: usize,
    now: Time,
    (stays, journeys, pool): (&mut Vec<Stay>, &mut BTreeMap<u64, Journey>, &mut Pool),
    rng: &mut Rng,
) -> alloc::boxed::Box<Packet> {
    let id = id_of(&packet);
    let Some(journey) = journeys.get_mut(&id) else {
        return packet;
    };
    // Sending takes up to a millisecond, which blurs the delays of whole milliseconds.
    let left = now + Duration::from_micros(rng.below(1000));
    let this = stays.len();
    stays.push(Stay {
        relay,
        arrived: journey.arrived,
        left,
        next: None,
    });
    if let Some(before) = journey.before {
        stays[before].next = Some(this);
    }
    journey.before = Some(this);
    journey.at += 1;
    journey.arrived = left;
    if journey.at == journey.path.len() {
        journeys.remove(&id);
        pool.give(packet);
        return pool.take();
    }
    packet
}

fn id_of(packet: &Packet) -> u64 {
    let (first, _) = packet.0[..PACKET]
        .split_first_chunk::<8>()
        .unwrap_or((&[0; 8], &[]));
    u64::from_be_bytes(*first)
}

fn arrive(
    packet: alloc::boxed::Box<Packet>,
    now: Time,
    waiting: &mut [Waiting],
    wakes: &mut BTreeMap<(Time, usize), ()>,
    (journeys, pool): (&BTreeMap<u64, Journey>, &mut Pool),
    rng: &mut Rng,
) {
    let id = id_of(&packet);
    let Some(journey) = journeys.get(&id) else {
        return pool.give(packet);
    };
    let relay = journey.path[journey.at];
    if let Some(wake) = waiting[relay].wake() {
        wakes.remove(&(wake, relay));
    }
    let at = now.max(journey.arrived);
    // Each packet counts as a session of its own: shares do not matter here.
    let mut payer = [0; 20];
    payer[..8].copy_from_slice(&id.to_be_bytes());
    let charge = ChargeTo::Node(NodeId(payer));
    let via = Via {
        session: id,
        charge,
    };
    let pushed = waiting[relay].push(at, via, exponential_delay(rng), node(relay), packet);
    if let Err((_, packet)) = pushed {
        pool.give(packet);
    }
    if let Some(wake) = waiting[relay].wake() {
        wakes.insert((wake, relay), ());
    }
}

/// Probability of a delay of `ms` whole milliseconds.
fn delay_is(ms: usize) -> f64 {
    let more = libm::exp(-1.0 / 50.0);
    match ms {
        0..150 => (1.0 - more) * libm::pow(more, ms as f64),
        150 => libm::pow(more, 150.0),
        _ => 0.0,
    }
}

fn bits(p: impl Iterator<Item = f64>) -> f64 {
    p.filter(|p| *p > 0.0).map(|p| -p * libm::log2(p)).sum()
}

/// Entropy in bits that a rate predicts when delays are the sum of `hops` relay delays: the entropy of the delays' density plus
/// the logarithm of the rate.
#[must_use]
pub fn predicted(rate: f64, hops: usize) -> f64 {
    let one: Vec<f64> = (0..=150).map(delay_is).collect();
    // Sending adds up to a millisecond: the density of one hop is a step function with steps of a millisecond.
    let mut sum = one.clone();
    for _ in 1..hops {
        let mut next = vec![0.0; sum.len() + one.len()];
        for (i, a) in sum.iter().enumerate() {
            for (j, b) in one.iter().enumerate() {
                // The sum of two millisecond steps is a triangle over two milliseconds.
                next[i + j] += a * b / 2.0;
                next[i + j + 1] += a * b / 2.0;
            }
        }
        sum = next;
    }
    bits(sum.into_iter()) + libm::log2(rate / 1000.0)
}

/// Possible departures of each arrival at one relay, with their probabilities.
type Weights = BTreeMap<usize, Vec<(usize, f64)>>;

/// Weighs the stays of one relay, so that each arrival and each departure has a total weight of one.
fn weigh(stays: &[Stay], of_relay: &[usize]) -> Weights {
    let mut by_departure: Vec<(Time, usize)> =
        of_relay.iter().map(|s| (stays[*s].left, *s)).collect();
    by_departure.sort_unstable();
    let mut rows: Vec<(usize, Vec<(usize, f64)>)> = Vec::with_capacity(of_relay.len());
    for arrival in of_relay {
        let from = stays[*arrival].arrived;
        let start = by_departure.partition_point(|(left, _)| *left < from);
        let mut row = Vec::new();
        for (column, (left, _)) in by_departure.iter().enumerate().skip(start) {
            let stay = *left - from;
            if stay > STAY {
                break;
            }
            let ms = usize::try_from(stay.as_millis()).unwrap_or(usize::MAX);
            let p = delay_is(ms);
            if p > 0.0 {
                row.push((column, p));
            }
        }
        rows.push((*arrival, row));
    }
    for _ in 0..BALANCING {
        let mut columns = vec![0.0; by_departure.len()];
        for (_, row) in &mut rows {
            let sum: f64 = row.iter().map(|(_, p)| p).sum();
            for (column, p) in row.iter_mut() {
                *p /= sum.max(f64::MIN_POSITIVE);
                columns[*column] += *p;
            }
        }
        for (_, row) in &mut rows {
            for (column, p) in row.iter_mut() {
                *p /= columns[*column].max(f64::MIN_POSITIVE);
            }
        }
    }
    let named = |row: Vec<(usize, f64)>| {
        let sum: f64 = row.iter().map(|(_, p)| p).sum();
        row.into_iter()
            .map(|(column, p)| (by_departure[column].1, p / sum.max(f64::MIN_POSITIVE)))
            .collect()
    };
    rows.into_iter()
        .map(|(arrival, row)| (arrival, named(row)))
        .collect()
}

/// Measures the entropy of messages' anonymity sets.
#[must_use]
pub fn measure(setting: &Setting) -> Measured {
    let mut rng = Rng::new(&Seed::from_number(setting.seed));
    // Long enough that followed messages see busy relays before and after them.
    let length = Duration::from_millis(1600);
    let stays = run(setting, length, &mut rng);
    let mut of_relay: Vec<Vec<usize>> = vec![Vec::new(); setting.relays];
    for (i, stay) in stays.iter().enumerate() {
        of_relay[stay.relay].push(i);
    }
    let corrupt = |relay: usize| relay * 100 < setting.corrupt_percent * setting.relays;
    let weights: Vec<Weights> = of_relay
        .iter()
        .enumerate()
        .map(|(relay, all)| {
            if corrupt(relay) {
                all.iter().map(|s| (*s, vec![(*s, 1.0)])).collect()
            } else {
                weigh(&stays, all)
            }
        })
        .collect();
    let mut entered = vec![true; stays.len()];
    for next in stays.iter().filter_map(|s| s.next) {
        entered[next] = false;
    }
    let window = Time::ZERO + Duration::from_millis(500)..Time::ZERO + Duration::from_millis(1000);
    let candidates: Vec<usize> = (0..stays.len())
        .filter(|s| entered[*s] && window.contains(&stays[*s].arrived))
        .collect();
    let (mut one, mut ones, mut path, mut certain) = (0.0, 0.0_f64, 0.0, 0.0);
    for _ in 0..setting.followed {
        let pick = usize::try_from(rng.below(candidates.len().max(1) as u64)).unwrap_or(0);
        let Some(target) = candidates.get(pick) else {
            break;
        };
        let mut masses: BTreeMap<usize, f64> = BTreeMap::from([(*target, 1.0)]);
        if !corrupt(stays[*target].relay) {
            let row = &weights[stays[*target].relay][target];
            one += bits(row.iter().map(|(_, p)| *p));
            ones += 1.0;
        }
        let mut out: BTreeMap<usize, f64> = BTreeMap::new();
        while !masses.is_empty() {
            let mut next: BTreeMap<usize, f64> = BTreeMap::new();
            for (stay, mass) in masses {
                let Some(row) = weights[stays[stay].relay].get(&stay) else {
                    continue;
                };
                for (departed, p) in row {
                    let mass = mass * p;
                    if mass < LEAST {
                        continue;
                    }
                    match stays[*departed].next {
                        Some(onward) => *next.entry(onward).or_default() += mass,
                        None => *out.entry(*departed).or_default() += mass,
                    }
                }
            }
            masses = next;
        }
        let sum: f64 = out.values().sum();
        let entropy = bits(out.values().map(|p| p / sum));
        path += entropy;
        certain += f64::from(u8::from(entropy < 1e-6));
    }
    let n = setting.followed as f64;
    let total = setting.rate * setting.clients as f64;
    let relay_rate = total * f64::from(setting.layers) / setting.relays as f64;
    Measured {
        one: one / ones.max(1.0),
        one_predicted: predicted(relay_rate, 1),
        path: path / n,
        path_predicted: predicted(total, usize::from(setting.layers)),
        certain: certain / n,
        relay_rate,
    }
}

/// Evidence that clients' loops give of a relay that drops all packets but one.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Number of loops sent during the attack.
    pub loops: u64,
    /// Number of those loops that the relay dropped.
    pub lost: u64,
    /// Number of clients that lost a loop.
    pub alarmed: usize,
    /// Time from the start of the attack to the first missed loop.
    pub first: Option<Duration>,
}

/// Simulates an n-1 attack: for `lasts`, one relay drops everything but its target's message. Every client sends loops at a
/// mean interval of `every`, and counts a loop as missed after `patience`. A relay of the first layer meets only the clients
/// whose guard it is.
#[must_use]
pub fn n_minus_one(
    setting: &Setting,
    attacker: usize,
    every: Duration,
    lasts: Duration,
    patience: Duration,
) -> Attack {
    let mut rng = Rng::new(&Seed::from_number(setting.seed));
    let orgs = names(setting);
    let tickets = tickets(setting, &orgs);
    let mut attack = Attack {
        loops: 0,
        lost: 0,
        alarmed: 0,
        first: None,
    };
    for _ in 0..setting.clients {
        let guard = usize::try_from(rng.below(setting.relays as u64)).ok();
        let (mut at, mut alarmed) = (poisson_gap(&mut rng, every), false);
        while at < lasts {
            attack.loops += 1;
            let path = draw(
                &rng.array(),
                &tickets,
                setting.layers,
                usize::from(setting.layers),
                guard,
            );
            if path.is_ok_and(|path| path.contains(&attacker)) {
                attack.lost += 1;
                alarmed = true;
                let missed = at + patience;
                attack.first = Some(attack.first.map_or(missed, |f| f.min(missed)));
            }
            at += poisson_gap(&mut rng, every);
        }
        attack.alarmed += usize::from(alarmed);
    }
    attack
}

/// Names of the relays' operators, all different.
fn names(setting: &Setting) -> Vec<String> {
    (0..setting.relays).map(|n| format!("{n}")).collect()
}

fn tickets<'o>(setting: &Setting, orgs: &'o [String]) -> Vec<Ticket<'o>> {
    let all = orgs.iter().enumerate();
    all.map(|(n, org)| ticket(n, setting.layers, org)).collect()
}

fn ticket(n: usize, layers: u8, org: &str) -> Ticket<'_> {
    let [.., a, b] = (n as u64).to_be_bytes();
    Ticket {
        node: node(n),
        layer: u8::try_from(n % usize::from(layers)).unwrap_or(0),
        weight: 100,
        org,
        net: Net::from(IpAddr::V4(Ipv4Addr::new(a, b, 0, 1))),
    }
}
