//! An authenticator in software, and the browser before it.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::{Identity, hash};
use betanet_wire::text::base64url;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::{Algorithm, Assertion};

pub(super) enum Key {
    Es256(Box<EcdsaKeyPair>),
    EdDsa(Box<Identity>),
}

/// What an authenticator and a browser answer with; each part can be changed by a test.
pub(super) struct Soft {
    pub(super) key: Key,
    pub(super) id: Vec<u8>,
    pub(super) domain: String,
    pub(super) flags: u8,
    pub(super) count: u32,
    pub(super) extensions: Vec<u8>,
    pub(super) origin: String,
    pub(super) client_extra: String,
}

pub(super) struct Answer {
    pub(super) client: Vec<u8>,
    pub(super) authenticator: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

pub(super) fn bytes(b: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match u8::try_from(b.len()) {
        Ok(n @ 0..24) => out.push(0x40 | n),
        Ok(n) => out.extend_from_slice(&[0x58, n]),
        Err(_) => {
            out.push(0x59);
            out.extend_from_slice(&u16::try_from(b.len()).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(b);
    out
}

impl Soft {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::Es256 => {
                let (rng, kind) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &rng).unwrap();
                let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &rng).unwrap();
                Key::Es256(Box::new(pair))
            }
            Algorithm::EdDsa => Key::EdDsa(Box::new(Identity::from_seed(&[4; 32]))),
        };
        Self {
            key,
            id: (0..64).collect(),
            domain: "panel.example".into(),
            flags: 0b101,
            count: 1,
            extensions: Vec::new(),
            origin: "https://panel.example".into(),
            client_extra: String::new(),
        }
    }

    pub(super) fn cose(&self) -> Vec<u8> {
        match &self.key {
            Key::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let mut out = [0xa5, 1, 2, 3, 0x26, 0x20, 1].to_vec();
                out.push(0x21);
                out.extend_from_slice(&bytes(&point[1..33]));
                out.push(0x22);
                out.extend_from_slice(&bytes(&point[33..]));
                out
            }
            Key::EdDsa(identity) => {
                let mut out = [0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21].to_vec();
                out.extend_from_slice(&bytes(identity.public().as_bytes()));
                out
            }
        }
    }

    pub(super) fn data(&self, flags: u8, middle: &[u8]) -> Vec<u8> {
        let mut out = hash(&[self.domain.as_bytes()]).to_vec();
        out.push(flags);
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(middle);
        out.extend_from_slice(&self.extensions);
        out
    }

    pub(super) fn client(&self, ceremony: &str, challenge: &[u8]) -> Vec<u8> {
        let (challenge, origin, more) = (base64url(challenge), &self.origin, &self.client_extra);
        format!(r#"{{"type":"{ceremony}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false{more}}}"#)
            .into_bytes()
    }

    pub(super) fn attested(&self) -> Vec<u8> {
        let mut middle = [0; 16].to_vec();
        middle.extend_from_slice(&u16::try_from(self.id.len()).unwrap().to_be_bytes());
        middle.extend_from_slice(&self.id);
        middle.extend_from_slice(&self.cose());
        self.data(self.flags | 1 << 6, &middle)
    }

    pub(super) fn object(data: &[u8]) -> Vec<u8> {
        let mut out = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData".to_vec();
        out.extend_from_slice(&bytes(data));
        out
    }

    /// Client data and attestation object.
    pub(super) fn create(&self, challenge: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let object = Self::object(&self.attested());
        (self.client("webauthn.create", challenge), object)
    }

    pub(super) fn sign(&self, text: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Es256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), text).unwrap();
                signature.as_ref().to_vec()
            }
            Key::EdDsa(identity) => identity.sign_message(text).to_vec(),
        }
    }

    pub(super) fn get(&self, challenge: &[u8]) -> Answer {
        let client = self.client("webauthn.get", challenge);
        let authenticator = self.data(self.flags, &[]);
        let signature = self.sign(&[&authenticator[..], &hash(&[&client])].concat());
        Answer {
            client,
            authenticator,
            signature,
        }
    }

    pub(super) fn assertion<'a>(&'a self, answer: &'a Answer) -> Assertion<'a> {
        Assertion {
            credential: &self.id,
            client: &answer.client,
            authenticator: &answer.authenticator,
            signature: &answer.signature,
        }
    }
}
