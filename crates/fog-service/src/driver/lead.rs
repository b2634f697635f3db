//! A term as leader.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::{Command, Event, Input, Reply, Request, Transmit};
use betanet_fog::{Level, Refusal, RefusalCode};
use betanet_journal::{Error as JournalError, Journal, Snapshot, Term};
use betanet_machine::Machine as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::append::{Appended, Appends};
use super::{Driver, End, Machine};
use crate::handle::{Answered, Ask, Counts, Role, Saved};

/// Most requests that are handed to the machine before its output is looked at.
const BATCH: usize = 256;

/// Interval between two looks at the free space of the journal's disk.
const SPACE: Duration = Duration::from_secs(1);

/// Time limit of that look.
const LOOK: Duration = Duration::from_millis(200);

/// Free space above the journal's floor below which nothing new is accepted, in bytes. What runs can still end.
const RESERVE: u64 = 64 << 20;

/// Longest wait for the last commits of a coordinator that stops.
const FAREWELL: Duration = Duration::from_secs(5);

type Saving = Pin<Box<dyn Future<Output = Result<Snapshot, JournalError>> + Send>>;

/// A snapshot that is on its way into the journal.
struct Save {
    at: u64,
    parts: Vec<Vec<u8>>,
    running: Option<Saving>,
    asked: Option<oneshot::Sender<Result<Saved, Refusal>>>,
}

/// A leader.
struct Leader<'a> {
    driver: &'a mut Driver,
    machine: Machine,
    epoch: u64,
    appends: Appends,
    calls: BTreeMap<u64, oneshot::Sender<Answered>>,
    call: u64,
    /// Index of the last snapshot.
    saved: u64,
    save: Option<Save>,
    /// Whether the disk has no room for new work.
    full: bool,
    looked: Instant,
}

impl Driver {
    pub(super) async fn lead(&mut self, machine: Machine, term: Term) -> End {
        tracing::info!(epoch = term.epoch, last = term.last, "leads");
        let saved = match self.journal.snapshots().await {
            Ok(list) => list.first().map_or(0, |s| s.at.index),
            Err(error) => return End::Failed(error),
        };
        let mut leader = Leader {
            driver: self,
            machine,
            epoch: term.epoch,
            appends: Appends::new(term.last),
            calls: BTreeMap::new(),
            call: 0,
            saved,
            save: None,
            full: false,
            looked: Instant::now(),
        };
        let now = leader.driver.shared.clock.now();
        let lead = Input::Lead {
            epoch: term.epoch,
            last: term.last,
        };
        // A machine refuses requests alone.
        let _ = leader.machine.handle_input(now, lead);
        leader.run().await
    }
}

