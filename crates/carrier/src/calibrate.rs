//! Looks at a front origin once, as its visitors do: what it selects, and which SETTINGS it sends (profile chapter 2).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use crate::client::{Over, Trust, Way, connect, connect_quic, h2_builder};
use crate::watch::{Seen, Watched};
use crate::{Error, Fingerprint, Http2Look};

/// For each of the two requests.
const PATIENCE: Duration = Duration::from_secs(15);
/// What visitors who are programs ask for first.
const PATHS: [&str; 2] = ["/robots.txt", "/favicon.ico"];

/// The origin's half of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginSeen {
    /// The protocol that it selects.
    pub alpn: String,
    /// The SETTINGS that it sends first over HTTP/2, by number.
    pub settings: Option<BTreeMap<u64, u64>>,
    /// The same in the order in which it sends them.
    pub in_order: Vec<(u16, u32)>,
    /// The increment of the connection's window that it sends behind them; 0 where it sends none.
    pub window: u32,
    /// The cadence of its PINGs in milliseconds; 0 where none were seen.
    pub ping_ms: u64,
    /// What was asked for in the end, and how it was answered.
    pub asked: (&'static str, u16),
}

impl OriginSeen {
    /// What a listener that shows this origin's pages says first over HTTP/2, where the origin speaks it.
    #[must_use]
    pub fn look(&self) -> Option<Http2Look> {
        self.settings.is_some().then(|| Http2Look {
            settings: self.in_order.clone(),
            window: self.window,
        })
    }
}

/// Asks an origin for `/robots.txt`, and where it has none for `/favicon.ico`: one request on a fresh connection each. For `idle` the
/// connection is then left alone, whatever the last was answered, to see whether the origin sends PINGs.
///
/// # Errors
///
/// It is not reached, not trusted, selects no HTTP/2 ([`Error::Alpn`]), or does not answer.
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

/// The same over QUIC, where what an observer sees of the origin is what it selects.
///
/// # Errors
///
/// It is not reached, not trusted, or does not answer.
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
