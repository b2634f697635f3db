/// Declares an enum whose variants have words, and its encoding as text.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in texts and records.
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

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl betanet_wire::cbor::Encode for $name {
            fn encode(&self, w: &mut betanet_wire::cbor::Writer) {
                w.text(self.as_str());
            }
        }

        impl<'a> betanet_wire::cbor::Decode<'a> for $name {
            fn decode(
                r: &mut betanet_wire::cbor::Reader<'a>,
            ) -> Result<Self, betanet_wire::cbor::Error> {
                Self::from_word(r.text()?).ok_or(betanet_wire::cbor::Error::Range("a known word"))
            }
        }
    };
}
pub(crate) use words;
