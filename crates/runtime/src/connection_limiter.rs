//! Limits on TCP connections before any data is read: concurrent ones and new ones per second of each address, and addresses that
//! the kernel drops.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_machine::Time;
use betanet_mesh::Prefix;
use socket2::{SockFilter, SockRef};
use tokio::net::TcpListener;

use crate::metrics::{Refusal, Refusals};

/// Counts TCP connections by address, before any data is read.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    /// Maximum number of concurrent connections of one address.
    max: usize,
    /// Maximum number of new connections per second. A burst of `max` is allowed.
    per_second: usize,
    refusals: Option<Arc<Refusals>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sources: BTreeMap<Prefix, Source>,
    /// Number of sources at which idle ones are removed.
    sweep_at: usize,
    /// Addresses that continue to connect although they are refused.
    insisting: Vec<IpAddr>,
}

#[derive(Debug)]
struct Source {
    ip: IpAddr,
    standing: usize,
    /// Number of refused connections in the second that began at the given time.
    refused: (u32, Time),
    /// Remaining new connections in millionths, as of the time `at`.
    tokens: u64,
    at: Time,
}

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct Step {
    connection_limiter: Arc<ConnectionLimiter>,
    source: Prefix,
}

/// One connection, in the unit of the counts.
const ONE: u64 = 1_000_000;
/// Extra cost of a flooding connection to its address: as much as this many new connections.
const FLOOD: u64 = 25 * ONE;
/// Number of refusals within a second after which an address is ignored for a while.
const INSISTS: u32 = 128;
const SECOND: Duration = Duration::from_secs(1);
/// Number of addresses above which idle ones are forgotten.
const SOURCES: usize = 4096;

impl ConnectionLimiter {
    pub(crate) const fn new(max: usize, per_second: usize) -> Self {
        Self {
            max,
            per_second,
            refusals: None,
            state: Mutex::new(State {
                sources: BTreeMap::new(),
                sweep_at: SOURCES,
                insisting: Vec::new(),
            }),
        }
    }

    /// Counts refusals in `refusals`.
    pub(crate) fn counting(mut self, refusals: Arc<Refusals>) -> Self {
        self.refusals = Some(refusals);
        self
    }

    /// Records a refusal.
    pub(crate) fn refused(&self, refusal: Refusal) {
        if let Some(refusals) = &self.refusals {
            refusals.count(refusal);
        }
    }

    const fn full(&self) -> u64 {
        (self.max as u64).saturating_mul(ONE)
    }

    fn tokens(&self, source: &Source, now: Time) -> u64 {
        let micros = u64::try_from((now - source.at).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(self.per_second as u64);
        source.tokens.saturating_add(more).min(self.full())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an address that continues to connect although it is refused.
    fn insists(&self) -> Option<IpAddr> {
        self.lock().insisting.pop()
    }

    /// Takes a place for one more connection of this address, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, now: Time, ip: IpAddr) -> Option<Step> {
        let prefix = Prefix::source(ip);
        let mut state = self.lock();
        let State {
            sources,
            sweep_at,
            insisting,
        } = &mut *state;
        if sources.len() >= *sweep_at && !sources.contains_key(&prefix) {
            // A source with all its tokens equals one that never connected. The next sweep comes at twice the number that
            // remains.
            sources.retain(|_, s| s.standing > 0 || self.tokens(s, now) < self.full());
            *sweep_at = SOURCES.max(2 * sources.len());
        }
        let source = sources.entry(prefix).or_insert(Source {
            ip: ip.to_canonical(),
            standing: 0,
            refused: (0, now),
            tokens: self.full(),
            at: now,
        });
        source.tokens = self.tokens(source, now);
        source.at = now;
        if source.standing >= self.max || source.tokens < ONE {
            self.refused(if source.standing >= self.max {
                Refusal::AddressConnections
            } else {
                Refusal::AddressPace
            });
            let (mut times, mut since) = source.refused;
            if since + SECOND <= now {
                (times, since) = (0, now);
            }
            source.refused = (times + 1, since);
            if source.refused.0 >= INSISTS {
                source.refused = (0, now);
                if insisting.len() < AWAY_MAX && !insisting.contains(&source.ip) {
                    insisting.push(source.ip);
                }
            }
            return None;
        }
        source.tokens -= ONE;
        source.standing += 1;
        Some(Step {
            connection_limiter: Arc::clone(self),
            source: prefix,
        })
    }
}

impl Step {
    /// Records that the connection was a flood, and took as long to read as many others.
    pub(crate) fn flooded(self) {
        if let Some(source) = self.connection_limiter.lock().sources.get_mut(&self.source) {
            source.tokens = source.tokens.saturating_sub(FLOOD);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(source) = self.connection_limiter.lock().sources.get_mut(&self.source) {
            source.standing -= 1;
        }
    }
}

/// Time for which the kernel drops an address's packets.
const AWAY: Duration = Duration::from_secs(5);
/// Maximum number of addresses that the kernel drops at once.
const AWAY_MAX: usize = 32;

/// Addresses whose packets the kernel drops before a listener sees them. Accepting and resetting each connection of a flood would
/// cost nearly half a core.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    away: Vec<(IpAddr, Time)>,
}

impl Turned {
    /// Returns when the first of them is accepted again.
    pub(crate) fn until(&self) -> Option<Time> {
        self.away.iter().map(|(_, until)| *until).min()
    }

