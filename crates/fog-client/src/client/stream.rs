//! Streams of messages, continued where one ends or is cut; and logs.

use std::marker::PhantomData;
use std::time::Duration;

use betanet_fog::bodies::{Event, Status, WorkItem};
use betanet_fog::{BODY_MAX, Item, from_slice};
use betanet_runtime::{Body, ExchangeError};
use betanet_wire::msg;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::watch;

use super::FogClient;
use super::outgoing::Outgoing;
use crate::Error;

/// Longest time for which a coordinator holds a stream.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Cuts in a row, without an item between them, after which a stream fails.
const CUTS_MAX: u32 = 8;
/// Pause after a stream that ended at once, or was cut.
const PAUSE: Duration = Duration::from_secs(1);

/// An item of a stream that may have a position in it.
pub trait Positioned: Item {
    /// Journal index of the item, from which the next request goes on. `None` for items that repeat the present state.
    fn position(&self) -> Option<u64>;
}

impl Positioned for Event {
    fn position(&self) -> Option<u64> {
        Some(self.at)
    }
}

impl Positioned for WorkItem {
    fn position(&self) -> Option<u64> {
        Some(match self {
            Self::Run(run) => run.at,
            Self::Drop(drop) => drop.at,
        })
    }
}

impl Positioned for Status {
    fn position(&self) -> Option<u64> {
        None
    }
}

/// A stream of items. Where a request ends or is cut, the next one continues after the last item.
#[derive(Debug)]
pub struct Items<T> {
    client: FogClient,
    what: &'static str,
    path: String,
    after: u64,
    wait: Duration,
    follow: bool,
    body: Option<Body>,
    buffer: BytesMut,
    /// Whether the current request brought an item.
    fruitful: bool,
    asked: Duration,
    cuts: u32,
    turned: watch::Receiver<u64>,
    of: PhantomData<fn() -> T>,
}

impl<T: Positioned> Items<T> {
    pub(super) fn new(
        client: &FogClient,
        what: &'static str,
        path: String,
        (after, wait, follow): (u64, Duration, bool),
    ) -> Self {
        Self {
            client: client.clone(),
            what,
            path,
            after,
            wait: wait.min(WAIT_MAX),
            follow,
            body: None,
            buffer: BytesMut::new(),
            fruitful: false,
            asked: Duration::ZERO,
            cuts: 0,
            turned: client.turned(),
            of: PhantomData,
        }
    }

    /// Position of the last item.
    #[must_use]
    pub const fn after(&self) -> u64 {
        self.after
    }

    /// Returns the next item. Without following, `None` follows the last one of a request.
    ///
    /// # Errors
    ///
    /// The coordinators refuse, do not answer, or send something else than items.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(item) = self.buffered()? {
                return Ok(Some(item));
            }
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.ask().await?,
            };
            let chunk = tokio::select! {
                biased;
                chunk = body.chunk() => chunk,
                Ok(()) = self.turned.changed() => {
                    // Another coordinator leads: the stream goes on there.
                    self.buffer.clear();
                    continue;
                }
            };
            match chunk {
                Ok(Some(bytes)) => {
                    self.buffer.extend_from_slice(&bytes);
                    self.body = Some(body);
                }
                Ok(None) if !self.buffer.is_empty() => return Err(self.wrong()),
                Ok(None) if !self.follow => return Ok(None),
                Ok(None) => self.rest().await,
                Err(why) => self.cut(why).await?,
            }
        }
    }

    async fn ask(&mut self) -> Result<Body, Error> {
        let (mark, after) = (if self.path.contains('?') { '&' } else { '?' }, self.after);
        let mut path = format!("{}{mark}after={after}", self.path);
        if !self.wait.is_zero() {
            path.push_str(&format!("&wait={}", self.wait.as_millis()));
        }
        (self.fruitful, self.asked) = (false, self.client.clock().elapsed());
        self.buffer.clear();
        let mut out = Outgoing::get(self.what, &path);
        out.wait = self.wait;
        let answer = self.client.send(&out).await?;
        self.turned = self.client.turned();
        Ok(answer.body)
    }

    /// Takes a complete item from the buffer.
    fn buffered(&mut self) -> Result<Option<T>, Error> {
        let message = msg::split(&self.buffer, BODY_MAX).map_err(|_| self.wrong())?;
        let Some((cbor, _)) = message else {
            return Ok(None);
        };
        let len = 4 + cbor.len();
        let item: T = from_slice(cbor).map_err(|_| self.wrong())?;
        self.buffer.advance(len);
        self.after = item.position().map_or(self.after, |at| at.max(self.after));
        (self.fruitful, self.cuts) = (true, 0);
        Ok(Some(item))
    }

    /// Waits after a request that ended at once and brought nothing, so that a coordinator which does not wait is not flooded.
    async fn rest(&self) {
        let took = self.client.clock().elapsed().saturating_sub(self.asked);
        if !self.fruitful && took < PAUSE {
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn cut(&mut self, why: ExchangeError) -> Result<(), Error> {
        self.cuts += 1;
        if self.cuts >= CUTS_MAX {
            return Err(Error::Session {
                what: self.what,
                source: Box::new(why.into()),
            });
        }
        if self.cuts > 1 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn wrong(&self) -> Error {
        let (what, status) = (self.what, betanet_bar::status::OK);
        Error::Answer { what, status }
    }
}

/// The log of a copy as it arrives.
#[derive(Debug)]
pub struct Log {
    pub(super) what: &'static str,
    pub(super) body: Body,
    /// Bytes at the beginning that the caller has.
    pub(super) skip: u64,
}

impl Log {
    /// Returns the next bytes, or `None` at the log's present end.
    ///
    /// # Errors
    ///
    /// The session was cut.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let chunk = self.body.chunk().await.map_err(|e| Error::Session {
                what: self.what,
                source: Box::new(e.into()),
            })?;
            let Some(mut bytes) = chunk else {
                return Ok(None);
            };
            let known = usize::try_from(self.skip).unwrap_or(usize::MAX);
            let known = known.min(bytes.len());
            bytes.advance(known);
            self.skip -= known as u64;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}
