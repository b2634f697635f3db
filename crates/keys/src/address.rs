use alloc::string::{String, ToString as _};
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

/// Longest host name (RFC 1035, as text without the last dot).
const NAME_MAX: usize = 253;
/// Longest label of one.
const LABEL_MAX: usize = 63;
/// Prefix of an address that is dialled over QUIC.
const QUIC: &str = "quic:";

/// A host: an IP address, or a name that is looked up.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A host name in ASCII.
    Name(String),
}

/// `HOST:PORT`, the one form in which addresses are read and printed: `192.0.2.1:443`, `[2001:db8::1]:443`, `node.example:443`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// The host.
    pub host: Host,
    /// The port; 0 lets the system choose one.
    pub port: u16,
}

/// An address with its transport: `HOST:PORT` for TCP, `quic:HOST:PORT` for QUIC.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// Whether the transport is QUIC.
    pub quic: bool,
    /// Host and port.
    pub address: Address,
}

/// Reason why text is not an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No port.
    #[error("an address is HOST:PORT, as node.example:443 or [2001:db8::1]:443")]
    Port,
    /// The port is not a number from 0 to 65 535.
    #[error("the port of an address is a number from 0 to 65535")]
    PortNumber,
    /// Port 0, which nobody can dial.
    #[error("port 0 cannot be dialled: it lets a listener's system choose")]
    PortZero,
    /// An IPv6 address lacks brackets.
    #[error("an IPv6 address stands in brackets before its port, as [2001:db8::1]:443")]
    Brackets,
    /// The text in brackets is not an IPv6 address.
    #[error("in brackets stands an IPv6 address, as [2001:db8::1]:443")]
    Ipv6,
    /// The address has a zone.
    #[error("an address has no zone (%eth0), which means something on one machine only")]
    Zone,
    /// The host is not a valid name.
    #[error(
        "a host is an IP address, or a name of letters, digits, - and _ in labels of 1 to 63, 253 in all; other letters are written as xn--…"
    )]
    Name,
    /// `0.0.0.0` or `[::]`, which cannot be dialled.
    #[error(
        "0.0.0.0 and [::] mean every address of the listener's own machine, and cannot be dialled"
    )]
    Unspecified,
}

impl Host {
    /// The host for TLS and certificates: an IPv6 address without brackets.
    #[must_use]
    pub fn bare(&self) -> String {
        match self {
            Self::Ip(ip) => ip.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Host {
    type Err = AddressError;

    /// Reads a host in the form before a port: an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(AddressError::Ipv6)?;
            if inner.contains('%') {
                return Err(AddressError::Zone);
            }
            let ip: Ipv6Addr = inner.parse().map_err(|_| AddressError::Ipv6)?;
            return Ok(Self::Ip(ip.into()));
        }
        if text.contains(':') {
            return Err(AddressError::Brackets);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip));
        }
        if is_name(text) {
            Ok(Self::Name(text.to_string()))
        } else {
            Err(AddressError::Name)
        }
    }
}

fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |l: &str| (1..=LABEL_MAX).contains(&l.len()) && l.bytes().all(plain);
    let last = text.rsplit('.').next().unwrap_or_default();
    // A name whose last label is a number is an IPv4 address that is mistyped: some systems read 127.1 as 127.0.0.1.
    let number = last.bytes().all(|b| b.is_ascii_digit());
    text.len() <= NAME_MAX && text.split('.').all(label) && !number
}

impl Address {
    /// Reads an address to dial. It must have a port, and must not be `0.0.0.0` or `[::]`.
    ///
    /// # Errors
    ///
    /// The text is not an address that can be dialled.
    pub fn dialled(text: &str) -> Result<Self, AddressError> {
        let address: Self = text.parse()?;
        match &address.host {
            _ if address.port == 0 => Err(AddressError::PortZero),
            Host::Ip(ip) if ip.is_unspecified() => Err(AddressError::Unspecified),
            _ => Ok(address),
        }
    }
}

