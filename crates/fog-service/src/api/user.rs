//! Requests of users, and what anybody may read.

use std::sync::Arc;

use betanet_blobs::Digest as BlobDigest;
use betanet_coordinator::{Caller, Reply, Request};
use betanet_fog::bodies::{Event, Status, TopologyList};
use betanet_fog::{
    Commitment, Envelope, Item, Job, List, NodeState, Order, Received, Refusal, RefusalCode,
    Signed, Source, Task, TaskState, Word, from_slice, to_vec,
};

use super::blob::NAMED;
use super::{Answer, Api, Op, Query, Verified, Way, odd, status};

/// Items of a page by default.
const PAGE: u64 = 100;

impl Api {
    pub(super) async fn user(
        self: &Arc<Self>,
        op: Op,
        by: Verified,
        query: &Query,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        match op {
            Op::Submit(id) => {
                let (caller, task) = self.task_of(by, body, Some(id)).await?;
                let _one = self.begin(std::slice::from_ref(&task))?;
                self.check_budget(&caller, &task).await?;
                let missing = self.missing(&task);
                self.hold_blobs(&task);
                let task = Box::new(task);
                self.order(caller, Request::Submit { task, missing }).await
            }
            Op::Plan => {
                let (caller, task) = self.task_of(by, body, None).await?;
                let Reply::Plan(plan) = self.ask(caller, Request::Plan(Box::new(task))).await?
                else {
                    return Err(odd());
                };
                Ok(Answer::item(200, &*plan))
            }
            Op::Status(id) => match query.number("wait")? {
                None => {
                    let asked = Request::Status(id);
                    let answer = self.ask_as_user(by.way, by.caller, asked).await?;
                    let Reply::Status(status) = answer else {
                        return Err(odd());
                    };
                    Ok(Answer::item(200, &*status))
                }
                Some(wait) => {
                    let items = self.statuses(by, id, wait).await?;
                    Ok(Answer::Items(items, &Status::SHAPE))
                }
            },
            Op::Cancel(id) => {
                let asked = Request::Cancel(id);
                status(&self.ask_as_user(by.way, by.caller, asked).await?)
            }
            Op::PutJob(ns, name) => {
                let authentic = self.keys.verify(Received::<Job>::read(body)?)?;
                let signer = *authentic.signer();
                let way = by.way;
                let caller = by.sends(self, &signer);
                if caller.key != *signer.as_bytes() {
                    return Err(RefusalCode::NotYours.of("owner"));
                }
                if !caller.namespaces.contains(&authentic.namespace()?) {
                    return Err(RefusalCode::Role.of("ns"));
                }
                let job = authentic.check(self.now_ms())?;
                if (&job.ns, &job.name) != (&ns, &name) {
                    return Err(RefusalCode::BadValue.of("name"));
                }
                let asked = Request::PutJob(Box::new(job));
                status(&self.ask_as_user(way, caller, asked).await?)
            }
            Op::GetJob(ns, name) => {
                let Reply::Job(job) = self.ask(by.caller, Request::Job(ns, name)).await? else {
                    return Err(odd());
                };
                Ok(Answer::Item(200, job.into_vec(), &Envelope::SHAPE))
            }
            Op::DeleteJob(ns, name) => self.order(by.caller, Request::DeleteJob(ns, name)).await,
            Op::Tasks => {
                let state = query.word("state", TaskState::from_word)?;
                self.tasks(by.caller, query, state).await
            }
            Op::Dead => self.tasks(by.caller, query, Some(TaskState::Failed)).await,
            Op::Nodes => {
                let asked = Request::Nodes {
                    state: query.word("state", NodeState::from_word)?,
                    after: query.node("after")?,
                    n: query.number("n")?.unwrap_or(PAGE),
                };
                let Reply::Nodes(page) = self.ask(by.caller, asked).await? else {
                    return Err(odd());
                };
                Ok(Answer::item(200, &*page))
            }
            Op::Events => {
                let items = self.events(by, query).await?;
                Ok(Answer::Items(items, &Event::SHAPE))
            }
            Op::Topology => {
                let Reply::Topology(items) = self.ask(by.caller, Request::Topology).await? else {
                    return Err(odd());
                };
                let items = List::try_from(items).unwrap_or_default();
                Ok(Answer::item(200, &TopologyList { items }))
            }
            Op::Price => {
                let Reply::Price(price) = self.ask(by.caller, Request::Price).await? else {
                    return Err(odd());
                };
                Ok(Answer::item(200, &price))
            }
            Op::Seed(day) => {
                let Reply::Seed(seed) = self.ask(by.caller, Request::Seed(day)).await? else {
                    return Err(odd());
                };
                Ok(Answer::item(200, &seed))
            }
            Op::Commit => {
                let authentic = self.keys.verify(Received::<Commitment>::read(body)?)?;
                let signer = *authentic.signer();
                let commitment = authentic.check(self.now_ms())?;
                self.check_hold(&commitment).await?;
                let caller = by.sends(self, &signer);
                self.order(caller, Request::Commit(Box::new(commitment)))
                    .await
            }
            Op::Reveal => {
                let order: Order = from_slice(body)?;
                let mut caller = by.caller;
                if by.way == Way::Admin {
                    caller.key = order.by;
                }
                self.order(caller, Request::Reveal(order)).await
            }
            Op::Market(tier, round) => {
                let after = query.digest("after")?;
                let asked = Request::Market { tier, round, after };
                let Reply::Market(view) = self.ask(by.caller, asked).await? else {
                    return Err(odd());
                };
                Ok(Answer::item(200, &*view))
            }
            _ => Err(odd()),
        }
    }

    async fn tasks(
        &self,
        caller: Caller,
        query: &Query,
        state: Option<TaskState>,
    ) -> Result<Answer, Refusal> {
        let ns = query.parsed("ns", |text| text.parse::<Word>().ok())?;
        let asked = Request::Tasks {
            ns: ns.unwrap_or_default(),
            state,
            after: query.task("after")?,
            n: query.number("n")?.unwrap_or(PAGE),
        };
        let Reply::Tasks(page) = self.ask(caller, asked).await? else {
            return Err(odd());
        };
        Ok(Answer::item(200, &*page))
    }

    /// Keeps the blobs that a task names until the next sweep finds them named.
    pub(crate) fn hold_blobs(&self, task: &Signed<Task>) {
        self.hold(BlobDigest(task.module.digest), NAMED);
        for input in &task.inputs {
            if let Source::Blob { digest, .. } = &input.source {
                self.hold(BlobDigest(*digest), NAMED);
            }
        }
    }

    /// The first key that names a blob which is not stored.
    pub(crate) fn missing(&self, task: &Signed<Task>) -> Option<&'static str> {
        let stored = |digest, size| self.blobs.has(BlobDigest(digest)) == Some(size);
        if !stored(task.module.digest, task.module.size) {
            return Some("module");
        }
        let lacks = task.inputs.iter().any(|input| match &input.source {
            Source::Blob { digest, size } => !stored(*digest, *size),
            Source::File { .. } => false,
        });
        lacks.then_some("inputs")
    }
}

/// Encodes items.
pub(super) fn encoded<T: Item>(items: Vec<T>) -> Vec<Vec<u8>> {
    items.iter().map(to_vec).collect()
}
