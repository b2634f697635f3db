//! A copy's log on its way to the coordinator, while the program runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_fog::{RefusalCode, TaskId};
use betanet_fog_client::{Error, FogClient};
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Bytes that wait for the coordinator at most; what comes beyond is dropped.
pub(crate) const WAITING_MAX: usize = 256 << 10;
/// Most bytes of a log that a coordinator takes.
pub(crate) const LOG_MAX: u64 = 16 << 20;
/// Room at the end of a log for the last notes.
const NOTES: u64 = 2 << 10;
/// Most bytes of a piece.
const PIECE: usize = 64 << 10;
/// Time for which bytes are gathered to one piece.
const GATHER: Duration = Duration::from_millis(200);
/// Time for the rest of a log after its program has ended: directly, and over the mix.
const LAST: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// Pause after a piece that could not be sent.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    /// Bytes that were taken so far.
    taken: u64,
    /// Bytes that were dropped since the last that was taken.
    dropped: u64,
    full: bool,
    closed: bool,
}

impl Waiting {
    fn add(&mut self, bytes: &[u8]) {
        if self.full || bytes.is_empty() {
            return;
        }
        if self.taken + (bytes.len() as u64) > LOG_MAX - NOTES {
            self.full = true;
            return self.note("the log is full: 16 MiB are kept");
        }
        if self.bytes.len() + bytes.len() > WAITING_MAX {
            self.dropped += bytes.len() as u64;
            return;
        }
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            self.note(&format!(
                "{dropped} bytes of the log were dropped: the coordinator is slower than the program"
            ));
        }
        self.put(bytes);
    }

    /// Adds a line of the worker.
    fn note(&mut self, text: &str) {
        let cut = text.len().min(1024);
        let cut = (0..=cut).rev().find(|at| text.is_char_boundary(*at));
        let line = format!("\n[worker] {}\n", &text[..cut.unwrap_or(0)]);
        if self.taken + (line.len() as u64) <= LOG_MAX {
            self.put(line.as_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.taken += bytes.len() as u64;
    }
}

/// A log between a program and the coordinator. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    waiting: Arc<Mutex<Waiting>>,
    told: Arc<Notify>,
}

impl Log {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes of the program, without waiting.
    pub(crate) fn add(&self, bytes: &[u8]) {
        self.waiting().add(bytes);
        self.told.notify_one();
    }

    /// Ends the log, with a line of the worker if there is something to say.
    pub(crate) fn close(&self, note: Option<&str>) {
        let mut waiting = self.waiting();
        if let Some(note) = note {
            waiting.note(note);
        }
        waiting.closed = true;
        drop(waiting);
        self.told.notify_one();
    }

    /// Takes a piece; `None` if there is nothing.
    fn take(&self) -> Option<Bytes> {
        let mut waiting = self.waiting();
        let n = waiting.bytes.len().min(PIECE);
        (n > 0).then(|| waiting.bytes.split_to(n).freeze())
    }

    /// The next piece; `None` at the end.
    async fn piece(&self) -> Option<Bytes> {
        let mut gathering = None;
        loop {
            let (len, closed) = {
                let waiting = self.waiting();
                (waiting.bytes.len(), waiting.closed)
            };
            if closed || len >= PIECE {
                return self.take();
            }
            if len == 0 {
                self.told.notified().await;
                continue;
            }
            // From the first byte on, however many follow.
            let until = *gathering.get_or_insert_with(|| Instant::now() + GATHER);
            if timeout_at(until, self.told.notified()).await.is_err() {
                return self.take();
            }
        }
    }

    /// Sends the log until it is closed and sent, or its copy is over.
    pub(crate) async fn send(&self, to: &impl Append) {
        let mut at = 0;
        while let Some(piece) = self.piece().await {
            match send_piece(to, at, piece).await {
                Some(next) => at = next,
                None => return,
            }
        }
    }

    /// Waits for the end of [`Log::send`] over so many relays, but not long.
    pub(crate) async fn finish(sending: impl Future<Output = ()>, relays: usize) {
        let last = if relays == 0 { LAST.0 } else { LAST.1 };
        let _ = timeout(last, sending).await;
    }
}

/// Takes pieces of a log.
pub(crate) trait Append {
    /// Appends a piece, and returns the offset of the next one.
    async fn append(&self, offset: u64, piece: Bytes) -> Result<u64, Error>;
}

/// The log of a copy at the coordinator.
pub(crate) struct CopyLog<'a> {
    pub(crate) client: &'a FogClient,
    pub(crate) task: TaskId,
    pub(crate) fence: u64,
}

impl Append for CopyLog<'_> {
    async fn append(&self, offset: u64, piece: Bytes) -> Result<u64, Error> {
        let copy = (self.fence, offset);
        self.client.append_log(&self.task, copy, piece).await
    }
}

