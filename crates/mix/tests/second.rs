//! A second implementation of the chapter, plain and slow, which shares nothing with the crate but names: packets built by one
//! are unwrapped by the other, for every length of path and every batch.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops where it is surprised"
)]

use betanet_mix::{
    Command, Delay, EpochKeys, Hop, KeyId, PAYLOAD, Packet, Refusal, RelayKey, Way, build,
    build_batch, own_delay, surb, unwrap_batch,
};
use betanet_wire::NodeId;
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use curve25519_dalek::MontgomeryPoint;
use hkdf::Hkdf;
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use sha2::Sha256;

/// Keys of a hop, by name.
struct Keys {
    stream: [u8; 360],
    mac: [u8; 32],
    payload: [u8; 32],
    blind: [u8; 32],
}

fn keys(shared: [u8; 32], alpha: [u8; 32]) -> Keys {
    let mut okm = [0; 144];
    let info = [b"hop".as_slice(), &alpha].concat();
    Hkdf::<Sha256>::new(Some(b"betanet/mix/1"), &shared)
        .expand(&info, &mut okm)
        .unwrap();
    let key = |n: usize| <[u8; 32]>::try_from(&okm[32 * n..32 * n + 32]).unwrap();
    let mut stream = [0; 360];
    ChaCha20::new(&key(0).into(), &[0; 12].into()).apply_keystream(&mut stream);
    Keys {
        stream,
        mac: key(1),
        payload: key(2),
        blind: key(3),
    }
}

fn times(scalar: [u8; 32], point: [u8; 32]) -> [u8; 32] {
    MontgomeryPoint(point).mul_clamped(scalar).0
}

fn mac(key: [u8; 32], first: &[u8], alpha: &[u8], beta: &[u8]) -> [u8; 16] {
    let text = [first, alpha, beta].concat();
    Poly1305::new(&key.into()).compute_unpadded(&text).into()
}

fn wide(key: &[u8; 32], body: &[u8], encrypt: bool) -> Vec<u8> {
    let cipher = hctr2_rs::Hctr2_256::new(key);
    let mut out = vec![0; body.len()];
    if encrypt {
        cipher.encrypt(body, b"", &mut out).unwrap();
    } else {
        cipher.decrypt(body, b"", &mut out).unwrap();
    }
    out
}

fn xored(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// The whole packet, from the chapter: slots without the next gamma, but for the last.
fn plain_build(
    epoch: u8,
    x: [u8; 32],
    publics: &[[u8; 32]],
    slots: &[Vec<u8>],
    pad: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let n = publics.len() - 1;
    let mut nine = [0; 32];
    nine[0] = 9;
    let (mut alphas, mut all) = (vec![times(x, nine)], Vec::<Keys>::new());
    for i in 0..=n {
        let mut shared = times(x, publics[i]);
        for earlier in &all {
            shared = times(earlier.blind, shared);
        }
        let next = keys(shared, alphas[i]);
        alphas.push(times(next.blind, alphas[i]));
        all.push(next);
    }
    let mut phi = Vec::new();
    for (i, keys) in all.iter().enumerate().take(n) {
        phi.extend([0; 40]);
        phi = xored(&phi, &keys.stream[360 - 40 * (i + 1)..]);
    }
    let first = [1, epoch, 0, 0];
    let mut inner = [&slots[n], &pad[..320 - 40 * n - 40]].concat();
    let mut beta = [xored(&inner, &all[n].stream), phi].concat();
    let mut gamma = mac(all[n].mac, &first, &alphas[n], &beta);
    for i in (0..n).rev() {
        inner = [&slots[i], gamma.as_slice(), &beta[..280]].concat();
        beta = xored(&inner, &all[i].stream[..320]);
        gamma = mac(all[i].mac, &first, &alphas[i], &beta);
    }
    let mut body = [[0; 16].as_slice(), payload].concat();
    for keys in all.iter().rev() {
        body = wide(&keys.payload, &body, true);
    }
    [&first[..], &alphas[0], &gamma, &beta, &body].concat()
}

/// One hop's work: its slot, and the packet as it goes on; `None` when it is dropped.
fn plain_unwrap(private: [u8; 32], packet: &[u8]) -> Option<([u8; 40], Vec<u8>)> {
    let alpha: [u8; 32] = packet[4..36].try_into().unwrap();
    let keys = keys(times(private, alpha), alpha);
    let beta = &packet[52..372];
    if mac(keys.mac, &packet[..4], &alpha, beta) != packet[36..52] {
        return None;
    }
    let opened = xored(&[beta, &[0; 40]].concat(), &keys.stream);
    let slot: [u8; 40] = opened[..40].try_into().unwrap();
    let body = wide(&keys.payload, &packet[372..], false);
    let onward = times(keys.blind, alpha);
    let out = [&packet[..4], &onward, &slot[24..], &opened[40..], &body].concat();
    Some((slot, out))
}

/// A number that looks random and is not.
struct Dice(u64);

impl Dice {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.0.to_be_bytes()[0]
        })
    }
}

