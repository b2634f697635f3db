//! A thread that writes the fetched data. It checks the result of each write, and delays nothing else.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, oneshot};

/// Capacity of the thread's queue.
const WAITING: usize = 16;
/// Number of bytes read at once from the data of an earlier run.
const READ: usize = 1 << 20;

enum Job {
    Write(Bytes),
    /// Discard everything that was written, and confirm.
    Anew(oneshot::Sender<()>),
    Finish,
}

/// The written data, once all of it is on its medium.
pub(super) struct Written {
    /// SHA-256 of all data, including that of an earlier run, if requested.
    pub(super) digest: Option<[u8; 32]>,
}

/// The thread's handle.
pub(super) struct Sink {
    jobs: mpsc::Sender<Job>,
    end: oneshot::Receiver<io::Result<Written>>,
}

/// Returns the process's standard output, without a buffer.
pub(super) fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

impl Sink {
    /// Starts a thread that writes after the `kept` existing bytes of the file that `open` opens, which may block. With `digest`,
    /// the data is hashed.
    ///
    /// # Errors
    ///
    /// The system cannot start a thread.
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
        // The thread is not joined. If it is stuck in a write, it ends with the process.
        std::thread::Builder::new()
            .name("write".into())
            .spawn(move || {
                if let Some(done) = work().transpose() {
                    // The asker may have stopped waiting.
                    let _ = tell.send(done);
                }
            })?;
        Ok(Self { jobs, end })
    }

    async fn job(&mut self, job: Job) -> io::Result<()> {
        if self.jobs.send(job).await.is_ok() {
            return Ok(());
        }
        // The thread has ended, and reported the reason.
        Err(self.fault().await)
    }

    /// Returns the reason why the thread accepts no more data.
    async fn fault(&mut self) -> io::Error {
        match (&mut self.end).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => io::Error::other("the writing thread ended"),
        }
    }

    /// Queues bytes to write.
    ///
    /// # Errors
    ///
    /// An earlier write failed.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.job(Job::Write(bytes)).await
    }

    /// Discards everything that was written.
    ///
    /// # Errors
    ///
    /// See [`Sink::write`].
    pub(super) async fn anew(&mut self) -> io::Result<()> {
        let (tell, done) = oneshot::channel();
        self.job(Job::Anew(tell)).await?;
        match done.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.fault().await),
        }
    }

    /// Waits until everything is written, and is on its medium.
    ///
    /// # Errors
    ///
    /// A write or the final sync failed.
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
    /// Runs the thread. Returns `None` if the rest is not wanted.
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
                    // The asker may have stopped waiting.
                    let _ = tell.send(());
                }
                Job::Finish => return self.finish().map(Some),
            }
        }
        Ok(None)
    }

    /// Hashes the data of an earlier run, and seeks to its end.
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
