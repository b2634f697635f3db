mod places;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _};
use http::header::{self, HeaderName};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Empty, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::ext::ReasonPhrase;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::rustls;

use super::Body;
use super::body::Coming;
use crate::Roots;
use crate::client::Trust;
use crate::progress::Progress;
use places::Places;

/// Timeout for a connection to the origin.
const CONNECT: Duration = Duration::from_secs(10);
/// Timeout for the first byte of an answer after the request's body, and between two pieces: nginx's `proxy_read_timeout`.
const ANSWER: Duration = Duration::from_secs(60);
/// Lifetime of an unused connection to the origin.
const IDLE: Duration = Duration::from_secs(60);
/// Maximum number of kept connections.
const KEPT: usize = 64;

/// Bytes of an answer that are read ahead of the visitor.
const AHEAD: usize = 64 << 10;

/// Fields by which a visitor could give the origin an address, its own or another.
const FORWARDED: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
];

/// Hop-by-hop fields (RFC 9110 §7.6.1), beside those that `connection` names.
const OWN: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The address is not that of a front origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a front origin is http://HOST[:PORT] or https://HOST[:PORT], without a path")]
pub struct OriginError;

/// Why an origin gave no answer.
pub(crate) enum Refused {
    /// The origin is not reachable, or broke off.
    Unreachable,
    /// The origin timed out.
    Silent,
    /// The request cannot be forwarded.
    Request,
}

type Sent = UnsyncBoxBody<Bytes, io::Error>;

/// A front origin, whose pages a node shows as its own.
#[derive(Clone)]
pub struct OriginProxy(Arc<Place>);

struct Place {
    client: Client<HttpsConnector<HttpConnector>, Sent>,
    scheme: Scheme,
    authority: Authority,
    places: Arc<Places>,
    roots: Roots,
    /// Whether no connection was available for the last request that needed one.
    unreachable: AtomicBool,
}

/// Position of the hop-by-hop fields in an HTTP/1.1 answer: the number of fields before them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hops {
    pub(crate) connection: Option<usize>,
    pub(crate) coding: Option<usize>,
}

impl fmt::Debug for OriginProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme, self.0.authority)
    }
}

impl OriginProxy {
    /// The origin at `url`, whose certificate is checked with Mozilla's roots.
    ///
    /// # Errors
    ///
    /// [`OriginError`].
    pub fn new(url: &str) -> Result<Self, OriginError> {
        Self::with_roots(url, Roots::mozilla())
    }

