//! A mix's packets beside Nym's, multiplications beside curve25519-dalek's, and the wide-block cipher beside its parts.

use std::hint::black_box;
use std::time::Duration;

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use betanet_machine::{Machine as _, Now, Time};
use betanet_mix::{
    Backend, Command, Delay, Delivered, EpochKeys, Fragment, Hctr2, Hop, Kind, Outcome, PAYLOAD,
    Packet, RecipientConfig, RecipientMachine, Refusal, RelayKey, Via, Way, build_batch,
    unwrap_batch_with,
};
use betanet_wire::{ChargeTo, NodeId};
use betanet_x25519_batch::{BASE, Pair, multiply_with};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash as _;
use sphinx_packet::SphinxPacket;
use sphinx_packet::header::delays;
use sphinx_packet::packet::builder::SphinxPacketBuilder;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::{Effort, Figure, median, spent};

/// Packets of one measurement.
const N: usize = 256;

fn name(backend: Backend, of: [&'static str; 3]) -> &'static str {
    match backend {
        Backend::Avx512Ifma => of[0],
        Backend::Avx2 => of[1],
        _ => of[2],
    }
}

fn available() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|b| b.is_available())
}

/// Microseconds of one of `n`, and the ratio to the peer's, each round by itself.
struct Beside {
    ours: Vec<f64>,
    peers: Vec<f64>,
}

impl Beside {
    const fn new() -> Self {
        Self {
            ours: Vec::new(),
            peers: Vec::new(),
        }
    }

    fn round(&mut self, n: usize, ours: f64, peers: f64) {
        self.ours.push(ours / n as f64 * 1e6);
        self.peers.push(peers / n as f64 * 1e6);
    }

    fn figure(self, name: &'static str, bound: f64, peer: &str) -> Figure {
        let ratios = self.peers.iter().zip(&self.ours).map(|(p, o)| p / o);
        Figure {
            name,
            ratio: median(ratios.collect()),
            bound,
            at_least: true,
            detail: format!(
                "{:.2} us, {peer} {:.2} us",
                median(self.ours),
                median(self.peers)
            ),
        }
    }
}

pub(crate) fn multiplications(effort: Effort) -> Vec<Figure> {
    let mut figures = Vec::new();
    for backend in available() {
        let mut beside = Beside::new();
        let mut pairs: Vec<Pair> = (0..N).map(|i| Pair::new([i as u8; 32], BASE)).collect();
        for _ in 0..effort.rounds {
            let ours = spent(|| multiply_with(backend, black_box(&mut pairs)));
            let peers = spent(|| {
                for pair in &pairs {
                    black_box(x25519_dalek::x25519(pair.scalar, pair.point));
                }
            });
            beside.round(N, ours, peers);
        }
        let of = [
            "x25519, eight at once, vs dalek",
            "x25519, four at once, vs dalek",
            "x25519, one by one, vs dalek",
        ];
        let bound = match backend {
            Backend::Avx512Ifma => 5.0,
            Backend::Avx2 => 2.0,
            _ => 1.1,
        };
        figures.push(beside.figure(name(backend, of), bound, "dalek"));
    }
    figures
}

/// A recipient with so many exchanges, each of a session and an address of its own.
fn recipient(exchanges: u32) -> RecipientMachine {
    let mut machine = RecipientMachine::new(RecipientConfig::default());
    for n in 0..exchanges {
        take(&mut machine, n, b"begun");
    }
    machine
}

/// What a gateway does for each payload: takes it, and asks when it is to be called next.
fn take(machine: &mut RecipientMachine, n: u32, data: &[u8]) {
    let mut message = [0; 8];
    message[..4].copy_from_slice(&n.to_be_bytes());
    let fragment = Fragment {
        kind: Kind::Request,
        message,
        index: 0,
        count: 0,
        surbs: Vec::new(),
        data: data.to_vec(),
    };
    let delivered = Delivered {
        via: Via {
            session: n.into(),
            charge: ChargeTo::V4(n.to_be_bytes()),
        },
        payload: Box::new(fragment.to_payload().unwrap()),
    };
    let now = Now::new(Time::ZERO, 1_755_000_000_000);
    machine.handle_input(now, delivered).unwrap();
    while machine.poll_event().is_some() {}
    black_box(machine.poll_timeout());
}

/// A payload at a gateway with 4 096 exchanges costs about what it costs at one with 16: the next deadline is not looked for among all.
pub(crate) fn exchanges(effort: Effort) -> Vec<Figure> {
    let (mut many, mut few) = (recipient(4096), recipient(16));
    let mut beside = Beside::new();
    for _ in 0..effort.rounds {
        let ours = spent(|| (0..N as u32).for_each(|n| take(&mut many, n * 16, b"")));
        let peers = spent(|| (0..N as u32).for_each(|n| take(&mut few, n % 16, b"")));
        beside.round(N, ours, peers);
    }
    vec![beside.figure("a payload with 4096 exchanges, vs with 16", 0.3, "with 16")]
}

/// Nodes of a path, both in ours and in Nym's form.
struct Path {
    hops: Vec<Hop>,
    nodes: Vec<Node>,
    first: [u8; 32],
}

