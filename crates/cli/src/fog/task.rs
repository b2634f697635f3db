//! `betanet task`.

mod describe;
pub(super) mod files;
pub(super) mod level;
mod local;
mod logs;
mod output;
mod verify;
mod watch;

use std::cell::Cell;

use betanet_fog::bodies::{Plan, Status};
use betanet_fog::{TaskState, Word};
use betanet_runtime::Clock;
use serde_json::json;

use super::spec::{Making, TaskSpec};
use super::text::{money, name, reason, task_id, why};
use super::{events, lists, print_json, with};
use crate::Fail;
use crate::args::{PlanArgs, RunArgs, TaskCommand, TaskIdArgs};
use crate::economy::escrow;

pub(super) use describe::refused;
pub(super) use files::{nonces, store};
pub(crate) use verify::receipt_of as verify_receipt;
pub(super) use watch::{Watched, watch};

/// Exit code of a task that was cancelled.
const CANCELLED: u8 = 4;
/// Exit code of a task that expired.
const EXPIRED: u8 = 5;

pub(super) async fn run(command: TaskCommand) -> Result<(), Fail> {
    match command {
        TaskCommand::Run(args) if args.local => local::run(*args).await,
        TaskCommand::Run(args) => submit(*args).await,
        TaskCommand::Verify(args) => verify::run(&args),
        TaskCommand::Plan(args) => plan(*args).await,
        TaskCommand::Ps(args) => lists::tasks(args).await,
        TaskCommand::Show(args) => show(args).await,
        TaskCommand::Logs(args) => logs::run(args).await,
        TaskCommand::Cancel(args) => cancel(args).await,
        TaskCommand::History(args) => events::history(args).await,
    }
}

/// Describes the task of `task run`, with the conditions that have flags of their own.
fn described(args: &RunArgs) -> Result<(Word, TaskSpec), Fail> {
    let mut spec = args.spec.clone();
    let own = [("tier", &args.tier), ("level", &args.privacy)];
    let own = own
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)));
    spec.set
        .extend(own.map(|(key, value)| format!("{key}={value}")));
    if args.local && spec.ns.is_none() {
        spec.ns = Some("local".to_owned());
    }
    describe::task(&spec)
}

async fn submit(args: RunArgs) -> Result<(), Fail> {
    let (ns, spec) = described(&args)?;
    if let Some(folder) = &args.output {
        output::check(folder)?;
    }
    level::check(spec.level, &args.fog, !args.detach)?;
    let blobs = files::checked(std::slice::from_ref(&spec))?;
    let submitted = Cell::new(None);
    let done = with(&args.fog, async |fog| {
        let mut making = Making {
            owner: fog.me(),
            ns: &ns,
            now_ms: Clock::start().now().unix_ms,
            blobs: &blobs,
            made: Default::default(),
        };
        let nonce = nonces()?.array();
        let made = making.task(&spec, nonce).map_err(refused)?;
        let id = made.task.id();
        store(fog, &blobs).await?;
        if args.paid.escrow {
            // Nothing is held for a task that would be refused.
            fog.plan(&made.task).await?;
            escrow::hold(&args.paid, &args.fog.dial, &[&made.task]).await?;
        }
        fog.submit(&made.task).await?;
        submitted.set(Some(id));
        match (args.fog.json, args.watch) {
            (true, _) => say!("{}", json!({ "task": id.to_string() })),
            (false, true) => note!("{id}"),
            (false, false) => say!("{id}"),
        }
        if args.detach {
            return Ok((id, None));
        }
        let watched = [Watched {
            id,
            name: String::new(),
        }];
        let mut all = match args.watch {
            true => logs::beside(fog, &id, watch(fog, &watched)).await?,
            false => watch(fog, &watched).await?,
        };
        let status = all.pop();
        let mut exit = None;
        if let Some(out) = status.as_ref().and_then(|s| s.out) {
            if let Some(folder) = &args.output {
                output::fetch(fog, &out, folder).await?;
            }
            let succeeded = status
                .as_ref()
                .is_some_and(|s| s.state == TaskState::Succeeded);
            if args.watch || !succeeded {
                let listed = fog.output(&out).await?;
                exit = Some(listed.exit);
                if args.watch {
                    output::print(fog, &listed).await?;
                }
            }
        }
        Ok((id, status.map(|status| (status, exit))))
    })
    .await;
    if let (Err(Fail::Stopped(_)), Some(id)) = (&done, submitted.get()) {
        note!("the task runs on: betanet task show {id}; betanet task cancel {id} ends it");
    }
    let (id, status) = done?;
    let Some((status, exit)) = status else {
        return Ok(());
    };
    if args.fog.json {
        print_json(&status)?;
    } else if status.state == TaskState::Succeeded {
        note!("succeeded, cost {}", money(status.cost));
    }
    outcome(&id.to_string(), &status).map_err(|fail| match exit {
        Some(exit) if status.state == TaskState::Failed => guest(exit, fail.why()),
        _ => fail,
    })
}

