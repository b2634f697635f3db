use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::JoinHandle;

use betanet_journal::{
    Answer, Batch, Entry, Error, Facts, Journal, Lead, PART_MAX, PARTS_MAX, Parts, Record,
    Restored, Snapshot, check_bounds,
};
use betanet_store::State;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::open::{self, Files, Settings};
use crate::reader::{Ask, Reader, Wait};
use crate::writer::{Append, Job, Writer};

/// Maximum number of jobs in either queue.
const QUEUE: usize = 1 << 16;
/// Maximum length of all records and parts in the queue, in KiB.
const QUEUE_KIB: usize = 64 << 10;
/// Maximum number of reads and waits at a time.
const READS: usize = 4096;

/// A journal in a file of a state folder.
///
/// Its methods may be called under any executor. Dropping it waits for the commit in progress and for those in the queue.
pub struct SqliteJournal {
    writer: Option<SyncSender<Job>>,
    reader: Option<SyncSender<Ask>>,
    threads: Vec<JoinHandle<()>>,
    /// Room in the writer's queue, in KiB. Each job takes 1 more, so that their number is bounded too.
    room: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    /// Keeps the folder's lock.
    _state: Arc<State>,
}

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteJournal").finish_non_exhaustive()
    }
}

impl SqliteJournal {
    /// Opens the journal of a state folder, or creates it. This reads the disk, so it belongs to no executor's thread.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] and [`Error::Newer`] leave the journal as it is. Otherwise a file cannot be opened.
    pub fn open(state: &Arc<State>, settings: Settings) -> Result<Self, Error> {
        let files = Files::of(state.folder());
        let (write, read, tip) = open::open(&files)?;
        let (jobs, queue) = mpsc::sync_channel(QUEUE + QUEUE_KIB);
        let (asks, asked) = mpsc::sync_channel(QUEUE);
        let poke = asks.clone();
        let committed = Box::new(move || {
            // If the queue is full, the thread looks once it has worked it off.
            if let Err(TrySendError::Full(_)) = poke.try_send(Ask::Committed) {}
        });
        let reader = Reader::new(read, files.clone(), settings.floor);
        let parts = (write, tip, files);
        let writer = Writer::new(parts, settings.floor, settings.leader, committed);
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into());
            thread
                .spawn(work)
                .map_err(Error::backend("start a thread of the journal"))
        };
        let threads = vec![
            spawn("journal-write", Box::new(move || writer.run(&queue)))?,
            spawn("journal-read", Box::new(move || reader.run(&asked)))?,
        ];
        Ok(Self {
            writer: Some(jobs),
            reader: Some(asks),
            threads,
            room: Arc::new(Semaphore::new(QUEUE_KIB)),
            reads: Arc::new(Semaphore::new(READS)),
            _state: Arc::clone(state),
        })
    }

    /// Waits for room in the writer's queue.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        // An append is bounded by 16 MiB.
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(kib);
        room.await.map_err(|_| Error::Closed)
    }

    fn give(&self, job: Job) -> Result<(), Error> {
        let queue = self.writer.as_ref().ok_or(Error::Closed)?;
        // Permits bound the jobs below the queue's length.
        queue.try_send(job).map_err(|_| Error::Closed)
    }

    /// Runs `work` on the writer's thread.
    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&mut Writer) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.room(bytes).await?;
        let (reply, answer) = oneshot::channel();
        self.give(Job::Other(Box::new(move |writer| {
            let done = work(writer);
            drop(permit);
            let _ = reply.send(done);
        })))?;
        answer.await.map_err(|_| Error::Closed)?
    }

    async fn ask(&self, ask: impl FnOnce(OwnedSemaphorePermit) -> Ask) -> Result<(), Error> {
        let permit = Arc::clone(&self.reads).acquire_owned();
        let permit = permit.await.map_err(|_| Error::Closed)?;
        let queue = self.reader.as_ref().ok_or(Error::Closed)?;
        queue.try_send(ask(permit)).map_err(|_| Error::Closed)
    }

    /// Runs `work` on the reader's thread.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let ask = |permit| {
            Ask::Other(Box::new(move |reader: &mut Reader| {
                let done = work(reader);
                drop(permit);
                let _ = reply.send(done);
            }))
        };
        self.ask(ask).await?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        // The writer's thread holds a sender of the reader's queue, so it ends first.
        drop(self.writer.take());
        drop(self.reader.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Journal for SqliteJournal {
    fn lead(&self) -> Answer<'_, Lead> {
        Box::pin(async { self.write(0, Writer::lead).await.map(Lead::Leads) })
    }

    fn append(&self, epoch: u64, records: Vec<Record>) -> Answer<'_, u64> {
        Box::pin(async move {
            check_bounds(&records)?;
            let permit = self
                .room(records.iter().map(|r| r.body.len() + 64).sum())
                .await?;
            let (reply, answer) = oneshot::channel();
            self.give(Job::Append(Append {
                epoch,
                records,
                reply,
                permit,
            }))?;
            answer.await.map_err(|_| Error::Closed)?
        })
    }

    fn resign(&self, epoch: u64) -> Answer<'_, ()> {
        Box::pin(self.write(0, move |writer| writer.resign(epoch)))
    }

    fn read(&self, after: u64, batch: Batch) -> Answer<'_, Vec<Entry>> {
        Box::pin(self.look(move |reader| reader.read(after, batch.clamped())))
    }

    fn wait(&self, after: u64) -> Answer<'_, u64> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let wait = |permit| {
                Ask::Wait(Wait {
                    after,
                    reply,
                    _permit: permit,
                })
            };
            self.ask(wait).await?;
            answer.await.map_err(|_| Error::Closed)?
        })
    }

    fn save(&self, epoch: u64, at: u64, part: u32, body: Vec<u8>) -> Answer<'_, ()> {
        Box::pin(async move {
            let bounds = |what, found, most| Err(Error::Bounds { what, found, most });
            if body.len() > PART_MAX {
                return bounds("bytes of a part", body.len() as u64, PART_MAX as u64);
            }
            if part >= PARTS_MAX {
                return bounds("parts", u64::from(part) + 1, u64::from(PARTS_MAX));
            }
            let len = body.len();
            self.write(len, move |writer| writer.save(epoch, at, part, &body))
                .await
        })
    }

    fn finish(&self, epoch: u64, at: u64, parts: u32) -> Answer<'_, Snapshot> {
        Box::pin(self.write(0, move |writer| writer.finish(epoch, at, parts)))
    }

    fn snapshots(&self) -> Answer<'_, Vec<Snapshot>> {
        Box::pin(self.look(Reader::snapshots))
    }

    fn load(&self, at: u64, part: u32) -> Answer<'_, Vec<u8>> {
        Box::pin(self.look(move |reader| reader.load(at, part)))
    }

    fn restore(&self, snapshot: Snapshot, parts: Parts) -> Answer<'_, Restored> {
        Box::pin(self.write(PART_MAX, move |writer| writer.restore(&snapshot, parts)))
    }

    fn retain(&self, epoch: u64, keep: usize) -> Answer<'_, ()> {
        Box::pin(async move {
            // One slice at a time, so that appends are committed in between.
            while self
                .write(0, move |writer| writer.retain(epoch, keep))
                .await?
            {}
            Ok(())
        })
    }

    fn facts(&self) -> Answer<'_, Facts> {
        Box::pin(self.look(Reader::facts))
    }
}

#[cfg(test)]
mod tests {
    use betanet_journal::Kind;
    use futures_util::future::{FutureExt as _, join_all};

    use super::*;

    #[test]
    fn appends_that_wait_hold_64_mib() {
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(&home.path().join("state")).unwrap());
        let journal = SqliteJournal::open(&state, Settings::default()).unwrap();
        // The writer's thread is busy.
        let (end, busy) = mpsc::channel::<()>();
        let work = Box::new(move |_: &mut Writer| {
            let _ = busy.recv();
        });
        journal.give(Job::Other(work)).unwrap();
        let large = || vec![Record::new(Kind::new("x").unwrap(), vec![0; 1 << 20])];
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let mut appends: Vec<_> = (0..100).map(|_| journal.append(1, large())).collect();
            for append in &mut appends {
                assert!(append.now_or_never().is_none());
            }
            // Each takes 1025 KiB, so 63 are in the queue and the others wait for room.
            assert_eq!(journal.room.available_permits(), 0);
            drop(end);
            for done in join_all(appends).await {
                assert!(matches!(done, Err(Error::EpochOver { .. })), "{done:?}");
            }
            assert_eq!(journal.room.available_permits(), QUEUE_KIB);
        });
    }
}
