//! Measures payments over sessions from request to signed answer, each committed to SQLite or PostgreSQL first.
//!
//! `cargo run --release -p betanet-economy-service --example load -- [SECONDS] [SESSIONS] [TRANSFERS] [PAYERS] [postgres]`
//!
//! Each session has so many payers, and each payer one request under way, as its nonces ask. A node admits few new sessions of an
//! address at once, so more than about 8 are refused. `postgres` starts a cluster of its own, which syncs its log to disk.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement prints, stops where it is surprised, and looks at the clock"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use betanet_economy_service::client::{self, Replied, Trust};
use betanet_economy_service::{EconomyService, PREFIX, Settings};
use betanet_journal::Journal;
use betanet_journal_postgres::testkit::Cluster;
use betanet_journal_postgres::{PostgresJournal, Settings as PostgresSettings};
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Clock, Gateway, GatewayConfig, Node, SessionHandle};
use betanet_store::State;
use betanet_tokenomics::account::{MICRO, USER, address};
use betanet_tokenomics::request::{Kind, Op, Transfer};
use betanet_tokenomics::{Asset, Code, Envelope, GenesisDraft, Request, Role};

fn identity(n: u64) -> Identity {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}

fn id(client: u64, n: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&client.to_be_bytes());
    id[8..].copy_from_slice(&n.to_be_bytes());
    id
}

/// Sends payments of an account to the next one until the time is over. Returns how long each took.
async fn pay(
    peer: Peer,
    session: SessionHandle,
    genesis: Arc<Vec<u8>>,
    (client, clients, transfers): (u64, u64, u64),
    end: Instant,
) -> Vec<Duration> {
    let trust = Trust::new(&genesis).unwrap();
    let me = identity(client);
    let from = address(me.public().as_bytes());
    let to = address(identity((client + 1) % clients).public().as_bytes());
    let mut times = Vec::new();
    for nonce in 0.. {
        if Instant::now() >= end {
            break;
        }
        let kind = Kind::Plain {
            from,
            to,
            asset: Asset::Fog,
            amt: 1,
        };
        let one = |n| Transfer::new(id(client, 1 + nonce * 65 + n), false, &kind).unwrap();
        let list = (1..=transfers).map(one).collect();
        let exp = Clock::start().now().unix_ms + 60_000;
        let number = id(client, 1 + nonce * 65);
        let op = Op::Transfers { list };
        let request = Request::new(&[(from, nonce)], exp, number, &op).unwrap();
        let envelope = Envelope::sign(request, trust.genesis().id(), &[&me]);
        let begun = Instant::now();
        let bytes = envelope.to_bytes();
        let upload = session
            .upload(client::submit_request(&bytes))
            .await
            .unwrap();
        upload.send(bytes.into()).await.unwrap();
        let replied = Replied::of(upload.finish().await.unwrap(), 1 << 16).await;
        let body = client::answer(&replied.unwrap(), &peer.key, &envelope).unwrap();
        assert_eq!(body.answer.code, Code::Ok);
        times.push(begun.elapsed());
    }
    times
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = words.iter().map_while(|n| n.parse::<u64>().ok());
    let seconds = numbers.next().unwrap_or(5);
    let sessions = numbers.next().unwrap_or(4);
    let transfers = numbers.next().unwrap_or(1).clamp(1, 64);
    let clients = sessions * numbers.next().unwrap_or(1);
    let cluster = words
        .last()
        .filter(|word| *word == "postgres")
        .map(|_| Cluster::start());
    let home = tempfile::tempdir().unwrap();
    let alloc: Vec<_> = (0..clients)
        .map(|n| (*identity(n).public().as_bytes(), USER, 1_000_000 * MICRO))
        .collect();
    let signers = [1 << 40, 2 << 40].map(identity);
    let listed = signers.each_ref().map(|s| s.public().as_bytes().to_vec());
    let genesis = GenesisDraft {
        name: "load",
        t0: Clock::start().now().unix_ms,
        epoch_ms: 86_400_000,
        cap: 1 << 62,
        halving: 365,
        alloc: &alloc,
        roles: &[(Role::Signers, listed.to_vec())],
        ..GenesisDraft::default()
    };
    let genesis = Arc::new(genesis.to_bytes());
    let mut config = GatewayConfig::in_state(home.path().join("state"));
    config.listener.listen = vec!["127.0.0.1:0".into()];
    config.limits.per_address = Some(4096);
    config.limits.opens = Some(1 << 20);
    config.limits.opens_per_second = Some(1 << 20);
    let me = identity(3 << 40);
    let mut settings = Settings::new(genesis.to_vec());
    settings.signers = signers.to_vec();
    let service = EconomyService::new(me.clone(), settings).unwrap();
    let gateway = Gateway::builder(me, &config)
        .service(PREFIX, service.service())
        .start()
        .await
        .unwrap();
    let state = Arc::new(State::open(&home.path().join("economy")).unwrap());
    let journal: Arc<dyn Journal> = match &cluster {
        None => Arc::new(SqliteJournal::open(&state, SqliteSettings::default()).unwrap()),
        Some(cluster) => {
            let settings = PostgresSettings::new(&cluster.url()).unwrap();
            Arc::new(PostgresJournal::open(settings).await.unwrap())
        }
    };
    let running = service.start(journal).await.unwrap();
    running.leads().await;
    let peer = gateway.listening().peer();
    let mut nodes = Vec::new();
    let mut open = Vec::new();
    for _ in 0..sessions {
        let node = Node::client().unwrap();
        open.push(node.session(&peer).await.unwrap());
        nodes.push(node);
    }
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let mut all = tokio::task::JoinSet::new();
    for (client, session) in (0..clients).zip(open.iter().cycle()) {
        all.spawn(pay(
            peer.clone(),
            session.clone(),
            Arc::clone(&genesis),
            (client, clients, transfers),
            end,
        ));
    }
    let mut times: Vec<Duration> = all.join_all().await.into_iter().flatten().collect();
    let took = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let n = times.len();
    println!(
        "{n} requests of {transfers} transfers in {took:.1} s by {clients} payers of {sessions} sessions: {:.0} requests and {:.0} transfers a second; \
         median {:?}, 99 % within {:?}",
        n as f64 / took,
        (n as u64 * transfers) as f64 / took,
        times[n / 2],
        times[n * 99 / 100]
    );
    running.stop().await;
    gateway.shutdown().await;
}
