use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use betanet_machine::Time;

use super::Task;

/// What is to happen, by time; at one time, in the order in which it was planned.
///
/// The heap moves times and places alone: a task stays where it is until its time.
#[derive(Default)]
pub(super) struct Agenda {
    due: BinaryHeap<Reverse<(Time, u64, usize)>>,
    tasks: Vec<Option<Task>>,
    free: Vec<usize>,
    order: u64,
}

impl Agenda {
    pub(super) fn push(&mut self, at: Time, task: Task) {
        let place = self.free.pop().unwrap_or(self.tasks.len());
        match self.tasks.get_mut(place) {
            Some(free) => *free = Some(task),
            None => self.tasks.push(Some(task)),
        }
        self.order += 1;
        self.due.push(Reverse((at, self.order, place)));
    }

    /// The next task, if it is due by `end`.
    pub(super) fn pop(&mut self, end: Time) -> Option<(Time, Task)> {
        let Reverse((at, _, place)) = *self.due.peek()?;
        if at > end {
            return None;
        }
        self.due.pop();
        self.free.push(place);
        let task = self.tasks.get_mut(place)?.take()?;
        Some((at, task))
    }
}
