//! Labels of aliases: one form on the wire, and the many ways to write it.

use alloc::borrow::Cow;
use alloc::string::String;
use core::borrow::Borrow;
use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

use betanet_keys::Name;
use betanet_wire::cbor;
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

/// Longest alias, in bytes.
pub const ALIAS_MAX: usize = 253;
/// Longest label of an alias, in bytes.
pub const LABEL_MAX: usize = 63;
/// Longest text that [`Alias::parse`] looks at, in bytes.
pub const TEXT_MAX: usize = 1024;

/// Reason why text is no alias.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// No text.
    #[error("an alias has at least one character")]
    Empty,
    /// Nothing before, between or after dots.
    #[error("a label between dots is empty")]
    EmptyLabel,
    /// A label of more than 63 characters, once normalised.
    #[error("a label of {0} characters, where 63 are allowed")]
    LabelTooLong(usize),
    /// More than 253 characters, once normalised, or a text of more than 1 024 bytes.
    #[error("an alias of {0} characters, where 253 are allowed")]
    TooLong(usize),
    /// A label that begins or ends with a hyphen.
    #[error("a label begins or ends with a hyphen")]
    Hyphen,
    /// A form with another meaning: two hyphens in third place without `xn`, a self-certifying name, an IPv4 address.
    #[error("the form of this alias is reserved")]
    Reserved,
    /// A character that no label has, or invalid punycode.
    #[error("the alias has a character that is not allowed: letters, digits, hyphens and dots are")]
    Character,
}

/// An alias in its one form: labels of `a-z 0-9 -`, separated by dots.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Alias(String);

