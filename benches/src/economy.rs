//! The economy's machine alone, on one core: without a journal, and without signatures but in the replay.
//!
//! All is processor time, which others on the machine do not lengthen.

use std::time::Duration;

use betanet_tokenomics::account::{DAY_MS, MICRO, NODE, USER, address};
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::request::{Effect, Envelope, Kind, Op, Transfer};
use betanet_tokenomics::{Asset, Code, Economy, GenesisDraft, Request};
use betanet_wire::NodeId;

use crate::{Effort, Figure, cpu};

/// Accounts of users.
const USERS: u64 = 3_000;
/// Nodes with delegates.
const NODES: u64 = 1_000;
/// Transfers of a request.
const LIST: u64 = 64;

/// Records of the replay that are signed.
const SIGNED: usize = 20_000;
/// Requests of a batch, which have 8 000 transfers.
const BATCH: usize = 125;

fn measure_one<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = cpu();
    let out = run();
    (out, cpu().saturating_sub(start))
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
            let (answer, time) = measure_one(|| self.economy.tick(self.now).unwrap());
            if answer.code != Code::Ok {
                return longest;
            }
            longest = longest.max(time);
        }
    }
}

/// A figure of a time or rate by itself, beside what is asked.
fn figure(name: &'static str, ratio: f64, bound: f64, at_least: bool, detail: String) -> Figure {
    Figure {
        name,
        ratio,
        bound,
        at_least,
        detail,
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let count = if effort.quick { 64_000 } else { 1_000_000 };
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
    let mut figures = vec![transfers(&mut bench, count)];
    figures.push(holds(&mut bench, count / 10));
    figures.push(snapshot(&mut bench, &genesis));
    figures.push(votes(&mut bench, count / 10));
    figures.push(replay(count));
    figures
}

/// The applying alone, in batches; reading and the root are told beside it.
fn transfers(bench: &mut Bench, count: u64) -> Figure {
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
    let (_, reading) = measure_one(|| {
        for body in &bodies {
            assert!(Request::from_bytes(body).is_some());
        }
    });
    let mut applying = Duration::ZERO;
    for batch in requests.chunks(BATCH) {
        let (_, time) = measure_one(|| {
            for request in batch {
                let answer = bench.economy.apply_unsigned(bench.now, request).unwrap();
                assert_eq!(answer.code, Code::Ok);
            }
        });
        applying += time;
    }
    let (_, rooting) = measure_one(|| bench.economy.root());
    figure(
        "economy: million transfers/s",
        rate(applying) / 1e6,
        1.0,
        true,
        format!(
            "{:.0} a second applied in batches of {}, {:.0} read; the root of all once in {:.2} s",
            rate(applying),
            BATCH as u64 * LIST,
            rate(reading),
            rooting.as_secs_f64()
        ),
    )
}

fn holds(bench: &mut Bench, count: u64) -> Figure {
    for n in 0..count.div_ceil(LIST) {
        let by = n % USERS;
        let op = bench.transfers(by, Some(60));
        bench.send(by, &op);
    }
    let longest = bench.wait(60_000);
    figure(
        "economy: holds end, longest, ms",
        ms(longest),
        10.0,
        false,
        format!("{count} holds end in one instant, 256 a record"),
    )
}

fn snapshot(bench: &mut Bench, genesis: &[u8]) -> Figure {
    let mut rows = Vec::new();
    bench
        .economy
        .dump(&mut |table, key, value| rows.push((table, key, value)));
    let size: usize = rows
        .iter()
        .map(|(_, key, value)| key.len() + value.len())
        .sum();
    let count = rows.len();
    let (mut loaded, loading) = measure_one(|| Economy::load(genesis, rows).unwrap());
    let (root, rooting) = measure_one(|| loaded.root());
    assert_eq!(root, bench.economy.root());
    figure(
        "economy: restart, s",
        (loading + rooting).as_secs_f64(),
        2.0,
        false,
        format!(
            "{count} rows of a snapshot, {} MiB: loaded in {:.2} s, their root in {:.2} s",
            size >> 20,
            loading.as_secs_f64(),
            rooting.as_secs_f64()
        ),
    )
}

/// Votes of 1 000 nodes for the stakes of others, and the end of the vote.
fn votes(bench: &mut Bench, voters: u64) -> Figure {
    for n in USERS..USERS + NODES {
        let bond = Op::Bond {
            amt: 1_000 * MICRO,
            comm: 0,
        };
        bench.send(n, &bond);
    }
    // As many accounts, each with a stake of its own.
    for n in 0..voters {
        let (by, new) = (n % USERS, key(1 << 32 | n));
        let kind = 0;
        bench.send(by, &Op::Open { key: new, kind });
        let list = vec![
            Transfer::new(
                bench.id(),
                false,
                &Kind::Plain {
                    from: account(by),
                    to: address(&new),
                    asset: Asset::Fog,
                    amt: 10 * MICRO,
                },
            )
            .unwrap(),
        ];
        bench.send(by, &Op::Transfers { list });
        let node = account(USERS + n % NODES);
        bench.send(1 << 32 | n, &Op::Delegate { amt: MICRO, node });
    }
    let epoch = bench.wait(DAY_MS);
    let propose = Op::propose(vec![Effect::Text], [0; 32]);
    // The proposer needs 1 % of all stake.
    let own = Op::Delegate {
        amt: 50_000 * MICRO,
        node: account(USERS),
    };
    bench.send(0, &own);
    bench.wait(DAY_MS);
    let request = bench.send(0, &propose);
    let pid = betanet_tokenomics::records::proposal_id(request.body());
    bench.wait(DAY_MS);
    let votes: Vec<Request> = (USERS..USERS + NODES)
        .map(|n| {
            let nonce = bench.economy.nonce(&account(n)).unwrap();
            bench.request(n, nonce, &Op::Vote { pid, v: 1 })
        })
        .collect();
    let (_, voting) = measure_one(|| {
        for vote in &votes {
            let answer = bench.economy.apply_unsigned(bench.now, vote).unwrap();
            assert_eq!(answer.code, Code::Ok);
        }
    });
    figure(
        "economy: tally, ms",
        ms(voting),
        10.0,
        false,
        format!(
            "{NODES} nodes vote for {voters} holders, all votes together; an epoch of as many stakes ends in {:.1} ms at most",
            ms(epoch)
        ),
    )
}

/// A journal of one transfer a record, read and applied; and the share of it that signatures would add, of the first records.
fn replay(count: u64) -> Figure {
    let identities: Vec<betanet_keys::Identity> = (0..64_u8)
        .map(|n| betanet_keys::Identity::from_seed(&[n; 32]))
        .collect();
    let alloc: Vec<_> = identities
        .iter()
        .map(|i| (*i.public().as_bytes(), USER, 1_000_000 * MICRO))
        .collect();
    let draft = GenesisDraft {
        name: "replay",
        epoch_ms: DAY_MS,
        cap: 1 << 62,
        base: 1_000 * MICRO,
        halving: 365,
        treasury: MICRO,
        alloc: &alloc,
        ..GenesisDraft::default()
    };
    let economy = Economy::new(&draft.to_bytes()).unwrap();
    let mut bench = Bench {
        economy,
        now: 0,
        made: 0,
    };
    let of = |n: usize| address(identities[n].public().as_bytes());
    let first = bench.economy.first_record().to_bytes();
    let (mut records, mut nonces) = (Vec::new(), [0; 64]);
    for n in 0..usize::try_from(count).unwrap() {
        let by = n % 64;
        let kind = Kind::Plain {
            from: of(by),
            to: of((by + 1 + n / 64 % 63) % 64),
            asset: Asset::Fog,
            amt: 1,
        };
        let list = vec![Transfer::new(bench.id(), false, &kind).unwrap()];
        let id = bench.id();
        let op = Op::Transfers { list };
        let request = Request::new(&[(of(by), nonces[by])], DAY_MS, id, &op).unwrap();
        nonces[by] += 1;
        let envelope = match n < SIGNED {
            true => Envelope::sign(request, bench.economy.genesis().id(), &[&identities[by]]),
            false => Envelope {
                request,
                sigs: vec![[0; 64]],
            },
        };
        let record = Record {
            req: envelope.to_bytes(),
            seq: n as u64 + 1,
            ts: 0,
        };
        records.push(record.to_bytes());
    }
    let (root, time) = measure_one(|| {
        let mut economy = Economy::from_first(&first).unwrap();
        for record in &records {
            let record = Record::from_bytes(record).unwrap();
            let envelope = Economy::read(&record.req).unwrap();
            let answer = economy.apply_unsigned(record.ts, &envelope.request);
            assert!(answer.unwrap().is_new());
        }
        economy.root()
    });
    let signed = records.len().min(SIGNED);
    let (mut economy, checking) = measure_one(|| {
        let mut economy = Economy::from_first(&first).unwrap();
        for record in &records[..signed] {
            economy.replay(record).unwrap();
        }
        economy
    });
    if signed == records.len() {
        assert_eq!(economy.root(), root);
    }
    figure(
        "economy: replay of 10^6 records, s",
        time.as_secs_f64() * 1e6 / count as f64,
        5.0,
        false,
        format!(
            "{count} records of one transfer read and applied, and their root, in {:.2} s; {:.0} a second with each signature checked",
            time.as_secs_f64(),
            signed as f64 / checking.as_secs_f64()
        ),
    )
}
