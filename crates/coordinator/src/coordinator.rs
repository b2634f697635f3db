//! The machine: requests become records, and are answered once these are committed.

mod agenda;
mod blobs;
mod claims;
mod commit;
mod copies;
mod jobs;
mod levels;
mod market;
mod nodes;
mod placing;
mod silence;
mod tasks;
mod views;

pub use blobs::NamedBlobs;
pub use levels::LevelClaims;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_fog::{DAY_MS, Digest, Output, Refusal, RefusalCode, TaskId, Tier};
use betanet_machine::{Fingerprint, Machine, Now, Queue, Rng, Seed, Time, Wake};
use betanet_scheduler::credit::Day;
use betanet_wire::NodeId;

use crate::clock::Clock;
use crate::codec::Damaged;
use crate::lead::{HELD_MAX, Held, LEASE, Lead, RENEW};
use crate::placer::Placer;
use crate::record::{Change, Record};
use crate::request::{Command, Event, Input, Reply, Request, Transmit};
use crate::setup::Setup;
use crate::state::State;
use crate::state::snapshot::Standings;

/// Most outputs whose list of files is remembered.
const OUTPUTS: usize = 1_024;

/// Most outputs of the machine that wait to be taken, beside those that wait for commits.
const OUT_MAX: usize = 1 << 16;

/// Most records of one call, so that they fit one append.
const GROUP_MAX: usize = 2_048;

/// Interval between snapshots of the cluster, in ms.
const TOPOLOGY_MS: u64 = 60_000;

/// The coordinator of a fog.
#[derive(Debug)]
pub struct Coordinator<P> {
    setup: Setup,
    state: State,
    placer: P,
    rng: Rng,
    clock: Clock,
    lead: Option<Box<Lead>>,
    levels: levels::Levels,
    outputs: BTreeMap<Digest, Option<Box<Output>>>,
    asked: BTreeMap<Digest, BTreeSet<TaskId>>,
    broken: bool,
    /// Changes outside of the durable state.
    soft: u64,
    out: Queue<Transmit>,
    events: Queue<Event>,
}

const NOT_LEADER: Refusal = RefusalCode::NotLeader.bare();
const UNKNOWN: Refusal = RefusalCode::Unknown.bare();

/// Result of a request.
type Served = Result<Reply, Refusal>;

impl<P: Placer> Coordinator<P> {
    /// A coordinator of an empty journal. `placer` has no nodes, and `seed` is random.
    #[must_use]
    pub fn new(setup: Setup, placer: P, seed: &Seed) -> Self {
        Self {
            setup,
            state: State::default(),
            placer,
            rng: Rng::new(seed),
            clock: Clock::default(),
            lead: None,
            levels: levels::Levels::default(),
            outputs: BTreeMap::new(),
            asked: BTreeMap::new(),
            broken: false,
            soft: 0,
            out: Queue::new(OUT_MAX),
            events: Queue::new(OUT_MAX),
        }
    }

    /// A coordinator that begins at a snapshot.
    ///
    /// # Errors
    ///
    /// The parts are no snapshot of this version.
    pub fn restore<'a>(
        setup: Setup,
        placer: P,
        seed: &Seed,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, Damaged> {
        let mut this = Self::new(setup, placer, seed);
        let (state, standings) = State::restore(parts)?;
        this.state = state;
        let mut nodes: Vec<(u64, NodeId)> = this
            .state
            .nodes
            .iter()
            .map(|(id, n)| (n.joined, *id))
            .collect();
        nodes.sort_unstable();
        for (_, id) in nodes {
            this.seat(id);
        }
        this.adopt_lots();
        let mut live: Vec<(u64, TaskId)> = Vec::new();
        for (id, task) in this.state.tasks.iter() {
            live.extend(task.life.live().map(|c| (c.fence, *id)));
        }
        live.sort_unstable();
        for (fence, task) in live {
            this.adopt(task, fence);
        }
        this.adopt_voids();
        for (id, standing) in standings.nodes {
            this.placer.set_standing(&id, standing);
        }
        this.placer.set_counter(standings.counter);
        Ok(this)
    }

    /// The durable state in parts of at most 1 MiB, for the journal. It is the state after the record [`Self::last`].
    #[must_use]
    pub fn snapshot(&self) -> Vec<Vec<u8>> {
        let standing = |id: &NodeId| (*id, self.placer.standing(id));
        let standings = Standings {
            counter: self.placer.counter(),
            nodes: self
                .state
                .nodes
                .iter()
                .map(|(id, _)| standing(id))
                .collect(),
        };
        self.state.snapshot(&standings)
    }