impl From<core::net::SocketAddr> for Address {
    fn from(at: core::net::SocketAddr) -> Self {
        Self {
            host: Host::Ip(at.ip()),
            port: at.port(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // Told before the port is looked for: the last part of an IPv6 address looks like one.
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(AddressError::Brackets);
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Port)?;
        let host = host.parse()?;
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits);
        let port = port.ok_or(AddressError::PortNumber)?;
        Ok(Self { host, port })
    }
}

impl Endpoint {
    /// Reads an endpoint to dial, as [`Address::dialled`] does.
    ///
    /// # Errors
    ///
    /// The text is not an endpoint that can be dialled.
    pub fn dialled(text: &str) -> Result<Self, AddressError> {
        let (quic, rest) = split(text);
        let address = Address::dialled(rest)?;
        Ok(Self { quic, address })
    }
}

fn split(text: &str) -> (bool, &str) {
    match text.strip_prefix(QUIC) {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.quic { QUIC } else { "" }, self.address)
    }
}

impl FromStr for Endpoint {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (quic, rest) = split(text);
        let address = rest.parse()?;
        Ok(Self { quic, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn host() -> impl Strategy<Value = Host> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| Host::Ip(ip.into())),
            any::<[u16; 8]>().prop_map(|ip| Host::Ip(ip.into())),
            // Runs of zeros, and IPv4 in IPv6, which are printed in forms of their own.
            any::<[bool; 8]>().prop_map(|on| Host::Ip(IpAddr::from(on.map(|b| if b {
                0xffff
            } else {
                0
            })))),
            any::<[u8; 4]>()
                .prop_map(|ip| Host::Ip(core::net::Ipv4Addr::from(ip).to_ipv6_mapped().into())),
            "([a-z0-9_-]{1,20}\\.){0,3}[a-z]{2,9}".prop_map(Host::Name),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_as_it_was(host in host(), port: u16, quic: bool) {
            let address = Address { host, port };
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address.clone()));
            let endpoint = Endpoint { quic, address };
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
        }

        #[test]
        fn what_reads_is_printed_in_one_form(text in "[\\[\\]0-9a-f.:%q]{1,24}:[0-9]{1,5}") {
            if let Ok(address) = text.parse::<Address>() {
                let printed = address.to_string();
                prop_assert_eq!(printed.parse::<Address>(), Ok(address));
            }
        }
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        for (bad, why) in [
            ("", AddressError::Port),
            ("node.example", AddressError::Port),
            ("node.example:", AddressError::PortNumber),
            ("node.example:+1", AddressError::PortNumber),
            ("node.example:65536", AddressError::PortNumber),
            ("::1", AddressError::Brackets),
            ("::1:443", AddressError::Brackets),
            ("fe80::1%eth0:443", AddressError::Brackets),
            ("[fe80::1%eth0]:443", AddressError::Zone),
            ("[127.0.0.1]:443", AddressError::Ipv6),
            ("[::1:443", AddressError::Ipv6),
            (":443", AddressError::Name),
            ("a..b:443", AddressError::Name),
            ("127.1:443", AddressError::Name),
            ("256.0.0.1:443", AddressError::Name),
            ("bücher.example:443", AddressError::Name),
            ("a b:443", AddressError::Name),
            ("https://a:443", AddressError::Brackets),
        ] {
            assert_eq!(bad.parse::<Address>(), Err(why), "{bad}");
        }
        for (bad, why) in [
            ("node.example:0", AddressError::PortZero),
            ("0.0.0.0:443", AddressError::Unspecified),
            ("quic:[::]:443", AddressError::Unspecified),
        ] {
            assert_eq!(Endpoint::dialled(bad), Err(why), "{bad}");
        }
        let good = Endpoint::dialled("quic:[::1]:443").unwrap();
        assert_eq!(
            (good.quic, good.address.host.bare().as_str()),
            (true, "::1")
        );
    }
}
