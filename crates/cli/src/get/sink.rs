//! A thread that writes what is fetched: each write's outcome is looked at, and none of them holds up anything else.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

/// Pieces that wait for the thread.
const WAITING: usize = 16;
/// Bytes that are read at once of what an earlier run left.
const READ: usize = 1 << 20;

enum Job {
    Write(Bytes),
    /// Forget all that was written, and say so.
    Anew(oneshot::Sender<()>),
    Finish,
}

/// What was written when all of it is on its medium.
pub(super) struct Written {
    /// SHA-256 of all of it, what an earlier run left included, where that was wanted.
    pub(super) digest: Option<[u8; 32]>,
}

/// The thread's other end.
pub(super) struct Sink {
    jobs: mpsc::Sender<Job>,
    end: oneshot::Receiver<io::Result<Written>>,
}

/// The process's standard output, written without a buffer.
pub(super) fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

impl Sink {
    /// Writes to what `open` opens, which may take its time, behind the `kept` bytes that are there; with `digest`, what is written
    /// is hashed.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub(super) fn start(
        open: impl FnOnce() -> io::Result<File> + Send + 'static,
        kept: u64,
        digest: bool,
    ) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel(WAITING);
        let (tell, end) = oneshot::channel();
        let work = move || {
            let worker = Worker {
                file: open()?,
                kept,
                hash: digest.then(Sha256::new),
            };
            worker.run(todo)
        };
        // Nobody waits for this thread: one that is stuck in a write ends with the process.
        std::thread::Builder::new()
            .name("write".into())
            .spawn(move || {
                if let Some(done) = work().transpose() {
                    // Who does not ask any more needs no answer.
                    let _ = tell.send(done);
                }
            })?;
        Ok(Self { jobs, end })
    }

    async fn job(&mut self, job: Job) -> io::Result<()> {
        if self.jobs.send(job).await.is_ok() {
            return Ok(());
        }
        // The thread has ended, and said why.
        Err(self.fault().await)
    }

    /// Why the thread takes no more.
    async fn fault(&mut self) -> io::Error {
        match (&mut self.end).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => io::Error::other("the writing thread ended"),
        }
    }

    /// Writes bytes, soon.
    ///
    /// # Errors
    ///
    /// An earlier write failed.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.job(Job::Write(bytes)).await
    }

    /// Takes back all that was written; afterwards nothing of it is there.
    ///
    /// # Errors
    ///
    /// As [`Sink::write`].
    pub(super) async fn anew(&mut self) -> io::Result<()> {
        let (tell, done) = oneshot::channel();
        self.job(Job::Anew(tell)).await?;
        match done.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.fault().await),
        }
    }

    /// Waits until all is written, and is on its medium.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(super) async fn finish(mut self) -> io::Result<Written> {
        self.job(Job::Finish).await?;
        let gone = |_| io::Error::other("the writing thread ended");
        (&mut self.end).await.map_err(gone)?
    }
}

struct Worker {
    file: File,
    kept: u64,
    hash: Option<Sha256>,
}

impl Worker {
    /// `None` when nobody wants the rest.
    fn run(mut self, mut todo: mpsc::Receiver<Job>) -> io::Result<Option<Written>> {
        self.pick_up()?;
        while let Some(job) = todo.blocking_recv() {
            match job {
                Job::Write(bytes) => {
                    if let Some(hash) = &mut self.hash {
                        hash.update(&bytes);
                    }
                    self.file.write_all(&bytes)?;
                }
                Job::Anew(tell) => {
                    self.file.set_len(0)?;
                    self.file.rewind()?;
                    self.hash = self.hash.map(|_| Sha256::new());
                    // Who does not wait any more needs no answer.
                    let _ = tell.send(());
                }
                Job::Finish => return self.finish().map(Some),
            }
        }
        Ok(None)
    }

    /// Hashes what an earlier run left, and stands behind it.
    fn pick_up(&mut self) -> io::Result<()> {
        if self.kept == 0 {
            return Ok(());
        }
        if let Some(hash) = &mut self.hash {
            self.file.rewind()?;
            let mut rest = (&self.file).take(self.kept);
            let mut buf = vec![0; READ];
            loop {
                match rest.read(&mut buf)? {
                    0 => break,
                    n => hash.update(&buf[..n]),
                }
            }
        }
        self.file.seek(io::SeekFrom::Start(self.kept)).map(drop)
    }

    fn finish(mut self) -> io::Result<Written> {
        self.file.flush()?;
        let kind = self.file.metadata()?.file_type();
        if kind.is_file() || kind.is_block_device() {
            self.file.sync_all()?;
        }
        Ok(Written {
            digest: self.hash.map(|h| h.finalize().into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_medium_that_is_full_is_told_and_what_an_earlier_run_left_is_hashed() {
        let full = || File::options().write(true).open("/dev/full");
        let mut sink = Sink::start(full, 0, false).unwrap();
        let told = loop {
            if let Err(error) = sink.write(Bytes::from_static(b"x")).await {
                break error;
            }
        };
        assert_eq!(told.kind(), io::ErrorKind::StorageFull);
        let mut sink = Sink::start(full, 0, false).unwrap();
        sink.write(Bytes::from_static(b"x")).await.unwrap();
        assert!(sink.finish().await.is_err());

        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"left by one run, and by the other")
            .unwrap();
        let again = file.try_clone();
        let mut sink = Sink::start(|| again, 5, true).unwrap();
        sink.write(Bytes::from_static(b"more")).await.unwrap();
        let done = sink.finish().await.unwrap();
        assert_eq!(done.digest, Some(Sha256::digest(b"left more").into()));
        let mut sink = Sink::start(|| Ok(file), 9, true).unwrap();
        sink.anew().await.unwrap();
        sink.write(Bytes::from_static(b"new")).await.unwrap();
        let done = sink.finish().await.unwrap();
        assert_eq!(done.digest, Some(Sha256::digest(b"new").into()));
    }
}
