//! A world: coordinators over one fenced journal, workers that speak the protocol, and users. Everything follows from a seed.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_coordinator::placer::Placer;
use betanet_coordinator::{Coordinator, Entry, Event, Input, Item, Quota, Reply, Setup, Transmit};
use betanet_fog::{Refusal, TaskId};
use betanet_keys::Identity;
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Rng, Seed, Time};
use betanet_wire::NodeId;

use super::records::{UNIX_MS, identity, ms};

/// Answer to a request.
pub type Answer = Result<Reply, Refusal>;

/// A record of the journal.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its index.
    pub index: u64,
    /// Epoch of the leader that wrote it.
    pub epoch: u64,
    /// Its kind.
    pub kind: &'static str,
    /// Its content.
    pub body: Vec<u8>,
}

/// The fenced journal that all coordinators share.
#[derive(Debug, Default)]
pub struct Journal {
    /// Its records.
    pub entries: Vec<Stored>,
    /// Epoch of the last leader.
    pub epoch: u64,
    /// Index of the last record.
    pub last: u64,
    /// Begin of the last append.
    pub leased: Option<Time>,
}

/// A coordinator.
#[derive(Debug)]
pub struct Member<P: Placer> {
    /// The machine, under the contract checker.
    pub machine: Checked<Coordinator<P>>,
    /// Entries of the journal that it was given.
    pub fed: usize,
    /// Whether the journal made it the leader.
    pub leads: bool,
    /// Its appends do not arrive, and what it says is heard all the same.
    pub cut: bool,
}

/// Coordinators over one journal, with a hand on every append.
#[derive(Debug)]
pub struct World<P: Placer> {
    /// Monotonic time.
    pub now: Time,
    /// What the system's clock shows beside the true time, in ms.
    pub skew: i64,
    /// All dice.
    pub rng: Rng,
    /// The journal of all coordinators.
    pub journal: Journal,
    /// The coordinators.
    pub members: Vec<Member<P>>,
    /// Answers that nobody has taken, by the number of the call.
    pub answers: BTreeMap<u64, Answer>,
    /// Items for nodes that nobody has taken.
    pub items: Vec<(NodeId, Item)>,
    /// Events of all members.
    pub events: Vec<Event>,
    /// Cost of each task that paid, in µ.
    pub paid: BTreeMap<TaskId, u64>,
    /// Holds of bids that are blocked, by their owner and commitment.
    pub blocked: BTreeMap<([u8; 32], [u8; 32]), u64>,
    /// Money of reservations that neither node nor bidder has yet, in µ.
    pub escrow: i128,
    /// Reservations whose money went to the node, or back.
    pub rented: BTreeMap<[u8; 16], bool>,
    /// Limits of every namespace.
    pub quotas: Quota,
    /// Outputs that are stored.
    pub outputs: BTreeMap<[u8; 32], betanet_fog::Output>,
    /// Appends that wait, when they are not committed at once.
    pub held: Option<Vec<(usize, Transmit, Time)>>,
    /// Number of calls so far.
    pub calls: u64,
    /// Identity of the coordinators.
    pub coordinator: Identity,
    /// Identity of an operator.
    pub operator: Identity,
}

