use alloc::boxed::Box;
#[cfg(test)]
use alloc::vec::Vec;

use betanet_keys::schedule::{self, TrafficSecret};
use bytes::{Bytes, BytesMut};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use zeroize::Zeroizing;

use crate::cipher::{Ciphers, FrameKey, Ring, Suite};
use crate::frame::{HEADER, Head, TAG, ty};

/// Number of frames that may still arrive under the old key, and of frames under the new key that retire the old one.
const OLD_FRAMES: u32 = 3;
/// Minimum number of frames between two KEY_UPDATEs of one sender.
const TURN_AFTER: u32 = 4;
/// Number of frames after the old key's end in which an undecryptable frame is attributed to it.
const OLD_GRACE: u32 = 4;

/// The AEAD of one direction, and its implementation.
#[derive(Clone, Copy, Debug)]
pub struct Cipher {
    /// The AEAD.
    pub suite: Suite,
    /// Its implementation.
    pub by: &'static dyn Ciphers,
}

impl Default for Cipher {
    fn default() -> Self {
        Self {
            suite: Suite::default(),
            by: &Ring,
        }
    }
}

/// Key of one direction for one key generation.
struct Keys {
    aead: Option<Box<dyn FrameKey>>,
    salt: Zeroizing<[u8; 12]>,
    mask: Option<Zeroizing<[u8; 32]>>,
    counter: u64,
}

impl Keys {
    fn new(cipher: Cipher, secret: &TrafficSecret, masked: bool) -> Self {
        Self {
            aead: cipher.by.key(cipher.suite, &secret.key()),
            salt: secret.nonce_salt(),
            mask: masked.then(|| schedule::label(secret.as_bytes(), "hp")),
            counter: 0,
        }
    }

    fn from_parts(cipher: Cipher, key: &[u8; 32], salt: [u8; 12], counter: u64) -> Self {
        Self {
            aead: cipher.by.key(cipher.suite, key),
            salt: Zeroizing::new(salt),
            mask: None,
            counter,
        }
    }

    fn nonce(&self) -> [u8; 12] {
        schedule::nonce(&self.salt, self.counter)
    }

    /// Masks or unmasks the header of a sealed frame (E-31; RFC 9001 §5.4.4 with seven bytes).
    fn turn_mask(&self, frame: &mut [u8]) {
        let Some(key) = &self.mask else { return };
        let Some(sample) = frame.last_chunk::<TAG>().copied() else {
            return;
        };
        let [c0, c1, c2, c3, nonce @ ..] = sample;
        let block = u32::from_le_bytes([c0, c1, c2, c3]);
        let mut cipher = ChaCha20::new((&**key).into(), (&nonce).into());
        if cipher.try_seek(u64::from(block) * 64).is_ok() {
            cipher.apply_keystream(&mut frame[3..HEADER]);
        }
    }

    /// Decrypts in place; the plaintext lies between header and tag.
    fn open(&mut self, frame: &mut [u8]) -> Option<Head> {
        self.turn_mask(frame);
        let (head, sealed) = frame.split_first_chunk_mut::<HEADER>()?;
        let at = sealed.len().checked_sub(TAG)?;
        let (body, tag) = sealed.split_at_mut(at);
        let tag = (&*tag).try_into().ok()?;
        let opens = self.aead.as_ref()?.open(self.nonce(), head, body, tag);
        self.counter += u64::from(opens);
        opens.then(|| Head::from_bytes(head))
    }
}

/// Seals the frames of one direction and replaces its key.
pub struct Sealer {
    cipher: Cipher,
    secret: TrafficSecret,
    keys: Keys,
    masked: bool,
    frames: u64,
    bytes: u64,
    generation: u64,
    /// Buffer in which frames are built; its memory is reused once earlier frames have been sent.
    buffer: BytesMut,
}

impl core::hash::Hash for Sealer {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        betanet_machine::hash_fields!(self, state, Sealer { masked, frames, bytes, generation } without {
            cipher: "set once",
            secret: "a secret, which changes with the generation",
            keys: "secrets, which change with the generation and the frames",
            buffer: "empty between frames",
        });
    }
}

impl Sealer {
    /// Starts an epoch with ChaCha20-Poly1305; `masked` for a session over FORWARD.
    #[must_use]
    pub fn new(secret: TrafficSecret, masked: bool) -> Self {
        Self::with(Cipher::default(), secret, masked)
    }

    /// Starts an epoch with this AEAD; `masked` for a session over FORWARD.
    #[must_use]
    pub fn with(cipher: Cipher, secret: TrafficSecret, masked: bool) -> Self {
        Self {
            keys: Keys::new(cipher, &secret, masked),
            cipher,
            secret,
            masked,
            frames: 0,
            bytes: 0,
            generation: 0,
            buffer: BytesMut::new(),
        }
    }