impl Alias {
    /// Normalises what a person wrote: UTS 46 mapping, NFC, lower case, punycode. Refuses reserved forms.
    ///
    /// The result depends on the version of Unicode only for text that is not ASCII. Records carry the normalised form, so nodes
    /// of different versions never disagree about a record.
    ///
    /// # Errors
    ///
    /// [`LabelError`].
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() {
            return Err(LabelError::Empty);
        }
        if text.len() > TEXT_MAX {
            return Err(LabelError::TooLong(text.len()));
        }
        let (hyphens, length) = (Hyphens::Allow, DnsLength::Ignore);
        let ascii = Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::STD3, hyphens, length)
            .map_err(|_| LabelError::Character)?;
        let this = Self::from_wire(&ascii)?;
        this.check_forms()?;
        Ok(this)
    }

    /// Takes an alias from a record, which is in its one form already. Only letters and lengths are checked: it is the rule by which
    /// all nodes accept records.
    ///
    /// # Errors
    ///
    /// [`LabelError`].
    pub fn from_wire(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() {
            return Err(LabelError::Empty);
        }
        let ldh = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if !text.bytes().all(ldh) {
            return Err(LabelError::Character);
        }
        for label in text.split('.') {
            match label.len() {
                0 => return Err(LabelError::EmptyLabel),
                1..=LABEL_MAX => {}
                n => return Err(LabelError::LabelTooLong(n)),
            }
        }
        if text.len() > ALIAS_MAX {
            return Err(LabelError::TooLong(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// Checks that no label has a hyphen at its ends, and that the alias has no form with another meaning. Signers refuse such
    /// aliases; a record that is final all the same is accepted.
    ///
    /// # Errors
    ///
    /// [`LabelError::Hyphen`] or [`LabelError::Reserved`].
    pub fn check_forms(&self) -> Result<(), LabelError> {
        let text = self.as_str();
        for label in text.split('.') {
            if label.starts_with('-') || label.ends_with('-') {
                return Err(LabelError::Hyphen);
            }
            let third = label.as_bytes().get(2..4) == Some(b"--");
            if third && !label.starts_with("xn") {
                return Err(LabelError::Reserved);
            }
        }
        let other = text.parse::<Name>().is_ok() || text.parse::<Ipv4Addr>().is_ok();
        match other {
            true => Err(LabelError::Reserved),
            false => Ok(()),
        }
    }

    /// The text on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text for people: punycode is decoded where it is valid. Ask [`crate::Look`] before you show it.
    #[must_use]
    pub fn to_unicode(&self) -> Cow<'_, str> {
        let bytes = self.0.as_bytes();
        match Uts46::new().to_unicode(bytes, AsciiDenyList::STD3, Hyphens::Allow) {
            (text, Ok(())) => text,
            (_, Err(_)) => Cow::Borrowed(&self.0),
        }
    }
}

impl FromStr for Alias {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::parse(text)
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Alias {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Alias {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl cbor::Encode for Alias {
    fn encode(&self, w: &mut cbor::Writer) {
        w.text(&self.0);
    }

    fn size_hint(&self) -> usize {
        self.0.len() + 3
    }
}

impl<'a> cbor::Decode<'a> for Alias {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        Self::from_wire(r.text()?).map_err(|_| cbor::Error::Range("an alias"))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<String, LabelError> {
        Alias::parse(text).map(|a| a.to_string())
    }

    #[test]
    fn text_is_normalised_to_one_form() {
        for (text, form) in [
            ("Files.Example", "files.example"),
            ("Bücher", "xn--bcher-kva"),
            ("bu\u{308}cher", "xn--bcher-kva"),
            ("XN--BCHER-KVA", "xn--bcher-kva"),
            ("straße", "xn--strae-oqa"),
            ("a\u{3002}b", "a.b"),
            ("ＦＵＬＬ", "full"),
            ("a-1", "a-1"),
            ("例え", "xn--r8jz45g"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(form), "{text}");
        }
        let books = Alias::parse("bücher.example").unwrap();
        assert_eq!(books.to_unicode(), "bücher.example");
        let broken = Alias::from_wire("xn--99999999999").unwrap();
        assert_eq!(broken.to_unicode(), "xn--99999999999");
    }

    #[test]
    fn labels_empty_too_long_and_reserved_are_refused() {
        assert_eq!(parsed(""), Err(LabelError::Empty));
        for text in [".", "a..b", ".a", "a."] {
            assert_eq!(parsed(text), Err(LabelError::EmptyLabel), "{text}");
        }
        let long = "a".repeat(64);
        assert_eq!(parsed(&long[..63]).as_deref(), Ok(&long[..63]));
        assert_eq!(parsed(&long), Err(LabelError::LabelTooLong(64)));
        // Short as it is written, and too long in punycode.
        let umlauts = "ü".repeat(61);
        assert!(matches!(
            parsed(&umlauts),
            Err(LabelError::LabelTooLong(65..))
        ));
        let label = "a".repeat(63);
        let whole = [&label[..], &label, &label, &label[..61]].join(".");
        assert_eq!(parsed(&whole).as_deref(), Ok(&whole[..]));
        let over = [whole.as_str(), "a"].concat();
        assert_eq!(parsed(&over), Err(LabelError::TooLong(254)));
        let huge = "a".repeat(TEXT_MAX + 1);
        assert_eq!(parsed(&huge), Err(LabelError::TooLong(TEXT_MAX + 1)));
        for text in ["-a", "a-", "b.-a", "-"] {
            assert_eq!(parsed(text), Err(LabelError::Hyphen), "{text}");
        }
        for text in ["ab--c", "a.ab--c", "192.0.2.1"] {
            assert_eq!(parsed(text), Err(LabelError::Reserved), "{text}");
        }
        let name = Name::from(betanet_wire::NodeId([7; 20])).to_string();
        assert_eq!(parsed(&name["bn1:".len()..]), Err(LabelError::Reserved));
        for text in [
            "a b",
            "a_b",
            "bn1:a",
            "a/b",
            "xn--99999999999",
            "\u{200b}",
            "a\u{0}",
            "a\u{fffd}",
        ] {
            assert!(parsed(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn records_have_the_one_form_and_nothing_else() {
        for text in ["A", "ü", "a_b", "a b", "a\n"] {
            assert_eq!(Alias::from_wire(text), Err(LabelError::Character), "{text}");
        }
        assert_eq!(Alias::from_wire(""), Err(LabelError::Empty));
        assert_eq!(Alias::from_wire("a."), Err(LabelError::EmptyLabel));
        // Signers refuse these; a record of them stands if they did not.
        for text in ["-a", "ab--c"] {
            assert!(Alias::from_wire(text).unwrap().check_forms().is_err());
        }
    }

    proptest! {
        /// A form that was parsed is its own form.
        #[test]
        fn parsing_is_idempotent(text in "[a-zA-Z0-9üÄßéжя例.-]{1,40}") {
            if let Ok(alias) = Alias::parse(&text) {
                prop_assert_eq!(Alias::parse(alias.as_str()), Ok(alias.clone()));
                prop_assert_eq!(Alias::parse(&alias.to_unicode()), Ok(alias));
            }
        }

        #[test]
        fn no_text_breaks_it(text in any::<String>()) {
            let _ = Alias::parse(&text);
            let _ = Alias::from_wire(&text);
        }
    }
}
