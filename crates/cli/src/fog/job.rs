//! `betanet job`.

mod read;
mod together;
mod versions;

use std::cell::Cell;
use std::path::Path;

use betanet_fog::{Job, RefusalCode, Signed, Task, TaskState, Word};
use betanet_fog_client::FogClient;
use betanet_runtime::Clock;
use serde_json::json;

use super::spec::{self, JobSpec, Made, Making, Problem};
use super::task::{Watched, files, level, nonces, outcome, planned, refused, store, watch};
use super::{print_json, with};
use crate::Fail;
use crate::args::{FogArgs, JobCommand, JobNameArgs, JobPlanArgs, JobRunArgs, JobValidateArgs};
use crate::economy::escrow;
pub(crate) use read::Reader;
use versions::{Version, Versions};

pub(super) async fn run(command: JobCommand) -> Result<(), Fail> {
    match command {
        JobCommand::Validate(args) => validate(&args),
        JobCommand::Plan(args) => plan(args).await,
        JobCommand::Run(args) => start(args).await,
        JobCommand::Stop(args) => stop(args).await,
        JobCommand::Revert(args) => revert(args).await,
    }
}

fn told(problem: &Problem) -> serde_json::Value {
    json!({ "key": problem.key, "value": problem.value, "why": problem.allowed })
}

fn validate(args: &JobValidateArgs) -> Result<(), Fail> {
    let file = args.file.as_path();
    match spec::job(file)? {
        Ok(job) if args.json => {
            let names: Vec<&str> = job.tasks.iter().map(|t| t.name.as_str()).collect();
            say!("{}", json!({ "ok": true, "problems": [], "tasks": names }));
            Ok(())
        }
        Ok(job) => {
            let n = job.tasks.len();
            say!(
                "{}: valid; {}/{} has {n} tasks",
                file.display(),
                job.ns.as_str(),
                job.name.as_str()
            );
            Ok(())
        }
        Err(problems) if args.json => {
            let all: Vec<_> = problems.iter().map(told).collect();
            say!("{}", json!({ "ok": false, "problems": all }));
            Err(Fail::Usage(format!(
                "{} values cannot be used",
                problems.len()
            )))
        }
        Err(problems) => Err(spec::fail(Some(file), &problems)),
    }
}

fn read(file: &Path) -> Result<JobSpec, Fail> {
    spec::job(file)?.map_err(|problems| spec::fail(Some(file), &problems))
}

/// Signs the tasks of a job, in an order in which they can be submitted.
fn make(fog: &FogClient, job: &JobSpec, blobs: &files::Blobs) -> Result<Vec<Made>, Fail> {
    let mut nonces = nonces()?;
    let mut making = Making {
        owner: fog.me(),
        ns: &job.ns,
        now_ms: Clock::start().now().unix_ms,
        blobs,
        made: Default::default(),
    };
    let mut made = Vec::new();
    for spec in &job.tasks {
        let task = making.task(spec, nonces.array());
        made.push(task.map_err(|refusal| match refused(refusal) {
            Fail::Usage(why) => Fail::Usage(format!("task.{}: {why}", spec.name)),
            other => other,
        })?);
    }
    Ok(made)
}

/// A job whose tasks can be planned: a coordinator plans a task with tasks before it only once it knows those.
fn without_order(job: &JobSpec) -> JobSpec {
    let mut job = job.clone();
    for spec in &mut job.tasks {
        spec.after.clear();
        let known =
            |source: &spec::InputSource| !matches!(source, spec::InputSource::Output { .. });
        spec.inputs.retain(|(_, source)| known(source));
    }
    job
}

async fn plan(args: JobPlanArgs) -> Result<(), Fail> {
    let job = without_order(&read(&args.file)?);
    let blobs = files::checked(&job.tasks)?;
    let weights = together::weights(args.weights.as_deref())?;
    with(&args.fog, async |fog| {
        if args.together {
            let made = make(fog, &job, &blobs)?;
            return together::propose(fog, &made, (&weights, args.fog.json)).await;
        }
        let mut total: u64 = 0;
        for made in make(fog, &job, &blobs)? {
            let plan = fog.plan(&made.task).await?;
            total = total.saturating_add(plan.cost);
            if args.fog.json {
                print_json(&plan)?;
                continue;
            }
            say!("{}:", made.name);
            for line in planned(&plan) {
                say!("  {line}");
            }
        }
        if !args.fog.json {
            say!("all tasks cost at most {}", super::text::money(total));
        }
        Ok(())
    })
    .await
}

/// Submits tasks and writes the job's next version. If that fails, the submitted tasks are cancelled.
async fn submit(
    fog: &FogClient,
    (ns, name): (&Word, &Word),
    (tasks, kept): (&[Signed<Task>], u64),
) -> Result<u64, Fail> {
    let ver = match fog.job(ns, name).await {
        Ok(job) => job.ver.saturating_add(1),
        // A job that was deleted goes on above its last version, which only those who ran it know.
        Err(error) if error.code() == Some(RefusalCode::Unknown) => kept.saturating_add(1),
        Err(error) => return Err(error.into()),
    };
    let mut sent = Vec::new();
    let done = async {
        for task in tasks {
            fog.submit(task).await?;
            sent.push(task.id());
        }
        put(fog, (ns, name), tasks, ver).await
    }
    .await;
    if done.is_err() {
        for id in &sent {
            // A task that cannot be cancelled now expires by its deadline.
            let _ = fog.cancel(id).await;
        }
        if !sent.is_empty() {
            note!(
                "note: {} tasks that were submitted before are cancelled",
                sent.len()
            );
        }
    }
    done
}

