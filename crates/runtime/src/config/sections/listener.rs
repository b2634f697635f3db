//! The listeners: where they listen, and which addresses others are told.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;

use betanet_keys::{Address, AddressError, Endpoint, Host};

use crate::config::knob::{Allowed, Knob, Section, section};
use crate::config::{Found, GatewayConfig};
use crate::reach::interfaces;

/// Ports below which a process needs a capability, unless the system says otherwise.
const PRIVILEGED: u16 = 1024;
/// CAP_NET_BIND_SERVICE's bit.
const MAY_BIND: u32 = 10;

section! {
    /// Listening addresses, and the addresses that are advertised.
    ListenerSettings "listener" "Listening" {
        /// Listen on HOST:PORT. Port 0 lets the system choose. By default the node listens on 127.0.0.1 and a new port at each
        /// start, which other machines cannot reach. `betanet serve` keeps its first port in its state folder.
        listen "listen" "ADDR": Vec<String> = vec!["127.0.0.1:0".into()];
        /// Advertise this address, HOST:PORT or quic:HOST:PORT. By default the node advertises the hosts of --certificate, or its
        /// listening addresses. It replaces 0.0.0.0 and [::] with this machine's addresses.
        advertise "advertise" "ADDR": Vec<String> = Vec::new();
        /// Listen for QUIC too, on the UDP port of each TCP port, and serve HTTP/3. Debian's nginx, which a listener otherwise
        /// imitates, has neither.
        quic "quic" "": bool = false;
        /// Announce HTTP/3 to visitors over TCP; needs --quic.
        alt_svc "alt_svc" "": bool = true;
    }
}

impl Section for ListenerSettings {
    fn knobs() -> Vec<Knob> {
        Self::declared()
    }

    fn set(&mut self, name: &str, texts: &[OsString]) -> Option<Result<(), Allowed>> {
        self.put(name, texts)
    }

    fn check(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        addresses(found, "listen", &self.listen, str::parse::<Address>);
        addresses(found, "advertise", &self.advertise, Endpoint::dialled);
        if self.listen.is_empty() {
            found.problem("listen", "[]", "at least one address");
        }
        let repeated = self.listen.iter().collect::<BTreeSet<_>>().len() < self.listen.len();
        if repeated && self.listen.iter().any(|a| !a.ends_with(":0")) {
            found.problem("listen", &self.listen.join(", "), "each address once");
        }
        for text in &self.advertise {
            if !self.quic && Endpoint::dialled(text).is_ok_and(|e| e.quic) {
                let why = "with quic = true only (--quic): the node does not listen for QUIC";
                found.problem("advertise", text, why);
            }
        }
        if all.mesh.network.is_some() {
            let (name, reachable) = if self.advertise.is_empty() {
                ("listen", &self.listen)
            } else {
                ("advertise", &self.advertise)
            };
            if reachable.iter().all(|a| unspecified(a)) {
                let why =
                    "in a network, an address that others can dial: listen there, or advertise it";
                found.problem(name, &reachable.join(", "), why);
            }
        }
    }

    fn look(&self, all: &GatewayConfig, found: &mut Found<'_>) {
        let own = interfaces();
        let mine = |ip: &IpAddr| {
            ip.is_unspecified() || ip.is_loopback() || own.is_empty() || own.contains(ip)
        };
        for text in &self.listen {
            let Ok(Address { host, port }) = text.parse::<Address>() else {
                continue;
            };
            if let Host::Ip(ip) = &host
                && !mine(ip)
            {
                found.problem("listen", text, "it is no address of this machine");
            }
            if let Some(admin) = &all.operator.admin
                && admin.port() == port
                && port != 0
                && matches!(&host, Host::Ip(ip) if ip.is_unspecified() || *ip == admin.ip())
            {
                found.problem("admin", &admin.to_string(), "listen has this port already");
            }
            if port != 0 && port < privileged() && !may_bind() {
                let why = "this user may not listen there: it takes root, or CAP_NET_BIND_SERVICE, which the systemd unit gives";
                found.warning("listen", text, why);
            }
        }
    }
}

impl ListenerSettings {
    /// Puts addresses into the one form in which they are printed.
    pub(crate) fn normalize(&mut self) {
        for text in &mut self.listen {
            if let Ok(address) = text.parse::<Address>() {
                *text = address.to_string();
            }
        }
        for text in &mut self.advertise {
            if let Ok(endpoint) = Endpoint::dialled(text) {
                *text = endpoint.to_string();
            }
        }
    }
}

fn addresses<T>(
    found: &mut Found<'_>,
    name: &'static str,
    list: &[String],
    read: impl Fn(&str) -> Result<T, AddressError>,
) {
    for text in list {
        if let Err(why) = read(text) {
            found.problem(name, text, why.to_string());
        }
    }
}

/// Whether an address names no host: `0.0.0.0`, `[::]`. One that does not read is told elsewhere.
fn unspecified(address: &str) -> bool {
    let host = address.parse().map(|a: Endpoint| a.address.host);
    matches!(host, Ok(Host::Ip(ip)) if ip.is_unspecified())
}

/// The first port that anybody may listen at.
fn privileged() -> u16 {
    let told = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let told = told.ok().and_then(|t| t.trim().parse().ok());
    told.unwrap_or(PRIVILEGED)
}

/// Whether this process may listen at any port; held to be so where the system does not tell.
fn may_bind() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caps = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let caps = caps.and_then(|c| u64::from_str_radix(c.trim(), 16).ok());
    caps.is_none_or(|caps| caps >> MAY_BIND & 1 == 1)
}
