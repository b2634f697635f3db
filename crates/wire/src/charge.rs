use core::fmt;
use core::net::IpAddr;

use crate::NodeId;

/// The party charged for resources that a peer occupies. Never an identity, because identities are free.
///
/// Limits that peers share are divided among these parties. The `Debug` form contains no address.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ChargeTo {
    /// All peers of unknown address together.
    #[default]
    Unknown,
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first 56 bits of an IPv6 address.
    V6([u8; 7]),
    /// A node that this node dials, or that a directory lists.
    Node(NodeId),
}

impl ChargeTo {
    /// The charged part of an address: all of an IPv4 address, the /56 of an IPv6 address.
    #[must_use]
    pub const fn address(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g])
            }
        }
    }
}

impl fmt::Debug for ChargeTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "ChargeTo::Unknown",
            Self::V4(_) => "ChargeTo::V4(…)",
            Self::V6(_) => "ChargeTo::V6(…)",
            Self::Node(_) => "ChargeTo::Node(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn an_address_pays_alone_and_a_56_of_ipv6_together() {
        let of = |ip: &str| ChargeTo::address(ip.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8:0:100::1"), of("2001:db8:0:1ff::2"));
        assert_ne!(of("2001:db8:0:100::1"), of("2001:db8:0:200::1"));
        assert_eq!(format!("{:?}", of("192.0.2.1")), "ChargeTo::V4(…)");
    }
}
