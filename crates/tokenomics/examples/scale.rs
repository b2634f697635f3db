//! Times of the economy's machine, printed.
//!
//! `cargo run --release -p betanet-tokenomics --example scale [TRANSFERS]`, by default with 1 000 000 transfers between 3 000
//! accounts. No journal is written and no signature is verified: times are processor time of the machine alone, on one core. The
//! kernel counts it in steps of up to 4 ms.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures: it prints, reads the clock, and stops where it is surprised"
)]

use std::time::Duration;

use betanet_tokenomics::account::{DAY_MS, MICRO, NODE, USER, address};
use betanet_tokenomics::request::{Effect, Kind, Op, Transfer};
use betanet_tokenomics::{Asset, Code, Economy, GenesisDraft, Request};
use betanet_wire::NodeId;

/// Accounts of users.
const USERS: u64 = 3_000;
/// Nodes with delegates.
const NODES: u64 = 1_000;
/// Transfers of a request.
const LIST: u64 = 64;

/// Processor time of this thread, which others on the machine do not lengthen.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let ns = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(ns)
}

fn measure<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = spent();
    let out = run();
    (out, spent().saturating_sub(start))
}

fn key(n: u64) -> [u8; 32] {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&n.to_be_bytes());
    key
}

fn account(n: u64) -> NodeId {
    address(&key(n))
}

struct Bench {
    economy: Economy,
    now: u64,
    made: u64,
}

