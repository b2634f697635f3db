//! Addresses at which others can reach a listener, for printing.

use std::net::{IpAddr, SocketAddr};

use betanet_carrier::CertFacts;
use betanet_keys::{Address, Endpoint, Host};
use betanet_mesh::is_public;

/// Maximum number of printed host names of a certificate.
const HOSTS: usize = 4;
/// Maximum number of printed addresses of this machine's interfaces.
const INTERFACES: usize = 8;

/// A bound socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket {
    pub(crate) local: SocketAddr,
    /// Whether QUIC listens at its UDP port.
    pub(crate) quic: bool,
    /// Whether `[::]` accepts IPv4 too.
    pub(crate) both: bool,
}

/// The printed result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reach {
    /// All `HOST:PORT`, then all `quic:HOST:PORT`.
    pub(crate) addresses: Vec<String>,
    /// The reason why others may be unable to use the addresses.
    pub(crate) note: Option<String>,
}

/// Returns the addresses of this machine's interfaces; none if the system does not report them.
pub(crate) fn interfaces() -> Vec<IpAddr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.iter().map(if_addrs::Interface::ip).collect()
}

/// Returns the addresses to print for sockets without advertised addresses.
///
/// Web PKI verifies a certificate by its hosts, so an address that it does not list is of no use. A pinned certificate serves at
/// every address.
pub(crate) fn reach(sockets: &[Socket], facts: &CertFacts, interfaces: &[IpAddr]) -> Reach {
    let mut endpoints = Vec::new();
    let mut add = |host: &Host, socket: &Socket| {
        let port = socket.local.port();
        for quic in [false, true] {
            let host = host.clone();
            let address = Address { host, port };
            let endpoint = Endpoint { quic, address };
            if (!quic || socket.quic) && !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
    };
    let named: Vec<Host> = named(facts);
    let mut note = None;
    if !facts.self_signed && !named.is_empty() {
        for host in &named {
            sockets.iter().for_each(|s| add(host, s));
        }
    } else {
        for socket in sockets {
            let ips = dialled(socket, interfaces);
            ips.into_iter().for_each(|ip| add(&Host::Ip(ip), socket));
        }
        let anywhere = endpoints.iter().any(|e| match &e.address.host {
            Host::Ip(ip) => is_public(*ip),
            Host::Name(_) => true,
        });
        let unspecified = sockets.iter().any(|s| s.local.ip().is_unspecified());
        if !facts.self_signed {
            note = Some(
                "the certificate names no host that could be printed, and web PKI knows it at no other: name one that it is for with --advertise HOST:PORT"
                    .to_owned(),
            );
        } else if unspecified && !anywhere {
            note = Some(
                "this machine has no public address: where others reach it at another one, name that with --advertise HOST:PORT"
                    .to_owned(),
            );
        }
    }
    endpoints.sort_by_key(|e| e.quic);
    Reach {
        addresses: endpoints.iter().map(ToString::to_string).collect(),
        note,
    }
}

/// Returns the hosts of a certificate that can be dialled.
fn named(facts: &CertFacts) -> Vec<Host> {
    let host = |text: &String| match text.parse::<IpAddr>() {
        Ok(ip) => Some(Host::Ip(ip)),
        Err(_) => text.parse().ok(),
    };
    facts.hosts.iter().filter_map(host).take(HOSTS).collect()
}

/// Returns the addresses at which a socket can be dialled: its own, or those of the interfaces if it is unspecified. Public
/// addresses take precedence, then private ones, then loopback.
fn dialled(socket: &Socket, interfaces: &[IpAddr]) -> Vec<IpAddr> {
    let local = socket.local.ip();
    if !local.is_unspecified() {
        return vec![local];
    }
    let family = |ip: &IpAddr| ip.is_ipv4() == local.is_ipv4() || (socket.both && ip.is_ipv4());
    let group = |ip: &IpAddr| match ip {
        _ if is_public(*ip) => Some(0),
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() => None,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() || v6.is_multicast() => {
            None
        }
        _ => Some(1),
    };
    let mut found: Vec<(u8, IpAddr)> = interfaces
        .iter()
        .filter(|ip| family(ip))
        .filter_map(|ip| Some((group(ip)?, *ip)))
        .collect();
    found.sort_by_key(|(group, _)| *group);
    let best = found.first().map(|(group, _)| *group);
    found.retain(|(group, _)| Some(*group) == best);
    found.truncate(INTERFACES);
    if found.is_empty() {
        return vec![if local.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        }];
    }
    found.into_iter().map(|(_, ip)| ip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(local: &str, quic: bool) -> Socket {
        let local: SocketAddr = local.parse().unwrap();
        Socket {
            local,
            quic,
            both: local.is_ipv6(),
        }
    }

    fn facts(self_signed: bool, hosts: &[&str]) -> CertFacts {
        CertFacts {
            self_signed,
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            not_before: 0,
            not_after: 1,
        }
    }

    fn printed(local: &str, facts: &CertFacts, interfaces: &[&str]) -> (Vec<String>, bool) {
        let interfaces: Vec<IpAddr> = interfaces.iter().map(|i| i.parse().unwrap()).collect();
        let reach = reach(&[socket(local, true)], facts, &interfaces);
        for address in &reach.addresses {
            Endpoint::dialled(address).unwrap();
        }
        (reach.addresses, reach.note.is_some())
    }

    #[test]
    fn an_unspecified_address_is_printed_as_those_of_the_interfaces() {
        let own = facts(true, &["localhost"]);
        let all = [
            "127.0.0.1",
            "::1",
            "172.17.0.1",
            "fe80::1",
            "198.51.100.7",
            "203.0.113.9",
            "8.8.8.8",
            "2a00::5",
            "fd00::1",
        ];
        let four = printed("0.0.0.0:443", &own, &all);
        assert_eq!(four.0, ["8.8.8.8:443", "quic:8.8.8.8:443"]);
        assert!(!four.1);
        let both = printed("[::]:443", &own, &all);
        assert_eq!(both.0[..2], ["8.8.8.8:443", "[2a00::5]:443"]);
        let private = printed("0.0.0.0:443", &own, &["127.0.0.1", "10.0.0.5"]);
        assert_eq!(private.0, ["10.0.0.5:443", "quic:10.0.0.5:443"]);
        assert!(private.1);
        assert_eq!(printed("0.0.0.0:443", &own, &[]).0[0], "127.0.0.1:443");
        assert_eq!(printed("[::]:443", &own, &["fe80::1"]).0[0], "[::1]:443");
        let given = printed("[::1]:8443", &own, &all);
        assert_eq!(given.0, ["[::1]:8443", "quic:[::1]:8443"]);
    }

    #[test]
    fn a_certificate_of_web_pki_is_printed_by_its_hosts() {
        let theirs = facts(false, &["*.example", "node.example", "192.0.2.7"]);
        let (addresses, note) = printed("0.0.0.0:443", &theirs, &["8.8.8.8"]);
        assert_eq!(addresses[..2], ["node.example:443", "192.0.2.7:443"]);
        assert!(!note);
        let wild = printed("0.0.0.0:443", &facts(false, &["*.example"]), &["8.8.8.8"]);
        assert!(wild.1);
    }
}
