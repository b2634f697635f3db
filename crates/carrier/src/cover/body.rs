//! Body of an answer.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use cap_std::fs::{Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use futures_util::{Stream, StreamExt as _};
use rustix::fs::OFlags;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::zipped::Zipped;
use crate::files::Folder;

/// Number of file bytes read at once.
pub(crate) const CHUNK: usize = 32 << 10;
/// Maximum number of concurrent reads of the medium, for all visitors.
const READERS: usize = 32;

static MEDIUM: Semaphore = Semaphore::const_new(READERS);

/// Runs work that may wait for the medium on a blocking thread.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let permit = MEDIUM.acquire().await.map_err(io::Error::other)?;
    let done = tokio::task::spawn_blocking(move || {
        // Held until the medium has answered, even if the visitor has left.
        let _permit = permit;
        work()
    });
    done.await.map_err(io::Error::other)?
}

/// A stream of bytes.
pub(crate) type Coming = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Body of an answer: bytes in memory, a file that is read piece by piece, or an origin's output.
pub(crate) enum Body {
    Full(Bytes),
    File(Box<Pieces>),
    Zipped(Box<Zipped>),
    Coming(Coming),
}

impl Body {
    pub(crate) const EMPTY: Self = Self::Full(Bytes::new());

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.next_up_to(CHUNK).await
    }

    /// The next bytes, at most `most` of those present; `None` at the end.
    ///
    /// Between two calls no file is open, and no byte of one is held.
    pub(crate) async fn next_up_to(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        match self {
            Self::Full(bytes) if bytes.is_empty() => Ok(None),
            Self::Full(bytes) => Ok(Some(bytes.split_to(most.max(1).min(bytes.len())))),
            Self::File(pieces) => pieces.next(most.clamp(1, CHUNK)).await,
            Self::Zipped(zipped) => zipped.next(most.max(1)).await,
            Self::Coming(stream) => stream.next().await.transpose(),
        }
    }

    /// The next bytes, with room for `most` of them in `budget`. No room is held while an origin has nothing to send, because
    /// other answers need it.
    pub(crate) async fn next_within<'a>(
        &mut self,
        budget: &'a Semaphore,
        most: u32,
    ) -> io::Result<Option<(Bytes, SemaphorePermit<'a>)>> {
        loop {
            let room = budget.acquire_many(most).await.map_err(io::Error::other)?;
            let next = match self {
                Self::Coming(stream) => {
                    let asked = poll_fn(|cx| Poll::Ready(stream.poll_next_unpin(cx))).await;
                    let Poll::Ready(next) = asked else {
                        drop(room);
                        woken().await;
                        continue;
                    };
                    next.transpose()?
                }
                here => here.next_up_to(most as usize).await?,
            };
            return Ok(next.map(|bytes| (bytes, room)));
        }
    }

    /// Whether nothing is left, as far as is known.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_empty(),
            Self::File(pieces) => pieces.ranges.is_empty() && pieces.parts.is_none(),
            Self::Zipped(zipped) => zipped.is_empty(),
            Self::Coming(_) => false,
        }
    }
}

/// Waits until the last future polled in this task wakes it.
async fn woken() {
    let mut asked = false;
    poll_fn(|_| match std::mem::replace(&mut asked, true) {
        false => Poll::Pending,
        true => Poll::Ready(()),
    })
    .await;
}

/// Identifies one state of a file.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct State {
    device: u64,
    inode: u64,
    seconds: i64,
    nanos: i64,
    pub(crate) len: u64,
}

impl State {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            seconds: meta.mtime(),
            nanos: meta.mtime_nsec(),
            len: meta.len(),
        }
    }

    /// Modification time in seconds; earlier times count as 1970.
    pub(crate) fn seconds(&self) -> u64 {
        u64::try_from(self.seconds).unwrap_or_default()
    }
}

/// A file of the site in its state at the request.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) folder: Folder,
    pub(crate) path: PathBuf,
    pub(crate) state: State,
}

/// Opens a regular file without blocking.
pub(crate) fn open(
    folder: &Folder,
    path: &std::path::Path,
) -> io::Result<(std::fs::File, Metadata)> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let mut how = OpenOptions::new();
    let file = folder
        .dir()
        .open_with(path, how.read(true).custom_flags(flags))?;
    let meta = file.metadata()?;
    Ok((file.into_std(), meta))
}

impl Shown {
    /// Reads bytes of the file; fails if its state has changed.
    pub(crate) fn read(&self, from: u64, len: usize) -> io::Result<Bytes> {
        let (file, meta) = open(&self.folder, &self.path)?;
        if !meta.is_file() || State::of(&meta) != self.state {
            return Err(io::Error::other("the file has changed"));
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, from)?;
        Ok(bytes.into())
    }
}

