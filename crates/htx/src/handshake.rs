//! `Noise_XK_25519_ChaChaPoly_SHA256` with ML-KEM-768 in its payloads (profile chapter 2, "Inner handshake").

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey, same, schedule};
use betanet_machine::Rng;
use ml_kem::{DecapsulationKey768, EncapsulationKey768, KeyExport as _, kem::Decapsulate as _};
use snow::HandshakeState;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::Pq;
use crate::resolver::Resolver;

const SUITE: &str = "Noise_XK_25519_ChaChaPoly_SHA256";
const KEM_KEY: usize = 1184;
const KEM_CIPHERTEXT: usize = 1088;

/// Length of message 1 without and with an encapsulation key.
pub const MESSAGE_1: [usize; 2] = [48, 48 + KEM_KEY];
/// Length of message 2 without and with a ciphertext.
pub const MESSAGE_2: [usize; 2] = [48, 48 + KEM_CIPHERTEXT];
/// Length of message 3.
pub const MESSAGE_3: usize = 128;

/// Why a handshake failed; the peer sees AUTH_FAILED in each case.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The message has a length that the table does not allow.
    #[error(
        "handshake message {message} of {len} bytes has another length than the profile allows"
    )]
    Length {
        /// Number of the message: 1, 2 or 3.
        message: u8,
        /// Received length, bytes.
        len: usize,
    },
    /// The message does not decrypt: it was altered, replayed, out of order, or meant for another node.
    #[error("handshake message {message} does not open")]
    Sealed {
        /// Number of the message: 1, 2 or 3.
        message: u8,
    },
    /// A Diffie-Hellman result is zero: the public key is a point of small order.
    #[error("a key of small order in handshake message {message}")]
    SmallOrder {
        /// Number of the message: 1, 2 or 3.
        message: u8,
    },
    /// The encapsulation key fails the check of FIPS 203.
    #[error("the ML-KEM encapsulation key is not valid")]
    Kem,
    /// The identity in message 3 is not a usable key, or does not match the Noise static key.
    #[error("the identity does not match the Noise key")]
    Identity,
    /// The server does not use ML-KEM, which this client requires.
    #[error("the peer does not use ML-KEM-768, which is required here")]
    PqRequired,
    /// The handshake could not be set up.
    #[error("the Noise state could not be built")]
    Setup,
}

impl HandshakeError {
    fn noise(message: u8) -> impl Fn(snow::Error) -> Self {
        move |e| match e {
            snow::Error::Dh => Self::SmallOrder { message },
            _ => Self::Sealed { message },
        }
    }
}

/// The randomness of one handshake, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    ephemeral: [u8; 32],
    kem: [u8; 64],
}

impl Secrets {
    /// Draws fresh randomness.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        Self::new(rng.array(), rng.array())
    }

    /// Uses the given values: the X25519 ephemeral, and for ML-KEM the client's `d || z`, or the server's `m` in
    /// the first 32 bytes.
    #[must_use]
    pub const fn new(ephemeral: [u8; 32], kem: [u8; 64]) -> Self {
        Self { ephemeral, kem }
    }
}

/// Result of a finished handshake.
pub struct Outcome {
    /// The other end's identity.
    pub peer: PublicKey,
    /// The client's TemplateID.
    pub template: [u8; 32],
    /// Whether ML-KEM-768 contributed to the secret.
    pub pq: bool,
    /// The Noise handshake hash.
    pub hash: [u8; 32],
    /// The secret from which the key schedule derives all keys.
    pub noise_secret: Zeroizing<[u8; 32]>,
}

/// The handshake's primitives with a fixed ephemeral key: for known-answer tests, not part of the interface.
#[doc(hidden)]
#[must_use]
pub fn resolver(ephemeral: [u8; 32]) -> Box<dyn snow::resolvers::CryptoResolver + Send> {
    Box::new(Resolver::new(ephemeral, None))
}

/// The handshake's X25519; `None` if the result is zero.
#[must_use]
pub fn x25519(private: &[u8; 32], public: &[u8; 32]) -> Option<[u8; 32]> {
    crate::resolver::x25519(private, public)
}

