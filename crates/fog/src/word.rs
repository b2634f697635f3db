use alloc::boxed::Box;
use alloc::string::String;
use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;
use core::str::FromStr;

/// Longest word, in bytes.
pub const WORD_MAX: usize = 63;
/// Longest text, in bytes.
pub const TEXT_MAX: usize = 1024;

/// Up to 63 of `a-z 0-9 - _ .`: the names of zones, models, labels, namespaces and the like. It may be empty.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Word(Box<str>);

/// Text of up to 1 024 bytes.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text(Box<str>);

/// Text that is not a word, or not one of a fixed set.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a word that is expected here: up to 63 of a-z 0-9 - _ .")]
pub struct NotWord;

/// Text over the bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("text is longer than 1024 bytes")]
pub struct NotText;

impl Word {
    /// Whether text has the form of a word.
    #[must_use]
    pub fn is(text: &str) -> bool {
        let letter = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        text.len() <= WORD_MAX && text.bytes().all(letter)
    }
}

impl FromStr for Word {
    type Err = NotWord;

    fn from_str(s: &str) -> Result<Self, NotWord> {
        if Self::is(s) {
            Ok(Self(s.into()))
        } else {
            Err(NotWord)
        }
    }
}

impl FromStr for Text {
    type Err = NotText;

    fn from_str(s: &str) -> Result<Self, NotText> {
        if s.len() <= TEXT_MAX {
            Ok(Self(s.into()))
        } else {
            Err(NotText)
        }
    }
}

macro_rules! texts {
    ($($name:ident)*) => {$(
        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, without its bound.
            #[must_use]
            pub fn into_string(self) -> String {
                self.0.into()
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}
texts!(Word Text);

/// Declares an enum whose variants are words on the wire.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the chapter's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Their words, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The variant of a word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl core::str::FromStr for $name {
            type Err = $crate::NotWord;
            fn from_str(word: &str) -> Result<Self, $crate::NotWord> {
                Self::from_word(word).ok_or($crate::NotWord)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_its_alphabet_and_length() {
        for good in ["", "a", "eu-1", "wasm_time.48", &"z".repeat(63)] {
            assert_eq!(good.parse::<Word>().unwrap(), *good);
        }
        for bad in ["A", "a b", "é", "a/b", &"z".repeat(64)] {
            assert_eq!(bad.parse::<Word>(), Err(NotWord), "{bad}");
        }
        let long: String = "é".repeat(512);
        assert_eq!(long.parse::<Text>().unwrap().len(), 1024);
        assert_eq!((long + "a").parse::<Text>(), Err(NotText));
    }
}
