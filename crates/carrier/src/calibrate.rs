//! Probes a front origin once as its visitors would: the protocol it selects and the SETTINGS it sends (profile chapter 2).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use crate::client::{Over, Trust, Way, connect, connect_quic, h2_builder};
use crate::watch::{Seen, Watched};
use crate::{Error, Fingerprint, Http2Look};

/// Timeout of each of the two requests.
const PATIENCE: Duration = Duration::from_secs(15);
/// Paths that programs visit first.
const PATHS: [&str; 2] = ["/robots.txt", "/favicon.ico"];

/// The origin's half of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginSeen {
    /// ALPN protocol that the origin selects.
    pub alpn: String,
    /// The origin's first HTTP/2 SETTINGS, by number.
    pub settings: Option<BTreeMap<u64, u64>>,
    /// The same SETTINGS in the order sent.
    pub in_order: Vec<(u16, u32)>,
    /// Increment of the connection's window sent after the SETTINGS; 0 if there is none.
    pub window: u32,
    /// Interval of the origin's PINGs in milliseconds; 0 if none was seen.
    pub ping_ms: u64,
    /// Path of the last request, and its status.
    pub asked: (&'static str, u16),
}

impl OriginSeen {
    /// First HTTP/2 frames of a listener that shows this origin's pages; `None` if the origin does not speak HTTP/2.
    #[must_use]
    pub fn look(&self) -> Option<Http2Look> {
        self.settings.is_some().then(|| Http2Look {
            settings: self.in_order.clone(),
            window: self.window,
        })
    }
}

/// Requests `/robots.txt` from an origin, then `/favicon.ico` if it has none, each on a fresh connection. The last connection
/// then stays idle for `idle`, whatever the answer, to detect PINGs of the origin.
///
/// # Errors
///
/// The origin is not reachable or not trusted, selects no HTTP/2 ([`Error::Alpn`]), or does not answer.
pub async fn calibrate(
    address: &str,
    trust: &Trust,
    way: Way,
    shape: &dyn Fingerprint,
    idle: Duration,
) -> Result<OriginSeen, Error> {
    let mut last = None;
    for (n, path) in PATHS.into_iter().enumerate() {
        let stays = n + 1 == PATHS.len();
        let outer = connect(address, trust, way, shape).await?;
        let (over, host, facts) = outer.into_parts();
        let (Over::Tcp(tls), "h2") = (over, facts.alpn.as_str()) else {
            return Err(Error::Alpn);
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let watched = Watched {
            inner: tls.clone(),
            seen: Arc::clone(&seen),
        };
        let asked = async {
            let (mut requests, connection) = h2_builder().handshake::<_, Bytes>(watched).await?;
            let request = http::Request::get(format!("https://{host}{path}"))
                .body(())
                .map_err(|_| Error::Host)?;
            let (response, _) = requests.send_request(request, true)?;
            let mut driven = Box::pin(tls.pushed(connection));
            let answered = async {
                let status = response.await?.status();
                tokio::time::sleep(if status == StatusCode::OK || stays {
                    idle
                } else {
                    Duration::ZERO
                })
                .await;
                Ok::<_, Error>(status)
            };
            tokio::select! {
                status = answered => status,
                done = &mut driven => { done?; Err(Error::Gone) }
            }
        };
        let status = timeout(PATIENCE + idle, asked)
            .await
            .map_err(|_| Error::Timeout(PATIENCE.as_secs()))??;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = Some(seen.settings.clone().ok_or(Error::Gone)?);
        let found = OriginSeen {
            alpn: facts.alpn,
            settings,
            in_order: seen.in_order.clone(),
            window: seen.window,
            ping_ms: seen.cadence(),
            asked: (path, status.as_u16()),
        };
        if status == StatusCode::OK {
            return Ok(found);
        }
        last = Some(found);
    }
    last.ok_or(Error::Gone)
}

/// Probes an origin over QUIC, where an observer sees of the origin only the selected protocol.
///
/// # Errors
///
/// The origin is not reachable or not trusted, or does not answer.
pub async fn calibrate_quic(
    address: &str,
    trust: &Trust,
    way: Way,
    shape: &dyn Fingerprint,
) -> Result<OriginSeen, Error> {
    let mut last = None;
    for path in PATHS {
        let outer = connect_quic(address, trust, way, shape).await?;
        let (over, host, facts) = outer.into_parts();
        let Over::Quic(quic) = over else {
            return Err(Error::Alpn);
        };
        let request = http::Request::get(format!("https://{host}{path}"))
            .body(())
            .map_err(|_| Error::Host)?;
        let answer = timeout(PATIENCE, quic.visit(request))
            .await
            .map_err(|_| Error::Timeout(PATIENCE.as_secs()))??;
        let found = OriginSeen {
            alpn: facts.alpn,
            settings: None,
            in_order: Vec::new(),
            window: 0,
            ping_ms: 0,
            asked: (path, answer.status().as_u16()),
        };
        if answer.status() == StatusCode::OK {
            return Ok(found);
        }
        last = Some(found);
    }
    last.ok_or(Error::Gone)
}