impl Leader<'_> {
    async fn run(mut self) -> End {
        let clock = self.driver.shared.clock;
        let mut asks = Vec::with_capacity(BATCH);
        loop {
            if let Some(end) = self.hand_on() {
                return end;
            }
            let wake = self.machine.poll_timeout().map(|w| clock.instant(w.at));
            let wake = wake.unwrap_or_else(|| Instant::now() + SPACE);
            let saving = self.save.as_mut().and_then(|s| s.running.as_mut());
            tokio::select! {
                biased;
                _ = self.driver.stop.changed() => return self.farewell().await,
                appended = self.appends.done() => if let Some(end) = self.appended(appended).await {
                    return end;
                },
                saved = saving_done(saving) => self.saved(saved).await,
                n = self.driver.inbox.recv_many(&mut asks, BATCH) => {
                    if n == 0 {
                        return self.farewell().await;
                    }
                    for ask in asks.drain(..) {
                        self.take(ask);
                    }
                }
                () = sleep_until(wake) => self.machine.handle_timeout(clock.now()),
            }
            if self.looked.elapsed() >= SPACE {
                self.looked = Instant::now();
                self.look().await;
            }
        }
    }

    /// Takes what the machine says to where it belongs. Returns how the term ended, if the machine leads no more.
    fn hand_on(&mut self) -> Option<End> {
        let shared = Arc::clone(&self.driver.shared);
        while let Some(out) = self.machine.poll_transmit() {
            match out {
                Transmit::Append { records, .. } => self.appends.push(records),
                Transmit::Answer {
                    call,
                    answer,
                    until,
                } => {
                    if let Some(asked) = self.calls.remove(&call) {
                        // Whoever asked may have left.
                        let _ = asked.send((answer, until));
                    } else if let Ok(Reply::Topology(history)) = answer {
                        let newest = history.into_iter().next_back();
                        *shared
                            .topology
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner) = newest;
                    }
                }
                Transmit::Item { node, item, until } => shared.deliver(node, item, until),
                Transmit::Fetch(digest) => {
                    let fetched = (self.driver.fetch)(digest);
                    let back = self.driver.back.clone();
                    tokio::spawn(async move {
                        let output = fetched.await;
                        if let Some(back) = back.upgrade() {
                            let _ = back.send(Ask::Output(digest, output)).await;
                        }
                    });
                }
            }
        }
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Changed(task) => shared.changed(&task),
                Event::Paid {
                    task, cost, shares, ..
                } => {
                    // A secret task is in no log.
                    if self.machine.level_of(&Request::Status(task)) < Level::Secret {
                        tracing::debug!(%task, cost, nodes = shares.len(), "a task was paid for");
                    }
                }
                Event::Bug(why) => tracing::error!(why, "the coordinator's state is wrong"),
                // The journal has the amounts.
                Event::Blocked { .. } | Event::Settled { .. } | Event::Rented { .. } => {
                    tracing::debug!("the auction moved money");
                }
            }
        }
        if self.machine.is_broken() {
            return Some(End::Deposed);
        }
        if self.machine.leads() && !self.full {
            shared.be(Role::Leads(self.epoch));
        }
        let now = shared.clock.now().mono;
        self.appends.start(&self.driver.journal, self.epoch, now);
        self.start_saving();
        None
    }

    async fn appended(&mut self, appended: Appended) -> Option<End> {
        let shared = &self.driver.shared;
        let now = shared.clock.now();
        match appended.index {
            Ok(index) if index == appended.expected => {
                let counts = &shared.counts;
                Counts::add(&counts.commits, 1);
                Counts::add(&counts.records, appended.records);
                let took = (now.mono - appended.began).as_micros();
                Counts::add(&counts.commit_micros, u64::try_from(took).unwrap_or(0));
                let committed = Input::Committed {
                    index,
                    began: appended.began,
                };
                // A machine refuses requests alone.
                let _ = self.machine.handle_input(now, committed);
                self.driver.shared.committed.send_replace(index);
                None
            }
            Ok(index) => {
                tracing::error!(
                    index,
                    expected = appended.expected,
                    "the journal counts otherwise"
                );
                Some(self.depose(End::Deposed))
            }
            Err(error @ (JournalError::DiskFloor { .. } | JournalError::DiskFull)) => {
                Some(self.depose(End::Full(error)))
            }
            Err(error @ (JournalError::EpochOver { .. } | JournalError::Unknown { .. })) => {
                tracing::warn!(error = super::told(&error), "leads no more");
                Some(self.depose(End::Deposed))
            }
            Err(error) => Some(self.depose(End::Failed(error))),
        }
    }

    /// Ends the term: what is held is refused by dropping it.
    fn depose(&mut self, end: End) -> End {
        let now = self.driver.shared.clock.now();
        let _ = self.machine.handle_input(now, Input::Deposed);
        end
    }

    fn take(&mut self, ask: Ask) {
        let now = self.driver.shared.clock.now();
        match ask {
            Ask::Call {
                caller,
                request,
                directly,
                answer,
            } => {
                let forever = betanet_machine::Time::from_micros(u64::MAX);
                if directly && self.machine.level_of(&request) > Level::Public {
                    let refusal = Err(RefusalCode::PrivacyRoute.of("level"));
                    let _ = answer.send((refusal, forever));
                    return;
                }
                if self.full && adds(&request) {
                    let refusal = Err(RefusalCode::DiskFloor.bare());
                    let _ = answer.send((refusal, forever));
                    return;
                }
                self.call += 1;
                let command = Command {
                    call: self.call,
                    caller,
                    request,
                };
                match self.machine.handle_command(now, command) {
                    Ok(()) => {
                        self.calls.insert(self.call, answer);
                    }
                    Err(refusal) => {
                        let _ = answer.send((Err(refusal), forever));
                    }
                }
            }
            Ask::Output(digest, output) => {
                let _ = self
                    .machine
                    .handle_input(now, Input::Output(digest, output));
            }
            Ask::Reached(node, level) => {
                let _ = self.machine.handle_input(now, Input::Reached(node, level));
            }
            Ask::Claims(after, answer) => {
                let _ = answer.send(self.machine.level_claims(after));
            }
            Ask::Named(after, answer) => {
                let _ = answer.send(self.machine.named_blobs(now.unix_ms, after));
            }
            Ask::Credit(ns, tier, day, answer) => {
                let _ = answer.send(self.machine.credit_percent(&ns, tier, day));
            }
            Ask::Snapshot(answer) => match &self.save {
                Some(_) => {
                    let _ = answer.send(Err(RefusalCode::InUse.bare()));
                }
                None => self.begin_saving(Some(answer)),
            },
        }
    }

    fn begin_saving(&mut self, asked: Option<oneshot::Sender<Result<Saved, Refusal>>>) {
        self.save = Some(Save {
            at: self.machine.last(),
            parts: self.machine.snapshot(),
            running: None,
            asked,
        });
    }

    /// Saves a snapshot once all records of its state are committed.
    fn start_saving(&mut self) {
        let due = self.machine.last().saturating_sub(self.saved) >= self.driver.snapshot_every;
        if due && self.save.is_none() && self.machine.leads() {
            self.begin_saving(None);
        }
        let committed = *self.driver.shared.committed.borrow();
        let Some(save) = self.save.as_mut().filter(|s| s.running.is_none()) else {
            return;
        };
        if committed < save.at {
            return;
        }
        let (journal, epoch, at) = (Arc::clone(&self.driver.journal), self.epoch, save.at);
        let parts = std::mem::take(&mut save.parts);
        let keep = self.driver.snapshots;
        let needed = self.driver.escrow.as_ref().map(|e| e.needs_from());
        let needed = needed.unwrap_or(u64::MAX);
        save.running = Some(Box::pin(save_parts(
            journal,
            epoch,
            at,
            parts,
            (keep, needed),
        )));
    }

    async fn saved(&mut self, saved: Result<Snapshot, JournalError>) {
        let Some(save) = self.save.take() else {
            return;
        };
        // A snapshot that failed is tried again after as many records.
        self.saved = save.at;
        let answer = match saved {
            Ok(snapshot) => {
                Counts::add(&self.driver.shared.counts.snapshots, 1);
                tracing::info!(at = save.at, bytes = snapshot.bytes, "saved a snapshot");
                Ok(Saved {
                    at: save.at,
                    bytes: snapshot.bytes,
                })
            }
            Err(error) => {
                tracing::warn!(error = super::told(&error), "a snapshot was not saved");
                Err(match error {
                    JournalError::DiskFloor { .. } | JournalError::DiskFull => {
                        RefusalCode::DiskFloor.bare()
                    }
                    _ => RefusalCode::NotLeader.bare(),
                })
            }
        };
        if let Some(asked) = save.asked {
            let _ = asked.send(answer);
        }
    }

    /// Looks at the disk, and at the counts of the cluster.
    async fn look(&mut self) {
        // A database that hangs must not hold up the leader.
        let facts = tokio::time::timeout(LOOK, self.driver.journal.facts()).await;
        if let Ok(Ok(facts)) = facts {
            let least = facts.floor.map(|f| f.saturating_add(RESERVE));
            let full = facts
                .free
                .zip(least)
                .is_some_and(|(free, least)| free < least);
            if full != self.full {
                self.full = full;
                if full {
                    let free = facts.free.unwrap_or(0);
                    let why =
                        format!("the journal's disk has {free} bytes free: new work is refused");
                    tracing::error!("{why}");
                    self.driver.shared.be(Role::Full(why.into()));
                } else {
                    tracing::info!("the journal's disk has room again");
                }
            }
        }
        self.call += 1;
        let command = Command {
            call: self.call,
            caller: crate::settings::itself(&self.driver.setup.key),
            request: Request::Topology,
        };
        let now = self.driver.shared.clock.now();
        // A machine that is busy is asked again later.
        let _ = self.machine.handle_command(now, command);
    }

    /// Commits what was accepted, and gives the lease back.
    async fn farewell(mut self) -> End {
        let commit = async {
            while !self.appends.is_idle() {
                let appended = self.appends.done().await;
                if self.appended(appended).await.is_some() {
                    return false;
                }
                if self.hand_on().is_some() {
                    return false;
                }
            }
            true
        };
        if tokio::time::timeout(FAREWELL, commit).await == Ok(true) {
            let _ = tokio::time::timeout(FAREWELL, self.driver.journal.resign(self.epoch)).await;
        }
        End::Stopped
    }
}

