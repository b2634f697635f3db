/// Reason why bytes are not the expected DET-CBOR.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input ends inside an item, or a declared length exceeds the remaining bytes.
    #[error("the input ends inside an item")]
    Truncated,
    /// A head could be shorter.
    #[error("a head is not the shortest that holds its value")]
    NotShortest,
    /// Indefinite length.
    #[error("indefinite lengths are refused")]
    Indefinite,
    /// A float, tag, `undefined`, another simple value, or a reserved head.
    #[error("initial byte {0:#04x} is not in the profile")]
    Unsupported(u8),
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// Map keys that do not ascend.
    #[error("map keys do not ascend")]
    KeyOrder,
    /// The same map key twice.
    #[error("a map key stands twice")]
    DuplicateKey,
    /// Bytes after the item.
    #[error("bytes follow the item")]
    Trailing,
    /// Nested too deeply.
    #[error("nested deeper than 16")]
    TooDeep,
    /// The item has an unexpected type.
    #[error("expected {expected}, found {found}")]
    Type {
        /// The expected type.
        expected: &'static str,
        /// The type of the item.
        found: &'static str,
    },
    /// A number or a length that the type cannot hold.
    #[error("value out of range for {0}")]
    Range(&'static str),
    /// A required key is not in the map.
    #[error("key \"{0}\" is missing")]
    Missing(&'static str),
    /// The value under a key is of the wrong type or range.
    #[error("key \"{key}\" does not hold {expected}")]
    Field {
        /// The key.
        key: &'static str,
        /// The expected value.
        expected: &'static str,
    },
}

impl Error {
    /// Adds the key whose value failed to decode. Errors of the format itself stay unchanged.
    #[must_use]
    pub const fn in_field(self, key: &'static str) -> Self {
        match self {
            Self::Type { expected, .. } | Self::Range(expected) => Self::Field { key, expected },
            other => other,
        }
    }
}