    /// Starts at a counter other than 0, for known-answer tests.
    #[must_use]
    pub fn from_parts(cipher: Cipher, key: &[u8; 32], salt: [u8; 12], counter: u64) -> Self {
        let mut this = Self::with(cipher, TrafficSecret::client(&[0; 32]), false);
        this.keys = Keys::from_parts(cipher, key, salt, counter);
        this
    }

    /// Seals one frame whose payload is `prefix || data`.
    pub fn seal(&mut self, head: Head, prefix: &[u8], data: &[u8]) -> Bytes {
        let body = prefix.len() + data.len();
        let header = head.to_bytes(body + TAG);
        self.buffer.reserve(HEADER + body + TAG);
        let mut out = core::mem::take(&mut self.buffer);
        out.extend_from_slice(&header);
        out.extend_from_slice(prefix);
        out.extend_from_slice(data);
        let nonce = self.keys.nonce();
        let key = self.keys.aead.as_ref();
        let sealed = key.and_then(|k| k.seal(nonce, &header, &mut out[HEADER..]));
        let Some(tag) = sealed else {
            // Unreachable for our lengths; if reached, no plaintext may leave.
            return Bytes::new();
        };
        out.extend_from_slice(&tag);
        self.keys.turn_mask(&mut out);
        self.keys.counter += 1;
        self.frames += 1;
        self.bytes += out.len() as u64;
        // The remaining memory serves the next frame.
        self.buffer = out.split_off(out.len());
        out.freeze()
    }

    /// Whether a KEY_UPDATE may be sent: the first of an epoch at any time, later ones after four frames.
    #[must_use]
    pub const fn may_turn(&self) -> bool {
        self.generation == 0 || self.frames >= TURN_AFTER as u64
    }

    /// Seals a KEY_UPDATE and switches to the next key.
    pub fn turn(&mut self) -> Bytes {
        let out = self.seal(Head::connection(ty::KEY_UPDATE), &[], &[]);
        self.secret = self.secret.next();
        self.keys = Keys::new(self.cipher, &self.secret, self.masked);
        self.frames = 0;
        self.bytes = 0;
        self.generation += 1;
        out
    }

    /// Bytes sealed under the current key.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frames sealed under the current key.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Number of key updates so far.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

/// Why a frame did not decrypt.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No valid key decrypts the frame.
    #[error("a frame does not open")]
    Sealed,
    /// The frame came shortly after the old key's end and is attributed to the old key.
    #[error("a frame does not open shortly after the old key ended")]
    OldKey,
    /// A KEY_UPDATE came sooner than four frames after the last.
    #[error("the key turns again too soon")]
    TurnedTooSoon,
}

struct Old {
    keys: Keys,
    frames: u32,
}

/// Opens the frames of one direction and follows its key updates.
pub struct Opener {
    cipher: Cipher,
    secret: TrafficSecret,
    keys: Keys,
    masked: bool,
    frames: u64,
    old: Option<Old>,
    generation: u64,
    /// Number of frames opened since the old key ended.
    since_old: u32,
}

impl core::hash::Hash for Opener {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.old.as_ref().map(|old| old.frames).hash(state);
        betanet_machine::hash_fields!(self, state, Opener { masked, frames, generation, since_old } without {
            cipher: "set once",
            secret: "a secret, which changes with the generation",
            keys: "secrets, which change with the generation and the frames",
            old: "hashed above, without its keys",
        });
    }
}

impl Opener {
    /// Starts at a counter other than 0, for known-answer tests.
    #[must_use]
    pub fn from_parts(cipher: Cipher, key: &[u8; 32], salt: [u8; 12], counter: u64) -> Self {
        let mut this = Self::with(cipher, TrafficSecret::client(&[0; 32]), false);
        this.keys = Keys::from_parts(cipher, key, salt, counter);
        this
    }

    /// Starts an epoch with ChaCha20-Poly1305; `masked` for a session over FORWARD.
    #[must_use]
    pub fn new(secret: TrafficSecret, masked: bool) -> Self {
        Self::with(Cipher::default(), secret, masked)
    }

    /// Starts an epoch with this AEAD; `masked` for a session over FORWARD.
    #[must_use]
    pub fn with(cipher: Cipher, secret: TrafficSecret, masked: bool) -> Self {
        Self {
            keys: Keys::new(cipher, &secret, masked),
            cipher,
            secret,
            masked,
            frames: 0,
            old: None,
            generation: 0,
            since_old: OLD_GRACE,
        }
    }