/// Sends a piece. Returns the offset after it, or `None` once nothing is taken any more.
///
/// A copy that runs again after a restart of its node writes what is there already: this is passed over.
async fn send_piece(to: &impl Append, mut at: u64, mut piece: Bytes) -> Option<u64> {
    let end = at + piece.len() as u64;
    let mut probe = false;
    while !piece.is_empty() {
        let sent = if probe {
            piece.slice(..1)
        } else {
            piece.clone()
        };
        match to.append(at, sent).await {
            Ok(next) => {
                // A coordinator that is sent what it has answers with the end of what it has.
                let known = next.clamp(at, end);
                if known == at {
                    return None;
                }
                let known = usize::try_from(known - at).unwrap_or(piece.len());
                piece = piece.split_off(known);
                at += known as u64;
                probe = false;
            }
            Err(error) => match error.code() {
                // The piece goes beyond what is there, but begins before its end.
                Some(RefusalCode::Offset) if !probe && piece.len() > 1 => probe = true,
                Some(code) if !matches!(code.status(), 429 | 503) => return None,
                _ => sleep(AGAIN).await,
            },
        }
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use betanet_fog::Text;
    use betanet_fog_client::Refused;
    use proptest::prelude::*;

    use super::*;

    /// A coordinator's log, by its rules.
    #[derive(Default)]
    struct Stored(Mutex<Vec<u8>>);

    fn refused(code: RefusalCode) -> Error {
        Error::Refused(Box::new(Refused {
            what: "append to the log",
            code: Some(code),
            word: Text::default(),
            key: Text::default(),
            status: code.status(),
            retry_after: None,
            location: None,
        }))
    }

    impl Append for Stored {
        async fn append(&self, offset: u64, piece: Bytes) -> Result<u64, Error> {
            assert!(piece.len() <= PIECE);
            let mut all = self.0.lock().unwrap();
            let (stored, end) = (all.len() as u64, offset + piece.len() as u64);
            if offset == stored {
                all.extend_from_slice(&piece);
                return Ok(end);
            }
            if end > stored {
                return Err(refused(RefusalCode::Offset));
            }
            Ok(stored)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_in_order_while_the_program_runs() {
        let (log, stored) = (Log::default(), Stored::default());
        let sending = log.send(&stored);
        let program = async {
            for n in 0..100_u32 {
                log.add(format!("line {n}\n").as_bytes());
                sleep(Duration::from_millis(50)).await;
                if n == 50 {
                    // Nothing waits for the end.
                    let sent = stored.0.lock().unwrap().clone();
                    assert!(String::from_utf8(sent).unwrap().contains("line 40\n"));
                }
            }
            log.close(Some("out of fuel"));
        };
        tokio::join!(sending, program);
        let all = String::from_utf8(stored.0.into_inner().unwrap()).unwrap();
        let wanted: String = (0..100).map(|n| format!("line {n}\n")).collect();
        assert_eq!(all, format!("{wanted}\n[worker] out of fuel\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_coordinator_loses_bytes_and_is_told_how_many() {
        let (log, stored) = (Log::default(), Stored::default());
        for _ in 0..100 {
            log.add(&[b'x'; 10_000]);
        }
        assert!(log.waiting().bytes.len() <= WAITING_MAX);
        let piece = log.piece().await.unwrap();
        stored.append(0, piece).await.unwrap();
        log.add(b"after");
        log.close(None);
        let mut at = PIECE as u64;
        while let Some(piece) = log.piece().await {
            at = send_piece(&stored, at, piece).await.unwrap();
        }
        let all = String::from_utf8(stored.0.into_inner().unwrap()).unwrap();
        assert!(
            all.contains("[worker] 740000 bytes of the log were dropped"),
            "{}",
            &all[250_000..]
        );
        assert!(all.ends_with("after"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_never_grows_beyond_its_bound() {
        let (log, stored) = (Log::default(), Stored::default());
        let sending = log.send(&stored);
        let program = async {
            for _ in 0..2_000 {
                log.add(&[b'x'; 10_000]);
                sleep(Duration::from_millis(300)).await;
            }
            log.close(Some("the end"));
        };
        tokio::join!(sending, program);
        let all = stored.0.into_inner().unwrap();
        assert!(all.len() as u64 <= LOG_MAX && all.len() as u64 > LOG_MAX - 20_000);
        let end = String::from_utf8_lossy(&all[all.len() - 200..]).into_owned();
        assert!(
            end.contains("the log is full") && end.contains("the end"),
            "{end}"
        );
    }

    proptest! {
        #[test]
        fn a_copy_that_runs_again_leaves_one_log(
            pieces in prop::collection::vec(1_usize..5_000, 1..8),
            stored in 0_usize..20_000,
        ) {
            let all: Vec<u8> = (0..40_000_u32).map(|n| n.to_be_bytes()[3]).collect();
            let before = Stored(Mutex::new(all[..stored].to_vec()));
            let run = async {
                let mut at = 0;
                for len in &pieces {
                    let from = usize::try_from(at).unwrap();
                    let piece = Bytes::copy_from_slice(&all[from..from + len]);
                    at = send_piece(&before, at, piece).await.unwrap();
                }
                at
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let at = usize::try_from(runtime.block_on(run)).unwrap();
            let log = before.0.into_inner().unwrap();
            prop_assert_eq!(&log[..], &all[..at.max(stored)]);
        }
    }
}
