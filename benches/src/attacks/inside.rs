//! Attacks of whoever knows the node's public key.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use betanet_runtime::{Headers, Method, Node, Request, Transport};
use tokio::time::sleep;

use super::Plan;
use super::frames;
use super::web::{Count, many};

#[path = "../../../crates/runtime/tests/net/peer.rs"]
#[allow(
    dead_code,
    reason = "the tests' client, of which attackers use the greater part"
)]
mod peer;

use peer::Peer;

/// Sessions of one address that a node lets stand.
const SESSIONS: usize = 8;
const HTX: &str = "betanet/htx/1.2.0";

/// Seeds of identities that nobody had before in this process.
fn fresh() -> [u8; 32] {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut seed = [0xa7; 32];
    seed[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    seed[8..12].copy_from_slice(&std::process::id().to_le_bytes());
    seed
}

async fn session(plan: &Plan, seed: [u8; 32], unknown: usize) -> Option<Peer> {
    let tcp = frames::tcp(plan).await?;
    let server = *plan.peer.key.as_bytes();
    // The tests' client panics where it is turned away: that is its task's end, and not the attacker's.
    let connecting = tokio::task::spawn_local(async move {
        Peer::connect_over(tcp, &server, seed, (HTX, unknown)).await
    });
    connecting.await.ok()
}

pub(super) async fn half_open(plan: Arc<Plan>) -> String {
    many(plan, 164, "first messages", |plan, count, _| async move {
        let tls = frames::tls(&plan, b"h2").await?;
        let ekm0 = peer::export(&tls, &[0xa0]);
        let server = *plan.peer.key.as_bytes();
        let (mut requests, connection) = h2::client::handshake(tls).await.ok()?;
        let driven = tokio::task::spawn_local(connection);
        let mut open = Vec::new();
        for i in 0..100 {
            let label = format!("half-open-{i:08}");
            let request = peer::post(peer::Ticket::Right, &ekm0, &server, &label);
            requests = requests.ready().await.ok()?;
            let (answer, mut body) = requests.send_request(request, false).ok()?;
            let (_, _, message1) = peer::begin(&ekm0, &server, &fresh());
            body.send_data(message1.into(), false).ok()?;
            count.add(1);
            open.push((answer, body));
        }
        let _ = driven.await;
        None
    })
    .await
}

pub(super) async fn gaps(plan: Arc<Plan>) -> String {
    many(plan, SESSIONS, "parts", |plan, count, _| async move {
        let mut session = session(&plan, fresh(), 0).await?;
        for part in 0..4096_u64 {
            for stream in 0..256 {
                // The type's byte comes first, and then every other byte.
                match part {
                    0 => session.stream(3 + 2 * stream, 0, &[1], false),
                    _ => session.stream(3 + 2 * stream, 2 * part, &[7], false),
                }
                count.add(1);
            }
            session.room().await?;
        }
        sleep(Duration::from_secs(3600)).await;
        Some(())
    })
    .await
}

pub(super) async fn capabilities(plan: Arc<Plan>) -> String {
    many(plan, SESSIONS, "messages", |plan, count, _| async move {
        count.add(1);
        let _session = session(&plan, fresh(), 1_000_000).await?;
        sleep(Duration::from_secs(3600)).await;
        Some(())
    })
    .await
}

pub(super) async fn frames(plan: Arc<Plan>) -> String {
    many(plan, SESSIONS, "frames", |plan, count, i| async move {
        let mut session = session(&plan, fresh(), 0).await?;
        loop {
            for _ in 0..200 {
                match i % 4 {
                    0 => session.frame(1, 0, 0, &[0, 0, 0, 0, 1]),
                    1 => session.frame(2, 0, 0, &[7; 8]),
                    2 => session.frame(0x41, 0, 0, &[]),
                    _ => session.stream(3, 0, &[], false),
                }
            }
            count.add(200);
            session.room().await?;
        }
    })
    .await
}

/// GET of the large file, in a stream of its own.
fn get() -> Vec<u8> {
    let path = "/large.bin";
    let mut map = vec![0xa4, 0x61, b'b', 0x40, 0x61, b'h', 0xa0, 0x61, b'm', 0x63];
    map.extend_from_slice(b"GET");
    map.extend_from_slice(&[0x61, b'u', 0x60 | u8::try_from(path.len()).unwrap()]);
    map.extend_from_slice(path.as_bytes());
    let len = u32::try_from(map.len()).unwrap().to_be_bytes();
    [&[1][..], &len, &map].concat()
}

pub(super) async fn requests(plan: Arc<Plan>) -> String {
    many(plan, SESSIONS, "requests", |plan, count, _| async move {
        let mut session = session(&plan, fresh(), 0).await?;
        let mut stream = 3;
        loop {
            session.stream(stream, 0, &get(), true);
            stream += 2;
            count.add(1);
            session.room().await?;
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// A header of a path over the node to nobody, as the profile's chapter on paths writes it.
fn path_header(seed: [u8; 32], server: &[u8; 32], to: [u8; 20], unix_ms: u64) -> Vec<u8> {
    use ed25519_dalek::Signer as _;
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let id = |key: &[u8; 32]| peer::public_hash(key)[..20].to_vec();
    let (own, first) = (id(key.verifying_key().as_bytes()), id(server));
    // As late as may be.
    let expiry = u32::try_from(unix_ms / 1000 + 3590).unwrap().to_be_bytes();
    let stamp = unix_ms.to_be_bytes();
    let later = peer::sha(&[&[&to[..], &expiry].concat()]);
    let text = [
        &b"BN-L1-seg"[..],
        &[2, 1, 0],
        &first,
        &expiry,
        &own,
        &stamp,
        &later,
    ]
    .concat();
    let sig = key.sign(&peer::sha(&[&text])).to_bytes();
    let segments = [
        &first[..],
        &expiry,
        &stamp,
        &[0, 64],
        &sig,
        &to,
        &expiry,
        &stamp,
        &[0, 0],
    ]
    .concat();
    let len = u16::try_from(8 + segments.len()).unwrap().to_be_bytes();
    [&[2, 1, 0, 8][..], &len, &[0, 2], &segments].concat()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap().as_millis()).unwrap()
}

pub(super) async fn paths(plan: Arc<Plan>) -> String {
    many(plan, SESSIONS, "headers", |plan, count, _| async move {
        let server = *plan.peer.key.as_bytes();
        let seed = fresh();
        let mut session = session(&plan, seed, 0).await?;
        let begun = unix_ms();
        // Of each identity as many as it may have waiting, and then another one.
        for n in 0..2000_u64 {
            let mut to = [0; 20];
            to[..8].copy_from_slice(&n.to_le_bytes());
            session.frame(0x20, 0, 0, &path_header(seed, &server, to, begun + n));
            count.add(1);
            session.room().await?;
        }
        Some(())
    })
    .await
}

fn node(plan: &Plan) -> Node {
    Node::client()
        .unwrap()
        .with_transport(Transport::Tcp)
        .with_source_address(Some(plan.from))
}

pub(super) async fn forwarded(plan: Arc<Plan>) -> String {
    many(plan, SESSIONS, "sessions", |plan, count, _| async move {
        let relay = plan.relay.clone()?;
        let mut open = Vec::new();
        // One outer session; each inner one has an identity of its own.
        let node = node(&plan);
        for _ in 0..100 {
            let session = node.connect_over(std::slice::from_ref(&relay), &plan.peer);
            match session.await {
                Ok(session) => open.push(session),
                Err(_) => break,
            }
            count.add(1);
        }
        let all = open.iter();
        // Each asks for something and reads no answer.
        for session in all {
            let get = Request::new(Method::Get, "/large.bin", Headers::default());
            let _ = tokio::time::timeout(Duration::from_secs(2), session.ask(get)).await;
        }
        sleep(Duration::from_secs(20)).await;
        None
    })
    .await
}

/// A session by the project's own client, for attacks that only ask.
pub(super) async fn asking(plan: &Plan, count: &Count) -> Option<betanet_runtime::SessionHandle> {
    let connected = node(plan).connect(&plan.peer).await;
    if connected.is_err() {
        count.failed();
    }
    connected.ok()
}
