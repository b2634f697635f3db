//! A carrier with content-independent padding: to sizes, or at a rate.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_htx::pace::{Pacer, Padding, to_bucket};
use betanet_machine::Time;
use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use crate::queue::Waiting;
use crate::{Carrier, Cost, Error, Reads, Received};

/// Number of waiting bytes above which no more are accepted.
const ROOM: usize = 64 << 10;
/// Maximum number of bytes passed on in one piece.
const PIECE: usize = 16_384;

/// A carrier whose output is padded.
pub struct Padded {
    inner: Box<dyn Carrier>,
    how: How,
    began: Instant,
    waiting: Waiting,
    /// Approximate number of PADDING bytes among those that wait.
    filled: usize,
    /// PADDING is not available, or not yet: data leaves unpadded.
    bare: bool,
    ending: bool,
    /// Whether the body's end must still be passed on.
    end_owed: bool,
    cost: Cost,
}

enum How {
    /// Whether the session's turn is over and waiting bytes may leave.
    Buckets(bool),
    Rate {
        least: u64,
        most: u64,
        /// The pacer, once PADDING is available.
        pacer: Option<Pacer>,
        timer: Pin<Box<Sleep>>,
        /// Number of due bytes that are missing.
        lacks: usize,
    },
}

impl Padded {
    /// Pads the output over `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn Carrier>, padding: Padding) -> Self {
        Self {
            inner,
            how: match padding {
                Padding::Buckets => How::Buckets(false),
                Padding::Rate { least, most } => How::Rate {
                    least,
                    most,
                    pacer: None,
                    timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
                    lacks: 0,
                },
            },
            began: Instant::now(),
            waiting: Waiting::default(),
            filled: 0,
            bare: true,
            ending: false,
            end_owed: false,
            cost: Cost::default(),
        }
    }

    /// Number of waiting bytes above which no more are accepted: enough for a tick's bytes and the next tick's.
    fn room(&self) -> usize {
        match &self.how {
            How::Rate {
                pacer: Some(pacer), ..
            } => ROOM.max(2 * pacer.cell()),
            How::Rate { .. } | How::Buckets(_) => ROOM,
        }
    }

    /// Sends the bytes that may leave now.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let (inner, waiting) = (&mut self.inner, &mut self.waiting);
        if self.bare || self.ending {
            let all = waiting.len();
            // After the last waiting byte: an earlier end would cut it off.
            if hand_on(inner, waiting, cx, all)? && std::mem::take(&mut self.end_owed) {
                inner.end();
            }
            return Ok(());
        }
        let now = Time::ZERO + self.began.elapsed();
        match &mut self.how {
            How::Buckets(over) => {
                // A turn that fills the whole buffer is cut at a bucket's end.
                let full = if waiting.len() < ROOM { 0 } else { ROOM };
                let leaves = if *over { waiting.len() } else { full };
                if leaves > 0 && hand_on(inner, waiting, cx, leaves)? {
                    self.cost.bursts += 1;
                    *over = false;
                }
            }
            How::Rate {
                least,
                most,
                pacer,
                timer,
                lacks,
            } => {
                let pacer = pacer.get_or_insert_with(|| Pacer::new(now, *least, *most));
                *lacks = 0;
                match pacer.due(now) {
                    Some(due) if waiting.len() < due => *lacks = due - waiting.len(),
                    Some(due) => {
                        let said = waiting.len().saturating_sub(self.filled);
                        pacer.sent(now, said.min(due), said.saturating_sub(due));
                        let wake = Duration::from_micros(pacer.wake().as_micros());
                        timer.as_mut().reset(self.began + wake);
                        self.cost.bursts += 1;
                        // Bytes that the carrier refuses now leave with the next tick.
                        hand_on(inner, waiting, cx, due)?;
                        self.filled = self.filled.min(waiting.len());
                    }
                    None => {}
                }
                // Arriving PADDING wakes a task that lacks it.
                if *lacks == 0 && timer.as_mut().poll(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
            }
        }
        // The bytes passed on last may still wait for the peer's credit.
        if let Poll::Ready(done) = inner.poll_ready(cx) {
            done?;
        }
        Ok(())
    }
}

