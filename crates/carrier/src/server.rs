//! The server side over TCP: TLS and the choice of the HTTP version.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::came::Came;
use crate::frames::Wire;
use crate::jitter::Jittered;
use crate::link::Link;
use crate::look::{Look, Refusal};
use crate::site::{BoxFuture, Site, count};
use crate::{http1, http2};

/// Type of a TLS handshake record, and the bit that marks a hello of SSL 2; other first bytes mean HTTP without TLS, as in nginx.
const HANDSHAKE: u8 = 22;
const SSL2: u8 = 0x80;

/// Serves one TCP connection to its end; `shutdown` requests an orderly end. Returns whether it was closed as a flood of
/// useless bytes.
pub async fn serve(
    site: Arc<Site>,
    tcp: TcpStream,
    peer: SocketAddr,
    shutdown: CancellationToken,
) -> bool {
    // In a temporary box: the task of an idle tunnel keeps only what it still needs.
    let Some((served, frames)) = Box::pin(begin(site, tcp, peer, shutdown)).await else {
        return false;
    };
    served.await;
    frames.is_some_and(|frames| frames.is_flooded())
}

/// The future that serves a connection to its end, chosen by its protocol, with its frames over HTTP/2.
async fn begin(
    site: Arc<Site>,
    tcp: TcpStream,
    peer: SocketAddr,
    shutdown: CancellationToken,
) -> Option<(BoxFuture, Option<Wire>)> {
    crate::tuned(&tcp);
    let local = tcp.local_addr().ok();
    let came = Came { local, peer };
    // A silent client has one handshake timeout, not two.
    let Ok(first) = timeout(site.limits.tls, first(&tcp)).await else {
        count(&site.stats.tls_failed);
        return None;
    };
    let tcp = Jittered::new(tcp, site.jitter.clone());
    if matches!(first, Some(byte) if byte != HANDSHAKE && byte & SSL2 == 0) {
        let plain = http1::serve(site, tcp, came, shutdown, true);
        return Some((Box::pin(plain), None));
    }
    let accepted = accept(&site.look, Link::looking(tcp));
    let Ok(Ok(tls)) = timeout(site.limits.tls, accepted).await else {
        count(&site.stats.tls_failed);
        return None;
    };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        let (served, frames) = http2::open(site, tls, came, shutdown).await?;
        return Some((served, Some(frames)));
    }
    let served = http1::serve(site, tls, came, shutdown, false);
    Some((Box::pin(served), None))
}

/// Peeks at the first byte of a connection; `None` if there is none.
async fn first(tcp: &TcpStream) -> Option<u8> {
    let mut byte = [0];
    let n = tcp.peek(&mut byte).await.ok()?;
    (n == 1).then_some(byte[0])
}

/// A TLS handshake with the imitated server's fingerprint.
async fn accept(look: &Look, link: Link<Jittered>) -> io::Result<TlsStream<Link<Jittered>>> {
    let mut acceptor = std::pin::pin!(LazyConfigAcceptor::new(Acceptor::default(), link));
    let mut start = match acceptor.as_mut().await {
        Ok(start) => start,
        Err(e) => {
            let Some(link) = acceptor.take_io() else {
                return Err(e);
            };
            let refusal = look.refuses(link.client()).or_else(|| link.refusal());
            return refuse(link, refusal).await;
        }
    };
    if let Some(refusal) = look.refuses(start.io.client()) {
        return refuse(start.io, Some(refusal)).await;
    }
    start.io.answer();
    let config = look.config(start.io.client());
    let mut tls = start.into_stream(config).await?;
    tls.get_mut().0.looked();
    Ok(tls)
}

/// Ends a handshake with the alert that the imitated server sends.
async fn refuse<T>(mut link: Link<Jittered>, refusal: Option<Refusal>) -> io::Result<T> {
    link.looked();
    if let Some(refusal) = refusal {
        link.write_all(&refusal.record()).await?;
        link.shutdown().await?;
    }
    Err(io::ErrorKind::InvalidData.into())
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
    use crate::{CertSource, Certificate, Cover, Fingerprint as _, Jitter, Limits, Plain};

    /// Number of failed TLS handshakes after one attempt.
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
            Some(up_to) => site.with_jitter(Jitter::new(up_to, &Seed::from_number(1))),
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

    /// The kernel holds little of what a visitor does not read, apart from the visitor's own buffer.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_holds_128_kib_of_what_a_visitor_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(4 << 10).unwrap();
        let at = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(client.connect(at), listener.accept());
        let (_client, (tcp, _)) = (client.unwrap(), accepted.unwrap());
        crate::tuned(&tcp);
        let (mut taken, mut refused) = (0, 0);
        while refused < 200 && taken < 8 << 20 {
            match tcp.try_write(&[0; 4096]) {
                Ok(n) => (taken, refused) = (taken + n, 0),
                Err(_) => refused += 1,
            }
            tokio::task::yield_now().await;
        }
        let most = crate::UNSENT as usize;
        assert!((most..most + (64 << 10)).contains(&taken), "{taken}");
    }

    #[tokio::test]
    async fn a_sites_jitter_is_that_of_its_connections() {
        let hour = Duration::from_secs(3600);
        assert_eq!(failed(hour, None).await, 0);
        assert_eq!(failed(hour, Some(Duration::from_millis(5))).await, 0);
        assert_eq!(failed(Duration::from_millis(20), Some(100 * hour)).await, 1);
    }
}