    /// Digest of the durable state: equal wherever the same records were applied.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.state.hash()
    }

    pub(crate) const fn durable(&self) -> &State {
        &self.state
    }

    /// Number of known nodes.
    #[must_use]
    pub fn nodes_known(&self) -> usize {
        self.state.nodes.len()
    }

    /// Number of known tasks, and the bytes that they take with their allocations, indexes aside. The cost grows with the number.
    #[must_use]
    pub fn tasks_size(&self) -> (usize, usize) {
        let sizes = self.state.tasks.iter().map(|(_, t)| t.size());
        (self.state.tasks.len(), sizes.sum())
    }

    /// Credit of a namespace for a day and tier, in percent of what it spent and in µ. Two days are known.
    #[must_use]
    pub fn credit(&self, ns: &str, day: u64, tier: Tier) -> (u64, u64) {
        let ns = self.state.namespaces.get(ns);
        let credit = ns.and_then(|n| n.served.get(&(day, tier))).map(Day::credit);
        credit.map_or((0, 0), |c| (c.percent, c.amount))
    }

    /// Index of the last record, committed or not.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.state.last
    }

    /// Whether it leads, and its first record is committed.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.lead.as_ref().is_some_and(|l| l.started)
    }

    /// Whether journal and state have parted. Such a machine must be rebuilt from the journal.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// The placer.
    pub const fn placer(&self) -> &P {
        &self.placer
    }

    fn lead_on(&mut self, now: Now, epoch: u64, last: u64) {
        self.clock.start(now, self.state.ts);
        // A restored snapshot is followed by a gap.
        self.state.last = self.state.last.max(last);
        self.lead = Some(Box::new(Lead::new(epoch, last, now.mono)));
        self.commit(Change::Leads { epoch });
        self.plan_all();
        self.flush(now.mono);
    }

    fn committed(&mut self, now: Now, index: u64, began: Time) {
        let last = self.state.last;
        let Some(lead) = &mut self.lead else {
            return;
        };
        if index > last {
            return self.break_down(now.mono, "a commit beyond the last record");
        }
        lead.committed = lead.committed.max(index);
        lead.until = lead.until.max(began + LEASE);
        if !lead.started && lead.committed >= lead.first {
            lead.started = true;
            self.take_over(now);
        }
        self.flush(now.mono);
    }

    fn depose(&mut self, now: Time) {
        let Some(lead) = self.lead.take() else {
            return;
        };
        // What was done and not committed stands in no journal.
        self.broken |= self.state.last != lead.committed;
        for (_, held) in lead.held {
            if let Held::Out(Transmit::Answer { call, .. }) = held {
                let answer = Err(NOT_LEADER);
                let until = Time::from_micros(u64::MAX);
                self.out.push_reserved(
                    now,
                    Transmit::Answer {
                        call,
                        answer,
                        until,
                    },
                );
            }
        }
    }

    fn serve(&mut self, now: Now, command: Command) -> Served {
        let Command {
            caller, request, ..
        } = command;
        let caller = &caller;
        match request {
            Request::Join { node, token } => self.join(caller, *node, &token),
            Request::Describe(node) => self.describe(caller, &node),
            Request::Leave(node) => self.leave(caller, &node),
            Request::Beat(node, beat) => self.beat(now, caller, node, &beat),
            Request::Work { node, after } => self.work(caller, &node, after),
            Request::State(node, asked) => self.ask_state(caller, &node, &asked),
            Request::Start(task, fence) => self.start(caller, &task, fence),
            Request::Nack(task, fence) => self.nack(caller, &task, fence),
            Request::Done(task, receipt) => self.done(caller, &task, *receipt),
            Request::Log {
                task,
                fence,
                off,
                len,
                stored,
            } => self.log(caller, &task, fence, (off, len, stored)),
            Request::IssueToken(asked) => self.issue_token(caller, &asked),
            Request::RevokeToken(id) => self.revoke_token(caller, id),
            Request::Submit { task, missing } => self.submit(caller, *task, missing),
            Request::Status(task) => self.status(&task),
            Request::Cancel(task) => self.cancel(caller, &task),
            Request::Plan(task) => self.plan(caller, &task),
            Request::PutJob(job) => self.put_job(caller, &job),
            Request::Job(ns, name) => self.job(caller, ns, name),
            Request::DeleteJob(ns, name) => self.delete_job(caller, ns, name),
            Request::LastJob(ns, name) => self.last_job(caller, ns, name),
            Request::Jobs { ns, after, n } => Ok(self.list_jobs(caller, &ns, after, n)),
            Request::Tasks {
                ns,
                state,
                after,
                n,
            } => self.list_tasks(caller, &ns, state, after, n),
            Request::Nodes { state, after, n } => Ok(self.list_nodes(state, after, n)),
            Request::Rate(page) => self.rate(caller, &page),
            Request::Changed { after } => self.changed(caller, after),
            Request::Events { after } => Ok(self.list_events(after)),
            Request::Topology => Ok(self.list_topology()),
            Request::Price => Ok(self.price()),
            Request::Seed(day) => self.seed(day),
            Request::Commit(commitment) => self.commit_order(caller, &commitment),
            Request::Reveal(order) => self.reveal_order(caller, &order),
            Request::Market { tier, round, after } => self.market(tier, round, after),
        }
    }

    fn pass(&mut self, now: Now) {
        self.prove_levels(now.mono);
        if !self.lead.as_ref().is_some_and(|l| l.speaks(now.mono)) {
            return;
        }
        self.keep_days();
        self.find_silent(now);
        self.let_fences_die(now);
        self.look_at_market();
        self.look_at_nodes();
        self.look_at_tasks();
        self.retry_blocked();
        self.place_waiting();
    }

    /// Draws the secret of the day, and takes a snapshot of the cluster every minute.
    fn keep_days(&mut self) {
        let day = self.clock.ms() / DAY_MS;
        if !self.state.seeds.contains_key(&day) {
            let secret = self.rng.array();
            self.commit(Change::Seed { day, secret });
        }
        let ms = self.clock.ms();
        if let Some(lead) = &mut self.lead
            && lead.agenda.topology <= ms
        {
            lead.agenda.topology = ms.saturating_add(TOPOLOGY_MS);
            self.commit(Change::Topology {});
        }
    }

    /// S of the day.
    fn secret(&self) -> [u8; 32] {
        let day = self.clock.ms() / DAY_MS;
        self.state.seeds.get(&day).copied().unwrap_or_default()
    }

    /// Whether the records of this call leave room for more.
    fn has_room(&self) -> bool {
        self.lead
            .as_ref()
            .is_some_and(|l| l.group.len() < GROUP_MAX)
    }

    fn output(&mut self, digest: Digest, output: Option<Box<Output>>) {
        if self.outputs.len() >= OUTPUTS {
            self.outputs.pop_first();
        }
        let waiting = self.asked.remove(&digest).unwrap_or_default();
        self.outputs.insert(digest, output);
        if let Some(lead) = &mut self.lead {
            lead.agenda.dirty.extend(waiting);
        }
    }
}