/// Passes on this many waiting bytes; returns whether the carrier accepted them all.
fn hand_on(
    inner: &mut Box<dyn Carrier>,
    waiting: &mut Waiting,
    cx: &mut Context<'_>,
    bytes: usize,
) -> Result<bool, Error> {
    let keep = waiting.len().saturating_sub(bytes);
    while waiting.len() > keep {
        match inner.poll_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => return Ok(false),
        }
        inner.send(waiting.take(PIECE.min(waiting.len() - keep)))?;
    }
    Ok(true)
}

impl Carrier for Padded {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Error>> {
        let driven = self.drive(cx);
        let received = self.inner.poll_receive(cx);
        if received.is_pending() {
            driven?;
        }
        received
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.drive(cx)?;
        if self.waiting.len() < self.room() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.cost.sent += bytes.len() as u64;
        self.waiting.push(bytes);
        Ok(())
    }

    fn push(&mut self, cx: &mut Context<'_>) {
        if let How::Buckets(over) = &mut self.how {
            *over = !self.waiting.is_empty();
        }
        // The next turn finds a broken carrier.
        let _ = self.drive(cx);
        if let How::Rate { lacks: 1.., .. } = self.how {
            // The turn that would have requested it is over.
            cx.waker().wake_by_ref();
        }
        self.inner.push(cx);
    }

    fn lacks(&mut self) -> usize {
        if self.bare || self.ending {
            return 0;
        }
        let lacks = match &mut self.how {
            How::Buckets(_) if self.waiting.is_empty() => 0,
            How::Buckets(_) => to_bucket(self.waiting.len()).unwrap_or(0),
            How::Rate { lacks, .. } => std::mem::take(lacks),
        };
        self.filled += lacks;
        self.cost.padding += lacks as u64;
        lacks
    }

    fn padded(&mut self, can: bool) {
        self.bare = !can;
    }

    fn signs(&self) -> u64 {
        self.inner.signs()
    }

    fn cost(&self) -> Option<Cost> {
        Some(self.cost)
    }

    fn end(&mut self) {
        self.ending = true;
        self.end_owed = true;
    }

    fn reset(&mut self) {
        self.waiting.clear();
        self.inner.reset();
    }

    fn go_away(&mut self) {
        self.inner.go_away();
    }

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.inner.export_as(label, context, out)
    }

    fn cut(&mut self, plaintexts: &[usize]) {
        self.inner.cut(plaintexts);
    }

    fn reads(&mut self, reads: Reads) {
        self.inner.reads(reads);
    }

    fn heard(&self) -> Option<Instant> {
        self.inner.heard()
    }

    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        self.inner.leaves(when)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ending = true;
        if self.drive(cx).is_err() {
            return Poll::Ready(());
        }
        self.inner.push(cx);
        if !self.waiting.is_empty() {
            return Poll::Pending;
        }
        self.inner.poll_flushed(cx)
    }
}

#[cfg(test)]
mod tests {
    use betanet_htx::pace::{BUCKETS, PADDING_MIN, TICK};

    use super::*;
    use crate::taker::{Log, Taker};

    fn padded(padding: Padding) -> (Padded, Log) {
        let log = Log::default();
        let taker = Taker::new(&log);
        (Padded::new(Box::new(taker), padding), log)
    }

    /// One turn of a session with PADDING, as its driver runs it.
    fn turn(carrier: &mut Padded, cx: &mut Context<'_>) {
        loop {
            assert!(carrier.poll_receive(cx).is_pending());
            carrier.padded(true);
            match carrier.lacks() {
                0 => break,
                n => carrier.send(vec![0; n + PADDING_MIN].into()).unwrap(),
            }
        }
        carrier.push(cx);
    }

