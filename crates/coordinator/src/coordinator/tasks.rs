//! Requests of users about tasks.

use alloc::boxed::Box;
use alloc::sync::Arc;

use betanet_fog::bodies::{CopyStatus, Counted, Plan, Planned, Status, Why};
use betanet_fog::{
    DAY_MS, List, Reason, Refusal, RefusalCode, Resources, Signed, Task, TaskId, TaskState, Word,
};

use betanet_scheduler::money::{Bill, shares};

use super::{Coordinator, Served, UNKNOWN};
use crate::life::{End, Rules};
use crate::placer::Placer;
use crate::record::Change;
use crate::request::{Caller, Event, Reply};
use crate::setup::Quota;
use crate::state::Known;
use crate::state::tasks::{TaskRow, rules};

/// Copies that a Status shows: the newest.
const COPIES_SHOWN: usize = 64;

impl<P: Placer> Coordinator<P> {
    pub(super) fn quota(&self, ns: &Word) -> &Quota {
        self.setup.quotas.get(ns).unwrap_or(&self.setup.quota)
    }

    /// Cost at most of a task at a demand factor.
    pub(super) fn most_cost(task: &Task, rules: &Rules, factor: u64) -> u64 {
        // A reservation is paid for.
        if task.rsv.is_some() {
            return 0;
        }
        bill(&task.res, rules, factor).for_fuel(task.fuel)
    }

    fn may_submit(&self, caller: &Caller, task: &Task) -> Result<(), Refusal> {
        if caller.key != task.owner {
            return Err(RefusalCode::NotYours.of("owner"));
        }
        if !caller.namespaces.contains(&task.ns) {
            return Err(RefusalCode::Role.of("ns"));
        }
        let Some(rsv) = &task.rsv else {
            return Ok(());
        };
        let rent = self.state.market.rents.get(rsv);
        let rent = rent.filter(|r| !r.void && r.until() > self.clock.ms().max(self.state.ts));
        let rent = rent.ok_or(RefusalCode::Unknown.of("rsv"))?;
        if rent.bidder != task.owner {
            return Err(RefusalCode::NotYours.of("rsv"));
        }
        // A reservation is one node, and copies are kept on nodes of different organisations.
        if rules(task).copies() > 1 {
            return Err(RefusalCode::BadValue.of("rsv"));
        }
        Ok(())
    }

    pub(super) fn submit(
        &mut self,
        caller: &Caller,
        signed: Signed<Task>,
        missing: Option<&'static str>,
    ) -> Served {
        let signed = Arc::new(signed);
        let id = signed.id();
        self.may_submit(caller, &signed)?;
        if self.state.tasks.get(&id).is_some() {
            return Ok(Reply::Done);
        }
        // A task that was forgotten has passed its deadline, so it is not taken a second time.
        if signed.deadline <= self.clock.ms().max(self.state.ts) {
            return Err(RefusalCode::BadValue.of("deadline"));
        }
        for before in &signed.after {
            let known = self
                .state
                .tasks
                .get(before)
                .is_some_and(|t| t.ns == signed.ns);
            if !known {
                return Err(RefusalCode::Unknown.of("after"));
            }
        }
        if let Some(key) = missing {
            return Err(RefusalCode::Unknown.of(key));
        }
        self.check_level(signed.level)?;
        let rules = rules(&signed);
        let cost = Self::most_cost(&signed, &rules, self.placer.factor(&signed.res));
        self.check_quota(&signed.ns, cost)?;
        if cost > signed.budget {
            return Err(RefusalCode::Budget.of("budget"));
        }
        if self.state.tasks.len() >= self.setup.tasks_max {
            return Err(RefusalCode::Quota.bare());
        }
        let accepted = Change::Accepted {
            task: signed.to_bytes().into(),
            cost,
        };
        self.commit_known(accepted, Some(Known::Task(signed)));
        Ok(Reply::Created)
    }