    /// The origin at `url`, whose certificate is checked with `roots`.
    ///
    /// # Errors
    ///
    /// [`OriginError`].
    pub fn with_roots(url: &str, roots: Roots) -> Result<Self, OriginError> {
        let uri: Uri = url.parse().map_err(|_| OriginError)?;
        let parts = uri.into_parts();
        let path = parts.path_and_query;
        if path.is_some_and(|p| p != PathAndQuery::from_static("/")) {
            return Err(OriginError);
        }
        let scheme = parts
            .scheme
            .filter(|s| *s == Scheme::HTTP || *s == Scheme::HTTPS);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| OriginError)?
            .with_root_certificates(Arc::clone(roots.store()))
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(KEPT)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(AHEAD)
            .http2_initial_stream_window_size(u32::try_from(AHEAD).ok())
            .build(connector);
        Ok(Self(Arc::new(Place {
            client,
            scheme: scheme.ok_or(OriginError)?,
            authority: parts.authority.ok_or(OriginError)?,
            places: Places::new(),
            roots,
            unreachable: AtomicBool::new(false),
        })))
    }

    /// Check of the origin's certificate.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::WebPki(self.0.roots.clone())
    }

    /// Whether a connection was available for the last forwarded request; `true` before the first. A visitor's requests and
    /// aborts do not affect it.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        !self.0.unreachable.load(Ordering::Relaxed)
    }

    /// `HOST:PORT` of an origin over TLS; `None` without TLS.
    #[must_use]
    pub fn over_tls(&self) -> Option<String> {
        let Place {
            scheme, authority, ..
        } = &*self.0;
        let port = authority.port_u16().unwrap_or(443);
        (*scheme == Scheme::HTTPS).then(|| format!("{}:{port}", authority.host()))
    }

    /// Whether the origin is on this machine, and thus takes every visitor for a local one.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let host = self.0.authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let named = name == "localhost" || name.ends_with(".localhost");
        named
            || host
                .parse()
                .is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback() || ip.is_unspecified())
    }

    /// Forwards a request; the answer's body is streamed as the origin sends it.
    pub(super) async fn ask(
        &self,
        request: Parts,
        peer: Option<SocketAddr>,
        body: Body,
    ) -> Result<Response<Body>, Refused> {
        let progress = Arc::new(Mutex::new(Progress::new(ANSWER)));
        let request = self.request(request, peer, body, Arc::clone(&progress))?;
        let asked = async {
            let place = self.0.places.enter(peer).await;
            let answer = self.0.client.request(request).await;
            answer.map(|answer| (answer, place))
        };
        let asked = in_time(asked, &progress).await;
        match &asked {
            Some(Ok(_)) => self.0.unreachable.store(false, Ordering::Relaxed),
            Some(Err(e)) if e.is_connect() => self.0.unreachable.store(true, Ordering::Relaxed),
            _ => {}
        }
        let (answer, place) = asked
            .ok_or(Refused::Silent)?
            .map_err(|_| Refused::Unreachable)?;
        let (mut parts, body) = answer.into_parts();
        let hops = (parts.version < Version::HTTP_2).then(|| hops(&parts.headers));
        strip(&mut parts.headers);
        // It announces the origin's own HTTP/3 address.
        parts.headers.remove(header::ALT_SVC);
        self.bring_home(&mut parts.headers);
        let body = if body.is_end_stream() {
            Body::EMPTY
        } else {
            let pieces = BodyStream::new(body).filter_map(|frame| async {
                match frame {
                    Ok(frame) => frame.into_data().ok().map(Ok),
                    Err(e) => Some(Err(io::Error::other(e))),
                }
            });
            Body::Coming(patient(pieces, place))
        };
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        if let Some(reason) = parts.extensions.remove::<ReasonPhrase>() {
            response.extensions_mut().insert(reason);
        }
        response.extensions_mut().insert(hops.unwrap_or_default());
        Ok(response)
    }

    fn request(
        &self,
        mut parts: Parts,
        peer: Option<SocketAddr>,
        body: Body,
        progress: Arc<Mutex<Progress>>,
    ) -> Result<Request<Sent>, Refused> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.0.scheme.clone());
        uri.authority = Some(self.0.authority.clone());
        uri.path_and_query = Some(match parts.uri.path_and_query() {
            // `OPTIONS *` has no path.
            Some(path) if path.as_str().starts_with('/') => path.clone(),
            Some(_) => return Err(Refused::Request),
            None => PathAndQuery::from_static("/"),
        });
        parts.uri = Uri::from_parts(uri).map_err(|_| Refused::Request)?;
        parts.version = Version::HTTP_11;
        strip(&mut parts.headers);
        parts.extensions = http::Extensions::new();
        for name in FORWARDED {
            parts.headers.remove(name);
        }
        if let Some(peer) = peer.filter(|_| self.is_local()) {
            let address = HeaderValue::from_str(&peer.ip().to_canonical().to_string());
            parts
                .headers
                .insert("x-forwarded-for", address.map_err(|_| Refused::Request)?);
        }
        parts.headers.remove(betanet_htx::ticket::FIELD);
        // The forwarded body was already awaited.
        parts.headers.remove(header::EXPECT);
        let host =
            HeaderValue::from_str(self.0.authority.as_str()).map_err(|_| Refused::Request)?;
        parts.headers.insert(header::HOST, host);
        let sent = if body.is_empty() {
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            let all = Some((body, progress));
            let stream = unfold(all, |all| async move {
                let (mut body, progress) = all?;
                match body.next().await {
                    Ok(Some(bytes)) => {
                        lock(&progress).moved(bytes.len());
                        Some((Ok(Frame::data(bytes)), Some((body, progress))))
                    }
                    Ok(None) => {
                        lock(&progress).restart();
                        None
                    }
                    Err(e) => Some((Err(e), None)),
                }
            });
            StreamBody::new(stream).boxed_unsync()
        };
        Ok(Request::from_parts(parts, sent))
    }

    /// Rewrites links to the origin: a `location` on it becomes a path.
    fn bring_home(&self, headers: &mut HeaderMap) {
        let Some(location) = headers.get(header::LOCATION) else {
            return;
        };
        let at_home = location.to_str().ok().and_then(|l| l.parse::<Uri>().ok());
        let at_home = at_home.filter(|u| u.authority() == Some(&self.0.authority));
        let path = at_home.and_then(|u| u.path_and_query().cloned());
        if let Some(path) = path
            && let Ok(value) = HeaderValue::from_str(path.as_str())
        {
            headers.insert(header::LOCATION, value);
        }
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for an answer while the request's body makes progress, and for [`ANSWER`] after that.
async fn in_time<T>(answer: impl Future<Output = T>, progress: &Mutex<Progress>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let until = lock(progress).until();
        match timeout_at(until, &mut answer).await {
            Ok(answer) => return Some(answer),
            Err(_) if lock(progress).until() > until => {}
            Err(_) => return None,
        }
    }
}

