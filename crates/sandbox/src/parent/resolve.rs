//! Addresses of the hosts that a policy names. The child asks nobody: it gets these with its order.

use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use tokio::{
    net::lookup_host,
    time::{Instant, timeout_at},
};

use crate::{NetworkPolicy, guest::Host, job::public};

/// Most addresses of one host.
const ADDRESSES_MAX: usize = 16;
/// How long all lookups of a job together may take.
const LOOKUPS: Duration = Duration::from_secs(10);

/// Looks up each host; one that is not found in time has no addresses.
pub(crate) async fn hosts(policy: &NetworkPolicy) -> Vec<Host> {
    // One after the other, because each holds a thread for as long as the system's resolver takes.
    look(policy, LOOKUPS, async |name, port| {
        let found = lookup_host((name, port)).await;
        found.map(|found| found.map(|address| address.ip()).collect())
    })
    .await
}

async fn look(
    policy: &NetworkPolicy,
    time: Duration,
    lookup: impl AsyncFn(&str, u16) -> std::io::Result<Vec<IpAddr>>,
) -> Vec<Host> {
    let until = Instant::now() + time;
    let mut hosts = Vec::new();
    for (name, port) in &policy.hosts {
        let found = match timeout_at(until, lookup(name, *port)).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let addresses = found
            .iter()
            .map(IpAddr::to_canonical)
            .filter(|&ip| public(ip) && !own(ip))
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

/// Whether this machine has an address: then a socket can be bound to it.
fn own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(names: &[&str]) -> NetworkPolicy {
        NetworkPolicy {
            hosts: names.iter().map(|name| ((*name).to_owned(), 1)).collect(),
        }
    }

    #[tokio::test]
    async fn addresses_are_canonical_and_public() {
        let found = look(&policy(&["a"]), LOOKUPS, async |_, _| {
            Ok(["::ffff:8.8.8.8", "::ffff:10.0.0.1", "127.0.0.1"]
                .map(|ip| ip.parse().unwrap())
                .to_vec())
        })
        .await;
        assert_eq!(found[0].addresses, ["8.8.8.8".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn an_address_of_this_machine_is_known() {
        assert!(own("127.0.0.1".parse().unwrap()));
        assert!(!own("192.0.2.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn lookups_that_never_end_take_their_time_together() {
        let began = Instant::now();
        let time = Duration::from_millis(200);
        let found = look(&policy(&["a", "b", "c", "d"]), time, async |_, _| {
            std::future::pending().await
        })
        .await;
        assert!(found.len() == 4 && found.iter().all(|host| host.addresses.is_empty()));
        assert!(began.elapsed() < 3 * time);
    }
}
