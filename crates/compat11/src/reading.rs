/// Interpretation of version 1.1 where its text leaves a label, an order or a place open. Another interpretation is
/// another value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// The exporter's label. Its context is empty and its length 64: the client's key, then the server's.
    pub exporter: &'static str,
    /// `HKDF(key, salt, 12)` gives the salt of a key's nonces.
    pub nonce_salt: &'static [u8],
    /// `HKDF(key, salt, 32)` gives the next key at KEY_UPDATE. The profile names no salt: this follows the nonce's.
    pub next_salt: &'static [u8],
    /// Prefix of the hashed salt of a ticket.
    pub ticket: &'static [u8],
    /// Name of the cookie that may carry a ticket.
    pub cookie: &'static str,
    /// Name of the query or form field that may carry a ticket.
    pub field: &'static str,
    /// Stream of a client's path header. The profile names none: this is the stream that 1.2 reserves before all others. Data of
    /// a server on it is not read.
    pub paths: u64,
}

impl Reading {
    /// The profile's interpretation.
    pub const PROFILE: Self = Self {
        exporter: "htx inner v1",
        nonce_salt: b"ns",
        next_salt: b"next",
        ticket: b"betanet-ticket-v1",
        cookie: "__Host-bn1",
        field: "bn1",
        paths: 1,
    };
}

impl Default for Reading {
    fn default() -> Self {
        Self::PROFILE
    }
}
