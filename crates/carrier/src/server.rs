//! The server's side over TCP: HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use betanet_htx::ticket::EXPORTER_CONTEXT;
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::cover::Body;
use crate::exported;
use crate::jitter::Jittered;
use crate::link::Link;
use crate::shared::{Shared, export};
use crate::site::{BoxFuture, Incoming, OneConnection, Site, Taken, count};
use crate::tunnel::H2Tunnel;

/// Receive window of a connection before a tunnel on it takes much.
const WINDOW: u32 = 256 << 10;
/// The same of one that does.
const TUNNEL_WINDOW: u32 = 8 << 20;
/// That of each stream: it is not changed for a tunnel, which an observer would see.
const STREAM_WINDOW: u32 = 2 << 20;

/// Serves one TCP connection to its end. `shutdown` asks for an orderly one.
pub async fn serve(site: Arc<Site>, tcp: TcpStream, peer: SocketAddr, shutdown: CancellationToken) {
    // Fails on a connection that is gone, which the handshake tells.
    let _ = tcp.set_nodelay(true);
    let tcp = Jittered::new(tcp, site.jitter.clone());
    // In boxes: the task of an idle tunnel is no larger than what it still needs.
    let accepted = Box::pin(timeout(
        site.limits.tls,
        site.acceptor.accept(Link::new(tcp)),
    ));
    let Ok(Ok(tls)) = accepted.await else {
        count(&site.stats.tls_failed);
        return;
    };
    let served: BoxFuture = if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        match Box::pin(open_h2(site, tls, peer, shutdown)).await {
            Some(served) => served,
            None => return,
        }
    } else {
        Box::pin(serve_h1(site, tls, shutdown))
    };
    served.await;
}

async fn serve_h1(site: Arc<Site>, tls: TlsStream<Link<Jittered>>, shutdown: CancellationToken) {
    let head = site.limits.head;
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(answer_h1(&site, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(tls), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = &mut connection => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

type H1Body = UnsyncBoxBody<Bytes, io::Error>;

async fn answer_h1(site: &Site, request: Request<hyper::body::Incoming>) -> Response<H1Body> {
    let (parts, body) = request.into_parts();
    let empty = body.is_end_stream();
    let Taken::Answer(answer) = site.take(None, parts, body, empty).await else {
        // HTTP/1.1 carries no tunnel.
        return Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    };
    answer.map(|body| {
        let stream = futures_util::stream::unfold(body, |mut body| async move {
            match body.next().await {
                Ok(Some(bytes)) => Some((Ok(Frame::data(bytes)), body)),
                Ok(None) => None,
                Err(e) => Some((Err(e), Body::Full(Bytes::new()))),
            }
        });
        StreamBody::new(stream).boxed_unsync()
    })
}

impl Incoming for hyper::body::Incoming {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.frame().await? {
                Ok(frame) => {
                    // Trailers are nobody's here.
                    if let Ok(bytes) = frame.into_data() {
                        return Some(Ok(bytes));
                    }
                }
                Err(e) => return Some(Err(io::Error::other(e))),
            }
        }
    }
}

impl Incoming for RecvStream {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let bytes = match self.data().await? {
            Ok(bytes) => bytes,
            Err(e) => return Some(Err(io::Error::other(e))),
        };
        // Refused only for more than came.
        let _ = self.flow_control().release_capacity(bytes.len());
        Some(Ok(bytes))
    }
}

/// Begins HTTP/2; what is given back serves the connection to its end.
async fn open_h2(
    site: Arc<Site>,
    tls: TlsStream<Link<Jittered>>,
    peer: SocketAddr,
    shutdown: CancellationToken,
) -> Option<BoxFuture> {
    let connection = tls.get_ref().1;
    let ekm0 = exported(|label, out| export(connection, label, EXPORTER_CONTEXT, out)).ok()?;
    let one = Arc::new(OneConnection::new(ekm0, peer));
    let tls = Shared::new(tls);
    let handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(site.limits.streams)
        .max_header_list_size(16 << 10)
        .max_send_buffer_size(1 << 20)
        .handshake::<_, Bytes>(tls.clone());
    let handshake = tls.pushed(Box::pin(handshake));
    let connection = timeout(site.limits.tls, handshake).await.ok()?.ok()?;
    // In a box: an argument of an async function has its place twice.
    let connection = Box::new(connection);
    let served = Box::pin(serve_h2(site, one, connection, tls.clone(), shutdown));
    Some(Box::pin(tls.pushed(served)))
}

/// A request being answered; what it leaves behind is a tunnel.
type Answering = Pin<Box<dyn Future<Output = Option<BoxFuture>> + Send>>;

type H2Connection = h2::server::Connection<Shared<TlsStream<Link<Jittered>>>, Bytes>;

