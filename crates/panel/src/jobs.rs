//! Jobs of the panel: their files, the versions that are kept, and what is done with them.

use betanet_auth::Permission;
use betanet_coordinator::{LastJob, Request};
use betanet_fog::bodies::Plan;
use betanet_fog::{Job, Level, Refusal, RefusalCode, Signed, TaskId, Word};

use crate::cx::Cx;
use crate::error::Unavailable;
use crate::fault::Fault;
use crate::kept::Version;
use crate::place::Place;
use crate::reading::{JobFile, Reading};

/// Longest job file, in bytes.
pub(crate) const FILE_MAX: usize = 32 << 10;
/// Jobs that a list shows.
pub(crate) const LISTED_MAX: usize = 5_000;

/// Reason why a job file is not used.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// What is wrong with the file, a sentence each.
    File(Vec<String>),
    Fault(Fault),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        Self::Fault(refusal.into())
    }
}

impl From<Unavailable> for Wrong {
    fn from(error: Unavailable) -> Self {
        Self::Fault(error.into())
    }
}

/// A job file that was given.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) text: String,
    pub(crate) json: bool,
}

impl Given {
    /// Reads the fields `file` and `format`.
    pub(crate) fn of(fields: &crate::form::Fields) -> Result<Self, Fault> {
        // Browsers send lines of forms with CR.
        let text = fields.raw("file").replace("\r\n", "\n");
        let json = match fields.get("format") {
            "" | "toml" => false,
            "json" => true,
            _ => return Err(Fault::Field("format")),
        };
        match text.len() {
            1..=FILE_MAX => Ok(Self { text, json }),
            0 => Err(Fault::Field("file")),
            _ => Err(Fault::TooLarge),
        }
    }

    pub(crate) const fn format(&self) -> &'static str {
        if self.json { "json" } else { "toml" }
    }

    fn read(&self, cx: &Cx, reading: Reading) -> Result<JobFile, Wrong> {
        let mut rng = cx.shared.rng();
        let now_ms = cx.shared.now_ms();
        let reader = &cx.shared.jobs;
        let file = reader.read(&self.text, self.json, reading, now_ms, &mut rng);
        let file = file.map_err(Wrong::File)?;
        cx.need(Permission::Submit, Some(&file.ns))?;
        if file.tasks.iter().any(|(_, t)| t.level != Level::Public) {
            // Its requests would have to come over the mix, which a browser does not use.
            return Err(RefusalCode::PrivacyRoute.of("level").into());
        }
        Ok(file)
    }
}

/// The last version of a job, deleted ones included. Refuses a job of another key, of which no version can be stated here.
async fn last(cx: &Cx, ns: &Word, name: &Word) -> Result<Option<LastJob>, Fault> {
    let local = &cx.shared.local;
    let last = local.last_job(ns.clone(), name.clone()).await?;
    match last {
        Some(job) if job.owner != *local.key().as_bytes() => {
            Err(RefusalCode::NotYours.of("owner").into())
        }
        last => Ok(last),
    }
}

/// The number of the version that runs; 0 for none.
fn running(last: Option<LastJob>) -> u64 {
    last.filter(|job| !job.deleted).map_or(0, |job| job.ver)
}

