//! Complete session set-ups per CPU second of both ends, beside the sum of their arithmetic.

use std::hint::black_box;
use std::sync::Arc;

use betanet_runtime::Node;
use ml_kem::kem::Decapsulate as _;
use ml_kem::{DecapsulationKey768, EncapsulationKey768, KeyExport as _};

use crate::download::gateway;
use crate::{Effort, Figure, cpu, median, parts, spent};

/// es, ee and se at both ends.
const LADDERS: f64 = 6.0;
/// An ephemeral public key at each end, by the base point's table.
const BASES: f64 = 2.0;

/// Sessions opened together.
const AT_ONCE: u32 = 16;

/// CPU seconds of one TLS handshake, both ends, in memory: key exchange and signature included.
fn tls(n: u32) -> f64 {
    let (server, mut client) = parts::tls_pair();
    client.resumption = rustls::client::Resumption::disabled();
    let (server, client) = (Arc::new(server), Arc::new(client));
    let seconds = spent(|| {
        for _ in 0..n {
            let name = "localhost".try_into().unwrap();
            let mut c = rustls::ClientConnection::new(Arc::clone(&client), name).unwrap();
            let mut s = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
            while c.is_handshaking() || s.is_handshaking() {
                let mut wire = Vec::new();
                while c.wants_write() {
                    c.write_tls(&mut wire).unwrap();
                }
                let mut rest = wire.as_slice();
                while !rest.is_empty() {
                    s.read_tls(&mut rest).unwrap();
                    s.process_new_packets().unwrap();
                }
                let mut wire = Vec::new();
                while s.wants_write() {
                    s.write_tls(&mut wire).unwrap();
                }
                let mut rest = wire.as_slice();
                while !rest.is_empty() {
                    c.read_tls(&mut rest).unwrap();
                    c.process_new_packets().unwrap();
                }
            }
        }
    });
    seconds / f64::from(n)
}

fn x25519(n: u32) -> f64 {
    let mut point = x25519_dalek::X25519_BASEPOINT_BYTES;
    let seconds = spent(|| (0..n).for_each(|_| point = x25519_dalek::x25519([7; 32], point)));
    black_box(point);
    seconds / f64::from(n)
}

fn x25519_base(n: u32) -> f64 {
    let secret = x25519_dalek::StaticSecret::from([7; 32]);
    let seconds = spent(|| {
        for _ in 0..n {
            black_box(x25519_dalek::PublicKey::from(black_box(&secret)));
        }
    });
    seconds / f64::from(n)
}

/// Key generation, encapsulation and decapsulation (FIPS 203, algorithms 19 to 21): the server has the encoded key, so
/// its check and the matrix that is expanded from it belong to encapsulation.
fn ml_kem(n: u32) -> f64 {
    let seconds = spent(|| {
        for i in 0..n {
            let mut seed = [3; 64];
            seed[..4].copy_from_slice(&i.to_le_bytes());
            let key = DecapsulationKey768::from_seed(seed.into());
            let encoded = black_box(key.encapsulation_key().to_bytes());
            let public = EncapsulationKey768::new(&encoded).unwrap();
            let (ciphertext, _) = public.encapsulate_deterministic(&[9; 32].into());
            black_box(key.decapsulate(&ciphertext));
        }
    });
    seconds / f64::from(n)
}

/// With the executor that the binaries use, and with one worker, where no wake-up crosses cores.
pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    vec![
        with_workers(effort, None, "handshakes vs their arithmetic"),
        with_workers(effort, Some(1), "the same, one worker"),
    ]
}

fn with_workers(effort: Effort, workers: Option<usize>, name: &'static str) -> Figure {
    // Short rounds: arithmetic and sessions are then measured at the same speed of the machine.
    let (rounds, n) = if effort.quick { (5, 48) } else { (25, 96) };
    let runtime = parts::runtime(workers);
    let home = tempfile::tempdir().unwrap();
    let all = runtime.spawn(async move {
        let gateway = gateway(home.path(), 1).await;
        let node = Arc::new(Node::client().unwrap().with_transport(betanet_runtime::Transport::Tcp));
        let peer = gateway.listening().peer();
        let (mut whole, mut sums, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut each = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..rounds {
            let parts = [
                tls(n),
                ml_kem(n),
                LADDERS * x25519(n) + BASES * x25519_base(n),
            ];
            let sum = parts.iter().sum::<f64>();
            sums.push(sum);
            for (all, one) in each.iter_mut().zip(parts) {
                all.push(one);
            }
            let before = cpu();
            // Some at once, as a busy node sees them.
            for _ in 0..n / AT_ONCE {
                let mut some = tokio::task::JoinSet::new();
                for _ in 0..AT_ONCE {
                    let (node, peer) = (Arc::clone(&node), peer.clone());
                    some.spawn(async move {
                        let session = node.connect(&peer).await.unwrap();
                        session.close().await;
                    });
                }
                some.join_all().await;
            }
            let took = (cpu() - before).as_secs_f64() / f64::from(n / AT_ONCE * AT_ONCE);
            ratios.push(sum / took);
            whole.push(took);
        }
        gateway.shutdown().await;
        let (whole, sum) = (median(whole), median(sums));
        let [tls, kem, dh] = each.map(|all| median(all) * 1e3);
        Figure {
            name,
            ratio: median(ratios),
            bound: 0.60,
            at_least: true,
            detail: format!(
                "{:.0} per CPU second, {:.2} ms of which {:.2} ms arithmetic: TLS {tls:.2}, ML-KEM {kem:.2}, X25519 {dh:.2}",
                1.0 / whole,
                whole * 1e3,
                sum * 1e3
            ),
        }
    });
    runtime.block_on(all).unwrap()
}
