//! Records the first frames of an origin as they pass.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Secure;
use crate::shared::Shared;

/// Maximum number of an origin's first bytes that are inspected.
const SEEN_MAX: usize = 64 << 10;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;

/// Received bytes, and the times of PINGs.
#[derive(Default)]
pub(crate) struct Seen {
    bytes: Vec<u8>,
    /// Offset of the next frame.
    at: usize,
    pub(crate) settings: Option<BTreeMap<u64, u64>>,
    pub(crate) in_order: Vec<(u16, u32)>,
    pub(crate) window: u32,
    pub(crate) pings: Vec<tokio::time::Instant>,
    /// Whether only the SETTINGS are of interest.
    settings_only: bool,
}

/// Records an origin's first frames on a connection that later carries a tunnel.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    pub(crate) fn new() -> Self {
        let seen = Seen {
            settings_only: true,
            ..Seen::default()
        };
        Self(Arc::new(Mutex::new(seen)))
    }

    /// The received HTTP/2 SETTINGS, by number.
    #[must_use]
    pub fn settings(&self) -> Option<BTreeMap<u64, u64>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.settings.clone()
    }

    pub(crate) fn over(&self, inner: Shared<Box<dyn Secure>>) -> Watched {
        let seen = Arc::clone(&self.0);
        Watched { inner, seen }
    }
}

impl Seen {
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if self.settings_only && self.settings.is_some() {
            self.bytes = Vec::new();
            return;
        }
        if self.bytes.len() + bytes.len() > SEEN_MAX {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        while let Some(header) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<9>) {
            let len = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let (kind, flags) = (header[3], header[4]);
            let Some(body) = self.bytes.get(self.at + 9..self.at + 9 + len) else {
                return;
            };
            match (kind, flags & ACK) {
                (SETTINGS, 0) if self.settings.is_none() => {
                    let (pairs, _) = body.as_chunks::<6>();
                    let pairs = pairs.iter().map(|[a, b, value @ ..]| {
                        (u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))
                    });
                    self.in_order = pairs.collect();
                    let by_number = self.in_order.iter();
                    let by_number = by_number.map(|(id, value)| ((*id).into(), (*value).into()));
                    self.settings = Some(by_number.collect());
                }
                (WINDOW_UPDATE, _) if header[5..] == [0; 4] && self.window == 0 => {
                    let bytes = body.first_chunk::<4>();
                    self.window = bytes.map_or(0, |b| u32::from_be_bytes(*b) & 0x7fff_ffff);
                }
                (PING, 0) => self.pings.push(tokio::time::Instant::now()),
                _ => {}
            }
            self.at += 9 + len;
        }
    }

    pub(crate) fn cadence(&self) -> u64 {
        let gaps = self.pings.windows(2).map(|w| w[1] - w[0]);
        let shortest = gaps.min().unwrap_or_default();
        u64::try_from(shortest.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A stream that copies the read bytes to the recorder.
pub(crate) struct Watched {
    pub(crate) inner: Shared<Box<dyn Secure>>,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_settings_count_and_pings_are_timed() {
        let frame = |kind: u8, flags: u8, body: &[u8]| {
            let len = u8::try_from(body.len()).unwrap();
            [&[0, 0, len, kind, flags, 0, 0, 0, 0][..], body].concat()
        };
        let bytes = [
            frame(SETTINGS, 0, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 100]),
            frame(WINDOW_UPDATE, 0, &[0, 1, 0, 1]),
            frame(SETTINGS, ACK, &[]),
            frame(WINDOW_UPDATE, 0, &[0, 0, 0, 9]),
            frame(PING, ACK, &[0; 8]),
            frame(SETTINGS, 0, &[0, 3, 0, 0, 0, 1]),
            frame(PING, 0, &[0; 8]),
        ]
        .concat();
        let mut seen = Seen::default();
        for part in bytes.chunks(7) {
            seen.take(part);
        }
        assert_eq!(seen.settings, Some(BTreeMap::from([(3, 100), (4, 65_536)])));
        assert_eq!(seen.in_order, [(4, 65_536), (3, 100)]);
        assert_eq!((seen.pings.len(), seen.cadence()), (1, 0));
        assert_eq!(seen.window, 65_537);
    }
}
