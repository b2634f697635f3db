//! The fastest AEADs of this machine, for the frames of its sessions.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use betanet_htx::Config;
use betanet_htx::cipher::{Ciphers, FrameKey, Ring, Suite};

/// Chosen by measurement (`cargo xtask bench --only frames`): AES of AWS-LC, which uses 512-bit vectors, and
/// ChaCha20-Poly1305 of ring, which is as fast as that of AWS-LC.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeCiphers;

/// Whether this process offers no AES, whatever its processor has.
static FORBIDDEN: AtomicBool = AtomicBool::new(false);

impl NativeCiphers {
    /// Forbids AES to all nodes of this process that are created from now on.
    pub fn forbid_aes() {
        FORBIDDEN.store(true, Ordering::Relaxed);
    }
}

impl Ciphers for NativeCiphers {
    fn key(&self, suite: Suite, key: &[u8; 32]) -> Option<Box<dyn FrameKey>> {
        match suite {
            Suite::Aes256Gcm => {
                let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
                Some(Box::new(AwsLc(LessSafeKey::new(key))))
            }
            other => Ring.key(other, key),
        }
    }

    fn suits(&self, suite: Suite) -> bool {
        match suite {
            Suite::Aes256Gcm => has_aes() && !FORBIDDEN.load(Ordering::Relaxed),
            other => Ring.suits(other),
        }
    }
}

/// Whether the processor has instructions for AES and carry-less multiplication. Without them AES is slow or leaks its key
/// through the cache.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = is_x86_feature_detected!("aes") && is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

/// Sets the ciphers of this machine in a configuration that names none, and offers AES if it suits the machine.
#[must_use]
pub fn native(config: Config) -> Config {
    if config.ciphers.is_some() {
        return config;
    }
    config.with_ciphers(&NativeCiphers)
}

/// AWS-LC overwrites the key when it frees it.
struct AwsLc(LessSafeKey);

impl FrameKey for AwsLc {
    fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Option<[u8; 16]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), data)
            .ok()?;
        tag.as_ref().try_into().ok()
    }

    fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8; 16]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, data)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use betanet_htx::frame::Head;
    use betanet_htx::{Aes, Cipher, Opener, Sealer};
    use data_encoding::HEXLOWER;

    use super::*;

    fn bytes<const N: usize>(text: &serde_json::Value) -> [u8; N] {
        let bytes = HEXLOWER.decode(text.as_str().unwrap().as_bytes()).unwrap();
        bytes.try_into().unwrap()
    }

    /// The files of `spec-vectors` whose frames these suites seal.
    const ANSWERS: [(Suite, &str); 2] = [
        (
            Suite::ChaCha20Poly1305,
            include_str!("../../../spec-vectors/frames.json"),
        ),
        (
            Suite::Aes256Gcm,
            include_str!("../../../spec-vectors/frames_aes.json"),
        ),
    ];

    #[test]
    fn frames_are_those_of_the_known_answers_and_any_flipped_bit_is_found() {
        for (suite, text) in ANSWERS {
            let file: serde_json::Value = serde_json::from_str(text).unwrap();
            let cipher = Cipher {
                suite,
                by: &NativeCiphers,
            };
            for case in file["cases"].as_array().unwrap() {
                let (key, salt) = (bytes(&case["key"]), bytes(&case["nonce_salt"]));
                let counter = case["counter"].as_str().unwrap().parse().unwrap();
                let number = |key: &str| case[key].as_u64().unwrap();
                let head = Head {
                    ty: u8::try_from(number("type")).unwrap(),
                    stream: u32::try_from(number("stream")).unwrap(),
                    mark: u16::try_from(number("mark")).unwrap(),
                };
                let hex = |key: &str| {
                    let text = case[key].as_str().unwrap().as_bytes();
                    HEXLOWER.decode(text).unwrap()
                };
                let (payload, frame) = (hex("payload"), hex("frame"));
                let sealed =
                    Sealer::from_parts(cipher, &key, salt, counter).seal(head, &payload, &[]);
                assert_eq!(sealed, frame);
                let open = |f: &mut [u8]| Opener::from_parts(cipher, &key, salt, counter).open(f);
                let mut opened = frame.clone();
                assert_eq!(open(&mut opened), Ok(head));
                assert_eq!(opened[10..frame.len() - 16], payload);
                for bit in 0..frame.len() * 8 {
                    let mut bad = frame.clone();
                    bad[bit / 8] ^= 1 << (bit % 8);
                    assert!(open(&mut bad).is_err(), "bit {bit}");
                }
            }
        }
    }

    #[test]
    fn aes_is_offered_where_the_processor_has_it_and_the_node_may() {
        let ours = native(Config::default());
        assert_eq!(ours.offers_aes(), has_aes());
        let never = native(Config {
            aes: Aes::Off,
            ..Config::default()
        });
        assert!(!never.offers_aes());
        assert!(
            !Config::default().offers_aes(),
            "ring does not ask the processor"
        );
    }
}