impl<P: Placer> Machine for Coordinator<P> {
    type Input = Input;
    type Command = Command;
    type Answer = ();
    type Transmit = Transmit;
    type Event = Event;
    type Error = Refusal;

    fn handle_input(&mut self, now: Now, input: Input) -> Result<(), Refusal> {
        self.clock.at(now);
        self.soft += 1;
        match input {
            Input::Entry { index, kind, body } => {
                if self.lead.is_some() {
                    self.break_down(now.mono, "a record of another leader");
                }
                if !self.broken {
                    let record = Record::read(&kind, &body);
                    let applied = record.and_then(|r| self.state.apply(index, &r).map(|()| r));
                    match applied {
                        Ok(record) => self.follow(index, &record.change),
                        Err(Damaged(why)) => self.break_down(now.mono, why),
                    }
                }
            }
            Input::Lead { epoch, last } => {
                if !self.broken && self.lead.is_none() {
                    self.lead_on(now, epoch, last);
                }
            }
            Input::Committed { index, began } => {
                self.committed(now, index, began);
                self.pass(now);
            }
            Input::Deposed => self.depose(now.mono),
            Input::Output(digest, output) => {
                self.output(digest, output);
                self.pass(now);
            }
            Input::Reached(node, level) => self.reached(now.mono, node, level),
        }
        self.flush(now.mono);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<(), Refusal> {
        self.clock.at(now);
        match &self.lead {
            Some(lead) if lead.speaks(now.mono) => {
                if lead.held.len() >= HELD_MAX || self.out.room() == 0 {
                    return Err(RefusalCode::Rate.bare());
                }
            }
            _ => return Err(NOT_LEADER),
        }
        self.soft += 1;
        let call = command.call;
        let answer = self.serve(now, command);
        let until = Time::ZERO;
        self.hold(Held::Out(Transmit::Answer {
            call,
            answer,
            until,
        }));
        self.look_at_nodes();
        self.look_at_tasks();
        self.place_waiting();
        self.flush(now.mono);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Now) {
        self.clock.at(now);
        self.soft += 1;
        self.pass(now);
        self.flush(now.mono);
        if let Some(lead) = &mut self.lead
            && now.mono >= lead.appended + RENEW
        {
            lead.appended = now.mono;
            let renew = Transmit::Append {
                epoch: lead.epoch,
                first: self.state.last.saturating_add(1),
                records: Vec::new(),
            };
            self.out.push_reserved(now.mono, renew);
        }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        Wake::earliest([
            self.out.wake("out"),
            self.events.wake("events"),
            self.lead.as_ref().map(|l| Wake {
                at: l.appended + RENEW,
                why: "renew",
            }),
            self.lead_wake(),
        ])
    }

    fn fingerprint(&self) -> u64 {
        let held = self.lead.as_ref().map_or(0, |l| l.held.len());
        let small = |n: usize| u64::try_from(n).unwrap_or(0);
        Fingerprint::default()
            .word(self.state.last)
            .word(self.state.ts)
            .word(self.soft)
            .word(u64::from(self.broken) | u64::from(self.lead.is_some()) << 1)
            .word(small(held))
            .word(small(self.out.len()))
            .word(small(self.events.len()))
            .finish()
    }
}

/// The key that an operator's requests need.
fn operator(caller: &crate::request::Caller) -> Result<(), Refusal> {
    if caller.operator {
        Ok(())
    } else {
        Err(RefusalCode::Role.bare())
    }
}
