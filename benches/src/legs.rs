//! A leg of version 1.1, both ends, beside what its AEAD takes.

use std::hint::black_box;

use betanet_compat11::{Command, Event, Input, Leg, Reading, Transmit};
use betanet_machine::{Machine as _, Now, Time};
use bytes::Bytes;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};

use crate::{Effort, Figure, median, parts, spent};

const NOW: Now = Now {
    mono: Time::ZERO,
    unix_ms: 0,
};

/// CPU seconds to seal and open `n` pieces.
fn raw(n: u32) -> f64 {
    let aead = ChaCha20Poly1305::new((&[7; 32]).into());
    let mut piece = vec![9; parts::SIZE];
    spent(|| {
        for i in 0..n {
            let mut nonce = [0; 12];
            nonce[..4].copy_from_slice(&i.to_le_bytes());
            let nonce = (&nonce).into();
            let tag = aead.encrypt_inout_detached(nonce, &[], piece.as_mut_slice().into());
            let tag = tag.unwrap();
            let opened = aead.decrypt_inout_detached(nonce, &[], piece.as_mut_slice().into(), &tag);
            opened.unwrap();
            black_box(&piece);
        }
    })
}

/// CPU seconds to bring as many bytes from one end to the other.
fn leg(n: u32) -> f64 {
    let keys = [7; 64];
    let mut up = Leg::new(NOW, true, &keys, Reading::PROFILE);
    let mut down = Leg::new(NOW, false, &keys, Reading::PROFILE);
    up.handle_command(NOW, Command::Open).unwrap();
    let (mut left, total) = (n, n as usize * parts::SIZE);
    let piece = Bytes::from(vec![9; parts::SIZE]);
    let mut got = 0;
    spent(|| {
        while got < total {
            while left > 0 {
                let data = piece.clone();
                if up
                    .handle_command(NOW, Command::Write { stream: 3, data })
                    .is_err()
                {
                    break;
                }
                left -= 1;
            }
            for forth in [true, false] {
                let (from, to) = if forth {
                    (&mut up, &mut down)
                } else {
                    (&mut down, &mut up)
                };
                while let Some(Transmit::Bytes(bytes)) = from.poll_transmit() {
                    to.handle_input(NOW, Input::Bytes(bytes)).unwrap();
                }
                from.handle_timeout(NOW);
                while let Some(event) = to.poll_event() {
                    if let Event::Data { stream, data } = event {
                        got += data.len();
                        let bytes = data.len() as u64;
                        to.consume(NOW, stream, bytes);
                    }
                }
            }
        }
    })
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let n = if effort.quick { 1000 } else { 4000 };
    let rounds: Vec<(f64, f64)> = (0..effort.rounds).map(|_| (raw(n), leg(n))).collect();
    let of = |f: &dyn Fn(&(f64, f64)) -> f64| median(rounds.iter().map(f).collect());
    let bytes = f64::from(n) * parts::SIZE as f64;
    vec![Figure {
        name: "a leg of 1.1 vs its AEAD, 16 KiB",
        ratio: of(&|(raw, leg)| raw / leg),
        bound: 0.80,
        at_least: true,
        detail: format!(
            "{:.2} of {:.2} GB/s, both ends",
            bytes / of(&|r| r.1) / 1e9,
            bytes / of(&|r| r.0) / 1e9
        ),
    }]
}
