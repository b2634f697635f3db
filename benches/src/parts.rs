//! The parts that a session is made of, measured alone.

use std::hint::black_box;
use std::sync::Arc;

use betanet_htx::cipher::{Ciphers, FrameKey, Suite};
use betanet_htx::frame::{HEADER, Head, TAG, ty};
use betanet_htx::{Cipher, Opener, Sealer};
use betanet_keys::schedule::TrafficSecret;
use betanet_runtime::NativeCiphers;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::spent;

/// Bytes of data in a frame.
pub(crate) const SIZE: usize = 16 << 10;

/// CPU nanoseconds a frame, each.
pub(crate) struct Aead {
    pub(crate) raw_seal: f64,
    pub(crate) raw_open: f64,
    pub(crate) seal: f64,
    pub(crate) open: f64,
}

/// The AEAD of a session between two nodes of this machine.
pub(crate) fn suite() -> Suite {
    if NativeCiphers.suits(Suite::Aes256Gcm) {
        Suite::Aes256Gcm
    } else {
        Suite::ChaCha20Poly1305
    }
}

fn nonce(i: u32) -> [u8; 12] {
    let mut out = [0; 12];
    out[..4].copy_from_slice(&i.to_le_bytes());
    out
}

/// CPU nanoseconds that an implementation takes to seal and to open one of `n` pieces of this size, in place.
pub(crate) fn raw(key: &dyn FrameKey, size: usize, n: u32) -> (f64, f64) {
    let per = |seconds: f64| seconds / f64::from(n) * 1e9;
    let aad = [0; HEADER];
    let mut buf = vec![9; size];
    let seal = per(spent(|| {
        for i in 0..n {
            black_box(key.seal(nonce(i), &aad, &mut buf).unwrap());
        }
    }));
    let mut pieces: Vec<(Vec<u8>, [u8; TAG])> = (0..n)
        .map(|i| {
            let mut piece = vec![9; size];
            let tag = key.seal(nonce(i), &aad, &mut piece).unwrap();
            (piece, tag)
        })
        .collect();
    let open = per(spent(|| {
        for (i, (piece, tag)) in (0..).zip(&mut pieces) {
            assert!(black_box(key.open(nonce(i), &aad, piece, tag)));
        }
    }));
    (seal, open)
}

/// The AEAD's own speed, and our frames', over `n` pieces of 16 KiB.
pub(crate) fn aead(suite: Suite, n: u32) -> Aead {
    let cipher = Cipher {
        suite,
        by: &NativeCiphers,
    };
    let (raw_seal, raw_open) = raw(&*NativeCiphers.key(suite, &[7; 32]).unwrap(), SIZE, n);
    let data = vec![9; SIZE];
    let per = |seconds: f64| seconds / f64::from(n) * 1e9;
    let secret = TrafficSecret::client(&[7; 32]);
    let mut sealer = Sealer::with(cipher, secret.clone(), false);
    let seal = per(spent(|| {
        for _ in 0..n {
            black_box(sealer.seal(Head::of(ty::STREAM, 3), &[0; 11], &data[..SIZE - 11]));
        }
    }));
    let mut sealer = Sealer::with(cipher, secret.clone(), false);
    let mut frames: Vec<Vec<u8>> = (0..n)
        .map(|_| {
            sealer
                .seal(Head::of(ty::STREAM, 3), &[0; 11], &data[..SIZE - 11])
                .to_vec()
        })
        .collect();
    let mut opener = Opener::with(cipher, secret, false);
    let open = per(spent(|| {
        for frame in &mut frames {
            black_box(opener.open(frame).unwrap());
        }
    }));
    debug_assert_eq!(frames[0].len(), HEADER + SIZE + TAG);
    Aead {
        raw_seal,
        raw_open,
        seal,
        open,
    }
}

/// An executor with this many workers, or as many as the binaries' has.
pub(crate) fn runtime(workers: Option<usize>) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(n) = workers {
        builder.worker_threads(n);
    }
    builder.enable_all().build().unwrap()
}

/// Both ends' TLS settings, as the carrier has them.
pub(crate) fn tls_pair() -> (rustls::ServerConfig, rustls::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let der = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, client)
}