    fn check_quota(&self, ns: &Word, cost: u64) -> Result<(), Refusal> {
        let quota = self.quota(ns);
        let Some(used) = self.state.namespaces.get(ns) else {
            return if cost > quota.spend {
                Err(RefusalCode::Quota.of("ns"))
            } else {
                Ok(())
            };
        };
        let spent = used.spent_on(self.clock.ms().max(self.state.ts) / DAY_MS);
        if used.waiting >= quota.waiting || spent.saturating_add(cost) > quota.spend {
            return Err(RefusalCode::Quota.of("ns"));
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, caller: &Caller, id: &TaskId) -> Served {
        let row = self.state.tasks.get(id).ok_or(UNKNOWN)?;
        if caller.key != row.owner && !caller.operator {
            return Err(RefusalCode::NotYours.bare());
        }
        if row.life.state.ended() {
            return Err(RefusalCode::Ended.bare());
        }
        self.end_task(*id, &End::without(TaskState::Cancelled, Reason::Cancel));
        Ok(Reply::Done)
    }

    /// Ends a task and settles its cost.
    pub(super) fn end_task(&mut self, id: TaskId, end: &End) {
        let Some(row) = self.state.tasks.get(&id) else {
            return;
        };
        let cost = self.final_cost(row, end);
        let owner = row.owner;
        let payees: Box<[_]> = row
            .life
            .copies
            .iter()
            .filter(|c| end.deciding.contains(&c.fence))
            .map(|c| c.node)
            .collect();
        let elsewhere = self.waited_elsewhere(&id);
        self.commit(Change::Ended {
            task: id,
            state: end.state,
            reason: end.reason,
            deciding: end.deciding.clone(),
            cost,
            elsewhere,
        });
        if cost > 0 {
            // The lowest copy has the remainder.
            let (first, each) = shares(cost, u64::try_from(payees.len()).unwrap_or(0));
            let share = |at| if at == 0 { first } else { each };
            let shares = payees
                .iter()
                .enumerate()
                .map(|(at, node)| (*node, share(at)))
                .collect();
            self.hold(crate::lead::Held::Event(Event::Paid {
                task: id,
                owner,
                cost,
                shares,
            }));
        }
    }

    /// What an ended task pays: for the least fuel of the deciding receipts, or for the time since its start, or nothing.
    fn final_cost(&self, row: &TaskRow, end: &End) -> u64 {
        // A reservation is paid for.
        let free = row.task().map_or(true, |t| t.rsv.is_some());
        if free {
            return 0;
        }
        let receipts = row
            .life
            .copies
            .iter()
            .filter(|c| end.deciding.contains(&c.fence));
        let least = receipts
            .filter_map(|c| c.returned.as_ref())
            .map(|r| r.fuel)
            .min();
        let stopped = matches!(end.state, TaskState::Cancelled | TaskState::Expired);
        let bill = bill(&row.resources, &row.rules, row.factor);
        match least {
            Some(fuel) => bill.for_fuel(fuel),
            None if stopped && row.started_ts > 0 => {
                let now = self.clock.ms().max(self.state.ts);
                bill.for_part(now.saturating_sub(row.started_ts), row.fuel)
            }
            None => 0,
        }
    }

    pub(super) fn status(&mut self, id: &TaskId) -> Served {
        let row = self.state.tasks.get(id).ok_or(UNKNOWN)?;
        let newest = row.life.copies.len().saturating_sub(COPIES_SHOWN);
        let copies: alloc::vec::Vec<CopyStatus> = row
            .life
            .copies
            .iter()
            .skip(newest)
            .map(|c| CopyStatus {
                fence: c.fence,
                node: c.node,
                state: word(c.state.as_str()),
            })
            .collect();
        let mut status = Status {
            out: row.out,
            why: Why::default(),
            cost: row.cost,
            state: row.life.state,
            copies: List::try_from(copies).unwrap_or_default(),
            reason: reason_of(row),
            attempts: u64::from(row.life.placed),
        };
        status.why = counted(self.why(id));
        Ok(Reply::Status(Box::new(status)))
    }

    pub(super) fn plan(&mut self, caller: &Caller, signed: &Signed<Task>) -> Served {
        self.may_submit(caller, signed)?;
        let id = signed.id();
        self.show_kept(&id, None);
        let factor = self.placer.factor(&signed.res);
        let rules = rules(signed);
        let cost = Self::most_cost(signed, &rules, factor);
        let secret = self.secret();
        let wanted = crate::placer::Wanted {
            id: &id,
            task: signed,
            secret: &secret,
            factor,
            apart: &[],
            failed: &[],
            preempted: 0,
        };
        let n = usize::try_from(rules.copies()).unwrap_or(1);
        let now = self.clock.ms();
        let planned = match self.placer.plan(now, &wanted, 0, n) {
            _ if cost > signed.budget => Err([(Reason::Budget, 1)].into()),
            planned => planned,
        };
        let mut plan = Plan {
            why: Why::default(),
            cost,
            copies: List::default(),
        };
        match planned {
            Err(why) => plan.why = counted(why),
            Ok(seats) => {
                let copies = seats.iter().map(|s| Planned {
                    node: s.node,
                    devs: devices(s.devices),
                });
                plan.copies =
                    List::try_from(copies.collect::<alloc::vec::Vec<_>>()).unwrap_or_default();
            }
        }
        Ok(Reply::Plan(Box::new(plan)))
    }
}

fn bill(resources: &Resources, rules: &Rules, factor: u64) -> Bill {
    Bill {
        resources: *resources,
        tier: rules.tier,
        quorum: u64::from(rules.n),
        factor,
    }
}

/// The word of a Status: why a task ended other than succeeded.
pub(super) fn reason_of(row: &TaskRow) -> Word {
    match (row.life.state, row.life.reason) {
        (TaskState::Succeeded, _) | (_, None) => Word::default(),
        (_, Some(reason)) => word(reason.as_str()),
    }
}

pub(super) fn word(text: &str) -> Word {
    text.parse().unwrap_or_default()
}

fn counted(why: crate::placer::Why) -> Why {
    let all = why.into_iter().take(64).map(|(reason, nodes)| Counted {
        reason: word(reason.as_str()),
        nodes,
    });
    Why::try_from(all.collect::<alloc::vec::Vec<_>>()).unwrap_or_default()
}

/// Numbers of the devices whose bit is set, ascending.
pub(super) fn devices(bits: u64) -> List<u64> {
    let set = (0..64).filter(|n| bits >> n & 1 == 1);
    List::try_from(set.collect::<alloc::vec::Vec<u64>>()).unwrap_or_default()
}
