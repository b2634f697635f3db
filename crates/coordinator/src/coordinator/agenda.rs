//! What time and other tasks bring about: readiness, deadlines, overdue copies, forgetting.

use alloc::vec::Vec;

use betanet_fog::{DAY_MS, Fetched, Reason, Source, TaskId, TaskState};
use betanet_machine::{Time, Wake};
use betanet_scheduler::Place;

use super::Coordinator;
use super::copies::resolved;
use crate::life::End;
use crate::placer::Placer;
use crate::record::Change;
use crate::request::Transmit;

/// Tasks that one call looks at.
const LOOKS: usize = 1_024;

/// Interval in ms between attempts to place what did not fit, although nothing is known to have changed.
const RETRY_MS: u64 = 1_000;

/// Inputs of a task that names files of outputs.
enum Inputs {
    Found(Vec<Fetched>),
    /// Lists of files are on their way.
    Asked,
    /// A file is not in the output.
    Missing,
}

impl<P: Placer> Coordinator<P> {
    /// Puts all tasks and nodes on a new leader's agenda.
    pub(super) fn plan_all(&mut self) {
        let Some(lead) = &mut self.lead else {
            return;
        };
        for (id, task) in self.state.tasks.iter() {
            lead.agenda.dirty.insert(*id);
            for copy in task.life.live() {
                lead.agenda.live.insert(copy.fence, *id);
            }
        }
        lead.agenda
            .dirty_nodes
            .extend(self.state.nodes.iter().map(|(id, _)| *id));
    }

    /// Looks at tasks that changed or whose time has come.
    pub(super) fn look_at_tasks(&mut self) {
        let ms = self.clock.ms();
        let mut forgotten = Vec::new();
        for _ in 0..LOOKS {
            if !self.has_room() {
                break;
            }
            let Some(lead) = &mut self.lead else {
                return;
            };
            let due = lead
                .agenda
                .tasks
                .first()
                .filter(|(at, _)| *at <= ms)
                .map(|(_, id)| *id);
            let Some(id) = lead.agenda.dirty.pop_first().or(due) else {
                break;
            };
            if self.look_at_task(id, ms) {
                lead_unmark(self, id);
                forgotten.push(id);
            } else {
                self.mark(id, ms);
            }
        }
        if !forgotten.is_empty() {
            self.commit(Change::Forgotten { tasks: forgotten });
        }
    }

    /// Does what is due for a task. Returns whether it is to be forgotten.
    fn look_at_task(&mut self, id: TaskId, ms: u64) -> bool {
        let Some(row) = self.state.tasks.get(&id) else {
            return false;
        };
        if row.life.state.ended() {
            return row.named == 0 && row.forget_at() <= ms;
        }
        if row.deadline <= ms {
            self.end_task(id, &End::without(TaskState::Expired, Reason::Deadline));
            return false;
        }
        if self.is_void(row.rsv) && row.is_waiting() {
            self.end_task(id, &End::without(TaskState::Cancelled, Reason::Dependency));
            return false;
        }
        if row.life.state == TaskState::Accepted {
            if row.broken {
                self.end_task(id, &End::without(TaskState::Cancelled, Reason::Dependency));
            } else if row.waits == 0 && row.start <= ms {
                self.make_ready(id);
            }
            return false;
        }
        let overdue: Vec<u64> = row
            .life
            .live()
            .filter(|c| c.end.saturating_add(crate::lease::GRACE) <= ms)
            .map(|c| c.fence)
            .collect();
        for fence in overdue {
            self.lose(id, fence, Reason::Time);
        }
        false
    }

    fn make_ready(&mut self, id: TaskId) {
        let inputs = match self.inputs(id) {
            Inputs::Found(inputs) => inputs,
            Inputs::Asked => return,
            Inputs::Missing => {
                self.end_task(id, &End::without(TaskState::Cancelled, Reason::Dependency));
                return;
            }
        };
        let inputs = if inputs.is_empty() {
            None
        } else {
            resolved(inputs)
        };
        self.commit(Change::Ready {
            task: id,
            inputs: inputs.unwrap_or_default(),
        });
    }

