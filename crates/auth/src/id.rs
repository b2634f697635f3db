use core::fmt;

use betanet_wire::cbor;
use betanet_wire::text::{base64url, unbase64url};

/// ID of an account: 16 random bytes, which outlive its name. Its text is base64url of 22 characters.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AccountId(pub [u8; 16]);

impl AccountId {
    /// Reads the text; `None` for another form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        unbase64url(text)?.try_into().ok().map(Self)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

impl cbor::Encode for AccountId {
    fn encode(&self, w: &mut cbor::Writer) {
        self.0.encode(w);
    }
}

impl<'a> cbor::Decode<'a> for AccountId {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        cbor::Decode::decode(r).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn an_id_has_one_text() {
        let id = AccountId([0xfe; 16]);
        let text = id.to_string();
        assert_eq!(AccountId::from_text(&text), Some(id));
        // The last letter has four spare bits.
        for bad in [
            "",
            &text[1..],
            &format!("{text}A"),
            &format!("{}h", &text[..21]),
        ] {
            assert_eq!(AccountId::from_text(bad), None, "{bad}");
        }
    }
}
