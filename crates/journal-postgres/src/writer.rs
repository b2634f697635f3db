//! The task that writes.

use std::collections::VecDeque;
use std::time::Duration;

use betanet_journal::{Damage, Error, Head, Lead, Parts, Place, Record, Restored, Snapshot, Term};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_postgres::Transaction;

use crate::commit::{Lost, Outcome, Own, Rows, attempt, unknown};
use crate::link::{Link, PATIENCE, fault};
use crate::query::{self, HeadRow};
use crate::settings::Settings;
use crate::snapshots;

/// Maximum number of appends that are committed together.
const GROUP: usize = 1024;
/// Maximum length of their records, in bytes.
const GROUP_BYTES: usize = 8 << 20;
/// Time between two attempts to reach the database.
const AGAIN: Duration = Duration::from_millis(50);

/// An append that waits for its turn.
pub(crate) struct Append {
    pub(crate) epoch: u64,
    pub(crate) records: Vec<Record>,
    pub(crate) reply: Reply<u64>,
    /// Its share of the queue, which is released once it is done.
    pub(crate) permit: OwnedSemaphorePermit,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A piece of work for the task.
pub(crate) enum Job {
    Append(Append),
    Lead(Reply<Lead>),
    Resign(u64, Reply<()>),
    Save {
        epoch: u64,
        at: u64,
        part: u32,
        body: Vec<u8>,
        reply: Reply<()>,
        permit: OwnedSemaphorePermit,
    },
    Finish(u64, u64, u32, Reply<Snapshot>),
    /// Removes a slice, and says whether more is left.
    Retain(u64, usize, Reply<bool>),
    Restore(Snapshot, Parts, Reply<Restored>),
}

/// A lease of another coordinator, as it was seen first.
#[derive(Debug)]
struct Seen {
    epoch: u64,
    lease_end: String,
    since: Instant,
}

/// State of the task.
pub(crate) struct Writer {
    link: Link,
    settings: Settings,
    /// ID of this handle, drawn by the database.
    holder: Option<String>,
    own: Option<Own>,
    /// The epoch in which an append had an unknown outcome.
    lost: Option<u64>,
    seen: Option<Seen>,
}

impl Writer {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            link: Link::new(settings.clone(), false),
            settings,
            holder: None,
            own: None,
            lost: None,
            seen: None,
        }
    }

    pub(crate) const fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Works until the queue is closed.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None => match queue.recv().await {
                    Some(job) => job,
                    None => return,
                },
            };
            match job {
                Job::Append(first) => {
                    let mut bytes = size(&first.records);
                    let mut group = vec![first];
                    while group.len() < GROUP && bytes < GROUP_BYTES {
                        match queue.try_recv() {
                            Ok(Job::Append(append)) => {
                                bytes += size(&append.records);
                                group.push(append);
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit_group(group).await;
                }
                other => self.work(other).await,
            }
        }
    }

    async fn work(&mut self, job: Job) {
        // A caller that has gone is not an error.
        match job {
            Job::Append(append) => self.commit_group(vec![append]).await,
            Job::Lead(reply) => {
                let _ = reply.send(self.lead().await);
            }
            Job::Resign(epoch, reply) => {
                let done = self.fenced(epoch, async |tx, _| {
                    let sql = "UPDATE head SET lease_end = clock_timestamp()";
                    tx.execute(sql, &[])
                        .await
                        .map(|_| ())
                        .map_err(|e| fault("end the lease", Place::Head, e))
                });
                let _ = reply.send(done.await);
            }
            Job::Save {
                epoch,
                at,
                part,
                body,
                reply,
                permit,
            } => {
                let done = self.fenced(epoch, async |tx, row| {
                    snapshots::save(tx, &row.head, at, part, &body).await
                });
                let _ = reply.send(done.await);
                drop(permit);
            }
            Job::Finish(epoch, at, parts, reply) => {
                let done = self.fenced(epoch, async |tx, row| {
                    snapshots::finish(tx, &row.head, at, parts).await
                });
                let _ = reply.send(done.await);
            }
            Job::Retain(epoch, keep, reply) => {
                let done = self.fenced(epoch, async |tx, row| {
                    snapshots::retain(tx, &mut row.head, keep).await
                });
                let _ = reply.send(done.await);
            }
            Job::Restore(snapshot, parts, reply) => {
                let _ = reply.send(self.restore(&snapshot, parts).await);
            }
        }
    }

    /// Runs `work` in a transaction that has locked the head, and commits it.
    async fn locked<T>(
        &mut self,
        work: impl AsyncFnOnce(&Transaction<'_>, &mut HeadRow) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let run = async {
            let client = self.link.client().await?;
            let failed = |e| fault("write to the journal", Place::Whole, e);
            let tx = client.transaction().await.map_err(failed)?;
            let mut row = query::head(&tx, true).await?;
            let out = work(&tx, &mut row).await?;
            tx.commit().await.map_err(failed)?;
            Ok((out, row.head))
        };
        let done = timeout(PATIENCE * 4, run).await;
        let done = match done {
            Ok(done) => done,
            Err(late) => Err(Error::backend("write to the journal")(late)),
        };
        match done {
            Ok((out, head)) => {
                if let Some(own) = &mut self.own {
                    own.head = head;
                    own.stale = false;
                }
                Ok(out)
            }
            Err(e) => {
                // A transaction may be open on it, and its outcome unknown.
                self.link.cut();
                if let Some(own) = &mut self.own {
                    own.stale = true;
                }
                Err(e)
            }
        }
    }

    /// Like `locked`, for the leader of an epoch.
    async fn fenced<T>(
        &mut self,
        epoch: u64,
        work: impl AsyncFnOnce(&Transaction<'_>, &mut HeadRow) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.not_lost(epoch)?;
        self.locked(async |tx, row| {
            row.head.fence(epoch)?;
            work(tx, row).await
        })
        .await
    }

    fn not_lost(&self, epoch: u64) -> Result<(), Error> {
        match self.lost {
            Some(lost) if lost == epoch => Err(unknown(Lost)),
            _ => Ok(()),
        }
    }

    async fn lead(&mut self) -> Result<Lead, Error> {
        let holder = match &self.holder {
            Some(holder) => holder.clone(),
            None => {
                let failed = |e| fault("reach the journal", Place::Whole, e);
                let draw = async {
                    let client = self.link.client().await?;
                    let drawn = client.query_one("SELECT gen_random_uuid()::text", &[]);
                    Ok(drawn.await.map_err(failed)?.get::<_, String>(0))
                };
                let drawn = timeout(PATIENCE, draw).await;
                let drawn = drawn.map_err(Error::backend("reach the journal"))??;
                self.holder = Some(drawn.clone());
                drawn
            }
        };
        let (seen, lease) = (self.seen.take(), self.settings.lease);
        let leader = self.settings.leader.clone();
        self.own = None;
        // The outcome of a cut attempt does not matter: the next one takes the handle's own lease over.
        let led = self.locked(async |tx, row| {
            if row.holder != holder
                && let Some(held) = row.held()
            {
                // The database's clock may have been stepped back. A leader renews its lease every few seconds.
                let same = seen.filter(|s| s.epoch == held.epoch && s.lease_end == row.lease_end);
                let since = same.map_or_else(Instant::now, |s| s.since);
                if since.elapsed() < lease {
                    let seen = Seen {
                        epoch: held.epoch,
                        lease_end: row.lease_end.clone(),
                        since,
                    };
                    return Ok(Err((held, seen)));
                }
            }
            row.head.epoch = row.head.next_epoch()?;
            let failed = |e| fault("lead the journal", Place::Head, e);
            query::set_head(tx, &row.head).await.map_err(failed)?;
            let sql = "UPDATE head SET claim = 0, leader = $1, holder = $2,
                lease_end = clock_timestamp() + $3::float8 * interval '1 second'";
            tx.execute(sql, &[&&*leader, &holder, &lease.as_secs_f64()])
                .await
                .map_err(failed)?;
            Ok(Ok(row.head))
        });
        match led.await? {
            Ok(head) => {
                self.own = Some(Own {
                    epoch: head.epoch,
                    claim: 0,
                    head,
                    stale: false,
                });
                self.lost = None;
                Ok(Lead::Leads(Term {
                    epoch: head.epoch,
                    last: head.last.index,
                }))
            }
            Err((mut held, seen)) => {
                // A stepped clock may show any time.
                let most = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
                held.ends_in_ms = held.ends_in_ms.clamp(1, most);
                self.seen = Some(seen);
                Ok(Lead::Held(held))
            }
        }
    }

    async fn restore(&mut self, snapshot: &Snapshot, parts: Parts) -> Result<Restored, Error> {
        let holder = self.holder.clone();
        let free = |row: &HeadRow| match row.held() {
            Some(held) if holder.as_ref() != Some(&row.holder) => Err(Error::Held(held)),
            _ => Ok(()),
        };
        self.locked(async |tx, row| {
            free(row)?;
            snapshots::clear_staged(tx).await
        })
        .await?;
        let mut seen = Snapshot::begin(snapshot.at, snapshot.epoch);
        let mut parts = Some(parts);
        while let Some(mut source) = parts.take() {
            // The source may read a file.
            let read = tokio::task::spawn_blocking(move || (source.next(), source)).await;
            let (part, source) = read.map_err(Error::backend("read the snapshot"))?;
            let Some(body) = part.transpose()? else {
                break;
            };
            if seen.parts >= snapshot.parts {
                seen.parts = u32::MAX;
                break;
            }
            let part = seen.parts;
            seen.add(&body);
            let content = seen.content;
            self.locked(async |tx, _| snapshots::stage(tx, part, &body, &content).await)
                .await?;
            parts = Some(source);
        }
        if seen != *snapshot || seen.parts == 0 {
            let place = Place::Snapshot(snapshot.at.index);
            return Err(Error::damaged(place, Damage::Checksum));
        }
        self.own = None;
        self.locked(async |tx, row| {
            free(row)?;
            snapshots::restore(tx, &mut row.head, snapshot).await
        })
        .await
    }

    /// Commits the appends of a group together, and answers each.
    async fn commit_group(&mut self, group: Vec<Append>) {
        if self.own.is_some_and(|own| own.stale) {
            // The lock waits for the transaction that was cut.
            if let Err(e) = self.locked(async |_, _| Ok(())).await {
                return answer_all(group, e);
            }
            self.own = self.own.filter(|own| own.head.epoch == own.epoch);
        }
        let Some(own) = self.own.filter(|own| self.lost != Some(own.epoch)) else {
            return self.refuse(group).await;
        };
        let (group, old): (Vec<_>, Vec<_>) = group.into_iter().partition(|a| a.epoch == own.epoch);
        if !old.is_empty() {
            self.refuse(old).await;
        }
        if group.is_empty() {
            return;
        }
        let mut rows = Rows::default();
        let mut head = own.head;
        let mut lasts = VecDeque::with_capacity(group.len());
        for append in &group {
            for record in &append.records {
                match head.last.seal(own.epoch, record) {
                    Ok(at) => rows.push(at, record),
                    Err(e) => return answer_all(group, e),
                }
            }
            lasts.push_back(head.last.index);
        }
        match self.commit(own, &head, &rows).await {
            Ok(()) => {
                for (append, last) in group.into_iter().zip(lasts) {
                    answer(append, Ok(last));
                }
            }
            Err(Error::EpochOver { .. }) => {
                drop(rows);
                self.own = None;
                self.refuse(group).await;
            }
            Err(e) => {
                drop(rows);
                answer_all(group, e);
            }
        }
    }

    /// Answers appends whose epoch is not led by this handle.
    async fn refuse(&mut self, group: Vec<Append>) {
        let mut current = None;
        for append in group {
            let epoch = append.epoch;
            let refused = match self.not_lost(epoch) {
                Err(e) => e,
                Ok(()) => {
                    if current.is_none() {
                        let read = async { query::head(self.link.client().await?, false).await };
                        match timeout(PATIENCE, read).await {
                            Ok(Ok(row)) => current = Some(row.head.epoch),
                            Ok(Err(e)) => {
                                answer(append, Err(e));
                                continue;
                            }
                            Err(late) => {
                                answer(append, Err(Error::backend("reach the journal")(late)));
                                continue;
                            }
                        }
                    }
                    let current = current.unwrap_or(0);
                    Error::EpochOver { epoch, current }
                }
            };
            answer(append, Err(refused));
        }
    }

    /// Commits rows, and asks after a cut connection whether they stand. `head` is the head after them.
    async fn commit(&mut self, own: Own, head: &Head, rows: &Rows<'_>) -> Result<(), Error> {
        let until = Instant::now() + self.settings.lease;
        let mut claim = own.claim;
        let mut cut = false;
        loop {
            let to = (&mut self.link, &self.settings);
            match attempt(to, own, (&mut claim, cut), head, rows).await {
                Ok(Outcome::Stands) => {
                    self.own = Some(Own {
                        head: *head,
                        claim,
                        ..own
                    });
                    return Ok(());
                }
                Ok(Outcome::Over) => {
                    let (epoch, current) = (own.epoch, own.epoch);
                    return Err(Error::EpochOver { epoch, current });
                }
                Ok(Outcome::Refused(e)) => {
                    // A failed statement has changed nothing. The claim may have risen.
                    self.own = Some(Own { claim, ..own });
                    return Err(e);
                }
                Err(e) => {
                    self.link.cut();
                    cut = true;
                    if Instant::now() + AGAIN >= until {
                        self.lost = Some(own.epoch);
                        self.own = None;
                        return Err(unknown(e));
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

fn size(records: &[Record]) -> usize {
    records.iter().map(|r| r.body.len()).sum()
}

fn answer(append: Append, outcome: Result<u64, Error>) {
    drop(append.permit);
    // The caller may have gone.
    let _ = append.reply.send(outcome);
}

/// Answers all appends of a group by the error that the group had.
fn answer_all(group: Vec<Append>, e: Error) {
    let copies: Vec<Error> = group.iter().skip(1).map(|_| e.for_another()).collect();
    for (append, e) in group.into_iter().zip(std::iter::once(e).chain(copies)) {
        answer(append, Err(e));
    }
}
