//! The client's address behind proxies.

use alloc::vec::Vec;
use core::net::IpAddr;

use betanet_wire::ChargeTo;

/// Most configured networks of proxies.
pub const PROXIES_MAX: usize = 64;
/// Most addresses of a forwarded field that are read.
pub const HOPS_MAX: usize = 16;

/// A network of proxies: an address and the length of its prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

fn bits(ip: IpAddr) -> (u128, u8) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    }
}

impl Network {
    /// Reads `ADDRESS` or `ADDRESS/PREFIX`; `None` for another form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (_, most) = bits(address);
        let prefix = match prefix {
            None => most,
            Some(p) if p.bytes().all(|b| b.is_ascii_digit()) => p.parse().ok()?,
            Some(_) => return None,
        };
        (prefix <= most).then_some(Self { address, prefix })
    }

    fn has(&self, ip: IpAddr) -> bool {
        let ((own, length), (other, same)) = (bits(self.address), bits(ip));
        let beyond = 128 - u32::from(self.prefix);
        length == same && (own ^ other).checked_shr(beyond).unwrap_or(0) == 0
    }
}

/// The proxies whose word on the client's address counts.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<Network>);

impl Proxies {
    /// These networks; `None` for more than 64.
    #[must_use]
    pub fn new(networks: Vec<Network>) -> Option<Self> {
        (networks.len() <= PROXIES_MAX).then_some(Self(networks))
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|n| n.has(ip))
    }

    /// The client's address: that of the connection, or, from a proxy, the last one in `X-Forwarded-For` that is no proxy's. `fields`
    /// are the values of all fields of that name, in their order.
    ///
    /// The list is read from the right, where the nearest proxy wrote. Reading ends at the first entry that is not an address: the
    /// proxy that passed it on is then taken for the client.
    #[must_use]
    pub fn client(&self, connection: IpAddr, fields: &[&str]) -> IpAddr {
        let mut client = connection.to_canonical();
        let entries = fields.iter().rev().flat_map(|f| f.rsplit(','));
        for entry in entries.take(HOPS_MAX) {
            if !self.trusts(client) {
                break;
            }
            match address(entry.trim_matches([' ', '\t'])) {
                Some(ip) => client = ip.to_canonical(),
                None => break,
            }
        }
        client
    }

    /// The party that a request without verified credentials is charged to.
    #[must_use]
    pub fn charge(&self, connection: IpAddr, fields: &[&str]) -> ChargeTo {
        ChargeTo::address(self.client(connection, fields))
    }
}

/// An address, with a port or not.
fn address(text: &str) -> Option<IpAddr> {
    if text.len() > 64 {
        return None;
    }
    let with_port = || text.parse().ok().map(|a: core::net::SocketAddr| a.ip());
    text.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use betanet_machine::Time;

    use super::*;
    use crate::limit::{Class, Limits};

    fn proxies(all: &[&str]) -> Proxies {
        let all = all.iter().map(|t| Network::from_text(t).unwrap());
        Proxies::new(all.collect()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_proxys_word_counts_and_the_nearest_first() {
        let all = proxies(&["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.9"]);
        let client = |from: &str, fields: &[&str]| all.client(ip(from), fields).to_canonical();
        // Not from a proxy: nothing that it says counts.
        assert_eq!(client("198.51.100.1", &["1.2.3.4"]), ip("198.51.100.1"));
        assert_eq!(client("192.0.2.8", &["1.2.3.4"]), ip("192.0.2.8"));
        assert_eq!(client("10.1.2.3", &[]), ip("10.1.2.3"));
        assert_eq!(client("10.1.2.3", &["1.2.3.4"]), ip("1.2.3.4"));
        // The client wrote the first entries itself.
        assert_eq!(client("10.1.2.3", &["6.6.6.6, 1.2.3.4"]), ip("1.2.3.4"));
        assert_eq!(client("10.1.2.3", &["6.6.6.6", "1.2.3.4"]), ip("1.2.3.4"));
        assert_eq!(client("10.1.2.3", &["10.9.9.9, 1.2.3.4"]), ip("1.2.3.4"));
        // Through two proxies, of two kinds.
        assert_eq!(
            client("192.0.2.9", &["6.6.6.6, 1.2.3.4, 10.0.0.7"]),
            ip("1.2.3.4")
        );
        assert_eq!(
            client("2001:db8:1::5", &["1.2.3.4:81, 10.0.0.7"]),
            ip("1.2.3.4")
        );
        assert_eq!(
            client("::ffff:10.1.2.3", &["[2001:db8:9::1]:5"]),
            ip("2001:db8:9::1")
        );
        // Garbage ends the reading at the one who passed it on.
        for bad in ["", "unknown", "1.2.3.4, ", "1.2.3.4, x", "6.6.6.6, 1.2.3"] {
            assert_eq!(client("10.1.2.3", &[bad]), ip("10.1.2.3"), "{bad}");
        }
        let long = format!("6.6.6.6{}", ", 10.0.0.1".repeat(1000));
        assert_eq!(client("10.1.2.3", &[&long]), ip("10.0.0.1"));
    }

    #[test]
    fn networks_have_one_form() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "10.0.0",
            "a/8",
        ] {
            assert_eq!(Network::from_text(bad), None, "{bad}");
        }
        let all = Network::from_text("0.0.0.0/0").unwrap();
        assert!(all.has(ip("255.1.1.1")) && !all.has(ip("::1")));
    }

    #[test]
    fn ten_thousand_logins_with_turning_addresses_stay_at_the_limit() {
        let mut limits = Limits::default();
        let none = proxies(&[]);
        let one = proxies(&["10.0.0.0/8"]);
        let mut through = 0;
        for n in 0_u32..10_000 {
            let said = format!("{}, 10.0.0.1", core::net::Ipv4Addr::from(n * 7919));
            let direct = none.charge(ip("198.51.100.1"), &[&said]);
            through += u32::from(
                limits
                    .charge(Time::ZERO, Class::Login, None, direct)
                    .is_ok(),
            );
            // A proxy that appends the true address.
            let said = format!("{}, 198.51.100.2", core::net::Ipv4Addr::from(n * 7919));
            let proxied = one.charge(ip("10.0.0.1"), &[&said]);
            through += u32::from(
                limits
                    .charge(Time::ZERO, Class::Login, None, proxied)
                    .is_ok(),
            );
            // One customer's /56 is one payer.
            let v6 = format!("2001:db8:0:1{:02x}::{n:x}", n % 256);
            let v6 = none.charge(ip(&v6), &[]);
            through += u32::from(limits.charge(Time::ZERO, Class::Login, None, v6).is_ok());
        }
        assert_eq!(through, 90);
    }
}
