//! Makes signed tasks of descriptions.

use std::collections::BTreeMap;

use betanet_fog::{
    Input, List, Map, Module, Refusal, RefusalCode, Resources, Signed, Source, Task, TaskId, Word,
};
use betanet_fog_client::Blob;
use betanet_runtime::Identity;

use super::task::{BlobSource, InputSource, TaskSpec};

/// Digest and size of a blob.
type Known = ([u8; 32], u64);

/// Signs the tasks of one submission.
pub(crate) struct Making<'a> {
    pub(crate) owner: &'a Identity,
    pub(crate) ns: &'a Word,
    pub(crate) now_ms: u64,
    /// Blobs of local files, by path.
    pub(crate) blobs: &'a BTreeMap<std::path::PathBuf, Blob>,
    /// IDs of the tasks of the same job that were made before, by name.
    pub(crate) made: BTreeMap<String, TaskId>,
}

/// A signed task.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) task: Signed<Task>,
}

const BAD: RefusalCode = RefusalCode::BadValue;

impl Making<'_> {
    fn known(&self, source: &BlobSource) -> Option<Known> {
        match source {
            BlobSource::File(path) => {
                let blob = self.blobs.get(path)?;
                Some((*blob.digest(), blob.size()))
            }
            BlobSource::Stored { digest, size } => Some((*digest, *size)),
        }
    }

    /// Makes and signs a task. Those that it comes after were made before.
    pub(crate) fn task(&mut self, spec: &TaskSpec, nonce: [u8; 16]) -> Result<Made, Refusal> {
        let (digest, size) = self.known(&spec.module).ok_or(BAD.of("module"))?;
        let of = |name: &String| self.made.get(name).copied().ok_or(BAD.of("after"));
        let mut after = spec.after.iter().map(of).collect::<Result<Vec<_>, _>>()?;
        after.extend(&spec.after_ids);
        let mut inputs = Vec::new();
        for (path, source) in &spec.inputs {
            let source = match source {
                InputSource::Blob(blob) => {
                    let (digest, size) = self.known(blob).ok_or(BAD.of("inputs"))?;
                    Source::Blob { digest, size }
                }
                InputSource::Output { task, file } => Source::File {
                    task: of(task)?,
                    path: file.clone(),
                },
                InputSource::OutputOf { task, file } => Source::File {
                    task: *task,
                    path: file.clone(),
                },
            };
            inputs.push(Input {
                path: path.clone(),
                source,
            });
        }
        let start = match spec.start {
            0 => 0,
            ms => self.now_ms.saturating_add(ms),
        };
        let task = Task {
            ns: self.ns.clone(),
            env: Map::try_from(spec.env.clone()).map_err(|_| BAD.of("env"))?,
            res: Resources::demand(spec.amounts)?,
            rsv: spec.rsv,
            args: List::try_from(spec.args.clone()).map_err(|_| BAD.of("args"))?,
            fuel: spec.fuel,
            prio: spec.prio,
            tier: spec.tier,
            after: List::try_from(after).map_err(|_| BAD.of("after"))?,
            group: spec.group.clone(),
            level: spec.level,
            nonce,
            owner: *self.owner.public().as_bytes(),
            place: spec.place.clone(),
            retry: spec.retry,
            start,
            budget: spec.budget,
            grants: List::try_from(spec.grants.clone()).map_err(|_| BAD.of("grants"))?,
            inputs: List::try_from(inputs).map_err(|_| BAD.of("inputs"))?,
            module: Module { digest, size },
            run_ms: spec.run_ms,
            verify: spec.verify,
            offline: spec.offline,
            out_max: spec.out_max,
            deadline: self.now_ms.saturating_add(spec.deadline),
            strategy: spec.strategy,
        };
        let task = Signed::sign(task, self.owner)?;
        self.made.insert(spec.name.clone(), task.id());
        Ok(Made {
            name: spec.name.clone(),
            task,
        })
    }
}
