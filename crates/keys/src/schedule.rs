//! The session's key schedule (profile chapter 2; the published text's Appendix C is its zero-salt case).

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// `HKDF-Extract` with SHA-256 over the concatenated parts.
#[must_use]
pub fn extract(salt: &[u8], ikm: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut h = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
    for part in ikm {
        h.input_ikm(part);
    }
    let (prk, _) = h.finalize();
    Zeroizing::new(prk.into())
}

/// `HKDF-Expand(secret, info joined, N)`; `N` is at most 8 160 and usually 12 to 144.
#[must_use]
pub fn expand<const N: usize>(secret: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32) };
    let mut out = Zeroizing::new([0; N]);
    if let Ok(hk) = Hkdf::<Sha256>::from_prk(secret) {
        // Fails on a length over 255 blocks only, which the assertion rules out.
        let done = hk.expand_multi_info(info, out.as_mut_slice());
        debug_assert!(done.is_ok());
    }
    out
}

/// `Label(s, l, N) = HKDF-Expand(s, "betanet " || l, N)`.
#[must_use]
pub fn label<const N: usize>(secret: &[u8; 32], label: &str) -> Zeroizing<[u8; N]> {
    expand(secret, &[b"betanet ", label.as_bytes()])
}

/// `noise_secret = HKDF-Extract(salt = h, IKM = k1 || k2 || ss_pq)`; `ss_pq` is empty without ML-KEM.
#[must_use]
pub fn noise_secret(
    handshake_hash: &[u8; 32],
    initiator: &[u8; 32],
    responder: &[u8; 32],
    ss_pq: &[u8],
) -> Zeroizing<[u8; 32]> {
    extract(handshake_hash, &[initiator, responder, ss_pq])
}

/// `K0 = HKDF-Extract(salt = noise_secret, IKM = EKM)` (E-9).
#[must_use]
pub fn k0(noise_secret: &[u8; 32], ekm: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    extract(noise_secret, &[ekm])
}

/// One direction's secret of one epoch and generation.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TrafficSecret([u8; 32]);

impl TrafficSecret {
    /// The client-to-server secret of an epoch.
    #[must_use]
    pub fn client(k0: &[u8; 32]) -> Self {
        Self(*label(k0, "ts_c"))
    }

    /// The server-to-client secret of an epoch.
    #[must_use]
    pub fn server(k0: &[u8; 32]) -> Self {
        Self(*label(k0, "ts_s"))
    }

    /// The secret itself.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The AEAD key.
    #[must_use]
    pub fn key(&self) -> Zeroizing<[u8; 32]> {
        label(&self.0, "key")
    }

    /// The nonce salt.
    #[must_use]
    pub fn nonce_salt(&self) -> Zeroizing<[u8; 12]> {
        label(&self.0, "nonce")
    }

    /// The next generation's secret.
    #[must_use]
    pub fn next(&self) -> Self {
        Self(*label(&self.0, "next"))
    }
}

impl core::fmt::Debug for TrafficSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TrafficSecret(…)")
    }
}

/// `nonce = salt XOR (u64 little-endian counter || 0x00000000)`.
#[must_use]
pub fn nonce(salt: &[u8; 12], counter: u64) -> [u8; 12] {
    let mut out = *salt;
    for (o, c) in out.iter_mut().zip(counter.to_le_bytes()) {
        *o ^= c;
    }
    out
}
