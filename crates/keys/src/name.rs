use core::fmt;
use core::str::FromStr;

use betanet_wire::{NodeId, text};

use crate::hash;

const PREFIX: &str = "bn1:";

/// A self-certifying name: a NodeID with a checksum, as text.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(NodeId);

/// Reason why text is not a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not `bn1:` and 39 base32 characters, or spare bits are not zero.
    #[error("a name is bn1: and 39 characters of lowercase base32")]
    Form,
    /// The checksum does not match, as after a typing error.
    #[error("the name's checksum does not fit; is it mistyped?")]
    Checksum,
}

impl Name {
    /// The node it names.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.0
    }

    fn checksum(id: NodeId) -> [u8; 4] {
        let h = hash(&[b"BN-NAME", &id.0]);
        [h[0], h[1], h[2], h[3]]
    }
}

impl From<NodeId> for Name {
    fn from(id: NodeId) -> Self {
        Self(id)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 24];
        bytes[..20].copy_from_slice(&self.0.0);
        bytes[20..].copy_from_slice(&Self::checksum(self.0));
        write!(f, "{PREFIX}{}", text::base32(&bytes))
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads a name. Case does not matter, and `bn1:` may be missing, as in URLs.
    fn from_str(s: &str) -> Result<Self, NameError> {
        let body = match s.get(..PREFIX.len()) {
            Some(p) if p.eq_ignore_ascii_case(PREFIX) => &s[PREFIX.len()..],
            _ => s,
        };
        let bytes: [u8; 24] = text::unbase32(body)
            .and_then(|b| b.try_into().ok())
            .ok_or(NameError::Form)?;
        let mut id = NodeId([0; 20]);
        id.0.copy_from_slice(&bytes[..20]);
        if Self::checksum(id) == bytes[20..] {
            Ok(Self(id))
        } else {
            Err(NameError::Checksum)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString as _};

    #[test]
    fn case_is_ignored_and_every_single_typo_is_found() {
        let name = Name(NodeId([9; 20]));
        let text = name.to_string();
        assert_eq!(text.to_ascii_uppercase().parse(), Ok(name));
        assert_eq!(text[4..].parse(), Ok(name));
        for i in 4..text.len() {
            let mut typo: alloc::vec::Vec<u8> = text.clone().into();
            typo[i] = if typo[i] == b'a' { b'b' } else { b'a' };
            assert!(String::from_utf8(typo).unwrap().parse::<Name>().is_err());
        }
        for bad in ["", "bn1:", "bn2:aaaa", &text[..38], "bn1:é"] {
            assert_eq!(bad.parse::<Name>(), Err(NameError::Form));
        }
    }
}
