//! Addresses of the hosts that a policy names. The child asks nobody: it gets these with its order.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, ToSocketAddrs as _, UdpSocket},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{NetworkPolicy, guest::Host, job::public};

/// Most addresses of one host.
const ADDRESSES_MAX: usize = 16;
/// How long all lookups of a job together may take.
const LOOKUPS: Duration = Duration::from_secs(10);
/// Most lookups at one time.
const LOOKUPS_MAX: usize = 32;

/// Looks names up for all jobs. Each lookup holds a thread for as long as the system's resolver takes, also after its job has gone.
#[derive(Debug)]
pub(crate) struct Resolver {
    threads: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            threads: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }
}

impl Resolver {
    /// Looks up each host; one that is not found in time has no addresses.
    pub(crate) async fn hosts(&self, policy: &NetworkPolicy) -> Vec<Host> {
        look(policy, LOOKUPS, |name| {
            self.ask(move || Ok((name, 0).to_socket_addrs()?.map(|at| at.ip()).collect()))
        })
        .await
    }

    /// Asks on a thread of its own, once there is one.
    async fn ask(
        &self,
        lookup: impl FnOnce() -> io::Result<Vec<IpAddr>> + Send + 'static,
    ) -> io::Result<Vec<IpAddr>> {
        let turn = Arc::clone(&self.threads).acquire_owned().await;
        let asked = tokio::task::spawn_blocking(move || {
            let found = lookup();
            drop(turn);
            found
        });
        asked.await.map_err(io::Error::other)?
    }
}

async fn look<F>(policy: &NetworkPolicy, time: Duration, lookup: impl Fn(String) -> F) -> Vec<Host>
where
    F: Future<Output = io::Result<Vec<IpAddr>>>,
{
    let until = Instant::now() + time;
    let allowed = |ip: &IpAddr| policy.private.contains(ip) || (public(*ip) && !own(*ip));
    // One after the other, and each name once: two answers could differ.
    let mut known: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    let mut hosts = Vec::new();
    for (name, port) in &policy.hosts {
        let key = name.to_ascii_lowercase();
        let addresses = match (known.get(&key), name.parse::<IpAddr>()) {
            (Some(addresses), _) => addresses.clone(),
            (None, Ok(ip)) => vec![ip],
            // Where the time is over, nobody is asked.
            (None, Err(_)) if Instant::now() >= until => Vec::new(),
            (None, Err(_)) => match timeout_at(until, lookup(name.clone())).await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) | Err(_) => Vec::new(),
            },
        };
        let mut addresses: Vec<_> = addresses.iter().map(IpAddr::to_canonical).collect();
        addresses.retain(allowed);
        addresses.truncate(ADDRESSES_MAX);
        known.insert(key, addresses.clone());
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
    use std::{
        cell::{Cell, RefCell},
        sync::mpsc::channel,
    };

    use super::*;

    fn policy(names: &[&str]) -> NetworkPolicy {
        NetworkPolicy {
            hosts: names.iter().map(|name| ((*name).to_owned(), 1)).collect(),
            private: Vec::new(),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn addresses_are_canonical_and_public() {
        let found = ["::ffff:8.8.8.8", "::ffff:10.0.0.1", "127.0.0.1"].map(ip);
        let lookup = |_| std::future::ready(Ok(found.to_vec()));
        let hosts = look(&policy(&["a"]), LOOKUPS, &lookup).await;
        assert_eq!(hosts[0].addresses, [ip("8.8.8.8")]);
        let mut policy = policy(&["a", "::ffff:10.0.0.1", "10.0.0.2"]);
        policy.private = vec![ip("10.0.0.1")];
        let hosts = look(&policy, LOOKUPS, &lookup).await;
        assert_eq!(hosts[0].addresses, [ip("8.8.8.8"), ip("10.0.0.1")]);
        assert_eq!(hosts[1].addresses, [ip("10.0.0.1")]);
        assert!(hosts[2].addresses.is_empty());
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_an_address_never() {
        let asked = RefCell::new(Vec::new());
        // A resolver whose second answer leads elsewhere.
        let lookup = |name| {
            asked.borrow_mut().push(name);
            let n = asked.borrow().len();
            std::future::ready(Ok(vec![ip(&format!("8.8.8.{n}"))]))
        };
        let names = [
            "a.example",
            "A.EXAMPLE",
            "8.8.4.4",
            "a.example",
            "b.example",
        ];
        let hosts = look(&policy(&names), LOOKUPS, &lookup).await;
        assert_eq!(*asked.borrow(), ["a.example", "b.example"]);
        let addresses: Vec<_> = hosts.into_iter().flat_map(|host| host.addresses).collect();
        let wanted = ["8.8.8.1", "8.8.8.1", "8.8.4.4", "8.8.8.1", "8.8.8.2"].map(ip);
        assert_eq!(addresses, wanted);
    }

    #[test]
    fn an_address_of_this_machine_is_known() {
        assert!(own(ip("127.0.0.1")));
        assert!(!own(ip("192.0.2.1")));
    }

    #[tokio::test]
    async fn lookups_that_never_end_take_their_time_together() {
        let (began, asked) = (Instant::now(), Cell::new(0));
        let time = Duration::from_millis(200);
        let found = look(&policy(&["a", "b", "c", "d"]), time, |_| {
            asked.set(asked.get() + 1);
            std::future::pending()
        })
        .await;
        assert!(found.len() == 4 && found.iter().all(|host| host.addresses.is_empty()));
        assert!(began.elapsed() < 3 * time);
        // A name whose turn never came holds no thread.
        assert_eq!(asked.get(), 1);
    }

    #[tokio::test]
    async fn lookups_of_jobs_that_have_gone_hold_their_threads_and_no_more_than_there_are() {
        let resolver = Resolver::default();
        let (let_go, held) = channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let (began, begin) = channel();
        for _ in 0..LOOKUPS_MAX + 8 {
            let (held, began) = (Arc::clone(&held), began.clone());
            let never = resolver.ask(move || {
                began.send(()).unwrap();
                let _ = held.lock().unwrap().recv();
                Ok(Vec::new())
            });
            // The job gives it up.
            assert!(
                tokio::time::timeout(Duration::from_millis(5), never)
                    .await
                    .is_err()
            );
        }
        drop(began);
        let gone = tokio::task::spawn_blocking(move || begin.iter().count());
        drop(let_go);
        assert_eq!(gone.await.unwrap(), LOOKUPS_MAX);
        let found = resolver.ask(|| Ok(vec![IpAddr::from([8, 8, 8, 8])])).await;
        assert_eq!(found.unwrap().len(), 1);
    }
}