/// The present version of a job, and its tasks; `None` if there is none.
pub(crate) async fn present(cx: &Cx, ns: &Word, name: &Word) -> Result<Option<Signed<Job>>, Fault> {
    match cx.shared.local.job(ns.clone(), name.clone()).await {
        Ok(job) => Ok(Some(job)),
        Err(refusal) if refusal.code == RefusalCode::Unknown => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The versions of a job that are kept and were stated, oldest first. A file is written down before its version is stated, so the last
/// one may never have run.
pub(crate) async fn versions(cx: &Cx, ns: &Word, name: &Word) -> Result<Vec<Version>, Fault> {
    let last = cx.shared.local.last_job(ns.clone(), name.clone()).await?;
    let mut kept = cx.shared.kept.of(ns, name).await;
    kept.retain(|v| last.is_some_and(|job| v.ver <= job.ver));
    Ok(kept)
}

/// Where the tasks of a job would go, and what would change.
pub(crate) struct Planned {
    pub(crate) ns: Word,
    pub(crate) name: Word,
    /// Number of the version that it would replace; 0 for none.
    pub(crate) replaces: u64,
    /// Tasks that would be cancelled, unless they have ended.
    pub(crate) cancels: usize,
    /// The file of that version, if the panel ran it.
    pub(crate) old: Option<String>,
    /// Plan of each task, by its name.
    pub(crate) tasks: Vec<(String, Plan)>,
}

/// Plans a job. Nothing is changed.
pub(crate) async fn plan(cx: &Cx, given: &Given) -> Result<Planned, Wrong> {
    let file = given.read(cx, Reading::Plan)?;
    let replaces = running(last(cx, &file.ns, &file.name).await?);
    let present = present(cx, &file.ns, &file.name).await?;
    let kept = versions(cx, &file.ns, &file.name).await?;
    let old = kept.into_iter().find(|v| v.ver == replaces);
    let mut tasks = Vec::new();
    for (name, task) in file.tasks {
        tasks.push((name, cx.shared.local.plan_signed(task).await?));
    }
    Ok(Planned {
        cancels: present.as_ref().map_or(0, |j| j.tasks.len()),
        ns: file.ns,
        name: file.name,
        replaces,
        old: old.map(|v| v.text),
        tasks,
    })
}

/// A version that was run.
pub(crate) struct Ran {
    pub(crate) ns: Word,
    pub(crate) name: Word,
    pub(crate) ver: u64,
    pub(crate) tasks: Vec<TaskId>,
}

/// Learns what came of a version that was about to be stated when the panel or its coordinator stopped. The turn is the caller's.
async fn settle(cx: &Cx) -> Result<(), Wrong> {
    let kept = &cx.shared.kept;
    let Some(left) = kept.pending().await else {
        return Ok(());
    };
    let stated = match (left.ns.parse(), left.name.parse()) {
        (Ok(ns), Ok(name)) => {
            let last = cx.shared.local.last_job(ns, name).await?;
            last.is_some_and(|job| job.ver >= left.ver)
        }
        _ => false,
    };
    let _ = kept.settle(stated).await;
    Ok(())
}

/// Runs a job: submits its tasks, and states its next version. If that fails, the tasks are cancelled. With `replaces`, only if the
/// present version is that one, so that nobody replaces what they did not see.
pub(crate) async fn run(cx: &Cx, given: &Given, replaces: Option<u64>) -> Result<Ran, Wrong> {
    let JobFile { ns, name, tasks } = given.read(cx, Reading::Run)?;
    let place = Place::In(Some(ns.to_string()));
    let target = format!("job {ns}/{name}");
    cx.begin(Permission::Submit, place, target).await?;
    // Nobody else states a version from here on, and none of these has another's file.
    let kept = &cx.shared.kept;
    let _turn = kept.turn().await;
    settle(cx).await?;
    let last = last(cx, &ns, &name).await?;
    if replaces.is_some_and(|seen| seen != running(last)) {
        return Err(RefusalCode::Version.of("ver").into());
    }
    // A job that was stopped goes on above its last version.
    let ver = last.map_or(0, |job| job.ver).saturating_add(1);
    let local = &cx.shared.local;
    let tasks: Vec<_> = tasks.into_iter().map(|(_, task)| task).collect();
    let sent = local.submit_all(tasks).await?;
    let version = Version {
        at: cx.shared.now_ms(),
        by: cx.who()?.name.clone(),
        ns: ns.to_string(),
        ver,
        json: given.json,
        name: name.to_string(),
        text: given.text.clone(),
    };
    // The file is written down before its version is stated: after a crash between the two, no version that runs lacks its file. If it
    // cannot be written, the job runs even so, and the log says what is wrong.
    let _ = kept.prepare(version).await;
    let stated = async {
        let all = sent.clone().try_into();
        let job = Job {
            ns: ns.clone(),
            ver,
            name: name.clone(),
            owner: *local.key().as_bytes(),
            tasks: all.map_err(|_| RefusalCode::TooLarge.of("tasks"))?,
        };
        local.put_job(job).await
    };
    if let Err(refusal) = stated.await {
        for id in sent {
            // A task that cannot be cancelled now expires by its deadline.
            let _ = local.ask(Request::Cancel(id)).await;
        }
        // Without an answer, it may be stated even so, and whoever runs a job next learns that.
        if refusal.code == RefusalCode::Version {
            let _ = kept.settle(false).await;
        }
        return Err(refusal.into());
    }
    let _ = kept.settle(true).await;
    Ok(Ran {
        ns,
        name,
        ver,
        tasks: sent,
    })
}

/// The job that the path names, for a caller who may do this in its namespace.
pub(crate) fn named(cx: &Cx, permission: Permission) -> Result<(Word, Word), Fault> {
    let word = |n: usize| {
        let word: Option<Word> = cx.vars.get(n).and_then(|v| v.parse().ok());
        word.filter(|w| !w.is_empty()).ok_or(Fault::Missing)
    };
    let (ns, name) = (word(0)?, word(1)?);
    cx.need(permission, Some(&ns))?;
    Ok((ns, name))
}

/// Stops a job: its tasks are cancelled.
pub(crate) async fn stop(cx: &Cx) -> Result<(Word, Word), Fault> {
    let (ns, name) = named(cx, Permission::Submit)?;
    let place = Place::In(Some(ns.to_string()));
    let target = format!("job {ns}/{name}");
    cx.begin(Permission::Submit, place, target).await?;
    let end = Request::DeleteJob(ns.clone(), name.clone());
    cx.shared.local.ask(end).await?;
    Ok((ns, name))
}

/// The kept version before the present one, or the last one of a job that was stopped.
pub(crate) async fn before(cx: &Cx, ns: &Word, name: &Word) -> Result<Given, Fault> {
    let now = present(cx, ns, name).await?.map_or(u64::MAX, |j| j.ver);
    let kept = versions(cx, ns, name).await?;
    let mut earlier = kept.into_iter().rev().filter(|v| v.ver < now);
    let old = earlier
        .next()
        .ok_or(Fault::Fog(RefusalCode::Unknown.of("ver")))?;
    Ok(Given {
        text: old.text,
        json: old.json,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_file_is_bounded() {
        let given = |file: String, format: &str| {
            let mut fields = crate::form::Fields::default();
            fields.add("file".to_owned(), file).unwrap();
            fields.add("format".to_owned(), format.to_owned()).unwrap();
            Given::of(&fields)
        };
        assert_eq!(given("a\r\nb".to_owned(), "json").unwrap().text, "a\nb");
        assert!(given("x".repeat(FILE_MAX), "").is_ok());
        let long = given("x".repeat(FILE_MAX + 1), "");
        assert_eq!(long.unwrap_err(), Fault::TooLarge);
        assert_eq!(given(String::new(), "").unwrap_err(), Fault::Field("file"));
        assert_eq!(
            given("x".into(), "yaml").unwrap_err(),
            Fault::Field("format")
        );
    }
}
