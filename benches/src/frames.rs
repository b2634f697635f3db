//! Frame seal and open at 16 KiB beside the AEAD's own speed, and the AEADs of two libraries beside each other.

use betanet_htx::cipher::{Ciphers, FrameKey, Suite};
use betanet_runtime::NativeCiphers;

use crate::{Effort, Figure, median, parts};

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let mut figures = sealed(
        effort,
        Suite::ChaCha20Poly1305,
        ["frame seal vs ring, 16 KiB", "frame open vs ring, 16 KiB"],
        0.90,
    );
    if NativeCiphers.suits(Suite::Aes256Gcm) {
        figures.extend(sealed(
            effort,
            Suite::Aes256Gcm,
            [
                "frame seal with AES vs AWS-LC, 16 KiB",
                "frame open with AES vs AWS-LC, 16 KiB",
            ],
            0.75,
        ));
        figures.push(chosen(
            effort,
            Suite::Aes256Gcm,
            "AES-256-GCM, AWS-LC's (ours) vs ring's",
        ));
    }
    figures.push(chosen(
        effort,
        Suite::ChaCha20Poly1305,
        "ChaCha20-Poly1305, ring's (ours) vs AWS-LC's",
    ));
    figures
}

fn sealed(effort: Effort, suite: Suite, names: [&'static str; 2], bound: f64) -> Vec<Figure> {
    let n = if effort.quick { 200 } else { 1000 };
    let runs: Vec<parts::Aead> = (0..effort.rounds).map(|_| parts::aead(suite, n)).collect();
    let of = |f: &dyn Fn(&parts::Aead) -> f64| median(runs.iter().map(f).collect());
    let figure = |name, ours: f64, raw: f64| Figure {
        name,
        ratio: raw / ours,
        bound,
        at_least: true,
        detail: format!(
            "{:.2} of {:.2} GB/s",
            parts::SIZE as f64 / ours,
            parts::SIZE as f64 / raw
        ),
    };
    let [seal, open] = names;
    vec![
        figure(seal, of(&|r| r.seal), of(&|r| r.raw_seal)),
        figure(open, of(&|r| r.open), of(&|r| r.raw_open)),
    ]
}

/// Bytes of the pieces on which two implementations are compared: a full frame, and a request.
const SIZES: [usize; 2] = [parts::SIZE, 1024];

/// The implementation that a node uses beside the other, seal and open together; the ratio is of full frames.
fn chosen(effort: Effort, suite: Suite, name: &'static str) -> Figure {
    let ours = NativeCiphers.key(suite, &[7; 32]).unwrap();
    let other = other(suite);
    let mut speeds = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    let mut ratios = Vec::new();
    for _ in 0..effort.rounds {
        for (size, speeds) in SIZES.into_iter().zip(&mut speeds) {
            let n = if effort.quick { 500 } else { 4000 };
            let [a, b] = [&ours, &other].map(|key| {
                let (seal, open) = parts::raw(&**key, size, n);
                seal + open
            });
            speeds[0].push(2.0 * size as f64 / a);
            speeds[1].push(2.0 * size as f64 / b);
            if size == parts::SIZE {
                ratios.push(b / a);
            }
        }
    }
    let [[a, b], [c, d]] = speeds.map(|pair| pair.map(median));
    Figure {
        name,
        ratio: median(ratios),
        bound: 0.95,
        at_least: true,
        detail: format!("{a:.2} and {b:.2} GB/s in 16 KiB, {c:.2} and {d:.2} in 1 KiB"),
    }
}

fn other(suite: Suite) -> Box<dyn FrameKey> {
    match suite {
        Suite::Aes256Gcm => betanet_htx::cipher::Ring.key(suite, &[7; 32]).unwrap(),
        _ => Box::new(AwsLc::new()),
    }
}

/// ChaCha20-Poly1305 of AWS-LC, which no node uses.
struct AwsLc(aws_lc_rs::aead::LessSafeKey);

impl AwsLc {
    fn new() -> Self {
        use aws_lc_rs::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
        Self(LessSafeKey::new(
            UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap(),
        ))
    }
}

impl FrameKey for AwsLc {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Option<[u8; 16]> {
        use aws_lc_rs::aead::{Aad, Nonce};
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), data)
            .ok()?;
        tag.as_ref().try_into().ok()
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> bool {
        use aws_lc_rs::aead::{Aad, Nonce};
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, data)
            .is_ok()
    }
}