async fn serve_h2(
    site: Arc<Site>,
    one: Arc<OneConnection>,
    mut connection: Box<H2Connection>,
    tls: Shared<TlsStream<Link<Jittered>>>,
    shutdown: CancellationToken,
) {
    let go_away = Arc::new(Notify::new());
    let much = Arc::new(Notify::new());
    let mut streams: FuturesUnordered<Answering> = FuturesUnordered::new();
    let mut leaving = false;
    loop {
        tokio::select! {
            // The connection after those who have something to say: it then goes out at once.
            biased;
            Some(left) = streams.next(), if !streams.is_empty() => if let Some(tunnel) = left {
                // It lives for hours; the future that answered its request need not.
                streams.push(Box::pin(tunnel.map(|()| None)));
            },
            () = go_away.notified() => connection.graceful_shutdown(),
            () = much.notified() => {
                connection.set_target_window_size(TUNNEL_WINDOW);
            }
            () = shutdown.cancelled(), if !leaving => {
                leaving = true;
                connection.graceful_shutdown();
            }
            accepted = poll_fn(|cx| connection.poll_accept(cx)) => match accepted {
                Some(Ok((request, respond))) => streams.push(Box::pin(answer_h2(
                    Arc::clone(&site),
                    Arc::clone(&one),
                    tls.clone(),
                    Arc::clone(&go_away),
                    Arc::clone(&much),
                    request,
                    respond,
                ))),
                Some(Err(_)) | None => break,
            },
            () = tokio::time::sleep(site.limits.idle), if streams.is_empty() => {
                if leaving { break }
                leaving = true;
                connection.graceful_shutdown();
            }
        }
    }
}

async fn answer_h2(
    site: Arc<Site>,
    one: Arc<OneConnection>,
    tls: Shared<TlsStream<Link<Jittered>>>,
    go_away: Arc<Notify>,
    much: Arc<Notify>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<BoxFuture> {
    let (parts, body) = request.into_parts();
    let empty = body.is_end_stream();
    match site.take(Some(&one), parts, body, empty).await {
        Taken::Tunnel(tunnel, rest, body) => {
            let outgoing = respond.send_response(site.tunnel_head(), false).ok()?;
            let exported = tls.clone();
            let exporter = Box::new(move |label: &str, context: &[u8], out: &mut [u8]| {
                exported.with(|t| export(t.get_ref().1, label, context, out))
            });
            let records = Box::new(tls);
            let carrier = H2Tunnel::server(rest, body, outgoing, go_away, much, exporter, records);
            Some(tunnel(Box::new(carrier)))
        }
        Taken::Answer(response) => {
            // An error here is a visitor who left.
            let _ = send_h2(response, respond).await;
            None
        }
    }
}

async fn send_h2(
    response: Response<Body>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (parts, mut body) = response.into_parts();
    let head = Response::from_parts(parts, ());
    let mut out = respond.send_response(head, body.is_empty())?;
    if body.is_empty() {
        return Ok(());
    }
    loop {
        let mut bytes = match body.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return out.send_data(Bytes::new(), true),
            Err(_) => {
                out.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
        };
        let last = body.is_empty();
        while !bytes.is_empty() {
            out.reserve_capacity(bytes.len());
            let room = match out.capacity() {
                0 => match poll_fn(|cx| out.poll_capacity(cx)).await {
                    Some(room) => room?,
                    None => return Ok(()),
                },
                room => room,
            };
            let part = bytes.split_to(room.min(bytes.len()));
            let end = last && bytes.is_empty();
            out.send_data(part, end)?;
        }
        if last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, SystemTime};

    use betanet_machine::Seed;
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::Trust;
    use crate::{CertSource, Certificate, Cover, Jitter, Limits, Plain, Shape as _};

    /// How many TLS handshakes fail of one.
    async fn failed(limit: Duration, jitter: Option<Duration>) -> u64 {
        let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
        let source = Arc::new(CertSource::fixed(certificate));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cover = Cover::new(folder, || SystemTime::UNIX_EPOCH).unwrap();
        let limits = Limits {
            tls: limit,
            ..Limits::default()
        };
        let trust = Trust::Pin(source.pin());
        let site = Site::new(source, cover, None, limits).unwrap();
        let site = Arc::new(match jitter {
            Some(up_to) => site.jittered(Jitter::new(up_to, &Seed::from_number(1))),
            None => site,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let client = async {
            let tcp = TcpStream::connect(to).await.unwrap();
            let _ = Plain.handshake(tcp, "localhost", &trust).await;
        };
        let server = async {
            let (tcp, peer) = listener.accept().await.unwrap();
            serve(Arc::clone(&site), tcp, peer, CancellationToken::new()).await;
        };
        tokio::join!(client, server);
        site.stats.tls_failed.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_sites_jitter_is_that_of_its_connections() {
        let hour = Duration::from_secs(3600);
        assert_eq!(failed(hour, None).await, 0);
        assert_eq!(failed(hour, Some(Duration::from_millis(5))).await, 0);
        assert_eq!(failed(Duration::from_millis(20), Some(100 * hour)).await, 1);
    }
}