impl<P: Placer + Default> World<P> {
    /// A world with one coordinator, which leads.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_quota(seed, Quota::default())
    }

    /// The same with these limits.
    #[must_use]
    pub fn with_quota(seed: u64, quotas: Quota) -> Self {
        let mut this = Self {
            now: Time::ZERO + ms(1_000),
            skew: 0,
            rng: Rng::new(&Seed::from_number(seed)),
            journal: Journal::default(),
            members: Vec::new(),
            answers: BTreeMap::new(),
            items: Vec::new(),
            events: Vec::new(),
            paid: BTreeMap::new(),
            blocked: BTreeMap::new(),
            escrow: 0,
            rented: BTreeMap::new(),
            quotas,
            outputs: BTreeMap::new(),
            held: None,
            calls: 0,
            coordinator: identity(1),
            operator: identity(2),
        };
        this.add_member();
        this.elect(0);
        this
    }

    /// Configuration of the coordinators.
    #[must_use]
    pub fn setup(&self) -> Setup {
        Setup {
            quota: self.quotas,
            ..Setup::new(*self.coordinator.public())
        }
    }

    /// A machine that knows nothing.
    pub fn fresh(&mut self) -> Checked<Coordinator<P>> {
        let seed = self.rng.seed();
        let machine = Coordinator::new(self.setup(), P::default(), &seed);
        Checked::since(machine, self.now)
    }

    /// Adds a coordinator, and returns its place.
    pub fn add_member(&mut self) -> usize {
        let machine = self.fresh();
        self.members.push(Member {
            machine,
            fed: 0,
            leads: false,
            cut: false,
        });
        self.members.len() - 1
    }

    /// Time as coordinators see it.
    #[must_use]
    pub fn clock(&self) -> Now {
        let passed = self.now.as_micros() / 1_000;
        Now::new(
            self.now,
            (UNIX_MS + passed).saturating_add_signed(self.skew),
        )
    }

    /// True UNIX time, in ms.
    #[must_use]
    pub fn unix(&self) -> u64 {
        UNIX_MS + self.now.as_micros() / 1_000
    }

    /// Gives a member the records that it has not seen.
    pub fn feed(&mut self, at: usize) {
        let now = self.clock();
        let member = &mut self.members[at];
        while let Some(stored) = self.journal.entries.get(member.fed) {
            let entry = Input::Entry {
                index: stored.index,
                kind: stored.kind.into(),
                body: stored.body.clone().into(),
            };
            member.machine.handle_input(now, entry).unwrap();
            member.fed += 1;
        }
        self.drain(at);
    }

    /// Makes a member the leader.
    pub fn elect(&mut self, at: usize) {
        self.feed(at);
        self.journal.epoch += 1;
        let (epoch, last) = (self.journal.epoch, self.journal.last);
        let now = self.clock();
        for (other, member) in self.members.iter_mut().enumerate() {
            if other != at && member.leads && !member.cut {
                member.leads = false;
                member.machine.handle_input(now, Input::Deposed).unwrap();
            }
        }
        let member = &mut self.members[at];
        member.leads = true;
        member
            .machine
            .handle_input(now, Input::Lead { epoch, last })
            .unwrap();
        for other in 0..self.members.len() {
            self.drain(other);
        }
        self.settle(at);
    }

    /// Puts another machine in a member's place, rebuilt from the journal.
    pub fn rebuild(&mut self, at: usize) {
        let machine = self.fresh();
        self.members[at] = Member {
            machine,
            fed: 0,
            leads: false,
            cut: false,
        };
        self.feed(at);
    }

    /// Place of the leader.
    #[must_use]
    pub fn leader(&self) -> usize {
        self.members
            .iter()
            .position(|m| m.leads && !m.cut)
            .unwrap_or(0)
    }

    /// The leader.
    #[must_use]
    pub fn machine(&self) -> &Coordinator<P> {
        self.members[self.leader()].machine.get()
    }

    /// Commits an append, or deposes the member.
    pub fn append(&mut self, at: usize, append: Transmit, began: Time) {
        let Transmit::Append {
            epoch,
            first,
            records,
        } = append
        else {
            panic!("not an append");
        };
        let now = self.clock();
        if self.members[at].cut {
            return;
        }
        if epoch != self.journal.epoch {
            self.members[at].leads = false;
            self.members[at]
                .machine
                .handle_input(now, Input::Deposed)
                .unwrap();
            return self.drain(at);
        }
        let n = records.len() as u64;
        if n > 0 {
            assert_eq!(
                first,
                self.journal.last + 1,
                "no index is given twice or left out"
            );
            assert!(records.len() <= 4_096, "an append has a bound");
        }
        self.write(epoch, first, records);
        self.journal.leased = Some(began);
        let member = &mut self.members[at];
        if !member.leads {
            // It died meanwhile. Whoever comes next reads the records.
            return;
        }
        member.fed = self.journal.entries.len();
        let index = self.journal.last;
        member
            .machine
            .handle_input(now, Input::Committed { index, began })
            .unwrap();
        self.drain(at);
    }

    /// Takes what a member puts out, and commits its appends unless they are held.
    pub fn drain(&mut self, at: usize) {
        while let Some(out) = self.members[at].machine.poll_transmit() {
            match out {
                Transmit::Append { .. } => {
                    let began = self.now;
                    match &mut self.held {
                        Some(held) => held.push((at, out, began)),
                        None => self.append(at, out, began),
                    }
                }
                Transmit::Answer {
                    call,
                    answer,
                    until,
                } => {
                    // The driver's part: nothing is sent after the lease.
                    if self.now <= until {
                        self.answers.insert(call, answer);
                    }
                }
                Transmit::Item { node, item, until } => {
                    if self.now <= until {
                        self.items.push((node, item));
                    }
                }
                Transmit::Fetch(digest) => {
                    let now = self.clock();
                    let output = self.outputs.get(&digest).cloned().map(Box::new);
                    let input = Input::Output(digest, output);
                    self.members[at].machine.handle_input(now, input).unwrap();
                }
            }
        }
        while let Some(event) = self.members[at].machine.poll_event() {
            match &event {
                Event::Bug(why) => panic!("bug: {why}"),
                Event::Paid {
                    task, cost, shares, ..
                } => {
                    let sum: u64 = shares.iter().map(|(_, share)| share).sum();
                    assert!(shares.is_empty() || sum == *cost, "shares are the cost");
                    assert!(self.paid.insert(*task, *cost).is_none(), "a task pays once");
                }
                Event::Blocked { by, commit, amount } => {
                    let first = self.blocked.insert((*by, *commit), *amount).is_none();
                    assert!(first, "a key commits to a hash once");
                }
                Event::Settled {
                    by,
                    commit,
                    paid,
                    lost,
                    back,
                } => {
                    // A leader that dies between commit and event says nothing of either.
                    let held = self.blocked.remove(&(*by, *commit));
                    let sum = paid + lost + back;
                    assert!(held.is_none_or(|h| h == sum), "a hold is settled");
                    self.escrow += i128::from(*paid);
                }
                Event::Rented {
                    id, amount, back, ..
                } => {
                    let first = self.rented.insert(*id, *back).is_none();
                    assert!(first, "a reservation pays once");
                    self.escrow -= i128::from(*amount);
                }
                Event::Changed(_) => {}
            }
            self.events.push(event);
        }
    }

    /// Runs a member's timers that are due.
    pub fn settle(&mut self, at: usize) {
        for _ in 0..1_000 {
            self.drain(at);
            let wake = self.members[at].machine.poll_timeout();
            if wake.is_none_or(|w| w.at > self.now) {
                return;
            }
            let now = self.clock();
            self.members[at].machine.handle_timeout(now);
        }
        panic!("never settles");
    }

    /// Tells a member that its epoch is over.
    pub fn depose(&mut self, at: usize) {
        let now = self.clock();
        let member = &mut self.members[at];
        member.leads = false;
        member.machine.handle_input(now, Input::Deposed).unwrap();
        self.drain(at);
    }

    /// Writes an append that nobody hears of, if the epoch still holds.
    pub fn write_unheard(&mut self, append: Transmit) {
        let Transmit::Append {
            epoch,
            first,
            records,
        } = append
        else {
            panic!("not an append");
        };
        if epoch != self.journal.epoch || first != self.journal.last + 1 {
            return;
        }
        self.write(epoch, first, records);
    }

    fn write(&mut self, epoch: u64, first: u64, records: Vec<Entry>) {
        for (index, entry) in (first..).zip(records) {
            self.journal.entries.push(Stored {
                index,
                epoch,
                kind: entry.kind,
                body: entry.body,
            });
            self.journal.last = index;
        }
    }

    /// Puts a machine in a member's place that begins at a snapshot, with so many entries of the journal in it.
    pub fn restore(&mut self, at: usize, parts: &[Vec<u8>], fed: usize) {
        let seed = self.rng.seed();
        let parts = parts.iter().map(|p| &p[..]);
        let machine = Coordinator::restore(self.setup(), P::default(), &seed, parts).unwrap();
        self.members[at] = Member {
            machine: Checked::since(machine, self.now),
            fed,
            leads: false,
            cut: false,
        };
        self.feed(at);
    }

    /// The next time at which a member wants to be called.
    pub fn next_wake(&self) -> Option<Time> {
        let wakes = self.members.iter().filter_map(|m| m.machine.poll_timeout());
        wakes.map(|w| w.at).min()
    }

    /// Days pass at once: nobody was there to call on the way.
    pub fn jump(&mut self, ms_: u64) {
        self.now = self.now + ms(ms_);
        self.pass(3_000);
    }

    /// Lets time pass, with all timers on the way.
    pub fn pass(&mut self, ms_: u64) {
        let end = self.now + ms(ms_);
        loop {
            let next = self.next_wake().filter(|at| *at <= end);
            let Some(at) = next else {
                break;
            };
            self.now = self.now.max(at);
            for member in 0..self.members.len() {
                self.settle(member);
            }
        }
        self.now = end;
        for member in 0..self.members.len() {
            self.settle(member);
        }
    }
}