struct Relay {
    private: [u8; 32],
    hop: Hop,
    slot: Vec<u8>,
}

/// Relays and a recipient, in order.
fn relays(dice: &mut Dice, hops: usize, last: u8) -> Vec<Relay> {
    let mut nine = [0; 32];
    nine[0] = 9;
    let relay = |i: usize| {
        let private = dice.bytes();
        let id = dice.bytes();
        let (command, slot) = if i + 1 < hops {
            let next = NodeId(dice.bytes());
            let delay = Delay::Chosen(7 * i as u16);
            let head = [0, 0, 0, 7 * i as u8];
            (
                Command::Forward { delay, next },
                [&head[..], &next.0].concat(),
            )
        } else {
            let command = match last {
                1 => Command::Deliver { id },
                2 => Command::Reply { id },
                _ => Command::Drop { id },
            };
            (command, [&[last, 0, 0, 0][..], &id, &[0; 20]].concat())
        };
        let key = RelayKey::check(times(private, nine)).unwrap();
        Relay {
            private,
            hop: Hop { key, command },
            slot,
        }
    };
    (0..hops).map(relay).collect()
}

fn unwrap_one(private: [u8; 32], packet: &mut Packet) -> Result<Command, Refusal> {
    let mut keys = EpochKeys::new();
    assert!(keys.add(packet.epoch(), private, [0; 64]));
    let mut out = [Err(Refusal::Epoch)];
    unwrap_batch(
        &keys,
        std::slice::from_mut(packet),
        |_, _, _| false,
        &mut out,
    );
    out[0].map(|u| u.command)
}

#[test]
fn both_build_and_unwrap_the_same_packets_over_one_to_eight_hops() {
    let mut dice = Dice(1);
    for hops in 1..=8 {
        for _ in 0..4 {
            let all = relays(&mut dice, hops, 1);
            let path: Vec<Hop> = all.iter().map(|r| r.hop).collect();
            let (x, pad, payload) = (dice.bytes(), dice.bytes(), dice.bytes::<PAYLOAD>());
            let way = Way {
                epoch: 9,
                hops: &path,
                x,
                pad,
            };
            let mut packet = build(way, &payload).unwrap();
            let publics: Vec<[u8; 32]> = path.iter().map(|h| *h.key.as_bytes()).collect();
            let slots: Vec<Vec<u8>> = all.iter().map(|r| r.slot.clone()).collect();
            let mut plain = plain_build(9, x, &publics, &slots, &pad, &payload);
            assert_eq!(packet.0[..], plain[..], "{hops} hops");
            for (i, relay) in all.iter().enumerate() {
                let (slot, onward) = plain_unwrap(relay.private, &plain).unwrap();
                assert_eq!(
                    unwrap_one(relay.private, &mut packet),
                    Ok(relay.hop.command)
                );
                assert_eq!(
                    slot[..relay.slot.len().min(24)],
                    relay.slot[..relay.slot.len().min(24)]
                );
                if i + 1 < hops {
                    assert_eq!(packet.0[..], onward[..], "hop {i} of {hops}");
                    plain = onward;
                }
            }
            assert_eq!(packet.payload(), payload);
        }
    }
}

