//! The three text forms of bytes that the profile uses; each decodes one text to one value only.

use alloc::string::String;
use alloc::vec::Vec;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};

/// Lowercase hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Hex of either case; `None` when it is not hex.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

/// Hex of exactly `N` bytes.
#[must_use]
pub fn unhex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    unhex(text)?.try_into().ok()
}

/// RFC 4648 base32, lowercase, without padding.
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// Base32 without padding, case ignored; `None` for another alphabet or spare bits that are not zero.
#[must_use]
pub fn unbase32(text: &str) -> Option<Vec<u8>> {
    BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .ok()
}

/// RFC 4648 base64url without padding.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Base64url without padding; `None` for padding, another alphabet, or spare bits that are not zero.
#[must_use]
pub fn unbase64url(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_for_one_value() {
        assert_eq!(base32(&[0xff]), "74");
        assert_eq!(unbase32("74"), Some([0xff].into()));
        assert_eq!(unbase32("75"), None, "a spare bit is set");
        assert_eq!(unbase32("74======"), None, "padding");
        assert_eq!(unbase64url("_w"), Some([0xff].into()));
        assert_eq!(unbase64url("_x"), None, "a spare bit is set");
        assert_eq!(unhex("aB"), Some([0xab].into()));
        assert_eq!(unhex_array::<2>("ab"), None);
    }
}
