/// How 1.1 is read where its text leaves a label, an order or a place open. Another reading is another value, not other code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reading {
    /// The exporter's label; its context is empty, its length 64: the client's key, then the server's.
    pub exporter: &'static str,
    /// `HKDF(key, salt, 12)` of a key is its nonce's salt.
    pub nonce_salt: &'static [u8],
    /// `HKDF(key, salt, 32)` of a key is the one that KEY_UPDATE turns to. The profile names none: this follows the nonce's.
    pub next_salt: &'static [u8],
    /// What the hashed salt of a ticket begins with.
    pub ticket: &'static [u8],
    /// The cookie that a ticket may come in.
    pub cookie: &'static str,
    /// The field of a query or a form that it may come in.
    pub field: &'static str,
    /// The stream that a client's path header comes on. The profile names none: this is the one that 1.2 keeps for what comes before all
    /// streams. What a server says on it is not read.
    pub paths: u64,
}

impl Reading {
    /// The profile's.
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