    /// Resolves the inputs of a task that names files of outputs; none for others.
    fn inputs(&mut self, id: TaskId) -> Inputs {
        let Some(row) = self.state.tasks.get(&id).filter(|t| t.files) else {
            return Inputs::Found(Vec::new());
        };
        let Ok(task) = row.task() else {
            return Inputs::Missing;
        };
        let mut found = Vec::new();
        let mut asked = false;
        for input in &task.inputs {
            let (digest, size) = match &input.source {
                Source::Blob { digest, size } => (*digest, *size),
                Source::File { task, path } => {
                    let Some(out) = self.state.tasks.get(task).and_then(|t| t.out) else {
                        return Inputs::Missing;
                    };
                    let file = match self.outputs.get(&out) {
                        Some(Some(output)) => output.files.iter().find(|f| f.path == *path),
                        Some(None) => None,
                        None => {
                            let waiting = self.asked.entry(out).or_default();
                            if waiting.is_empty() {
                                self.out
                                    .push_reserved(self.clock.mono(), Transmit::Fetch(out));
                            }
                            waiting.insert(id);
                            asked = true;
                            continue;
                        }
                    };
                    match file {
                        Some(file) => (file.digest, file.size),
                        None => return Inputs::Missing,
                    }
                }
            };
            found.push(Fetched {
                path: input.path.clone(),
                digest,
                size,
            });
        }
        if asked {
            Inputs::Asked
        } else {
            Inputs::Found(found)
        }
    }

    /// Sets when a task is looked at next, and its place in the queue.
    fn mark(&mut self, id: TaskId, ms: u64) {
        let (mut wake, mut queued) = (None, None);
        if let Some(row) = self.state.tasks.get(&id) {
            wake = row.wake(ms);
            if row.wants()
                && row.backoff <= ms
                && let Ok(task) = row.task()
            {
                let at = Place::new(row.rules.tier, row.prio, row.ready_at);
                queued = Some((Self::alike(&id, row, &task), at));
            }
        }
        if let Some(lead) = &mut self.lead {
            lead.agenda.mark(id, wake, queued);
        }
    }

    /// Lets blocked groups be tried again, now and then.
    pub(super) fn retry_blocked(&mut self) {
        let ms = self.clock.ms();
        if let Some(lead) = &mut self.lead
            && lead.agenda.retry <= ms
        {
            lead.agenda.retry = ms.saturating_add(RETRY_MS);
            lead.agenda.stirred = true;
        }
    }

    /// When a leader has something to do.
    pub(super) fn lead_wake(&self) -> Option<Wake> {
        let levels = self.levels.next_end().map(|at| Wake { at, why: "levels" });
        let now = self.clock.mono();
        let Some(lead) = self.lead.as_ref().filter(|l| l.speaks(now)) else {
            return levels;
        };
        let agenda = &lead.agenda;
        let blocked = agenda.waiting.has_blocked();
        let busy = !agenda.dirty.is_empty()
            || !agenda.dirty_nodes.is_empty()
            || agenda.waiting.first().is_some()
            || (agenda.stirred && blocked);
        let mono = |at: Time, why| Some(Wake { at, why });
        let unix = |ms: u64, why| mono(self.clock.mono_of(ms), why);
        let tomorrow = (self.clock.ms() / DAY_MS)
            .saturating_add(1)
            .saturating_mul(DAY_MS);
        let braked = lead.pulses.braked.values().filter(|b| !b.nodes.is_empty());
        Wake::earliest([
            levels,
            if busy { mono(now, "work") } else { None },
            agenda.tasks.first().and_then(|(ms, _)| unix(*ms, "task")),
            self.state.market.wake().and_then(|ms| unix(ms, "market")),
            agenda.nodes.first().and_then(|(ms, _)| unix(*ms, "node")),
            unix(agenda.topology, "topology"),
            unix(tomorrow, "seed"),
            if blocked {
                unix(agenda.retry, "retry")
            } else {
                None
            },
            lead.pulses
                .silence
                .first()
                .and_then(|(at, _)| mono(*at, "silence")),
            lead.pulses
                .deaths
                .first()
                .and_then(|(at, _)| mono(*at, "fence")),
            braked
                .map(|b| b.next)
                .min()
                .and_then(|at| mono(at, "brake")),
        ])
    }
}

fn lead_unmark<P>(coordinator: &mut Coordinator<P>, id: TaskId) {
    if let Some(lead) = &mut coordinator.lead {
        lead.agenda.mark(id, None, None);
    }
}
