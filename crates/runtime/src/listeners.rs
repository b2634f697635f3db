//! Listeners over TCP, and over QUIC at the UDP port of the same number.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_carrier::{QuicListener, Site, serve};
use betanet_legacy::Shares;
use betanet_wire::ChargeTo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use crate::connection_limiter::{ConnectionLimiter, Turned};
use crate::health::Pulse;
use crate::metrics::Refusal;
use crate::reach::Socket;
use crate::{Clock, Error};

/// Maximum number of QUIC handshakes in progress with clients that have not proved their address. Further clients get a Retry,
/// which costs no memory.
const UNPROVEN: usize = 256;
/// Maximum number of those that claim one address.
const UNPROVEN_AN_ADDRESS: usize = 16;
/// Time for which a failed connection's state is kept: three probe timeouts (RFC 9000 §10.2), 3 s without a measured round trip.
const DRAINED: Duration = Duration::from_secs(4);
/// Number of attempts to bind a port that a stopping node still holds, and the interval between them.
const PATIENCE: (usize, Duration) = (40, Duration::from_millis(50));
/// Number of attempts to find a port that is free for both TCP and UDP, if the system chooses it.
const PORTS: usize = 16;

/// State shared by all listeners of a gateway.
#[derive(Clone)]
pub(crate) struct Listeners {
    pub(crate) site: Arc<Site>,
    pub(crate) stop: CancellationToken,
    pub(crate) connections: Arc<Mutex<JoinSet<()>>>,
    pub(crate) max: usize,
    pub(crate) connection_limiter: Arc<ConnectionLimiter>,
    pub(crate) clock: Clock,
}

/// The sockets of one address.
pub(crate) struct Bound {
    pub(crate) tcp: TcpListener,
    pub(crate) udp: Option<UdpSocket>,
    pub(crate) local: SocketAddr,
}

impl Bound {
    pub(crate) fn socket(&self) -> Socket {
        let only_v6 = socket2::SockRef::from(&self.tcp).only_v6();
        Socket {
            local: self.local,
            quic: self.udp.is_some(),
            both: self.local.is_ipv6() && !only_v6.unwrap_or(true),
        }
    }
}

/// Length of the kernel's queue of TCP connections.
const BACKLOG: i32 = 1024;

/// Returns whether an address is `[::]` with a port for which the list also has an IPv4 address. It then leaves IPv4 to that.
pub(crate) fn leaves_v4(address: &str, all: &[String]) -> bool {
    let read = |text: &str| text.parse::<SocketAddr>().ok();
    let Some(own) = read(address).filter(|a| a.is_ipv6() && a.ip().is_unspecified()) else {
        return false;
    };
    let others = all.iter().filter_map(|a| read(a));
    own.port() != 0
        && others
            .into_iter()
            .any(|a| a.is_ipv4() && a.port() == own.port())
}

/// Creates a non-blocking socket for IPv6 only.
fn only_v6(at: SocketAddr, kind: socket2::Type) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV6, kind, None)?;
    socket.set_only_v6(true)?;
    if kind == socket2::Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

async fn bind_tcp(address: &str, leaves_v4: bool) -> std::io::Result<TcpListener> {
    match address.parse() {
        Ok(at) if leaves_v4 => {
            let socket = only_v6(at, socket2::Type::STREAM)?;
            socket.listen(BACKLOG)?;
            TcpListener::from_std(socket.into())
        }
        _ => TcpListener::bind(address).await,
    }
}

fn bind_udp(at: SocketAddr, leaves_v4: bool) -> std::io::Result<UdpSocket> {
    if leaves_v4 {
        return Ok(only_v6(at, socket2::Type::DGRAM)?.into());
    }
    UdpSocket::bind(at)
}

/// Opens a TCP listener, and with `quic` a UDP socket at the same port. With `leaves_v4`, both are for IPv6 only.
pub(crate) async fn bind(address: &str, quic: bool, leaves_v4: bool) -> Result<Bound, Error> {
    let error = |source| Error::Listen {
        address: address.to_owned(),
        source,
    };
    let chosen = chosen_by_system(address);
    let mut tries = if chosen { PORTS } else { PATIENCE.0 };
    loop {
        let tcp = match bind_tcp(address, leaves_v4).await {
            Ok(tcp) => tcp,
            Err(e) if tries > 0 && !chosen && e.kind() == ErrorKind::AddrInUse => {
                tries -= 1;
                tokio::time::sleep(PATIENCE.1).await;
                continue;
            }
            Err(e) => return Err(error(e)),
        };
        let local = tcp.local_addr().map_err(error)?;
        if !quic {
            let udp = None;
            return Ok(Bound { tcp, udp, local });
        }
        match bind_udp(local, leaves_v4) {
            Ok(udp) => {
                let udp = Some(udp);
                return Ok(Bound { tcp, udp, local });
            }
            Err(e) if tries > 0 && (chosen || e.kind() == ErrorKind::AddrInUse) => {
                tries -= 1;
                drop(tcp);
                if !chosen {
                    tokio::time::sleep(PATIENCE.1).await;
                }
            }
            Err(source) => {
                return Err(Error::Listen {
                    address: format!("quic:{local}"),
                    source,
                });
            }
        }
    }
}

fn chosen_by_system(address: &str) -> bool {
    address
        .to_socket_addrs()
        .is_ok_and(|mut all| all.all(|a| a.port() == 0))
}

/// Maximum number of connections accepted in one turn, so that a flood does not delay the others.
const ACCEPTED_A_TURN: usize = 32;