fn path(hops: usize) -> Path {
    let secret = |i: usize| [i as u8 + 1; 32];
    let public = |i: usize| PublicKey::from(&StaticSecret::from(secret(i)));
    let command = |i: usize| {
        if i + 1 == hops {
            return Command::Deliver { id: [1; 16] };
        }
        Command::Forward {
            delay: Delay::Sampled(150),
            next: NodeId([i as u8; 20]),
        }
    };
    Path {
        hops: (0..hops)
            .map(|i| Hop {
                key: RelayKey::check(*public(i).as_bytes()).unwrap(),
                command: command(i),
            })
            .collect(),
        nodes: (0..hops)
            .map(|i| Node::new(NodeAddressBytes::from_bytes([i as u8; 32]), public(i)))
            .collect(),
        first: secret(0),
    }
}

fn ours(path: &Path, n: usize) -> Vec<Packet> {
    let payload = [7; PAYLOAD];
    let ways: Vec<_> = (0..n)
        .map(|i| {
            let mut x = [3; 32];
            x[..8].copy_from_slice(&i.to_le_bytes());
            let way = Way {
                epoch: 1,
                hops: &path.hops,
                x,
                pad: [9; 320],
            };
            (way, &payload)
        })
        .collect();
    build_batch(&ways).into_iter().map(Result::unwrap).collect()
}

fn nyms(path: &Path, n: usize) -> Vec<SphinxPacket> {
    let delays =
        delays::generate_from_average_duration(path.nodes.len(), Duration::from_millis(10));
    let to = Destination::new(DestinationAddressBytes::from_bytes([3; 32]), [4; 16]);
    let builder = SphinxPacketBuilder::new().with_payload_size(PAYLOAD + 16);
    let one = || {
        builder
            .build_packet([7; PAYLOAD - 64], &path.nodes, &to, &delays)
            .unwrap()
    };
    (0..n).map(|_| one()).collect()
}

fn unwrapped(backend: Backend, path: &Path, packets: &mut [Packet]) -> f64 {
    let mut keys = EpochKeys::new();
    assert!(keys.add(1, path.first, [0; 64]));
    let mut outcomes: Vec<Outcome> = vec![Err(Refusal::Epoch); packets.len()];
    let took = spent(|| unwrap_batch_with(backend, &keys, packets, |_, _, _| false, &mut outcomes));
    assert!(outcomes.iter().all(Result::is_ok));
    took
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let mut figures = Vec::new();
    let three = path(3);
    let secret = StaticSecret::from(three.first);
    let (fresh, theirs) = (ours(&three, N), nyms(&three, N));
    let again = |p: &SphinxPacket| SphinxPacket::from_bytes(&p.to_bytes()).unwrap();
    let nym = |packets: Vec<SphinxPacket>| {
        spent(|| {
            for packet in packets {
                black_box(packet.process(&secret).unwrap());
            }
        })
    };
    for backend in available() {
        let mut beside = Beside::new();
        for _ in 0..effort.rounds {
            let took = unwrapped(backend, &three, &mut fresh.clone());
            beside.round(N, took, nym(theirs.iter().map(again).collect()));
        }
        let of = [
            "unwrap, AVX-512 IFMA, vs Nym",
            "unwrap, AVX2, vs Nym",
            "unwrap, portable, vs Nym",
        ];
        let bound = match backend {
            Backend::Avx512Ifma => 5.0,
            Backend::Avx2 => 2.0,
            _ => 1.1,
        };
        figures.push(beside.figure(name(backend, of), bound, "Nym"));
    }
    let mut lone = Beside::new();
    for _ in 0..effort.rounds {
        let mut packets = fresh[..32].to_vec();
        let took: f64 = packets
            .chunks_mut(1)
            .map(|one| unwrapped(Backend::best(), &three, one))
            .sum();
        lone.round(32, took, nym(theirs[..32].iter().map(again).collect()));
    }
    figures.push(lone.figure("unwrap of a lone packet vs Nym", 1.0, "Nym"));
    for (hops, label, bound) in [
        (3, "build, 3 hops, vs Nym", 2.0),
        (5, "build, 5 hops, vs Nym", 4.0),
    ] {
        let path = path(hops);
        let mut beside = Beside::new();
        for _ in 0..effort.rounds {
            let took = spent(|| {
                black_box(ours(&path, 32));
            });
            let peers = spent(|| {
                black_box(nyms(&path, 32));
            });
            beside.round(32, took, peers);
        }
        figures.push(beside.figure(label, bound, "Nym"));
    }
    figures.push(wide_block(effort));
    figures
}

/// HCTR2 over a packet's body, beside 129 blocks of AES and two POLYVALs of 129 blocks.
fn wide_block(effort: Effort) -> Figure {
    let mut beside = Beside::new();
    let mut body = vec![5_u8; 2064];
    let cipher = Hctr2::new(&[1; 32]);
    let aes = aes::Aes256::new(&[1; 32].into());
    let hash = Polyval::new(&[2; 16].into());
    let mut blocks = vec![aes::Block::default(); 129];
    let text = vec![polyval::Block::default(); 129];
    let n = 2000;
    for _ in 0..effort.rounds {
        let ours = spent(|| {
            for _ in 0..n {
                cipher.decrypt(black_box(&mut body));
            }
        });
        let parts = spent(|| {
            for _ in 0..n {
                aes.encrypt_blocks(black_box(&mut blocks));
                for _ in 0..2 {
                    let mut hash = hash.clone();
                    hash.update(black_box(&text));
                    black_box(hash.finalize());
                }
            }
        });
        beside.round(n, ours, parts);
    }
    let mut figure = beside.figure("HCTR2 of 2 064 bytes vs its parts", 1.0 / 1.3, "parts");
    figure.bound = 0.77;
    figure
}