fn noise(
    identity: &Identity,
    responder: &PublicKey,
    ekm0: &[u8; 32],
    ephemeral: [u8; 32],
    initiator: bool,
) -> Result<Box<HandshakeState>, HandshakeError> {
    let setup = |_| HandshakeError::Setup;
    let mut prologue = Vec::with_capacity(75);
    prologue.extend_from_slice(b"betanet/1.2");
    prologue.extend_from_slice(ekm0);
    prologue.extend_from_slice(responder.as_bytes());
    let params = SUITE.parse().map_err(setup)?;
    let private = identity.x25519();
    let resolver = Resolver::new(ephemeral, Some(*identity.x25519_public()));
    let builder = snow::Builder::with_resolver(params, Box::new(resolver))
        .local_private_key(private.as_slice())
        .and_then(|b| b.prologue(&prologue))
        .map_err(setup)?;
    let state = if initiator {
        builder
            .remote_public_key(&responder.x25519())
            .and_then(snow::Builder::build_initiator)
    } else {
        builder.build_responder()
    };
    prologue.zeroize();
    state.map(Box::new).map_err(setup)
}

fn write(
    state: &mut HandshakeState,
    payload: &[u8],
    len: usize,
    message: u8,
) -> Result<Vec<u8>, HandshakeError> {
    let mut out = vec![0; len];
    let n = state
        .write_message(payload, &mut out)
        .map_err(HandshakeError::noise(message))?;
    if n == len {
        Ok(out)
    } else {
        Err(HandshakeError::Setup)
    }
}

fn read(
    state: &mut HandshakeState,
    bytes: &[u8],
    message: u8,
) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
    let mut payload = Zeroizing::new(vec![0; bytes.len()]);
    let n = state
        .read_message(bytes, &mut payload)
        .map_err(HandshakeError::noise(message))?;
    payload.truncate(n);
    Ok(payload)
}

fn outcome(
    mut state: Box<HandshakeState>,
    shared: &[u8],
    peer: PublicKey,
    template: [u8; 32],
) -> Result<Outcome, HandshakeError> {
    let hash: [u8; 32] = state
        .get_handshake_hash()
        .try_into()
        .map_err(|_| HandshakeError::Setup)?;
    let (k1, k2) = state.dangerously_get_raw_split();
    let (k1, k2) = (Zeroizing::new(k1), Zeroizing::new(k2));
    Ok(Outcome {
        peer,
        template,
        pq: !shared.is_empty(),
        noise_secret: schedule::noise_secret(&hash, &k1, &k2, shared),
        hash,
    })
}

/// The client's side, waiting for message 2.
pub struct Initiator {
    noise: Box<HandshakeState>,
    kem: Option<DecapsulationKey768>,
    responder: PublicKey,
    payload: [u8; 64],
    template: [u8; 32],
    pq: Pq,
}

impl Initiator {
    /// Writes message 1.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::SmallOrder`] for an unusable responder key, [`HandshakeError::Setup`].
    #[allow(clippy::needless_pass_by_value, reason = "the secrets end here")]
    pub fn start(
        identity: &Identity,
        responder: &PublicKey,
        ekm0: &[u8; 32],
        template: [u8; 32],
        pq: Pq,
        secrets: Secrets,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mut noise = noise(identity, responder, ekm0, secrets.ephemeral, true)?;
        let kem = pq
            .offered()
            .then(|| DecapsulationKey768::from_seed(secrets.kem.into()));
        let message = match &kem {
            Some(key) => {
                let public = key.encapsulation_key().to_bytes();
                write(&mut noise, &public, MESSAGE_1[1], 1)?
            }
            None => write(&mut noise, &[], MESSAGE_1[0], 1)?,
        };
        let mut payload = [0; 64];
        payload[..32].copy_from_slice(identity.public().as_bytes());
        payload[32..].copy_from_slice(&template);
        let this = Self {
            noise,
            kem,
            responder: *responder,
            payload,
            template,
            pq,
        };
        Ok((this, message))
    }