/// Whether a request makes the journal grow by new work.
const fn adds(request: &Request) -> bool {
    matches!(
        request,
        Request::Submit { .. }
            | Request::PutJob(_)
            | Request::Join { .. }
            | Request::Describe(_)
            | Request::IssueToken(_)
    )
}

async fn saving_done(saving: Option<&mut Saving>) -> Result<Snapshot, JournalError> {
    match saving {
        Some(saving) => saving.await,
        None => std::future::pending().await,
    }
}

async fn save_parts(
    journal: Arc<dyn Journal>,
    epoch: u64,
    at: u64,
    parts: Vec<Vec<u8>>,
    (keep, needed): (usize, u64),
) -> Result<Snapshot, JournalError> {
    let mut n = 0;
    for part in parts {
        journal.save(epoch, at, n, part).await?;
        n += 1;
    }
    let snapshot = journal.finish(epoch, at, n).await?;
    // Records up to the oldest snapshot that is kept go: that one must stand before all that is needed.
    let snapshots = journal.snapshots().await?;
    let enough = (keep..=snapshots.len()).find(|n| {
        let oldest = n.checked_sub(1).and_then(|at| snapshots.get(at));
        oldest.is_some_and(|s| s.at.index < needed)
    });
    if let Some(keep) = enough {
        journal.retain(epoch, keep).await?;
    }
    Ok(snapshot)
}