impl Bench {
    fn id(&mut self) -> [u8; 16] {
        self.made += 1;
        let hash = betanet_keys::hash(&[&self.made.to_be_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        id
    }

    fn request(&mut self, by: u64, nonce: u64, op: &Op) -> Request {
        let id = self.id();
        Request::new(&[(account(by), nonce)], self.now + DAY_MS, id, op).unwrap()
    }

    fn send(&mut self, by: u64, op: &Op) -> Request {
        let nonce = self.economy.nonce(&account(by)).unwrap();
        let request = self.request(by, nonce, op);
        let answer = self.economy.apply_unsigned(self.now, &request).unwrap();
        assert_eq!(answer.code, Code::Ok, "{op:?}");
        request
    }

    fn transfers(&mut self, from: u64, hold: Option<u64>) -> Op {
        let mut list = Vec::new();
        for n in 0..LIST {
            let id = self.id();
            let (from, to) = (account(from), account((from + 1 + n * 37) % USERS));
            let (asset, amt) = (Asset::Fog, 1);
            let kind = match hold {
                None => Kind::Plain {
                    from,
                    to,
                    asset,
                    amt,
                },
                Some(ttl) => Kind::Pending {
                    from,
                    to,
                    asset,
                    amt,
                    ttl,
                    arb: None,
                    price: 0,
                },
            };
            list.push(Transfer::new(id, false, &kind).unwrap());
        }
        Op::Transfers { list }
    }

    fn wait(&mut self, ms: u64) -> Duration {
        self.now += ms;
        let mut longest = Duration::ZERO;
        loop {
            let (answer, time) = measure(|| self.economy.tick(self.now).unwrap());
            if answer.code != Code::Ok {
                return longest;
            }
            longest = longest.max(time);
        }
    }
}

fn main() {
    let count: u64 = std::env::args()
        .nth(1)
        .map_or(1_000_000, |n| n.parse().unwrap());
    let users = (0..USERS).map(|n| (key(n), USER, 1_000_000 * MICRO));
    let nodes = (USERS..USERS + NODES).map(|n| (key(n), NODE, 1_000_000 * MICRO));
    let alloc: Vec<_> = users.chain(nodes).collect();
    let draft = GenesisDraft {
        name: "scale",
        epoch_ms: DAY_MS,
        cap: 1 << 62,
        base: 1_000 * MICRO,
        halving: 365,
        treasury: MICRO,
        alloc: &alloc,
        ..GenesisDraft::default()
    };
    let genesis = draft.to_bytes();
    let mut bench = Bench {
        economy: Economy::new(&genesis).unwrap(),
        now: 0,
        made: 0,
    };
    transfers(&mut bench, count);
    holds(&mut bench);
    snapshot(&mut bench, &genesis);
    votes(&mut bench);
}

fn transfers(bench: &mut Bench, count: u64) {
    let mut nonces = vec![0; usize::try_from(USERS).unwrap()];
    let mut requests = Vec::new();
    for n in 0..count.div_ceil(LIST) {
        let by = n % USERS;
        let op = bench.transfers(by, None);
        let nonce = &mut nonces[usize::try_from(by).unwrap()];
        let request = bench.request(by, *nonce, &op);
        *nonce += 1;
        requests.push(request);
    }
    let bodies: Vec<Vec<u8>> = requests.iter().map(|r| r.body().to_vec()).collect();
    let all = count.div_ceil(LIST) * LIST;
    let rate = |time: Duration| all as f64 / time.as_secs_f64();
    let (_, reading) = measure(|| {
        for body in &bodies {
            assert!(Request::from_bytes(body).is_some());
        }
    });
    let (_, applying) = measure(|| {
        for request in &requests {
            let answer = bench.economy.apply_unsigned(bench.now, request).unwrap();
            assert_eq!(answer.code, Code::Ok);
        }
    });
    let (root, rooting) = measure(|| bench.economy.root());
    println!("{all} transfers, {LIST} a request:");
    println!("  read: {:.0} a second", rate(reading));
    println!("  applied: {:.0} a second", rate(applying));
    println!(
        "  root once at the end: {:.2} s ({:02x}…)",
        rooting.as_secs_f64(),
        root[0]
    );
    println!(
        "  all of it: {:.0} a second",
        rate(reading + applying + rooting)
    );
}

fn holds(bench: &mut Bench) {
    for n in 0..100_000_u64.div_ceil(LIST) {
        let by = n % USERS;
        let op = bench.transfers(by, Some(60));
        bench.send(by, &op);
    }
    let longest = bench.wait(60_000);
    println!("100 000 holds end in one instant: the longest record takes {longest:?}");
}

fn snapshot(bench: &mut Bench, genesis: &[u8]) {
    let mut rows = Vec::new();
    bench
        .economy
        .dump(&mut |table, key, value| rows.push((table, key, value)));
    let size: usize = rows
        .iter()
        .map(|(_, key, value)| key.len() + value.len())
        .sum();
    let count = rows.len();
    let (mut loaded, loading) = measure(|| Economy::load(genesis, rows).unwrap());
    let (root, rooting) = measure(|| loaded.root());
    assert_eq!(root, bench.economy.root());
    println!(
        "a snapshot of {count} rows, {} MiB: loaded in {:.2} s, its root in {:.2} s",
        size >> 20,
        loading.as_secs_f64(),
        rooting.as_secs_f64()
    );
}

fn votes(bench: &mut Bench) {
    for n in USERS..USERS + NODES {
        bench.send(
            n,
            &Op::Bond {
                amt: 1_000 * MICRO,
                comm: 0,
            },
        );
    }
    // 100 delegates a node: 100 000 stakes of 3 000 holders.
    for n in 0..100_000 {
        let node = account(USERS + n % NODES);
        let by = (n * 7 + n / NODES) % USERS;
        bench.send(by, &Op::Delegate { amt: MICRO, node });
    }
    let longest = bench.wait(DAY_MS);
    println!("an epoch of 1 000 nodes and 100 000 stakes ends in {longest:?}");
    let propose = Op::propose(vec![Effect::Text], [0; 32]);
    // The proposer needs 1 % of all stake.
    bench.send(
        0,
        &Op::Delegate {
            amt: 50_000 * MICRO,
            node: account(USERS),
        },
    );
    bench.wait(DAY_MS);
    let request = bench.send(0, &propose);
    let pid = betanet_tokenomics::records::proposal_id(request.body());
    bench.wait(DAY_MS);
    let (_, voting) = measure(|| {
        for n in USERS..USERS + NODES {
            bench.send(n, &Op::Vote { pid, v: 1 });
        }
    });
    println!("1 000 nodes vote for 100 000 stakes in {voting:?}");
}
