//! Addresses of peers, and prefixes that group them.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// The host part of an address.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Host {
    /// `/ip4/…` or `/ip6/…`
    Ip(IpAddr),
    /// `/dns4/…`: a name that is resolved before it is dialled.
    Dns(String),
}

/// Transport to a peer.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Carriage {
    /// TLS over TCP, with this server name if one is given.
    Tls(Option<String>),
    /// QUIC version 1.
    Quic,
}

/// A multiaddr in one of the profile's forms.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Addr {
    /// IP address or host name.
    pub host: Host,
    /// TCP or UDP port.
    pub port: u16,
    /// Transport.
    pub carriage: Carriage,
}

/// The text is not an address in a known form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "an address is /ip4/A/tcp/P/tls, /ip4/A/tcp/P/tls/sni/NAME or /ip4/A/udp/P/quic-v1, with ip6 or dns4 for ip4"
)]
pub struct AddrError;

/// Longest host or server name.
const NAME_MAX: usize = 253;

fn name(text: &str) -> Result<String, AddrError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let ok = !text.is_empty() && text.len() <= NAME_MAX && text.bytes().all(fits);
    ok.then(|| text.to_owned()).ok_or(AddrError)
}

impl FromStr for Addr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        let mut parts = text.strip_prefix('/').ok_or(AddrError)?.split('/');
        let mut next = || parts.next().ok_or(AddrError);
        let host = match (next()?, next()?) {
            ("ip4", ip) => Host::Ip(IpAddr::V4(ip.parse().map_err(|_| AddrError)?)),
            ("ip6", ip) => Host::Ip(IpAddr::V6(ip.parse().map_err(|_| AddrError)?)),
            ("dns4", host) => Host::Dns(name(host)?),
            _ => return Err(AddrError),
        };
        let (layer, port) = (next()?, next()?);
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let canonical = digits && !port.starts_with('0');
        let port = port.parse().ok().filter(|_| canonical).ok_or(AddrError)?;
        let carriage = match (layer, next()?) {
            ("tcp", "tls") => match parts.next() {
                None => Carriage::Tls(None),
                Some("sni") => Carriage::Tls(Some(name(parts.next().ok_or(AddrError)?)?)),
                Some(_) => return Err(AddrError),
            },
            ("udp", "quic-v1") => Carriage::Quic,
            _ => return Err(AddrError),
        };
        if parts.next().is_some() {
            return Err(AddrError);
        }
        Ok(Self {
            host,
            port,
            carriage,
        })
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V4(ip)) => write!(f, "/ip4/{ip}")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "/ip6/{ip}")?,
            Host::Dns(name) => write!(f, "/dns4/{name}")?,
        }
        match &self.carriage {
            Carriage::Tls(None) => write!(f, "/tcp/{}/tls", self.port),
            Carriage::Tls(Some(name)) => write!(f, "/tcp/{}/tls/sni/{name}", self.port),
            Carriage::Quic => write!(f, "/udp/{}/quic-v1", self.port),
        }
    }
}

/// A prefix of addresses that one party may control.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Prefix {
    v6: bool,
    bits: u64,
}

impl Prefix {
    fn of(ip: IpAddr, v4: u32, v6: u32) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self {
                v6: false,
                bits: u64::from(u32::from_be_bytes(ip.octets()) >> (32 - v4)),
            },
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self {
                    v6: true,
                    bits: u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> (64 - v6),
                }
            }
        }
    }

    /// Prefix that limits tested records: /24, or /40 of IPv6.
    #[must_use]
    pub fn near(ip: IpAddr) -> Self {
        Self::of(ip, 24, 40)
    }

    /// Prefix that distinguishes reporting peers: /16, or /32 of IPv6.
    #[must_use]
    pub fn wide(ip: IpAddr) -> Self {
        Self::of(ip, 16, 32)
    }

    /// Prefix that limits connections: the address, or its /56 of IPv6.
    #[must_use]
    pub fn source(ip: IpAddr) -> Self {
        Self::of(ip, 32, 56)
    }
}

/// Whether any host of the Internet may dial an address: not this host, not a private network, not multicast.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => public_v4(ip),
        IpAddr::V6(ip) => public_v6(ip),
    }
}

fn public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = (a, b, c) == (192, 0, 0);
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || shared
        || protocol
        || benchmark
        || a == 0
        || a >= 224)
}

fn public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // Global unicast is 2000::/3; of it, documentation, 6to4 and Teredo lead elsewhere.
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b == 0x0db8 || b == 0)) && a != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn every_form_goes_out_and_comes_back() {
        for text in [
            "/ip4/192.0.2.1/tcp/443/tls",
            "/ip4/192.0.2.1/tcp/443/tls/sni/example.org",
            "/ip4/192.0.2.1/udp/443/quic-v1",
            "/ip6/2001:db8::1/tcp/8443/tls",
            "/dns4/example.org/tcp/443/tls/sni/example.org",
        ] {
            assert_eq!(text.parse::<Addr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "/",
            "ip4/192.0.2.1/tcp/443/tls",
            "/ip4/192.0.2/tcp/443/tls",
            "/ip4/192.0.2.1/tcp/0443/tls",
            "/ip4/192.0.2.1/tcp/65536/tls",
            "/ip4/192.0.2.1/tcp/0/tls",
            "/ip4/192.0.2.1/tcp/443",
            "/ip4/192.0.2.1/udp/443/tls",
            "/ip4/192.0.2.1/tcp/443/tls/sni",
            "/ip4/192.0.2.1/tcp/443/tls/sni/",
            "/ip4/192.0.2.1/tcp/443/tls/sni/a b",
            "/ip4/192.0.2.1/tcp/443/tls/",
            "/ip4/192.0.2.1/udp/443/quic-v1/p2p",
            "/onion3/abc/tcp/1/tls",
        ] {
            assert_eq!(text.parse::<Addr>(), Err(AddrError), "{text}");
        }
    }

    #[test]
    fn prefixes_join_what_one_hand_holds() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        assert_eq!(
            Prefix::near(ip("192.0.2.1")),
            Prefix::near(ip("192.0.2.200"))
        );
        assert_ne!(Prefix::near(ip("192.0.2.1")), Prefix::near(ip("192.0.3.1")));
        assert_eq!(
            Prefix::near(ip("::ffff:192.0.2.1")),
            Prefix::near(ip("192.0.2.9"))
        );
        assert_eq!(
            Prefix::wide(ip("192.0.2.1")),
            Prefix::wide(ip("192.0.99.1"))
        );
        assert_eq!(
            Prefix::near(ip("2001:db8:100::1")),
            Prefix::near(ip("2001:db8:1ff::1"))
        );
        assert_ne!(
            Prefix::near(ip("2001:db8:100::1")),
            Prefix::near(ip("2001:db8:200::1"))
        );
        assert_eq!(
            Prefix::source(ip("2001:db8:0:100::1")),
            Prefix::source(ip("2001:db8:0:1ff::1"))
        );
        assert_ne!(
            Prefix::source(ip("192.0.2.1")),
            Prefix::source(ip("192.0.2.2"))
        );
    }

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for (text, public) in [
            ("8.8.8.8", true),
            ("127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("169.254.1.1", false),
            ("192.0.2.1", false),
            ("224.0.0.1", false),
            ("0.0.0.0", false),
            ("2600::1", true),
            ("::1", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }
}
