//! Bounds of what callers can make the machine hold.

use betanet_coordinator::{Command, Request, Transmit};
use betanet_fog::{RefusalCode, TaskId, TaskState};
use betanet_machine::Machine as _;

use crate::dangers::{W, world};
use crate::world::{caller, identity, task_of};

/// Answers that are taken or committed at last.
const MOST: usize = 1 << 16;

/// Asks for unknown tasks without taking an answer, until that is refused. Returns how often.
fn ask_on(w: &mut W) -> usize {
    let now = w.clock();
    for call in 0..=2 * MOST {
        let command = Command {
            call: call as u64,
            caller: caller(&identity(20), false),
            request: Request::Status(TaskId([7; 32])),
        };
        if let Err(refusal) = w.members[0].machine.handle_command(now, command) {
            assert_eq!(refusal, RefusalCode::Rate.bare());
            return call;
        }
    }
    panic!("no bound");
}

#[test]
fn answers_that_nobody_takes_and_those_that_wait_for_commits_are_bounded() {
    let (mut w, _) = world(1);
    let taken = ask_on(&mut w);
    assert!(taken.abs_diff(MOST) < 16, "{taken}");
    w.drain(0);
    // A record is on its way, and what is asked after it waits for its commit.
    w.held = Some(Vec::new());
    let user = identity(20);
    let task = betanet_fog::Signed::sign(task_of(&user, 1), &user).unwrap();
    let submit = Request::Submit {
        task: Box::new(task),
        missing: None,
    };
    w.send_to(0, caller(&user, false), submit);
    let waits = ask_on(&mut w);
    assert!(waits.abs_diff(MOST) < 16, "{waits}");
    for (at, append, began) in w.held.take().unwrap() {
        w.append(at, append, began);
    }
    w.drain(0);
    assert_eq!(w.put(&user, task_of(&user, 2)).0.len(), 32);
}

#[test]
fn what_ends_at_once_is_spread_over_appends() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let deadline = w.unix() + 20_000;
    let tasks: Vec<TaskId> = (0..5_000)
        .map(|n| {
            let mut task = task_of(&user, n);
            task.deadline = deadline;
            w.put(&user, task)
        })
        .collect();
    let now = w.unix();
    w.beat(&ids[0], now, &[]).unwrap();
    w.pass(19_990);
    w.held = Some(Vec::new());
    w.pass(20);
    let held = w.held.take().unwrap();
    let sizes = held.iter().map(|(_, append, _)| match append {
        Transmit::Append { records, .. } => records.len(),
        _ => 0,
    });
    let sizes: Vec<usize> = sizes.collect();
    assert!(sizes.iter().sum::<usize>() >= 5_000, "{sizes:?}");
    assert!(sizes.iter().all(|n| *n <= 2_048), "{sizes:?}");
    for (at, append, began) in held {
        w.append(at, append, began);
    }
    assert!(tasks.iter().all(|t| w.state(*t) == TaskState::Expired));
    w.check();
}