    #[tokio::test(start_paused = true)]
    async fn a_constant_rate_goes_on_whatever_is_said() {
        let rate = 64 << 10;
        let (mut carrier, log) = padded(Padding::Rate {
            least: rate,
            most: rate,
        });
        let said = [(5, 300), (7, 40_000), (60, 1), (90, 3000)];
        carrier.padded(true);
        for at in 0..100_u64 {
            for (_, bytes) in said.iter().filter(|s| s.0 == at) {
                carrier.send(vec![1; *bytes].into()).unwrap();
            }
            std::future::poll_fn(|cx| {
                turn(&mut carrier, cx);
                Poll::Ready(())
            })
            .await;
            tokio::time::sleep(TICK).await;
        }
        let log = log.lock().unwrap();
        // Two seconds of it, one cell per tick, all of one size.
        assert_eq!(log.len(), 100);
        assert!(log.iter().all(|(_, n)| n.abs_diff(1310) <= 1), "{log:?}");
        let sum: usize = log.iter().map(|(_, n)| n).sum();
        assert!(sum.abs_diff(2 << 16) <= 50, "{sum}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_highest_rate_is_kept_and_carries_what_is_said() {
        for rate in [4 << 20, 64 << 20] {
            let (mut carrier, log) = padded(Padding::Rate {
                least: rate,
                most: rate,
            });
            carrier.padded(true);
            let mut said = 0;
            for _ in 0..50_u64 {
                // All accepted bytes are sent, in turns that end.
                std::future::poll_fn(|cx| {
                    while carrier.poll_ready(cx).is_ready() {
                        carrier.send(vec![1; 60_000].into()).unwrap();
                        said += 60_000;
                    }
                    turn(&mut carrier, cx);
                    Poll::Ready(())
                })
                .await;
                tokio::time::sleep(TICK).await;
            }
            let sum: u64 = log.lock().unwrap().iter().map(|(_, n)| *n as u64).sum();
            assert!(sum.abs_diff(rate) <= 100, "{sum} of {rate}");
            assert!(said >= sum, "{said} were taken");
            assert_eq!(
                carrier.cost().unwrap().padding,
                0,
                "there was enough to say"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_leaves_together_fills_a_bucket_and_nothing_else_is_sent() {
        let (mut carrier, log) = padded(Padding::Buckets);
        carrier.padded(true);
        for bytes in [1, 480, 500, 512, 3000, 0, 16_384, 20_000, 60_000] {
            std::future::poll_fn(|cx| {
                for piece in vec![1; bytes].chunks(7000) {
                    assert!(carrier.poll_ready(cx).is_ready());
                    carrier.send(Bytes::copy_from_slice(piece)).unwrap();
                }
                turn(&mut carrier, cx);
                Poll::Ready(())
            })
            .await;
            tokio::time::sleep(TICK).await;
        }
        let sizes: Vec<usize> = log.lock().unwrap().iter().map(|(_, n)| *n).collect();
        assert_eq!(sizes, [512, 512, 1024, 512, 4096, 16_384, 32_768, 65_536]);
        assert!(
            sizes
                .iter()
                .all(|n| BUCKETS.contains(n) || n.is_multiple_of(16_384))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_time_is_64_kib_or_two_ticks_of_the_rate() {
        let rate = |rate| Padding::Rate {
            least: rate,
            most: rate,
        };
        // A session sends as much as fits one record.
        let piece = 16_384;
        let fast: u64 = 64 << 20;
        let two_ticks = 2 * usize::try_from(fast / 50).unwrap();
        for (padding, room) in [
            (Padding::Buckets, ROOM),
            (rate(64 << 10), ROOM),
            (rate(fast), two_ticks),
        ] {
            let (mut carrier, _log) = padded(padding);
            carrier.padded(true);
            std::future::poll_fn(|cx| {
                turn(&mut carrier, cx);
                // Within one turn nothing leaves in buckets, and at a rate only one tick's bytes.
                let mut most = 0;
                for _ in 0..10_000 {
                    if carrier.poll_ready(cx).is_ready() {
                        carrier.send(vec![1; piece].into()).unwrap();
                    }
                    most = most.max(carrier.waiting.len());
                }
                assert!((room..room + piece).contains(&most), "{padding:?}: {most}");
                Poll::Ready(())
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_comes_behind_what_waits_and_nothing_waits_without_padding() {
        let rate = 64 << 10;
        let (mut carrier, log) = padded(Padding::Rate {
            least: rate,
            most: rate,
        });
        std::future::poll_fn(|cx| {
            carrier.send(vec![1; 5000].into()).unwrap();
            assert!(carrier.poll_receive(cx).is_pending());
            assert_eq!(
                log.lock().unwrap()[0].1,
                5000,
                "a handshake is not kept waiting"
            );
            turn(&mut carrier, cx);
            carrier.send(vec![1; 50_000].into()).unwrap();
            turn(&mut carrier, cx);
            carrier.end();
            assert!(carrier.poll_flushed(cx).is_ready());
            Poll::Ready(())
        })
        .await;
        let log = log.lock().unwrap();
        let all: usize = log.iter().map(|(_, n)| n).sum();
        assert!(all >= 55_000, "{log:?}");
        assert_eq!(log.last().unwrap().1, 0, "the end");
    }
}