    /// Reads message 2 and writes message 3.
    ///
    /// # Errors
    ///
    /// Message 2 is invalid.
    pub fn finish(mut self, message2: &[u8]) -> Result<(Outcome, Vec<u8>), HandshakeError> {
        if !MESSAGE_2.contains(&message2.len()) {
            return Err(HandshakeError::Length {
                message: 2,
                len: message2.len(),
            });
        }
        let payload = read(&mut self.noise, message2, 2)?;
        let shared = match (&self.kem, payload.len()) {
            (_, 0) if self.pq == Pq::Require => return Err(HandshakeError::PqRequired),
            (_, 0) => Zeroizing::new(Vec::new()),
            (Some(key), KEM_CIPHERTEXT) => {
                let mut secret = key
                    .decapsulate_slice(&payload)
                    .map_err(|_| HandshakeError::Kem)?;
                let shared = Zeroizing::new(secret.to_vec());
                secret.as_mut_slice().zeroize();
                shared
            }
            (_, len) => return Err(HandshakeError::Length { message: 2, len }),
        };
        let message3 = write(&mut self.noise, &self.payload, MESSAGE_3, 3)?;
        let outcome = outcome(self.noise, &shared, self.responder, self.template)?;
        Ok((outcome, message3))
    }
}

/// The server's side, waiting for message 3.
pub struct Responder {
    noise: Box<HandshakeState>,
    shared: Zeroizing<Vec<u8>>,
}

impl Responder {
    /// Reads message 1 and writes message 2.
    ///
    /// # Errors
    ///
    /// Message 1 is invalid; the caller then answers as its cover site does (E-6).
    #[allow(clippy::needless_pass_by_value, reason = "the secrets end here")]
    pub fn accept(
        identity: &Identity,
        ekm0: &[u8; 32],
        message1: &[u8],
        pq: Pq,
        secrets: Secrets,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        if !MESSAGE_1.contains(&message1.len()) {
            return Err(HandshakeError::Length {
                message: 1,
                len: message1.len(),
            });
        }
        let mut noise = noise(identity, identity.public(), ekm0, secrets.ephemeral, false)?;
        let payload = read(&mut noise, message1, 1)?;
        let mut shared = Zeroizing::new(Vec::new());
        let message = if payload.is_empty() {
            write(&mut noise, &[], MESSAGE_2[0], 2)?
        } else {
            let key = payload
                .as_slice()
                .try_into()
                .ok()
                .and_then(|k| EncapsulationKey768::new(k).ok())
                .ok_or(HandshakeError::Kem)?;
            if pq.offered() {
                let mut m = ml_kem::B32::default();
                m.copy_from_slice(&secrets.kem[..32]);
                let (ciphertext, mut secret) = key.encapsulate_deterministic(&m);
                shared.extend_from_slice(&secret);
                secret.as_mut_slice().zeroize();
                m.as_mut_slice().zeroize();
                write(&mut noise, &ciphertext, MESSAGE_2[1], 2)?
            } else {
                write(&mut noise, &[], MESSAGE_2[0], 2)?
            }
        };
        Ok((Self { noise, shared }, message))
    }

    /// Reads message 3.
    ///
    /// # Errors
    ///
    /// Message 3 is invalid.
    pub fn finish(mut self, message3: &[u8]) -> Result<Outcome, HandshakeError> {
        if message3.len() != MESSAGE_3 {
            return Err(HandshakeError::Length {
                message: 3,
                len: message3.len(),
            });
        }
        let payload = read(&mut self.noise, message3, 3)?;
        let (key, template) = payload
            .split_first_chunk::<32>()
            .and_then(|(key, rest)| Some((key, rest.try_into().ok()?)))
            .ok_or(HandshakeError::Identity)?;
        let peer = PublicKey::from_bytes(key).map_err(|_| HandshakeError::Identity)?;
        let fixed = self
            .noise
            .get_remote_static()
            .is_some_and(|s| same(s, &peer.x25519()));
        if !fixed {
            return Err(HandshakeError::Identity);
        }
        outcome(self.noise, &self.shared, peer, template)
    }
}