/// Writes a version.
async fn put(
    fog: &FogClient,
    (ns, name): (&Word, &Word),
    tasks: &[Signed<Task>],
    ver: u64,
) -> Result<u64, Fail> {
    let ids: Vec<_> = tasks.iter().map(Signed::id).collect();
    let tasks = ids
        .try_into()
        .map_err(|_| Fail::Usage("a job has at most 1024 tasks".into()))?;
    let job = Job {
        ns: ns.clone(),
        ver,
        name: name.clone(),
        owner: *fog.me().public().as_bytes(),
        tasks,
    };
    let job = Signed::sign(job, fog.me()).map_err(refused)?;
    fog.put_job(&job).await?;
    Ok(ver)
}

async fn start(args: JobRunArgs) -> Result<(), Fail> {
    let job = read(&args.file)?;
    for spec in &job.tasks {
        level::check(spec.level, &args.fog, args.wait)?;
    }
    let blobs = files::checked(&job.tasks)?;
    let place = (&job.ns, &job.name);
    let submitted = Cell::new(false);
    let done = with(&args.fog, async |fog| {
        store(fog, &blobs).await?;
        let made = make(fog, &job, &blobs)?;
        let tasks: Vec<Signed<Task>> = made.iter().map(|m| m.task.clone()).collect();
        if args.paid.escrow {
            // Nothing is held for tasks that would be refused.
            for made in make(fog, &without_order(&job), &blobs)? {
                fog.plan(&made.task).await?;
            }
            let tasks: Vec<&Signed<Task>> = tasks.iter().collect();
            escrow::hold(&args.paid, &args.fog.dial, &tasks).await?;
        }
        let version = Version::new(&made, &blobs);
        finish(fog, &args.fog, place, (&tasks, version)).await?;
        submitted.set(true);
        if !args.wait {
            return Ok(());
        }
        let watched: Vec<Watched> = made
            .iter()
            .map(|made| Watched {
                id: made.task.id(),
                name: made.name.clone(),
            })
            .collect();
        wait(fog, &watched).await
    })
    .await;
    if matches!(done, Err(Fail::Stopped(_))) && submitted.get() {
        note!(
            "the job runs on: betanet job stop {}/{} ends it",
            job.ns,
            job.name
        );
    }
    done
}

/// Submits a version, keeps it for later, and prints it.
async fn finish(
    fog: &FogClient,
    args: &FogArgs,
    (ns, name): (&Word, &Word),
    (tasks, mut version): (&[Signed<Task>], Version),
) -> Result<(), Fail> {
    let versions = Versions::new(args, fog.me(), ns, name);
    version.ver = submit(fog, (ns, name), (tasks, versions.last()?)).await?;
    if args.json {
        say!(
            "{}",
            json!({ "job": format!("{ns}/{name}"), "ver": version.ver, "tasks": version.list() })
        );
    } else {
        say!("{ns}/{name} version {}", version.ver);
        for (name, id) in version.list() {
            say!("{id} {name}");
        }
    }
    if let Err(fail) = versions.add(version) {
        note!(
            "note: the job runs, but its version is not kept for `job revert`: {}",
            fail.why()
        );
    }
    Ok(())
}

async fn wait(fog: &FogClient, watched: &[Watched]) -> Result<(), Fail> {
    let statuses = watch(fog, watched).await?;
    let bad = watched.iter().zip(&statuses);
    let bad: Vec<_> = bad
        .filter(|(_, s)| s.state != TaskState::Succeeded)
        .collect();
    for (task, status) in &bad {
        if let Err(fail) = outcome(&task.name, status) {
            note!("{}", fail.why());
        }
    }
    match bad.len() {
        0 => Ok(()),
        n => Err(Fail::Peer(format!(
            "{n} of {} tasks did not succeed",
            watched.len()
        ))),
    }
}

/// Reads NS/NAME.
fn job_name(text: &str) -> Result<(Word, Word), Fail> {
    let read = || {
        let (ns, name) = text.split_once('/')?;
        let word = |w: &str| w.parse().ok().filter(|w: &Word| !w.is_empty());
        Some((word(ns)?, word(name)?))
    };
    read().ok_or_else(|| Fail::Usage(format!("{text}: a job is NS/NAME")))
}

async fn stop(args: JobNameArgs) -> Result<(), Fail> {
    let (ns, name) = job_name(&args.job)?;
    with(&args.fog, async |fog| {
        fog.delete_job(&ns, &name).await?;
        if args.fog.json {
            say!("{}", json!({ "job": args.job, "stopped": true }));
        } else {
            note!("{}: stopped, and its tasks are cancelled", args.job);
        }
        Ok(())
    })
    .await
}

async fn revert(args: JobNameArgs) -> Result<(), Fail> {
    let (ns, name) = job_name(&args.job)?;
    with(&args.fog, async |fog| {
        let now_ms = Clock::start().now().unix_ms;
        let present = fog.job(&ns, &name).await?.ver;
        let versions = Versions::new(&args.fog, fog.me(), &ns, &name);
        let old = versions.before(present)?;
        let (tasks, version) = old.again(fog.me(), now_ms)?;
        for task in &tasks {
            level::check(task.level, &args.fog, true)?;
        }
        for blob in version.blobs() {
            fog.put_blob(&blob).await?;
        }
        note!(
            "version {present} is replaced by the tasks of version {}",
            old.ver
        );
        let names = version.list().into_iter().map(|(name, _)| name);
        let watched: Vec<Watched> = names
            .zip(&tasks)
            .map(|(name, task)| Watched {
                id: task.id(),
                name,
            })
            .collect();
        let covers = tasks.iter().any(|task| task.level.cover());
        finish(fog, &args.fog, (&ns, &name), (&tasks, version)).await?;
        if covers {
            // Cover traffic lasts as long as this command.
            return wait(fog, &watched).await;
        }
        Ok(())
    })
    .await
}
