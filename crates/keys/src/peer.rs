use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use betanet_wire::{cbor, message, text};

use crate::{AddressError, Endpoint, KeyError, Name, PublicKey};

const PREFIX: &str = "bnp1";

/// A peer's key, addresses and certificate pin: the data for a first connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Public key of the peer.
    pub key: PublicKey,
    /// Addresses, at least one, in order of preference: `HOST:PORT` or `quic:HOST:PORT`.
    pub addrs: Vec<String>,
    /// SHA-256 of the SPKI of its TLS certificate; `None` means web PKI.
    pub pin: Option<[u8; 32]>,
}

message! {
    struct Packed<'a> {
        req "key" key: [u8; 32],
        opt "pin" pin: [u8; 32],
        req "addrs" addrs: Vec<&'a str>,
    }
}

/// Reason why text is not a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The text has none of the known forms.
    #[error(
        "a peer is KEYHEX@HOST:PORT, KEYHEX@HOST:PORT#PINHEX or a string that starts with bnp1"
    )]
    Form,
    /// The key is invalid.
    #[error("the peer's key: {0}")]
    Key(#[from] KeyError),
    /// The key is not 64 hex digits.
    #[error("the peer's key must be 64 hex digits")]
    KeyHex,
    /// The pin is not 64 hex digits.
    #[error("the peer's pin must be 64 hex digits")]
    Pin,
    /// An address that cannot be dialled.
    #[error("the peer's address: {0}")]
    Address(#[from] AddressError),
    /// No address at all.
    #[error("the bnp1 string has no address")]
    NoAddress,
    /// The packed form does not decode.
    #[error("the bnp1 string does not decode: {0}")]
    Packed(cbor::Error),
    /// The packed form is not base32.
    #[error("the bnp1 string is not lowercase base32")]
    Base32,
}

impl Peer {
    /// The name of its key.
    #[must_use]
    pub fn name(&self) -> Name {
        self.key.node_id().into()
    }

    /// The `bnp1…` string.
    #[must_use]
    pub fn packed(&self) -> String {
        let packed = Packed {
            key: *self.key.as_bytes(),
            pin: self.pin,
            addrs: self.addrs.iter().map(String::as_str).collect(),
        };
        format!("{PREFIX}{}", text::base32(&cbor::to_vec(&packed)))
    }

    fn unpack(body: &str) -> Result<Self, PeerError> {
        if body.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(PeerError::Base32);
        }
        let bytes = text::unbase32(body).ok_or(PeerError::Base32)?;
        let packed: Packed<'_> = cbor::from_slice(&bytes).map_err(PeerError::Packed)?;
        let addrs = packed
            .addrs
            .iter()
            .map(|a| address(a))
            .collect::<Result<Vec<_>, _>>()?;
        if addrs.is_empty() {
            return Err(PeerError::NoAddress);
        }
        Ok(Self {
            key: PublicKey::from_bytes(&packed.key)?,
            addrs,
            pin: packed.pin,
        })
    }
}

fn address(text: &str) -> Result<String, AddressError> {
    Ok(Endpoint::dialled(text)?.to_string())
}

impl FromStr for Peer {
    type Err = PeerError;

    fn from_str(s: &str) -> Result<Self, PeerError> {
        if let Some(body) = s.strip_prefix(PREFIX) {
            return Self::unpack(body);
        }
        let (key, rest) = s.split_once('@').ok_or(PeerError::Form)?;
        let key: [u8; 32] = text::unhex_array(key).ok_or(PeerError::KeyHex)?;
        let (addr, pin) = match rest.split_once('#') {
            Some((addr, pin)) => (addr, Some(text::unhex_array(pin).ok_or(PeerError::Pin)?)),
            None => (rest, None),
        };
        Ok(Self {
            key: PublicKey::from_bytes(&key)?,
            addrs: vec![address(addr)?],
            pin,
        })
    }
}

impl fmt::Display for Peer {
    /// Prints the `bnp1…` string.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.packed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    fn peer(pin: Option<[u8; 32]>) -> Peer {
        Peer {
            key: *Identity::from_seed(&[8; 32]).public(),
            addrs: vec!["127.0.0.1:443".into()],
            pin,
        }
    }

    #[test]
    fn both_forms_go_out_and_come_back() {
        for p in [peer(None), peer(Some([7; 32]))] {
            assert_eq!(p.to_string().parse(), Ok(p));
        }
        let long = format!("{}@h:1#{}", peer(None).key, text::hex(&[7; 32]));
        assert_eq!(long.parse::<Peer>().map(|p| p.pin), Ok(Some([7; 32])));
    }

    proptest::proptest! {
        #[test]
        fn a_peer_reads_as_it_is_printed(
            ips in proptest::collection::vec(proptest::prelude::any::<(u128, u16, bool)>(), 1..4),
            pin in proptest::prelude::any::<Option<[u8; 32]>>(),
        ) {
            let one = |(ip, port, quic): (u128, u16, bool)| {
                let ip = core::net::Ipv6Addr::from(ip.max(1));
                let address = core::net::SocketAddr::from((ip, port.max(1))).into();
                Endpoint { quic, address }.to_string()
            };
            let peer = Peer { addrs: ips.into_iter().map(one).collect(), ..peer(pin) };
            proptest::prop_assert_eq!(peer.to_string().parse(), Ok(peer));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let key = peer(None).key.to_string();
        let zero = "00".repeat(32);
        for (bad, why) in [
            ("", PeerError::Form),
            ("bnp1!", PeerError::Base32),
            ("bnp1AA", PeerError::Base32),
            ("bnp1", PeerError::Packed(cbor::Error::Truncated)),
            ("ab@h:1", PeerError::KeyHex),
            (
                &format!("{zero}@h:1"),
                PeerError::Key(KeyError::WrongSubgroup),
            ),
            (&format!("{key}@h"), AddressError::Port.into()),
            (&format!("{key}@h:99999"), AddressError::PortNumber.into()),
            (&format!("{key}@::1:443"), AddressError::Brackets.into()),
            (
                &format!("{key}@[fe80::1%lo]:443"),
                AddressError::Zone.into(),
            ),
            (&format!("{key}@h:1#12"), PeerError::Pin),
        ] {
            assert_eq!(bad.parse::<Peer>(), Err(why), "{bad}");
        }
    }
}
