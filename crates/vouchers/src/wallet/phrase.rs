use core::fmt;
use core::str::FromStr;

use alloc::string::{String, ToString as _};

use bip0039::{English, Mnemonic};
use zeroize::Zeroizing;

/// Longest phrase that is read: 24 words of at most 8 letters, and spaces.
const TEXT_MAX: usize = 512;

/// Reason why text is not a phrase.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PhraseError {
    /// Not 12 or 24 words.
    #[error("not 12 or 24 words")]
    Count,
    /// A word that is not in the English list.
    #[error("a word is not in the list")]
    Word,
    /// The words are in the list, but the checksum is wrong: one is mistaken, or their order.
    #[error("the checksum is wrong: a word is mistaken")]
    Checksum,
}

/// A BIP-39 phrase of 12 or 24 English words; wiped on drop, and printed by [`Phrase::words`] only.
#[derive(Clone)]
pub struct Phrase(Zeroizing<String>);

impl Phrase {
    /// The phrase of 16 random bytes: 12 words.
    #[must_use]
    pub fn short(entropy: &[u8; 16]) -> Self {
        Self::of(entropy)
    }

    /// The phrase of 32 random bytes: 24 words.
    #[must_use]
    pub fn long(entropy: &[u8; 32]) -> Self {
        Self::of(entropy)
    }

    fn of(entropy: &[u8]) -> Self {
        // Cannot fail for these lengths.
        let words = Mnemonic::<English>::from_entropy(entropy).map(|m| m.phrase().to_string());
        Self(Zeroizing::new(words.unwrap_or_default()))
    }

    /// The words, to write down. Whoever reads them owns the wallet.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.0
    }

    pub(super) fn seed(&self, passphrase: &str) -> Option<Zeroizing<[u8; 64]>> {
        let mnemonic = Mnemonic::<English>::from_phrase(self.words()).ok()?;
        Some(Zeroizing::new(mnemonic.to_seed(passphrase)))
    }
}

impl FromStr for Phrase {
    type Err = PhraseError;

    fn from_str(text: &str) -> Result<Self, PhraseError> {
        if text.len() > TEXT_MAX {
            return Err(PhraseError::Count);
        }
        let mut words = Zeroizing::new(String::with_capacity(text.len()));
        let mut count = 0;
        for word in text.split_whitespace() {
            if count > 0 {
                words.push(' ');
            }
            words.extend(word.chars().flat_map(char::to_lowercase));
            count += 1;
        }
        if count != 12 && count != 24 {
            return Err(PhraseError::Count);
        }
        match Mnemonic::<English>::from_phrase(words.as_str()) {
            Ok(_) => Ok(Self(words)),
            Err(bip0039::Error::UnknownWord(_)) => Err(PhraseError::Word),
            Err(bip0039::Error::InvalidChecksum) => Err(PhraseError::Checksum),
            Err(_) => Err(PhraseError::Count),
        }
    }
}

impl fmt::Debug for Phrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrase(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last of BIP-39's test vectors for these lengths, with the passphrase TREZOR.
    #[test]
    fn phrases_and_seeds_are_those_of_bip_39() {
        let short = Phrase::short(&[0; 16]);
        assert!(short.words().ends_with("abandon about"));
        let seed = betanet_wire::text::hex(&short.seed("TREZOR").unwrap()[..]);
        assert!(
            seed.starts_with("c55257c360c07c72029aebc1b53c05ed"),
            "{seed}"
        );
        let long = Phrase::long(&[0xff; 32]);
        assert!(long.words().ends_with("zoo vote"));
        let seed = betanet_wire::text::hex(&long.seed("TREZOR").unwrap()[..]);
        assert!(
            seed.starts_with("dd48c104698c30cfe2b6142103248622"),
            "{seed}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_phrase_is_told() {
        let good = Phrase::short(&[7; 16]);
        let upper = good.words().to_uppercase().replace(' ', "  ");
        assert_eq!(upper.parse::<Phrase>().unwrap().words(), good.words());
        let parse = |text: &str| text.parse::<Phrase>().err();
        assert_eq!(parse("abandon"), Some(PhraseError::Count));
        assert_eq!(parse(&"abandon ".repeat(15)), Some(PhraseError::Count));
        assert_eq!(parse(&"abandon ".repeat(12)), Some(PhraseError::Checksum));
        assert_eq!(parse(&"betanet ".repeat(12)), Some(PhraseError::Word));
        assert_eq!(parse(&"a".repeat(TEXT_MAX + 1)), Some(PhraseError::Count));
        assert_eq!(alloc::format!("{good:?}"), "Phrase(…)");
    }
}