    /// Drops addresses that insist, and accepts addresses whose time is over.
    pub(crate) fn update(
        &mut self,
        now: Time,
        connection_limiter: &ConnectionLimiter,
        listener: &TcpListener,
    ) {
        let before = self.away.len();
        self.away.retain(|(_, until)| *until > now);
        let mut changed = self.away.len() < before;
        while self.away.len() < AWAY_MAX
            && let Some(ip) = connection_limiter.insists()
        {
            tracing::debug!("an address that floods is turned away for a while");
            self.away.push((ip, now + AWAY));
            changed = true;
        }
        if !changed {
            return;
        }
        let socket = SockRef::from(listener);
        let set = if self.away.is_empty() {
            socket.detach_filter()
        } else {
            let ips: Vec<IpAddr> = self.away.iter().map(|(ip, _)| *ip).collect();
            socket.attach_filter(&program(&ips))
        };
        if let Err(error) = set {
            tracing::warn!(%error, "the kernel takes no socket filter: floods cost more");
        }
    }
}

/// Builds a classic BPF program that drops packets from these addresses (IPv6: from their /56) and passes all others.
fn program(ips: &[IpAddr]) -> Vec<SockFilter> {
    const LOAD_WORD: u16 = 0x20;
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Later loads are relative to the network header.
    const NETWORK: u32 = (-0x10_0000_i32).cast_unsigned();
    const PASS: u32 = u32::MAX;
    let op = |code, k| SockFilter::new(code, 0, 0, k);
    // Continues at the next instruction if equal, and skips `skip` instructions otherwise.
    let equal = |k, skip| SockFilter::new(JUMP_EQUAL, 0, skip, k);
    let mut all = Vec::new();
    for ip in ips {
        all.extend([op(LOAD_BYTE, NETWORK), op(AND, 0xf0)]);
        match ip {
            IpAddr::V4(ip) => all.extend([
                equal(0x40, 3),
                op(LOAD_WORD, NETWORK + 12),
                equal(u32::from(*ip), 1),
                op(RETURN, 0),
            ]),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, ..] = ip.octets();
                all.extend([
                    equal(0x60, 6),
                    op(LOAD_WORD, NETWORK + 8),
                    equal(u32::from_be_bytes([a, b, c, d]), 4),
                    op(LOAD_WORD, NETWORK + 12),
                    op(AND, 0xffff_ff00),
                    equal(u32::from_be_bytes([e, f, g, 0]), 1),
                    op(RETURN, 0),
                ]);
            }
        }
    }
    all.push(op(RETURN, PASS));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn an_address_has_so_many_connections_at_once_and_so_many_new_ones_a_second() {
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let (one, other) = (IpAddr::from([9, 0, 0, 1]), IpAddr::from([9, 0, 0, 2]));
        let limiter = Arc::new(ConnectionLimiter::new(3, 10));
        let mut standing: Vec<Step> = (0..5).filter_map(|_| limiter.enter(at(0), one)).collect();
        assert_eq!(standing.len(), 3, "at once");
        assert!(limiter.enter(at(0), other).is_some(), "each for itself");
        standing.clear();
        assert!(limiter.enter(at(99), one).is_none(), "three came together");
        let came = |from: u64, to: u64| (from..to).filter(|t| limiter.enter(at(*t), one).is_some());
        assert_eq!(came(100, 1100).count(), 10, "in a second");
        assert_eq!(
            (0..9).filter_map(|_| limiter.enter(at(9_000), one)).count(),
            3
        );
    }

    #[test]
    fn a_flood_costs_its_address_as_many_connections() {
        let ip = IpAddr::from([9, 0, 0, 1]);
        let limiter = Arc::new(ConnectionLimiter::new(100, 10));
        let enter = |ms: u64| limiter.enter(Time::from_micros(ms * 1000), ip);
        for _ in 0..3 {
            enter(0).unwrap().flooded();
        }
        let left: Vec<_> = (0..100).filter_map(|_| enter(0)).collect();
        assert_eq!(left.len(), 100 - 3 - 75);
        // No debt remains, and lost places are refilled.
        left.into_iter().for_each(Step::flooded);
        assert!(enter(0).is_none() && enter(100).is_some());
    }

    #[test]
    fn who_is_refused_so_often_in_a_second_insists_whatever_is_taken_in_between() {
        let ip = IpAddr::from([9, 0, 0, 1]);
        for (every_us, insists) in [(100, true), (1_000, true), (10_000, false)] {
            let limiter = Arc::new(ConnectionLimiter::new(10, 100));
            for n in 0..2_000 {
                // Each place is released at once.
                drop(limiter.enter(Time::from_micros(n * every_us), ip));
            }
            assert_eq!(
                limiter.insists(),
                insists.then_some(ip),
                "every {every_us} us"
            );
            assert_eq!(limiter.insists(), None);
        }
    }

    #[test]
    fn addresses_that_rest_are_forgotten() {
        let limiter = Arc::new(ConnectionLimiter::new(1, 1));
        let ip = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        let at = |n: usize| Time::from_micros(u64::try_from(n).unwrap() * 1_000_000);
        let stays = limiter.enter(at(0), ip(0));
        for n in 1..3 * SOURCES {
            assert!(limiter.enter(at(n), ip(n)).is_some());
            assert!(limiter.lock().sources.len() <= SOURCES);
        }
        assert!(limiter.enter(at(3 * SOURCES), ip(0)).is_none());
        drop(stays);
    }

    /// Connects over loopback while the kernel drops the packets of one address only.
    #[tokio::test]
    async fn the_kernel_turns_away_who_insists_and_nobody_else() {
        async fn connects(from: IpAddr, to: std::net::SocketAddr, patience: Duration) -> bool {
            let socket = match from {
                IpAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
                IpAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
            };
            let socket = socket.unwrap();
            socket.bind((from, 0).into()).unwrap();
            let connected = tokio::time::timeout(patience, socket.connect(to));
            connected.await.is_ok_and(|c| c.is_ok())
        }
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        for (bound, bad, good) in [
            ("127.0.0.1:0", Some("127.7.0.1"), "127.7.0.2"),
            ("[::]:0", Some("127.7.0.1"), "::1"),
            ("[::1]:0", None, "::1"),
        ] {
            let listener = TcpListener::bind(bound).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let to = |ip: IpAddr| match ip {
                IpAddr::V4(_) => (IpAddr::from([127, 0, 0, 1]), port).into(),
                IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, port).into(),
            };
            let good: IpAddr = good.parse().unwrap();
            let bad: IpAddr = bad.map_or(good, |b| b.parse().unwrap());
            let limiter = Arc::new(ConnectionLimiter::new(1, 1));
            let mut turned = Turned::default();
            turned.update(at(0), &limiter, &listener);
            assert!(connects(bad, to(bad), PATIENCE).await && turned.until().is_none());
            let _standing = limiter.enter(at(0), bad);
            for _ in 0..INSISTS {
                assert!(limiter.enter(at(0), bad).is_none());
            }
            turned.update(at(0), &limiter, &listener);
            assert_eq!(turned.until(), Some(at(5)), "{bound}");
            assert!(
                !connects(bad, to(bad), Duration::from_millis(300)).await,
                "{bound}: {bad} is turned away"
            );
            assert!(
                bad == good || connects(good, to(good), PATIENCE).await,
                "{bound}: {good}"
            );
            turned.update(at(5), &limiter, &listener);
            assert!(turned.until().is_none());
            assert!(
                connects(bad, to(bad), PATIENCE).await,
                "{bound}: {bad} comes again"
            );
        }
    }
}