/// An answer's pieces while they come in time, together with a guard held for them.
fn patient<H: Send + 'static>(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    held: H,
) -> Coming {
    let all = (Box::pin(pieces), held);
    Box::pin(unfold(Some(all), |all| async {
        let (mut pieces, held) = all?;
        match timeout(ANSWER, pieces.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some((pieces, held)))),
            Ok(Some(Err(e))) => Some((Err(e), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    }))
}

fn hops(headers: &HeaderMap) -> Hops {
    let place = |name| {
        let others = headers.keys().take_while(|k| **k != name);
        let kept = others.filter(|k| !OWN.contains(&k.as_str()) && **k != header::ALT_SVC);
        headers.contains_key(&name).then(|| kept.count())
    };
    Hops {
        connection: place(header::CONNECTION),
        coding: place(header::TRANSFER_ENCODING),
    }
}

/// Removes hop-by-hop fields.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in &named {
        headers.remove(name);
    }
    for name in OWN {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for good in [
            "http://127.0.0.1:8080",
            "https://example.org",
            "https://example.org/",
        ] {
            assert!(OriginProxy::new(good).is_ok(), "{good}");
        }
        for bad in [
            "example.org",
            "ftp://example.org",
            "https://example.org/a",
            "/",
            "https://",
            "",
        ] {
            assert_eq!(OriginProxy::new(bad).unwrap_err(), OriginError, "{bad}");
        }
    }

    #[test]
    fn an_origin_on_this_machine_is_told() {
        for (url, local) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:80", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://0.0.0.0:80", true),
            ("http://LocalHost", true),
            ("http://app.localhost.", true),
            ("http://192.0.2.1", false),
            ("https://localhost.example", false),
        ] {
            assert_eq!(OriginProxy::new(url).unwrap().is_local(), local, "{url}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stops_coming_is_broken_off_and_gives_back_what_is_held() {
        let held = Arc::new(());
        let first = futures_util::stream::iter([Ok(Bytes::from_static(b"a"))]);
        let pieces = first.chain(futures_util::stream::pending());
        let mut body = Body::Coming(patient(pieces, Arc::clone(&held)));
        assert_eq!(body.next().await.unwrap().unwrap(), "a");
        assert_eq!(Arc::strong_count(&held), 2);
        let began = tokio::time::Instant::now();
        let failed = body.next().await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), ANSWER);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_body_has_its_time_and_one_that_trickles_has_not() {
        for (piece, answers) in [(8 << 10, true), (100, false)] {
            let progress = Mutex::new(Progress::new(ANSWER));
            let began = tokio::time::Instant::now();
            let answer = async {
                for _ in 0..9 {
                    tokio::time::sleep(ANSWER / 2).await;
                    lock(&progress).moved(piece);
                }
                lock(&progress).restart();
                tokio::time::sleep(ANSWER * 9 / 10).await;
            };
            let answered = in_time(answer, &progress).await.is_some();
            assert_eq!(answered, answers);
            assert_eq!(began.elapsed() > 5 * ANSWER, answers);
        }
    }

    /// The next request at an origin that accepts connections and answers nothing.
    async fn asked(listener: &tokio::net::TcpListener) -> (tokio::net::TcpStream, String) {
        use tokio::io::AsyncBufReadExt as _;

        let (tcp, _) = listener.accept().await.unwrap();
        let mut tcp = tokio::io::BufReader::new(tcp);
        let mut line = String::new();
        tcp.read_line(&mut line).await.unwrap();
        (tcp.into_inner(), line)
    }

    #[tokio::test]
    async fn one_address_asks_an_origin_no_more_than_its_part_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin =
            OriginProxy::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let ask = |path: &'static str, peer: &'static str| {
            let origin = origin.clone();
            let (parts, ()) = Request::get(path).body(()).unwrap().into_parts();
            tokio::spawn(async move {
                let peer = Some(peer.parse().unwrap());
                origin.ask(parts, peer, Body::EMPTY).await.is_ok()
            })
        };
        let many: Vec<_> = (0..2 * places::AT_ONCE_AN_ADDRESS)
            .map(|_| ask("/many", "192.0.2.1:1"))
            .collect();
        let mut held = Vec::new();
        for _ in 0..places::AT_ONCE_AN_ADDRESS {
            held.push(asked(&listener).await);
        }
        // The next request is another visitor's, not the waiting one.
        let other = ask("/other", "192.0.2.2:1");
        let (_, line) = asked(&listener).await;
        assert_eq!(line, "GET /other HTTP/1.1\r\n");
        assert!(held.iter().all(|(_, line)| line.contains("/many")));
        // Each finished request makes room for one.
        held.clear();
        assert!(asked(&listener).await.1.contains("/many"));
        many.iter().chain([&other]).for_each(|task| task.abort());
    }

    #[test]
    fn a_visitor_does_not_say_where_it_is() {
        let asked = |url: &str| {
            let request = Request::get("/a")
                .header("x-forwarded-for", "127.0.0.1")
                .header("x-real-ip", "127.0.0.1")
                .header("forwarded", "for=127.0.0.1")
                .body(())
                .unwrap();
            let peer = Some("192.0.2.9:1".parse().unwrap());
            let origin = OriginProxy::new(url).unwrap();
            let progress = Arc::new(Mutex::new(Progress::new(ANSWER)));
            let (parts, ()) = request.into_parts();
            let Ok(request) = origin.request(parts, peer, Body::EMPTY, progress) else {
                panic!("{url}");
            };
            let fields = request.headers().clone();
            assert!(!fields.contains_key("x-real-ip") && !fields.contains_key("forwarded"));
            fields.get("x-forwarded-for").cloned()
        };
        assert_eq!(asked("http://127.0.0.1").unwrap(), "192.0.2.9");
        assert_eq!(asked("https://front.example"), None);
    }

    #[test]
    fn what_is_each_connections_own_is_not_handed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("accept"));
    }

    #[test]
    fn a_place_on_the_origin_becomes_a_path_and_others_stay() {
        let origin = OriginProxy::new("https://front.example:8443").unwrap();
        for (from, to) in [
            ("https://front.example:8443/a?b=c", "/a?b=c"),
            ("https://elsewhere.example/a", "https://elsewhere.example/a"),
            ("/a", "/a"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, HeaderValue::from_static(from));
            origin.bring_home(&mut headers);
            assert_eq!(headers[header::LOCATION], to);
        }
    }
}