impl Shown {
    /// Bytes of the file that are in memory; `None` if the medium must be read.
    #[cfg(target_os = "linux")]
    fn at_hand(&self, from: u64, len: usize) -> io::Result<Option<Bytes>> {
        use rustix::io::{ReadWriteFlags, preadv2};

        let (file, meta) = open(&self.folder, &self.path)?;
        if !meta.is_file() || State::of(&meta) != self.state {
            return Err(io::Error::other("the file has changed"));
        }
        let mut bytes = vec![0; len];
        let mut room = [io::IoSliceMut::new(&mut bytes)];
        // Some media cannot tell, and are read the blocking way.
        let read = preadv2(&file, &mut room, from, ReadWriteFlags::NOWAIT);
        Ok((read == Ok(len)).then(|| bytes.into()))
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, reason = "as where it can be told")]
    fn at_hand(&self, _: u64, _: usize) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}

/// Separators between the ranges of an answer with several.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) boundary: u64,
    pub(crate) media: &'static str,
}

impl Parts {
    pub(crate) fn head(&self, (from, to): (u64, u64), of: u64) -> String {
        format!(
            "\r\n--{:020}\r\nContent-Type: {}\r\nContent-Range: bytes {from}-{}/{of}\r\n\r\n",
            self.boundary,
            self.media,
            to - 1
        )
    }

    pub(crate) fn end(&self) -> String {
        format!("\r\n--{:020}--\r\n", self.boundary)
    }
}

/// A file or ranges of it; the file is opened anew for each piece.
pub(crate) struct Pieces {
    shown: Arc<Shown>,
    /// Start and end offset of each range; the end is exclusive.
    ranges: VecDeque<(u64, u64)>,
    parts: Option<Parts>,
    /// Whether the first range's head was sent.
    headed: bool,
}

impl Pieces {
    pub(crate) fn new(shown: Shown, ranges: VecDeque<(u64, u64)>, parts: Option<Parts>) -> Self {
        Self {
            shown: Arc::new(shown),
            ranges,
            parts,
            headed: false,
        }
    }

    async fn next(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        let Some(range) = self.ranges.front_mut() else {
            return Ok(self.parts.take().map(|p| p.end().into()));
        };
        if let Some(parts) = self.parts.as_ref().filter(|_| !self.headed) {
            self.headed = true;
            return Ok(Some(parts.head(*range, self.shown.state.len).into()));
        }
        let from = range.0;
        let left = usize::try_from(range.1 - from).unwrap_or(usize::MAX);
        let len = left.min(most);
        // Bytes in memory go out in one piece with the head before them.
        let bytes = match self.shown.at_hand(from, len)? {
            Some(bytes) => bytes,
            None => {
                let shown = Arc::clone(&self.shown);
                on_disk(move || shown.read(from, len)).await?
            }
        };
        range.0 += bytes.len() as u64;
        if range.0 >= range.1 {
            self.ranges.pop_front();
            self.headed = false;
        }
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    use futures_util::FutureExt as _;
    use futures_util::stream::unfold;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_body_that_waits_for_its_origin_holds_no_room() {
        let (origin, coming) = mpsc::channel(1);
        let coming = unfold(coming, |mut coming| async {
            Some((coming.recv().await?, coming))
        });
        let mut body = Body::Coming(Box::pin(coming));
        let budget = Semaphore::new(10);
        {
            let mut next = std::pin::pin!(body.next_within(&budget, 10));
            assert!(next.as_mut().now_or_never().is_none());
            assert_eq!(budget.available_permits(), 10);
            origin.send(Ok(Bytes::from_static(b"a"))).await.unwrap();
            let others = budget.try_acquire_many(3).unwrap();
            assert!(next.as_mut().now_or_never().is_none(), "there is no room");
            drop(others);
            let (bytes, held) = next.await.unwrap().unwrap();
            assert_eq!((&bytes[..], held.num_permits()), (&b"a"[..], 10));
        }
        drop(origin);
        assert!(body.next_within(&budget, 10).await.unwrap().is_none());
        assert_eq!(budget.available_permits(), 10);
    }

    #[tokio::test]
    async fn a_medium_that_does_not_answer_has_32_threads_whoever_leaves() {
        let answers = Arc::new((Mutex::new(false), Condvar::new()));
        let waiting = Arc::new(AtomicUsize::new(0));
        let mut asking = Vec::new();
        let mut most = 0;
        for round in 1..=3 {
            for _ in 0..50 {
                let (answers, waiting) = (Arc::clone(&answers), Arc::clone(&waiting));
                asking.push(tokio::spawn(on_disk(move || {
                    waiting.fetch_add(1, Ordering::SeqCst);
                    let (answered, told) = &*answers;
                    let mut answered = answered.lock().unwrap();
                    while !*answered {
                        answered = told.wait(answered).unwrap();
                    }
                    Ok(())
                })));
            }
            while waiting.load(Ordering::SeqCst) < READERS {
                tokio::task::yield_now().await;
            }
            // By now every future has requested a thread.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            most = most.max(waiting.load(Ordering::SeqCst));
            assert_eq!((most, MEDIUM.available_permits()), (32, 0), "round {round}");
            // Visitors who leave free their threads.
            asking.drain(..).for_each(|one| one.abort());
        }
        *answers.0.lock().unwrap() = true;
        answers.1.notify_all();
        assert_eq!(on_disk(|| Ok(7)).await.unwrap(), 7);
        while MEDIUM.available_permits() < READERS {
            tokio::task::yield_now().await;
        }
    }
}