#[test]
fn a_batch_does_what_its_packets_do_alone() {
    let mut dice = Dice(2);
    let private: [u8; 32] = dice.bytes();
    let mut nine = [0; 32];
    nine[0] = 9;
    let mut paths = Vec::new();
    for i in 0..90 {
        let mut all = relays(&mut dice, 1 + i % 8, [1, 2, 3][i % 3]);
        all[0].private = private;
        all[0].hop.key = RelayKey::check(times(private, nine)).unwrap();
        paths.push(all.iter().map(|r| r.hop).collect::<Vec<Hop>>());
    }
    let payload = [5; PAYLOAD];
    let ways: Vec<_> = paths
        .iter()
        .map(|path| {
            let way = Way {
                epoch: 4,
                hops: path,
                x: dice.bytes(),
                pad: dice.bytes(),
            };
            (way, &payload)
        })
        .collect();
    let mut packets: Vec<Packet> = build_batch(&ways).into_iter().map(Result::unwrap).collect();
    // Every fifth is spoilt, each in another way.
    for (i, packet) in packets.iter_mut().enumerate().filter(|(i, _)| i % 5 == 0) {
        match i / 5 % 4 {
            0 => packet.0[0] = 2,
            1 => packet.0[1] = 5,
            2 => packet.0[4..36].fill(0),
            _ => packet.0[60] ^= 1,
        }
    }
    let mut keys = EpochKeys::new();
    assert!(keys.add(4, private, [0; 64]));
    let mut together = packets.clone();
    let mut outcomes = vec![Err(Refusal::Epoch); packets.len()];
    let mut seen = std::collections::BTreeSet::new();
    unwrap_batch(
        &keys,
        &mut together,
        |_, _, tag| !seen.insert(*tag),
        &mut outcomes,
    );
    for (i, packet) in packets.iter_mut().enumerate() {
        let mut out = [Err(Refusal::Epoch)];
        unwrap_batch(
            &keys,
            std::slice::from_mut(packet),
            |_, _, _| false,
            &mut out,
        );
        assert_eq!(out[0], outcomes[i], "{i}");
        let command = out[0].map(|u| u.command);
        if matches!(command, Ok(Command::Forward { .. })) {
            assert_eq!(*packet, together[i], "{i}");
        }
        let expected = match (i % 5, i / 5 % 4) {
            (0, 0) => Err(Refusal::Version),
            (0, 1) => Err(Refusal::Epoch),
            (0, 2) => Err(Refusal::Point),
            (0, _) => Err(Refusal::Mac),
            _ => Ok(paths[i][0].command),
        };
        assert_eq!(command, expected, "{i}");
    }
    // The same once more: none that stood passes.
    let mut again: Vec<Packet> = build_batch(&ways).into_iter().map(Result::unwrap).collect();
    unwrap_batch(
        &keys,
        &mut again,
        |_, _, tag| !seen.insert(*tag),
        &mut outcomes,
    );
    for (i, outcome) in outcomes.iter().enumerate().filter(|(i, _)| i % 5 != 0) {
        assert_eq!(*outcome, Err(Refusal::Replay), "{i}");
    }
}

#[test]
fn a_flipped_bit_ends_at_the_next_hop_or_is_noise_at_the_last() {
    let mut dice = Dice(3);
    let all = relays(&mut dice, 4, 1);
    let path: Vec<Hop> = all.iter().map(|r| r.hop).collect();
    let payload: [u8; PAYLOAD] = dice.bytes();
    let way = Way {
        epoch: 1,
        hops: &path,
        x: dice.bytes(),
        pad: dice.bytes(),
    };
    let packet = build(way, &payload).unwrap();
    for bit in (0..packet.0.len() * 8).step_by(61) {
        for before in 0..3 {
            let mut packet = packet.clone();
            for relay in &all[..before] {
                assert!(unwrap_one(relay.private, &mut packet).is_ok());
            }
            packet.0[bit / 8] ^= 1 << (bit % 8);
            let mut keys = EpochKeys::new();
            assert!(keys.add(1, all[before].private, [0; 64]));
            let mut out = [Err(Refusal::Epoch)];
            let one = std::slice::from_mut(&mut packet);
            unwrap_batch(&keys, one, |_, _, _| false, &mut out);
            if bit / 8 < 372 {
                // The highest bit of a point is not looked at, but it is part of what is authenticated.
                assert!(out[0].is_err(), "bit {bit} before hop {before}");
                continue;
            }
            for relay in &all[before + 1..3] {
                assert!(unwrap_one(relay.private, &mut packet).is_ok());
            }
            assert_eq!(unwrap_one(all[3].private, &mut packet), Err(Refusal::Body));
            let same = packet
                .payload()
                .iter()
                .zip(&payload)
                .filter(|(a, b)| a == b);
            assert!(same.count() < 40, "bit {bit}: noise");
        }
    }
}

