use std::fmt;
use std::ops::RangeInclusive;

/// Numbers of the stream types that this implementation leaves to embedding programs.
const FREE: RangeInclusive<u8> = 0x80..=0xff;
/// Maximum length of a feature's name, in bytes.
const FEATURE_MAX: usize = 32;

/// A stream type of an embedding program.
///
/// Its number is the first byte of each such stream. A node that accepts the type offers the feature in its capabilities; a
/// session shows the features that both sides offer ([`crate::SessionFacts::features`]).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamType {
    number: u8,
    feature: &'static str,
}

impl StreamType {
    /// Heads and records of the ledger of names, Betanet's own type 0x00 (profile chapter 6). It offers the version of L5, and no
    /// feature.
    pub const ALIAS_GOSSIP: Self = Self {
        number: betanet_htx::kind::ALIAS_GOSSIP,
        feature: "",
    };

    /// Accounts of what nodes forward for each other, Betanet's own type 0x12 (profile chapter 7).
    pub const ACCOUNT: Self = Self {
        number: 0x12,
        feature: "vouchers",
    };

    /// Requests to redeem vouchers, Betanet's own type 0x13 (profile chapter 7).
    pub const REDEEM: Self = Self {
        number: 0x13,
        feature: "vouchers",
    };

    /// Creates a type with a number from 0x80 to 0xff and a feature of 1 to 32 characters `a-z`, `0-9` and `-`, such as
    /// `example-chat`.
    ///
    /// # Errors
    ///
    /// [`StreamTypeError`].
    pub fn new(number: u8, feature: &'static str) -> Result<Self, StreamTypeError> {
        if !FREE.contains(&number) {
            return Err(StreamTypeError::Number(number));
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_named = (1..=FEATURE_MAX).contains(&feature.len()) && feature.bytes().all(fits);
        // These features change the protocol itself.
        if !is_named
            || matches!(
                feature,
                "aes" | "padding" | "pq" | "libp2p" | "mix" | "vouchers"
            )
        {
            return Err(StreamTypeError::Feature(feature));
        }
        Ok(Self { number, feature })
    }

    /// Returns the number, which [`crate::PeerSession::open`] takes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.number
    }

    /// Returns the name of the feature; empty for a type of the protocol that has a version instead.
    #[must_use]
    pub const fn feature(self) -> &'static str {
        self.feature
    }
}

/// The reason why a stream type cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StreamTypeError {
    /// The number is reserved for Betanet's own types.
    Number(u8),
    /// The feature has forbidden characters or a wrong length, or is one of Betanet's own.
    Feature(&'static str),
}

impl fmt::Display for StreamTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => write!(
                f,
                "the stream type {n:#04x} is reserved: use {:#04x} to {:#04x}",
                FREE.start(),
                FREE.end()
            ),
            Self::Feature(name) => write!(
                f,
                "the feature {name:?} is reserved or invalid: use 1 to {FEATURE_MAX} of a-z, 0-9 and -"
            ),
        }
    }
}

impl std::error::Error for StreamTypeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_features_of_the_protocol_are_refused() {
        assert!(StreamType::new(0x80, "example-chat").is_ok());
        for number in [0, 0x01, 0x20, 0x7f] {
            let refused = StreamType::new(number, "chat");
            assert_eq!(refused, Err(StreamTypeError::Number(number)));
        }
        for feature in [
            "",
            "aes",
            "pq",
            "Chat",
            "a b",
            "a-name-of-more-than-32-characters",
        ] {
            let refused = StreamType::new(0xff, feature);
            assert_eq!(refused, Err(StreamTypeError::Feature(feature)));
        }
        assert_eq!(
            StreamTypeError::Number(1).to_string(),
            "the stream type 0x01 is reserved: use 0x80 to 0xff"
        );
    }
}
