/// Labels of hashes and signatures. Each is used for one purpose only.
pub mod label {
    /// Jitter of a node's beat interval.
    pub const BEAT: &str = "BN-FOG-BEAT1";
    /// Checksum of a join token's text.
    pub const CHECK: &str = "BN-FOG-CHK1";
    /// Hash of an auction order: its commitment.
    pub const LOT: &str = "BN-FOG-LOT1";
    /// Draw of a node by relay weight.
    pub const RELAY: &str = "BN-FOG-RELAY1";
    /// Jitter of a retry.
    pub const RETRY: &str = "BN-FOG-RETRY1";
    /// ID of a reservation.
    pub const RESERVATION: &str = "BN-FOG-RSV1";
    /// Public hash of a day's seed.
    pub const SEED: &str = "BN-FOG-SEED1";
    /// Draw of results that are computed again.
    pub const SPOT: &str = "BN-FOG-SPOT1";
    /// Order of equal prices in an auction.
    pub const TIE: &str = "BN-FOG-TIE1";
}

/// A number that nobody chose: the first 16 bytes of `H(label || parts)`.
///
/// Numbers in `parts` are u64, big-endian.
#[must_use]
pub fn draw(label: &str, parts: &[&[u8]]) -> u128 {
    let mut all: [&[u8]; 6] = [&[]; 6];
    all[0] = label.as_bytes();
    for (slot, part) in all.iter_mut().skip(1).zip(parts) {
        *slot = part;
    }
    let hash = betanet_keys::hash(&all);
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(first)
}