/// The failure of a program that ended with an exit code of its own. Codes beyond those of a process become 1.
fn guest(exit: i64, why: &str) -> Fail {
    let code = u8::try_from(exit).ok().filter(|code| *code != 0);
    Fail::Coded(code.unwrap_or(1), format!("{why}; its exit code is {exit}"))
}

/// The exit code of a task that has ended.
pub(super) fn outcome(task: &str, status: &Status) -> Result<(), Fail> {
    let why = match status.reason.as_str() {
        "" => String::new(),
        word => format!(": {} ({word})", reason(word)),
    };
    let text = format!("the task {task} {}{why}", status.state);
    match status.state {
        TaskState::Cancelled => Err(Fail::Coded(CANCELLED, text)),
        TaskState::Expired => Err(Fail::Coded(EXPIRED, text)),
        TaskState::Failed => Err(Fail::Peer(text)),
        _ => Ok(()),
    }
}

async fn plan(args: PlanArgs) -> Result<(), Fail> {
    let (ns, spec) = describe::task(&args.spec)?;
    let blobs = files::checked(std::slice::from_ref(&spec))?;
    with(&args.fog, async |fog| {
        let mut making = Making {
            owner: fog.me(),
            ns: &ns,
            now_ms: Clock::start().now().unix_ms,
            blobs: &blobs,
            made: Default::default(),
        };
        let made = making.task(&spec, nonces()?.array());
        let plan = fog.plan(&made.map_err(refused)?.task).await?;
        if args.fog.json {
            return print_json(&plan);
        }
        for line in planned(&plan) {
            say!("{line}");
        }
        Ok(())
    })
    .await
}

/// A plan in lines.
pub(super) fn planned(plan: &Plan) -> Vec<String> {
    let mut lines = vec![format!("cost at most  {}", money(plan.cost))];
    for (at, copy) in plan.copies.iter().enumerate() {
        let devices: Vec<String> = copy.devs.iter().map(u64::to_string).collect();
        let devices = match devices.is_empty() {
            true => String::new(),
            false => format!(", devices {}", devices.join(" ")),
        };
        lines.push(format!(
            "copy {}        {}{devices}",
            at + 1,
            name(copy.node)
        ));
    }
    if plan.copies.is_empty() && plan.why.is_empty() {
        lines.push(
            "it would wait: no node has joined yet (betanet node token prints what one needs)"
                .to_owned(),
        );
    } else if plan.copies.is_empty() {
        lines.push("it would wait:".to_owned());
        lines.extend(why(&plan.why).iter().map(|line| format!("  {line}")));
    }
    lines
}

async fn show(args: TaskIdArgs) -> Result<(), Fail> {
    let id = task_id(&args.task)?;
    with(&args.fog, async |fog| {
        let status = fog.status(&id).await?;
        if args.fog.json {
            return print_json(&status);
        }
        say!("task      {id}");
        say!("state     {}", status.state);
        if !status.reason.is_empty() {
            say!("reason    {} ({})", reason(&status.reason), status.reason);
        }
        for line in why(&status.why) {
            say!("waits     {line}");
        }
        let most = if status.state.ended() { "" } else { "at most " };
        say!("cost      {most}{}", money(status.cost));
        say!("attempts  {}", status.attempts);
        for copy in &status.copies {
            say!(
                "copy      {} on {}: {}",
                copy.fence,
                name(copy.node),
                copy.state
            );
        }
        if let Some(out) = status.out {
            say!("output    {}", betanet_wire::text::hex(&out));
        }
        Ok(())
    })
    .await
}

async fn cancel(args: TaskIdArgs) -> Result<(), Fail> {
    let id = task_id(&args.task)?;
    with(&args.fog, async |fog| {
        fog.cancel(&id).await?;
        if args.fog.json {
            say!("{}", json!({ "task": id.to_string(), "cancelled": true }));
        }
        Ok(())
    })
    .await
}
