//! `betanet task run --local`: the sandbox of a worker, without a network.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use betanet_fog::{Outcome, Signed, Task};
use betanet_fog_worker::{job, outcome, output};
use betanet_keys::Identity;
use betanet_sandbox::{ChildProgram, Ended, Program, Sandbox, Settings};
use serde_json::json;

use super::{described, files, guest, output as folder, refused};
use crate::args::RunArgs;
use crate::fail::{chain, interruptible};
use crate::fog::spec::{BlobSource, InputSource, Making, TaskSpec};
use crate::{Fail, state};

/// Most bytes of compiled modules that are kept.
const COMPILED_MAX: u64 = 1 << 30;

pub(super) async fn run(args: RunArgs) -> Result<(), Fail> {
    let (ns, spec) = described(&args)?;
    if let Some(place) = &args.output {
        folder::check(place)?;
    }
    let blobs = files::read(std::slice::from_ref(&spec))?;
    // Equal programs, arguments and inputs are equal tasks here, so they have the same seed and clock on each run.
    let owner = Identity::from_seed(&[0; 32]);
    let mut making = Making {
        owner: &owner,
        ns: &ns,
        now_ms: 0,
        blobs: &blobs,
        made: Default::default(),
    };
    let task = making.task(&spec, [0; 16]).map_err(refused)?.task;
    if task.grants.contains(&betanet_fog::Grant::Network) {
        let why = "--local: programs reach no network here; leave the grant \"network\" out";
        return Err(Fail::Usage(why.to_owned()));
    }
    let work = tempfile::tempdir().map_err(|e| Fail::Local(format!("a temporary folder: {e}")))?;
    let left = work.path().join("out");
    std::fs::create_dir(&left).map_err(Fail::file(&left))?;
    let ended = interruptible(execute(&args, &task, &spec, &left)).await?;
    let (status, exit) = outcome(ended.status);
    let made = match status.has_output() {
        true => Some(output(&ended).map_err(|e| Fail::Peer(e.to_string()))?),
        false => None,
    };
    if made.is_some() {
        if let Some(place) = &args.output {
            keep(&ended, &left, place)?;
        }
        if !args.fog.json {
            show(&left.join("stdout"))?;
        }
    }
    if args.fog.json {
        say!(
            "{}",
            json!({
                "status": status.as_str(),
                "reason": ended.reason,
                "exit": made.as_ref().map(|m| m.exit),
                "fuel": ended.fuel,
                "out": made.as_ref().map(|m| betanet_wire::text::hex(&m.digest())),
            })
        );
    }
    match status {
        Outcome::Ok => Ok(()),
        Outcome::Exit => Err(guest(exit, "the program ended")),
        Outcome::Internal => Err(Fail::Local(why(&ended))),
        _ => Err(Fail::Peer(why(&ended))),
    }
}

fn why(ended: &Ended) -> String {
    format!("the program ended as {}: {}", ended.status, ended.reason)
}

/// The file of a blob.
fn file(source: &BlobSource) -> Result<&Path, Fail> {
    match source {
        BlobSource::File(path) => Ok(path),
        BlobSource::Stored { .. } => Err(Fail::Usage(
            "--local: a blob that a coordinator stores cannot be used; name a file".into(),
        )),
    }
}

async fn execute(
    args: &RunArgs,
    task: &Signed<Task>,
    spec: &TaskSpec,
    left: &Path,
) -> Result<Ended, Fail> {
    let mut inputs: Vec<(String, PathBuf)> = Vec::new();
    for (path, source) in &spec.inputs {
        let InputSource::Blob(blob) = source else {
            let why = "--local: the output of another task cannot be an input; name a file";
            return Err(Fail::Usage(why.to_owned()));
        };
        inputs.push((path.as_str().to_owned(), file(blob)?.to_owned()));
    }
    let program = Program {
        digest: task.module.digest,
        file: file(&spec.module)?.to_owned(),
    };
    let child = ChildProgram::this();
    let sandbox = Sandbox::open(Settings {
        folder: state::folder(args.fog.dial.state.as_deref())
            .folder()
            .join("compiled"),
        child: child.map_err(|e| Fail::Local(format!("this program: {e}")))?,
        spare: 0,
        cache_max: COMPILED_MAX,
        idle: false,
    });
    let sandbox = sandbox.await.map_err(|e| Fail::Local(chain(&e)))?;
    let log = |bytes: &[u8]| {
        // An error of standard error can be reported nowhere.
        let _ = std::io::stderr().write_all(bytes);
    };
    let job = job(task, &task.id(), inputs, left);
    Ok(sandbox.run(program, job, log).await)
}

/// Copies what the program left to a new folder.
fn keep(ended: &Ended, from: &Path, to: &Path) -> Result<(), Fail> {
    std::fs::create_dir(to).map_err(Fail::file(to))?;
    for file in &ended.files {
        let place = to.join(&file.path);
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent).map_err(Fail::file(parent))?;
        }
        std::fs::copy(from.join(&file.path), &place).map_err(Fail::file(&place))?;
    }
    Ok(())
}

/// Prints a file on standard output.
fn show(file: &Path) -> Result<(), Fail> {
    use std::io::Read as _;
    let mut reader = match std::fs::File::open(file) {
        Ok(reader) => reader,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Fail::file(file)(e)),
    };
    let mut piece = vec![0; 64 << 10];
    loop {
        let n = reader.read(&mut piece).map_err(Fail::file(file))?;
        if n == 0 || crate::output::is_closed() {
            return Ok(());
        }
        crate::output::print(&piece[..n]);
    }
}
