//! Addresses of the hosts that a policy names. The child asks nobody: it gets these with its order.

use tokio::net::lookup_host;

use crate::{NetworkPolicy, guest::Host, job::public};

/// Most addresses of one host.
const ADDRESSES_MAX: usize = 16;

/// Looks up each host; one that is not found has no addresses.
pub(crate) async fn hosts(policy: &NetworkPolicy) -> Vec<Host> {
    let mut hosts = Vec::new();
    for (name, port) in &policy.hosts {
        let found = lookup_host((name.as_str(), *port))
            .await
            .map(Iterator::collect::<Vec<_>>)
            .unwrap_or_default();
        let addresses = found
            .iter()
            .map(std::net::SocketAddr::ip)
            .filter(|&ip| public(ip))
            .take(ADDRESSES_MAX)
            .collect();
        hosts.push(Host {
            name: name.clone(),
            port: *port,
            addresses,
        });
    }
    hosts
}