#[test]
fn a_reply_comes_back_over_its_surb_and_a_changed_one_does_not() {
    let mut dice = Dice(4);
    for hops in 1..=8 {
        let all = relays(&mut dice, hops, 2);
        let path: Vec<Hop> = all.iter().map(|r| r.hop).collect();
        for spoilt in [false, true] {
            let way = Way {
                epoch: 1,
                hops: &path,
                x: dice.bytes(),
                pad: dice.bytes(),
            };
            let first = NodeId(dice.bytes());
            let (block, opener) = surb(&way, first, &dice.bytes()).unwrap();
            let payload: [u8; PAYLOAD] = dice.bytes();
            let (to, mut packet) = block.reply(&payload);
            assert_eq!(to, first);
            if spoilt {
                packet.0[1000] ^= 1;
            }
            for relay in &all {
                assert_eq!(
                    unwrap_one(relay.private, &mut packet),
                    Ok(relay.hop.command)
                );
            }
            let got = opener.open(&mut packet);
            assert_eq!(got, (!spoilt).then_some(&payload[..]), "{hops} hops");
        }
    }
}

#[test]
fn keys_of_small_or_mixed_order_and_on_the_twist_are_refused() {
    let mut nine = [0; 32];
    nine[0] = 9;
    assert!(RelayKey::check(nine).is_some());
    let mut refused = 0;
    for n in 0..=255_u8 {
        let mut bytes = [0; 32];
        bytes[0] = n;
        match RelayKey::check(bytes) {
            None => refused += 1,
            // A multiple of the order leads nowhere.
            Some(key) => {
                let point = MontgomeryPoint(*key.as_bytes()).to_edwards(0).unwrap();
                assert!(point.is_torsion_free(), "{n}");
            }
        }
    }
    assert!(
        (200..256).contains(&refused),
        "about seven in eight of the curve, and the twist: {refused}"
    );
    assert!(RelayKey::check([0; 32]).is_none());
    // Nine, written with p more.
    let mut more = [0xff; 32];
    (more[0], more[31]) = (0xf6, 0x7f);
    assert!(RelayKey::check(more).is_none());
}

#[test]
fn a_further_key_of_an_epoch_opens_what_is_for_it_and_relays_wait_as_they_prove() {
    let mut dice = Dice(6);
    let mut all = relays(&mut dice, 2, 1);
    let delays: [u8; 64] = dice.bytes();
    let Command::Forward { next, .. } = all[0].hop.command else {
        panic!("the first of two forwards")
    };
    all[0].hop.command = Command::Forward {
        delay: Delay::Sampled(90),
        next,
    };
    let path: Vec<Hop> = all.iter().map(|r| r.hop).collect();
    let mut keys = EpochKeys::new();
    assert!(keys.add(0, dice.bytes(), [0; 64]) && keys.add(1, dice.bytes(), [0; 64]));
    keys.remove(0);
    // Whatever place it takes, it is the second of its epoch.
    assert!(keys.add(1, all[0].private, delays) && keys.add(3, [1; 32], [0; 64]));
    assert!(keys.add(1, dice.bytes(), [0; 64]));
    assert!(!keys.add(1, [1; 32], [0; 64]), "three of an epoch");
    let mut packets: Vec<Packet> = (0..40)
        .map(|_| {
            let way = Way {
                epoch: 1,
                hops: &path,
                x: dice.bytes(),
                pad: dice.bytes(),
            };
            build(way, &[1; PAYLOAD]).unwrap()
        })
        .collect();
    packets[3].0[700] ^= 1;
    packets[5].0[60] ^= 1;
    let mut outcomes = vec![Err(Refusal::Epoch); packets.len()];
    let mut tags = Vec::new();
    let seen = |_, key: KeyId, tag: &[u8; 16]| {
        assert_eq!((key.epoch, key.generation), (1, 1));
        tags.push(*tag);
        false
    };
    unwrap_batch(&keys, &mut packets, seen, &mut outcomes);
    assert_eq!(outcomes[5], Err(Refusal::Mac));
    let waits: Vec<u16> = outcomes.iter().flatten().map(|u| u.wait_ms).collect();
    let proved: Vec<u16> = tags.iter().map(|t| own_delay(&delays, t, 90)).collect();
    assert_eq!((waits.len(), waits), (39, proved));
    keys.remove(1);
    let one = std::slice::from_mut(&mut packets[0]);
    unwrap_batch(&keys, one, |_, _, _| false, &mut outcomes);
    assert_eq!(outcomes[0], Err(Refusal::Epoch), "destroyed");
}
