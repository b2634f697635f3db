//! A carrier for tests without another end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{Carrier, Error, Reads, Received};

/// Times and lengths of sent data; an end has length zero.
pub(crate) type Log = Arc<Mutex<Vec<(Duration, usize)>>>;

/// Scheduled times of the output and gaps since the output before; `None` where the schedule ended.
pub(crate) type Left = Arc<Mutex<Vec<Option<(Duration, Duration)>>>>;

/// Accepts everything and records the times.
pub(crate) struct Taker {
    began: Instant,
    log: Log,
    /// Data to be received.
    pub(crate) coming: Arc<Mutex<VecDeque<Bytes>>>,
    /// Times and limits of reading that were set.
    pub(crate) told: Arc<Mutex<Vec<(Duration, Reads)>>>,
    /// Time of the first partial read.
    pub(crate) heard: Arc<Mutex<Option<Instant>>>,
    pub(crate) left: Left,
}

impl Taker {
    pub(crate) fn new(log: &Log) -> Self {
        Self {
            began: Instant::now(),
            log: Arc::clone(log),
            coming: Arc::default(),
            told: Arc::default(),
            heard: Arc::default(),
            left: Arc::default(),
        }
    }
}

impl Carrier for Taker {
    fn poll_receive(&mut self, _: &mut Context<'_>) -> Poll<Result<Received, Error>> {
        match self.coming.lock().unwrap().pop_front() {
            Some(bytes) => Poll::Ready(Ok(Received::Bytes(bytes))),
            None => Poll::Pending,
        }
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        let at = self.began.elapsed();
        let mut log = self.log.lock().unwrap();
        match log.last_mut() {
            Some((last, n)) if *last == at => *n += bytes.len(),
            _ => log.push((at, bytes.len())),
        }
        Ok(())
    }

    fn reads(&mut self, reads: Reads) {
        let at = self.began.elapsed();
        self.told.lock().unwrap().push((at, reads));
    }

    fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap()
    }

    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        let when = when.map(|(at, after)| (at - self.began, after));
        self.left.lock().unwrap().push(when);
        true
    }

    fn push(&mut self, _: &mut Context<'_>) {}

    fn end(&mut self) {
        self.log.lock().unwrap().push((self.began.elapsed(), 0));
    }

    fn reset(&mut self) {}

    fn go_away(&mut self) {}

    fn export_as(&self, _: &str, _: &[u8], _: &mut [u8]) -> Result<(), Error> {
        Ok(())
    }

    fn poll_flushed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
