//! Sends an answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderName, Response, header};
use hyper::ext::ReasonPhrase;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::written;
use crate::cover::{Body, Hops, reason};
use crate::unsent::Unsent;

/// Number of bytes sent at once: a full TLS record.
const RECORD: usize = 16 << 10;
/// Time after which a visitor who takes nothing is dropped.
pub(super) const STALLED: Duration = Duration::from_secs(30);

/// Fields that precede those of the connection.
const FIRST: [HeaderName; 6] = [
    header::SERVER,
    header::DATE,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::LAST_MODIFIED,
    header::LOCATION,
];

pub(super) struct Out<'a, S> {
    stream: &'a mut S,
    ready: BytesMut,
    unsent: Unsent,
}

impl<'a, S: AsyncWrite + Unpin> Out<'a, S> {
    pub(super) fn new(stream: &'a mut S, unsent: &Arc<AtomicU64>) -> Self {
        Self {
            stream,
            ready: BytesMut::new(),
            unsent: Unsent::new(unsent),
        }
    }

    /// Sends an answer; returns whether the connection is kept.
    pub(super) async fn send(
        mut self,
        version: u16,
        head_only: bool,
        response: Response<Body>,
        keep: bool,
    ) -> io::Result<bool> {
        let (parts, mut body) = response.into_parts();
        let status = parts.status;
        let bodiless =
            head_only || status.is_informational() || matches!(status.as_u16(), 204 | 304);
        let counted = parts.headers.contains_key(header::CONTENT_LENGTH);
        let chunked = !counted && !bodiless && version >= 1001;
        let keep = keep && (counted || bodiless || chunked);
        if version >= 1000 {
            self.head(&parts, chunked, keep);
        }
        if !bodiless {
            while let Some(bytes) = body.next_up_to(usize::MAX).await? {
                self.unsent.set(self.ready.len() + bytes.len());
                if chunked && !bytes.is_empty() {
                    self.ready
                        .put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                }
                for piece in bytes.chunks(RECORD) {
                    self.ready.put_slice(piece);
                    self.records().await?;
                }
                if chunked && !bytes.is_empty() {
                    self.ready.put_slice(b"\r\n");
                }
                self.unsent.set(self.ready.len());
                // An origin's output is not held back.
                if matches!(body, Body::Coming(_)) {
                    self.flush().await?;
                }
            }
            if chunked {
                self.ready.put_slice(b"0\r\n\r\n");
            }
        }
        self.flush().await?;
        Ok(keep)
    }

    fn head(&mut self, parts: &http::response::Parts, chunked: bool, keep: bool) {
        let out = &mut self.ready;
        let said = parts.extensions.get::<ReasonPhrase>();
        let said = said.map_or(reason(parts.status).as_bytes(), ReasonPhrase::as_bytes);
        out.put_slice(format!("HTTP/1.1 {} ", parts.status.as_u16()).as_bytes());
        out.put_slice(said);
        out.put_slice(b"\r\n");
        let hops = parts.extensions.get::<Hops>().copied();
        let before = parts
            .headers
            .keys()
            .take_while(|k| FIRST.contains(k))
            .count();
        let all = parts.headers.keys_len();
        let (coding, connection) = match hops {
            None => (before, Some(before)),
            Some(hops) => {
                let close = (!keep).then_some(all);
                (hops.coding.unwrap_or(all), hops.connection.or(close))
            }
        };
        for at in 0..=all {
            if chunked && coding.min(all) == at {
                out.put_slice(b"Transfer-Encoding: chunked\r\n");
            }
            if connection.is_some_and(|c| c.min(all) == at) {
                let how: &[u8] = if keep { b"keep-alive" } else { b"close" };
                out.put_slice(b"Connection: ");
                out.put_slice(how);
                out.put_slice(b"\r\n");
            }
            let Some(name) = parts.headers.keys().nth(at) else {
                break;
            };
            let shown = written(name);
            for value in parts.headers.get_all(name) {
                out.put_slice(shown.as_bytes());
                out.put_slice(b": ");
                out.put_slice(value.as_bytes());
                out.put_slice(b"\r\n");
            }
        }
        out.put_slice(b"\r\n");
    }

    /// Sends full records.
    async fn records(&mut self) -> io::Result<()> {
        while self.ready.len() >= RECORD {
            let record = self.ready.split_to(RECORD);
            self.write(&record).await?;
        }
        Ok(())
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = timeout(STALLED, self.stream.write(bytes)).await??;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[n..];
        }
        timeout(STALLED, self.stream.flush()).await?
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.records().await?;
        let rest = self.ready.split();
        self.write(&rest).await
    }
}