/// Waits for connections. Accepts all that are queued without the reactor, which most connections of a flood thus never use.
async fn next_connections(
    listener: &TcpListener,
) -> std::io::Result<Vec<(std::net::TcpStream, SocketAddr)>> {
    let (first, peer) = listener.accept().await?;
    let mut all = vec![(first.into_std()?, peer)];
    let socket = socket2::SockRef::from(listener);
    while all.len() < ACCEPTED_A_TURN
        && let Ok((more, peer)) = socket.accept()
    {
        all.extend(peer.as_socket().map(|peer| (more.into(), peer)));
    }
    Ok(all)
}

/// Accepts connections over TCP for as long as it runs. `pulse` beats with each turn, and turns also happen without connections.
pub(crate) async fn accept(listener: TcpListener, common: Listeners, pulse: Pulse) {
    let Listeners {
        site,
        stop,
        connections,
        max,
        connection_limiter,
        clock,
    } = common;
    let mut turned = Turned::default();
    loop {
        let beat = pulse.beat_once();
        turned.update(clock.now().mono, &connection_limiter, &listener);
        let until = turned
            .until()
            .map_or(beat, |at| beat.min(clock.instant(at)));
        let all = match timeout_at(until, next_connections(&listener)).await {
            // An address's time is over, or the next beat is due.
            Err(_) => continue,
            Ok(Ok(all)) => all,
            Ok(Err(error)) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        for (tcp, peer) in all {
            // A connection over a limit is dropped before it costs anything.
            let Some(step) = connection_limiter.enter(clock.now().mono, peer.ip()) else {
                // Close by RST, which leaves no state behind. A socket that is already gone needs none.
                let _ = socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
                continue;
            };
            let tcp = tcp
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(tcp));
            let Ok(tcp) = tcp else { continue };
            let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
            while connections.try_join_next().is_some() {}
            if connections.len() >= max {
                connection_limiter.refused(Refusal::Connections);
            } else {
                let serving = serve(Arc::clone(&site), tcp, peer, stop.clone());
                connections.spawn(async move {
                    if serving.await {
                        step.flooded();
                    }
                });
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Accepts connections over QUIC for as long as it runs.
///
/// A client that has proved its address with a Retry's token takes a place in the limiter of its address, and no unproven place.
/// A flood of clients without proof thus keeps out no client with one.
pub(crate) async fn accept_quic(listener: Arc<QuicListener>, common: Listeners, pulse: Pulse) {
    let unproven = Shares::new(UNPROVEN, UNPROVEN_AN_ADDRESS);
    loop {
        let visitor = match timeout_at(pulse.beat_once(), listener.accept()).await {
            Err(_) => continue,
            Ok(Some(visitor)) => visitor,
            Ok(None) => return,
        };
        let at = visitor.from().ip();
        let (place, step) = if visitor.is_validated() {
            match common.connection_limiter.enter(common.clock.now().mono, at) {
                Some(step) => (None, Some(step)),
                None => {
                    visitor.ignore();
                    continue;
                }
            }
        } else {
            match unproven.enter(ChargeTo::address(at)) {
                Some(place) => (Some(place), None),
                None => {
                    visitor.retry();
                    continue;
                }
            }
        };
        let mut connections = common
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        if connections.len() >= common.max {
            common.connection_limiter.refused(Refusal::Connections);
            visitor.ignore();
            continue;
        }
        let common = common.clone();
        connections.spawn(async move {
            let greeted = visitor.greet(&common.site).await;
            if greeted.is_none() && place.is_some() {
                // The state of a failed handshake is kept for this long.
                let _ = tokio::time::timeout(DRAINED, common.stop.cancelled()).await;
            }
            drop(place);
            // Only the handshake proves the client's address. Others cannot use up the address's places.
            let step =
                step.or_else(|| common.connection_limiter.enter(common.clock.now().mono, at));
            if let (Some(greeted), Some(step)) = (greeted, step)
                && greeted.serve(common.site, common.stop).await
            {
                step.flooded();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[tokio::test]
    async fn both_families_of_one_port_are_listened_to_in_any_order() {
        let free = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut all = vec![format!("0.0.0.0:{port}"), format!("[::]:{port}")];
        for _ in 0..2 {
            let mut bound = Vec::new();
            for address in &all {
                let leaves_v4 = leaves_v4(address, &all);
                bound.push(bind(address, true, leaves_v4).await.unwrap());
            }
            for one in bound {
                let socket = one.socket();
                assert!(!socket.both);
                let to: SocketAddr = match socket.local {
                    SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, port).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, port).into(),
                };
                let (came, went) = tokio::join!(one.tcp.accept(), TcpStream::connect(to));
                assert_eq!(came.unwrap().1, went.unwrap().local_addr().unwrap());
            }
            all.reverse();
        }
    }

    #[test]
    fn alone_an_address_of_ipv6_takes_ipv4_too() {
        let all = |list: &[&str]| -> Vec<String> { list.iter().map(|a| (*a).into()).collect() };
        assert!(!leaves_v4("[::]:443", &all(&["[::]:443"])));
        assert!(!leaves_v4("[::]:443", &all(&["[::]:443", "0.0.0.0:444"])));
        assert!(!leaves_v4("[::1]:443", &all(&["[::1]:443", "0.0.0.0:443"])));
        assert!(!leaves_v4("[::]:0", &all(&["[::]:0", "0.0.0.0:0"])));
        assert!(leaves_v4("[::]:443", &all(&["[::]:443", "192.0.2.1:443"])));
    }
}
