//! Packets, payloads and windows of the mix.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::Time;
use betanet_mix::{
    Ack, Command, EpochKeys, Fragment, Hop, Outcome, PACKET, PAYLOAD, Packet, Receiver, Refusal,
    RelayKey, Sender, WINDOW, Way, build, public_key, unwrap_batch,
};

/// A payload as it is, a packet with changed bytes, or a window under any order of pieces and acknowledgements.
///
/// # Panics
///
/// An invariant does not hold.
pub fn mix(data: &[u8]) {
    match data.split_first() {
        Some((0, rest)) => payload(rest),
        Some((1, rest)) => packet(rest),
        Some((2, rest)) => raw_packet(rest),
        Some((_, rest)) => window(rest),
        None => {}
    }
}

fn filled<const N: usize>(data: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let len = data.len().min(N);
    out[..len].copy_from_slice(&data[..len]);
    out
}

fn payload(data: &[u8]) {
    let payload: [u8; PAYLOAD] = filled(data);
    if let Ok(fragment) = Fragment::from_payload(&payload) {
        assert_eq!(fragment.to_payload(), Ok(payload), "one way of writing it");
    }
}

fn unwrapped(packet: &mut Packet) -> Outcome {
    let mut keys = EpochKeys::new();
    assert!(keys.add(packet.epoch(), PRIVATE, [0; 64]));
    let mut outcome = [Err(Refusal::Epoch)];
    let one = core::slice::from_mut(packet);
    unwrap_batch(&keys, one, |_, _, _| false, &mut outcome);
    outcome[0]
}

const PRIVATE: [u8; 32] = [7; 32];

/// A packet for this key, changed where the bytes direct.
fn packet(data: &[u8]) {
    let public = public_key(&PRIVATE);
    let Some(key) = RelayKey::check(public) else {
        return;
    };
    let deliver = Command::Deliver { id: [1; 16] };
    let hops = [Hop {
        key,
        command: deliver,
    }];
    let way = Way {
        epoch: 3,
        hops: &hops,
        x: filled(data),
        pad: filled(data),
    };
    let sent: [u8; PAYLOAD] = filled(data);
    let Ok(mut packet) = build(way, &sent) else {
        return;
    };
    let before = packet.clone();
    for change in data.as_chunks::<3>().0 {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % PACKET;
        packet.0[at] ^= change[2];
    }
    let changed = packet != before;
    let other_epoch = packet.epoch() != before.epoch();
    let outcome = unwrapped(&mut packet);
    if changed {
        assert!(
            outcome.is_err(),
            "changed, and not found out: {other_epoch}"
        );
    } else {
        assert_eq!(outcome.map(|u| u.command), Ok(deliver));
        assert_eq!(packet.payload(), sent);
    }
}

/// Arbitrary bytes are never a packet.
fn raw_packet(data: &[u8]) {
    let mut packet = Packet(filled(data));
    assert!(unwrapped(&mut packet).is_err());
}

#[allow(
    clippy::panic,
    reason = "a fuzz target says what it found by panicking"
)]
/// One end sends, the other receives, and the bytes decide the events between them.
fn window(data: &[u8]) {
    let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
    let mut wire: BTreeMap<u16, (u16, Vec<u8>)> = BTreeMap::new();
    let mut now = Time::ZERO;
    let (mut pushed, mut got) = (0_u16, 0_u16);
    for (step, byte) in data.iter().enumerate() {
        let last = step + 1 == data.len();
        match byte % 6 {
            0 | 1 => {
                if sender.push(pushed.to_be_bytes().to_vec(), last) {
                    pushed += 1;
                }
            }
            2 => {
                if let Some(piece) = sender.poll(now) {
                    wire.insert(piece.index, (piece.count, piece.data.to_vec()));
                }
            }
            3 => {
                let pick = wire.keys().nth(usize::from(byte / 6) % wire.len().max(1));
                if let Some((index, (count, data))) =
                    pick.copied().and_then(|i| wire.remove_entry(&i))
                {
                    let Ok(out) = receiver.take(index, count, data) else {
                        panic!("an honest piece is refused: {index}")
                    };
                    for piece in out {
                        assert_eq!(piece, got.to_be_bytes(), "in order");
                        got += 1;
                    }
                }
            }
            4 => {
                let ack = receiver.ack();
                assert_eq!(Ack::from_bytes(&ack.to_bytes()), Some(ack));
                sender.acknowledged(now, ack);
            }
            _ => now = now + Duration::from_millis(u64::from(*byte) * 20),
        }
        assert!(sender.room() <= usize::from(WINDOW) && got <= pushed);
        // A forged piece and a forged acknowledgement.
        let far = u16::from_be_bytes([*byte, !*byte]);
        let mut lied_to = receiver.clone();
        if lied_to.take(far, far / 2, Vec::new()).is_ok() {
            assert!(lied_to.pieces() <= receiver.pieces() + 1);
        }
        let mut deceived = sender.clone();
        let bitmap = u64::from_be_bytes([*byte; 8]);
        deceived.acknowledged(now, Ack { base: far, bitmap });
        assert!(deceived.room() <= usize::from(WINDOW));
    }
}
