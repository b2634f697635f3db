/// Reason code of an answer. Where several apply, the lowest is the answer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
#[repr(u16)]
pub enum Code {
    /// Accepted.
    Ok = 0,
    /// The request's shape, a type or a range.
    Malformed = 0x8100,
    /// A signer has no account, or a closed one.
    UnknownSigner,
    /// A signature does not verify.
    BadSignature,
    /// The ID belongs to other content.
    IdReused,
    /// The request's end of validity is not within the next day.
    Expired,
    /// A nonce is not the account's.
    BadNonce,
    /// More than 256 events are due; only ticks pass.
    Busy,
    /// Guardians paused this operation.
    Paused,
    /// The list ends inside a chain.
    LinkOpen,
    /// Another item of the chain failed.
    LinkFailed,
    /// The wrong signer or account.
    NotAllowed,
    /// Something named does not exist.
    Unknown,
    /// Something to be made exists.
    Exists,
    /// The payee is closed.
    Closed,
    /// The payer is frozen.
    Frozen,
    /// Something named has ended, or its ID holds nothing.
    Over,
    /// Its time has not come.
    TooEarly,
    /// The node is jailed.
    Jailed,
    /// It was used before.
    Once,
    /// A record or its signature does not prove the claim.
    BadEvidence,
    /// A receipt is not the canonical result.
    NotCanonical,
    /// The voter is paid by the proposal.
    Conflict,
    /// Too little power in the snapshot.
    LowPower,
    /// Too soon after the last one.
    Cooldown,
    /// Too many of a kind.
    Limit,
    /// A value out of bounds.
    Bounds,
    /// More than there is.
    Exceeds,
    /// The account still holds something.
    NotEmpty,
    /// Less than the least bond.
    BelowMin,
    /// Too little available.
    Funds,
}

/// Each code with its name and BAR status, in order.
const CODES: [(Code, &str, u16); 31] = [
    (Code::Ok, "OK", 200),
    (Code::Malformed, "MALFORMED", 400),
    (Code::UnknownSigner, "UNKNOWN_SIGNER", 401),
    (Code::BadSignature, "BAD_SIGNATURE", 401),
    (Code::IdReused, "ID_REUSED", 409),
    (Code::Expired, "EXPIRED", 409),
    (Code::BadNonce, "BAD_NONCE", 409),
    (Code::Busy, "BUSY", 429),
    (Code::Paused, "PAUSED", 503),
    (Code::LinkOpen, "LINK_OPEN", 409),
    (Code::LinkFailed, "LINK_FAILED", 409),
    (Code::NotAllowed, "NOT_ALLOWED", 403),
    (Code::Unknown, "UNKNOWN", 404),
    (Code::Exists, "EXISTS", 409),
    (Code::Closed, "CLOSED", 409),
    (Code::Frozen, "FROZEN", 409),
    (Code::Over, "OVER", 409),
    (Code::TooEarly, "TOO_EARLY", 409),
    (Code::Jailed, "JAILED", 409),
    (Code::Once, "ONCE", 409),
    (Code::BadEvidence, "BAD_EVIDENCE", 409),
    (Code::NotCanonical, "NOT_CANONICAL", 409),
    (Code::Conflict, "CONFLICT", 409),
    (Code::LowPower, "LOW_POWER", 409),
    (Code::Cooldown, "COOLDOWN", 409),
    (Code::Limit, "LIMIT", 409),
    (Code::Bounds, "BOUNDS", 409),
    (Code::Exceeds, "EXCEEDS", 409),
    (Code::NotEmpty, "NOT_EMPTY", 409),
    (Code::BelowMin, "BELOW_MIN", 409),
    (Code::Funds, "FUNDS", 409),
];

impl Code {
    /// Every code, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        CODES.iter().map(|(code, _, _)| *code)
    }

    /// The code's number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::all().find(|code| u64::from(code.number()) == number)
    }

    /// The code's name in the profile, such as `ID_REUSED`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Status of the BAR response.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, u16) {
        let at = match self.number() {
            0 => 0,
            n => usize::from(n - 0x8100) + 1,
        };
        &CODES[at]
    }
}

/// The lowest of several codes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lowest(Option<Code>);

impl Lowest {
    /// Notes a code that applies.
    pub(crate) fn add(&mut self, code: Code) {
        self.0 = Some(self.0.map_or(code, |c| c.min(code)));
    }

    /// Notes a code if it applies.
    pub(crate) fn when(&mut self, applies: bool, code: Code) {
        if applies {
            self.add(code);
        }
    }

    /// Notes the code of a failed check.
    pub(crate) fn join(&mut self, outcome: Result<(), Code>) {
        if let Err(code) = outcome {
            self.add(code);
        }
    }

    /// The lowest code, if any applies.
    pub(crate) fn done(self) -> Result<(), Code> {
        self.0.map_or(Ok(()), Err)
    }
}
