//! The listener: connections, bounded in all and by address, with times for what a client has to do.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use betanet_wire::ChargeTo;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::lease::Lease;
use crate::serve::Peer;

/// Most connections.
pub(crate) const CONNECTIONS_MAX: usize = 1024;
/// Most connections of one address that is no proxy's. Loopback addresses have all, since a proxy may stand there.
pub(crate) const CONNECTIONS_AN_ADDRESS: usize = 64;
/// Most bytes that the head of a request has.
const HEAD_MAX: usize = 32 << 10;
/// Time for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Time after which a client that takes no bytes is cut off.
const STUCK: Duration = Duration::from_secs(30);
/// Time for open requests at the end.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// A connection whose client has to take what is written.
struct Patient {
    tcp: TcpStream,
    stuck: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stuck = None;
            return done;
        }
        let until = || Box::pin(tokio::time::sleep_until(Instant::now() + STUCK));
        let stuck = self.stuck.get_or_insert_with(until);
        match stuck.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.watched(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Connections by address.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<BTreeMap<ChargeTo, usize>>>);

struct Place {
    of: Places,
    address: ChargeTo,
}

impl Places {
    fn take(&self, ip: IpAddr, unbounded: bool) -> Option<Place> {
        let address = ChargeTo::address(ip);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = all.entry(address).or_default();
        if !unbounded && *n >= CONNECTIONS_AN_ADDRESS {
            return None;
        }
        *n += 1;
        Some(Place {
            of: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = all.get_mut(&self.address) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// The addresses that are answered.
pub(crate) struct Doors<F> {
    /// Tells the addresses of proxies, which carry the connections of many.
    pub(crate) trusted: F,
    /// Whether only these are answered: others would come without TLS, past the proxy.
    pub(crate) only: bool,
}

/// Serves until it is to stop.
pub(crate) async fn run(
    listener: TcpListener,
    router: Router,
    doors: Doors<impl Fn(IpAddr) -> bool>,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let places = Places::default();
    let open = tokio_util::task::TaskTracker::new();
    loop {
        let permit = Arc::clone(&permits).acquire_owned();
        let permit = tokio::select! {
            permit = permit => permit,
            () = stop.cancelled() => break,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((tcp, from)) = accepted else {
            // The process is probably out of file descriptors, which is no reason to spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let ip = from.ip().to_canonical();
        let trusted = (doors.trusted)(ip);
        if doors.only && !trusted {
            continue;
        }
        let Some(place) = places.take(ip, ip.is_loopback() || trusted) else {
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        open.spawn(async move {
            connection(tcp, ip, router, stop).await;
            drop((place, permit));
        });
    }
    drop(listener);
    open.close();
    let _ = tokio::time::timeout(FAREWELL, open.wait()).await;
}

async fn connection(tcp: TcpStream, ip: IpAddr, router: Router, stop: CancellationToken) {
    let _ = tcp.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let lease = Lease::default();
    let own = lease.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(ip, own.clone()));
        hyper::service::Service::call(&service, request)
    });
    let tcp = Patient { tcp, stuck: None };
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(tcp), service);
    tokio::pin!(serving);
    tokio::select! {
        // An error here means that the visitor has left.
        _ = &mut serving => return,
        () = lease.over() => return,
        () = stop.cancelled() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(FAREWELL, serving).await;
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::body::Body;
    use axum::routing::get;
    use futures_util::stream::unfold;

    use super::*;
    use crate::live::UNSEEN;

    #[test]
    fn connections_of_an_address_are_bounded() {
        let places = Places::default();
        let ip = IpAddr::from([192, 0, 2, 1]);
        let open: Vec<Place> = (0..100).filter_map(|_| places.take(ip, false)).collect();
        assert_eq!(open.len(), CONNECTIONS_AN_ADDRESS);
        assert!(places.take(IpAddr::from([192, 0, 2, 2]), false).is_some());
        assert!(places.take(ip, true).is_some());
        drop(open);
        assert!(places.take(ip, false).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off() {
        use tokio::io::AsyncWriteExt as _;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let mut patient = Patient { tcp, stuck: None };
        let began = Instant::now();
        let full = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = patient.write_all(&full).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), STUCK.as_secs());
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_client_stands_still_is_dropped_in_its_time() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let events = async |Extension(Peer(_, lease)): Extension<Peer>| {
            lease.renew(Instant::now() + UNSEEN);
            Body::from_stream(unfold((), async |()| {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, io::Error>("data: x\n\n"), ()))
            }))
        };
        let router = Router::new().route("/", get(events));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let ask = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write_all(ask).await.unwrap();
        let (tcp, from) = listener.accept().await.unwrap();
        let began = Instant::now();
        connection(tcp, from.ip(), router, CancellationToken::new()).await;
        assert_eq!(began.elapsed().as_secs(), UNSEEN.as_secs());
        // Its kernel took all of it, and then the end.
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        let events = all.matches("data: x").count() as u64;
        assert!((28..=UNSEEN.as_secs()).contains(&events), "{all}");
    }
}
