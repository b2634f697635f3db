use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use betanet_journal::{
    Answer, Batch, Entry, Error, Facts, Journal, Lead, PART_MAX, PARTS_MAX, Parts, Record,
    Restored, Snapshot, check_bounds,
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::link::{Link, PATIENCE};
use crate::query;
use crate::reader::{self, look};
use crate::schema;
use crate::settings::Settings;
use crate::writer::{Append, Job, Reply, Writer};

/// Maximum number of jobs in the queue.
const QUEUE: usize = 4096;
/// Maximum length of all records and parts in the queue, in KiB.
const QUEUE_KIB: usize = 64 << 10;
/// Interval at which a follower looks, in case that a notification was lost.
const LOOK: Duration = Duration::from_secs(1);

/// A journal in a PostgreSQL database. It has two connections: one writes, one reads and listens.
pub struct PostgresJournal {
    writer: mpsc::Sender<Job>,
    reader: Mutex<Link>,
    heard: watch::Receiver<u64>,
    /// Room in the writer's queue, in KiB.
    room: Arc<Semaphore>,
}

impl fmt::Debug for PostgresJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresJournal").finish_non_exhaustive()
    }
}

impl PostgresJournal {
    /// Connects, and creates the tables if they do not exist. Needs a tokio runtime, which then runs its tasks.
    ///
    /// # Errors
    ///
    /// The database cannot be reached. [`Error::Newer`] and [`Error::Damaged`] leave the journal as it is.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let mut writer = Writer::new(settings.clone());
        let schema = settings.schema.clone();
        let migrated = async {
            let client = writer.link().client().await?;
            schema::migrate(client, &schema).await
        };
        timeout(PATIENCE * 4, migrated)
            .await
            .map_err(Error::backend("create the journal's tables"))??;
        let reader = Link::new(settings, true);
        let heard = reader.hear();
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer.run(queue));
        Ok(Self {
            writer: jobs,
            reader: Mutex::new(reader),
            heard,
            room: Arc::new(Semaphore::new(QUEUE_KIB)),
        })
    }

    /// Waits for room in the writer's queue.
    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        // An append is bounded by 16 MiB.
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(kib);
        room.await.map_err(|_| Error::Closed)
    }

    /// Gives a job to the writer and waits for its answer.
    async fn write<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let given = self.writer.send(job(reply)).await;
        given.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Journal for PostgresJournal {
    fn lead(&self) -> Answer<'_, Lead> {
        Box::pin(self.write(Job::Lead))
    }

    fn append(&self, epoch: u64, records: Vec<Record>) -> Answer<'_, u64> {
        Box::pin(async move {
            check_bounds(&records)?;
            let bytes = records.iter().map(|r| r.body.len() + 64).sum();
            let permit = self.room(bytes).await?;
            let append = |reply| {
                Job::Append(Append {
                    epoch,
                    records,
                    reply,
                    permit,
                })
            };
            self.write(append).await
        })
    }

    fn resign(&self, epoch: u64) -> Answer<'_, ()> {
        Box::pin(self.write(move |reply| Job::Resign(epoch, reply)))
    }

    fn read(&self, after: u64, batch: Batch) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move {
            let batch = batch.clamped();
            let link = &mut *self.reader.lock().await;
            look(link, move |tx| Box::pin(reader::read(tx, after, batch))).await
        })
    }

    fn wait(&self, after: u64) -> Answer<'_, u64> {
        Box::pin(async move {
            let mut heard = self.heard.clone();
            loop {
                // What is heard from here on ends the wait below.
                heard.mark_unchanged();
                let last = {
                    let link = &mut *self.reader.lock().await;
                    let head = look(link, |tx| Box::pin(query::head(tx, false))).await?;
                    head.head.last.index
                };
                if last > after {
                    return Ok(last);
                }
                let _ = timeout(LOOK, heard.changed()).await;
            }
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
            let permit = self.room(body.len()).await?;
            let save = |reply| Job::Save {
                epoch,
                at,
                part,
                body,
                reply,
                permit,
            };
            self.write(save).await
        })
    }

    fn finish(&self, epoch: u64, at: u64, parts: u32) -> Answer<'_, Snapshot> {
        Box::pin(self.write(move |reply| Job::Finish(epoch, at, parts, reply)))
    }

    fn snapshots(&self) -> Answer<'_, Vec<Snapshot>> {
        Box::pin(async move {
            let link = &mut *self.reader.lock().await;
            look(link, |tx| Box::pin(reader::snapshots(tx))).await
        })
    }

    fn load(&self, at: u64, part: u32) -> Answer<'_, Vec<u8>> {
        Box::pin(async move {
            let link = &mut *self.reader.lock().await;
            look(link, move |tx| Box::pin(reader::load(tx, at, part))).await
        })
    }

    fn restore(&self, snapshot: Snapshot, parts: Parts) -> Answer<'_, Restored> {
        Box::pin(self.write(move |reply| Job::Restore(snapshot, parts, reply)))
    }

    fn retain(&self, epoch: u64, keep: usize) -> Answer<'_, ()> {
        Box::pin(async move {
            // One slice at a time, so that appends are committed in between.
            while self
                .write(move |reply| Job::Retain(epoch, keep, reply))
                .await?
            {}
            Ok(())
        })
    }

    fn facts(&self) -> Answer<'_, Facts> {
        Box::pin(async move {
            let link = &mut *self.reader.lock().await;
            look(link, |tx| Box::pin(reader::facts(tx))).await
        })
    }
}

#[cfg(test)]
mod tests {
    use betanet_journal::Kind;
    use futures_util::future::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn appends_that_wait_hold_64_mib() {
        // Nobody works the queue off, as while the database does not answer.
        let (writer, mut queue) = mpsc::channel(QUEUE);
        let settings = Settings::new("host=/nowhere user=fog").unwrap();
        let reader = Link::new(settings, true);
        let journal = PostgresJournal {
            writer,
            heard: reader.hear(),
            reader: Mutex::new(reader),
            room: Arc::new(Semaphore::new(QUEUE_KIB)),
        };
        let large = || vec![Record::new(Kind::new("x").unwrap(), vec![0; 1 << 20])];
        let mut appends: Vec<_> = (0..100).map(|_| journal.append(1, large())).collect();
        for append in &mut appends {
            assert!(append.now_or_never().is_none());
        }
        // Each takes 1025 KiB, so 63 are in the queue and the others wait for room.
        for _ in 0..63 {
            assert!(queue.try_recv().is_ok());
        }
        assert!(queue.try_recv().is_err());
    }
}