    /// Decrypts a whole frame in place and follows a KEY_UPDATE. The payload lies between header and tag.
    ///
    /// # Errors
    ///
    /// No valid key decrypts the frame, or it updates the key too soon. The frame's bytes are then unusable.
    pub fn open(&mut self, frame: &mut [u8]) -> Result<Head, OpenError> {
        let head = match &mut self.old {
            None => self.keys.open(frame),
            Some(old) => {
                // A failed attempt overwrites its input.
                let mut copy = Zeroizing::new(frame.to_vec());
                match self.keys.open(&mut copy) {
                    Some(head) => {
                        frame.copy_from_slice(&copy);
                        Some(head)
                    }
                    None => match old.keys.open(frame) {
                        Some(head) => {
                            old.frames += 1;
                            if old.frames >= OLD_FRAMES {
                                self.forget_old();
                            }
                            if head.ty == ty::KEY_UPDATE {
                                return Err(OpenError::TurnedTooSoon);
                            }
                            return Ok(head);
                        }
                        None => None,
                    },
                }
            }
        };
        let Some(head) = head else {
            let recent = self.old.is_none() && self.since_old < OLD_GRACE;
            return Err(if recent {
                OpenError::OldKey
            } else {
                OpenError::Sealed
            });
        };
        self.since_old = self.since_old.saturating_add(1);
        let before = self.frames;
        self.frames += 1;
        if self.old.is_some() && self.frames >= u64::from(OLD_FRAMES) {
            self.forget_old();
        }
        if head.ty == ty::KEY_UPDATE {
            if self.generation > 0 && before < u64::from(TURN_AFTER) {
                return Err(OpenError::TurnedTooSoon);
            }
            self.turn();
        }
        Ok(head)
    }

    fn forget_old(&mut self) {
        self.old = None;
        self.since_old = 0;
    }

    fn turn(&mut self) {
        self.secret = self.secret.next();
        let next = Keys::new(self.cipher, &self.secret, self.masked);
        self.old = Some(Old {
            keys: core::mem::replace(&mut self.keys, next),
            frames: 0,
        });
        self.frames = 0;
        self.generation += 1;
    }

    /// Number of frames opened under the current key.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Number of key updates so far.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(masked: bool) -> (Sealer, Opener) {
        let secret = TrafficSecret::client(&[9; 32]);
        (
            Sealer::new(secret.clone(), masked),
            Opener::new(secret, masked),
        )
    }

    fn ping(s: &mut Sealer) -> Vec<u8> {
        s.seal(Head::connection(ty::PING), &[1; 8], &[]).to_vec()
    }

    #[test]
    fn a_masked_header_shows_its_length_only() {
        let (mut s, mut o) = pair(true);
        let (mut plain, _) = pair(false);
        for _ in 0..4 {
            let (mut frame, clear) = (ping(&mut s), ping(&mut plain));
            assert_eq!(frame[..3], clear[..3]);
            assert_ne!(frame[3..HEADER], clear[3..HEADER]);
            assert_eq!(
                frame[HEADER..],
                clear[HEADER..],
                "the AAD is the unmasked header"
            );
            assert_eq!(o.open(&mut frame).unwrap().ty, ty::PING);
        }
        s.turn();
    }

    #[test]
    fn frames_under_the_old_key_are_read_three_times() {
        for late in 0..=4u32 {
            let (mut s, mut o) = pair(false);
            let (mut shadow, _) = pair(false);
            o.open(&mut ping(&mut s)).unwrap();
            ping(&mut shadow);
            o.open(&mut s.turn().to_vec()).unwrap();
            shadow.seal(Head::connection(ty::KEY_UPDATE), &[], &[]);
            for n in 0..late {
                let got = o.open(&mut ping(&mut shadow));
                match n {
                    0..3 => assert!(got.is_ok()),
                    _ => assert_eq!(got, Err(OpenError::OldKey)),
                }
            }
            assert!(o.open(&mut ping(&mut s)).is_ok());
        }
    }

    #[test]
    fn three_frames_under_the_new_key_end_the_old() {
        let (mut s, mut o) = pair(false);
        let (mut shadow, _) = pair(false);
        o.open(&mut s.turn().to_vec()).unwrap();
        shadow.seal(Head::connection(ty::KEY_UPDATE), &[], &[]);
        for _ in 0..3 {
            o.open(&mut ping(&mut s)).unwrap();
        }
        assert_eq!(o.open(&mut ping(&mut shadow)), Err(OpenError::OldKey));
        for _ in 0..4 {
            o.open(&mut ping(&mut s)).unwrap();
        }
        assert_eq!(o.open(&mut ping(&mut shadow)), Err(OpenError::Sealed));
    }

    #[test]
    fn a_key_that_turns_twice_within_four_frames_is_refused() {
        for between in 0..5 {
            let (mut s, mut o) = pair(false);
            o.open(&mut s.turn().to_vec()).unwrap();
            for _ in 0..between {
                o.open(&mut ping(&mut s)).unwrap();
            }
            assert_eq!(s.may_turn(), between >= 4);
            let second = o.open(&mut s.turn().to_vec());
            let want = if between < 4 {
                Err(OpenError::TurnedTooSoon)
            } else {
                Ok(Head::connection(ty::KEY_UPDATE))
            };
            assert_eq!(second, want);
        }
    }
}
