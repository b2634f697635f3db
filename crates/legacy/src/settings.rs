//! Settings for peers of version 1.1.

use std::path::PathBuf;
use std::str::FromStr;

use betanet_keys::{Address, Peer};
use betanet_wire::text::{hex, unhex_array};

/// Support for peers of version 1.1. The default is none.
#[derive(Clone, Debug, Default)]
pub struct Compat11 {
    /// Accepts sessions that are joined with a leg of 1.1 at the other end.
    pub accept: bool,
    /// Accepts legs of peers of 1.1. Holds the file of the key for their tickets, and the peer of 1.2 with which they are joined.
    pub take: Option<(PathBuf, Peer)>,
    /// Joins accepted sessions with legs to this server of 1.1.
    pub dial: Option<Server11>,
}

impl Compat11 {
    /// Returns whether any use of 1.1 is enabled.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.accept || self.take.is_some() || self.dial.is_some()
    }
}

/// A server of version 1.1: `HOST:PORT,key=<64 hex>,id=<16 hex>`, with `,pin=<64 hex>` if web PKI does not cover it.
#[derive(Clone, Eq, PartialEq)]
pub struct Server11 {
    /// Address as `HOST:PORT`.
    pub address: String,
    /// Public key for tickets.
    pub key: [u8; 32],
    /// ID of that key.
    pub id: [u8; 8],
    /// Pin of its certificate. `None` for web PKI.
    pub pin: Option<[u8; 32]>,
}

impl std::fmt::Debug for Server11 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server11({})", self.address)
    }
}

/// The format from which [`Server11`] is parsed.
const SERVER_FORM: &str =
    "HOST:PORT,key=<64 hex digits>,id=<16 hex digits>, and ,pin=<64 hex digits> if it has a pin";

impl FromStr for Server11 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(',');
        let address = Address::dialled(parts.next().unwrap_or_default());
        let (mut key, mut id, mut pin) = (None, None, None);
        for part in parts {
            let (name, value) = part.split_once('=').ok_or(SERVER_FORM)?;
            let fits = match name {
                "key" if key.is_none() => unhex_array(value).map(|v| key = Some(v)),
                "id" if id.is_none() => unhex_array(value).map(|v| id = Some(v)),
                "pin" if pin.is_none() => unhex_array(value).map(|v| pin = Some(v)),
                _ => None,
            };
            fits.ok_or(SERVER_FORM)?;
        }
        match (address, key, id) {
            (Ok(address), Some(key), Some(id)) => Ok(Self {
                address: address.to_string(),
                key,
                id,
                pin,
            }),
            _ => Err(SERVER_FORM),
        }
    }
}

impl std::fmt::Display for Server11 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (address, key, id) = (&self.address, hex(&self.key), hex(&self.id));
        write!(f, "{address},key={key},id={id}")?;
        match &self.pin {
            Some(pin) => write!(f, ",pin={}", hex(pin)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_as_it_is_written_and_nothing_else_is() {
        let (key, id) = ("ab".repeat(32), "cd".repeat(8));
        for text in [
            format!("old.example:443,key={key},id={id}"),
            format!("[::1]:8443,key={key},id={id},pin={key}"),
        ] {
            assert_eq!(text.parse::<Server11>().unwrap().to_string(), text);
        }
        for bad in [
            String::new(),
            "old.example:443".into(),
            format!("old.example,key={key},id={id}"),
            format!("old.example:0,key={key},id={id}"),
            format!("old.example:443,key={key}"),
            format!("old.example:443,key={key},key={key},id={id}"),
            format!("old.example:443,key={key},id={id},more=1"),
            format!("old.example:443,key={id},id={id}"),
        ] {
            assert!(bad.parse::<Server11>().is_err(), "{bad}");
        }
    }
}
