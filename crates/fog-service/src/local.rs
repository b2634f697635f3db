//! The coordinator for the process that runs it: what a control panel asks.

use std::sync::Arc;

use betanet_blobs::{Digest as BlobDigest, Error as BlobError};
use betanet_coordinator::{Caller, LastJob, Reply, Request};
use betanet_fog::bodies::{Plan, Status, TokenRequest};
use betanet_fog::{Digest, Job, Output, Refusal, RefusalCode, Signed, Task, TaskId, Word};
use betanet_keys::PublicKey;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use tokio::sync::watch;

use crate::api::{Api, in_time, odd};
use crate::{Coordinator, Handle, settings};

/// The coordinator for the process that runs it. It asks as an operator, like the admin address; who may ask for what is its caller's
/// matter. Clones share the coordinator.
#[derive(Clone)]
pub struct Local(Arc<Api>);

/// Parts of a blob's content, in their order.
pub type BlobParts = BoxStream<'static, std::io::Result<Bytes>>;

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Local").field(&self.0.handle.role()).finish()
    }
}

impl Coordinator {
    /// The coordinator for other parts of this process.
    #[must_use]
    pub fn local(&self) -> Local {
        Local(Arc::clone(self.shared_api()))
    }
}

impl Local {
    /// The way in.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// The key with which tasks of this process are signed: the coordinator's own.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        self.0.identity.public()
    }

    /// The namespaces for which a user is listed.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Word> {
        self.0.roles.namespaces()
    }

    /// Index of the last committed record.
    #[must_use]
    pub fn position(&self) -> u64 {
        *self.0.handle.shared.committed.borrow()
    }

    /// A receiver that learns of each commit.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.handle.commits()
    }

    fn caller(&self) -> Caller {
        let mut caller = settings::itself(self.0.identity.public());
        caller.namespaces = self.0.roles.namespaces();
        caller
    }

    /// Asks as an operator, within the time that requests have.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub async fn ask(&self, request: Request) -> Result<Reply, Refusal> {
        in_time(self.0.handle.ask(self.caller(), request)).await
    }

    /// The status of a task.
    ///
    /// # Errors
    ///
    /// The refusal; `unknown` for a task that is not known.
    pub async fn status(&self, id: TaskId) -> Result<Status, Refusal> {
        match self.ask(Request::Status(id)).await? {
            Reply::Status(status) => Ok(*status),
            _ => Err(odd()),
        }
    }

    /// Size of a stored blob.
    #[must_use]
    pub fn stored(&self, digest: Digest) -> Option<u64> {
        self.0.blobs.has(BlobDigest(digest))
    }

    /// Exit code and files of an output.
    ///
    /// # Errors
    ///
    /// `unknown` for an output that is not stored.
    pub async fn output(&self, digest: Digest) -> Result<Output, Refusal> {
        if self.0.blobs.is_shared() {
            self.ask(Request::Price).await?;
        }
        let output = crate::service::output(&self.0.blobs, digest).await;
        Ok(*output.ok_or(RefusalCode::Unknown.of("digest"))?)
    }

    /// Reads a stored blob: its size, and its content in parts of at most 256 KiB, each verified before it is given out.
    ///
    /// # Errors
    ///
    /// The store's refusal; `unknown` for a blob that is not stored.
    pub async fn blob(&self, digest: Digest) -> Result<(u64, BlobParts), Refusal> {
        if self.0.blobs.is_shared() {
            // In a bucket, blobs are the leader's alone.
            self.ask(Request::Price).await?;
        }
        let digest = BlobDigest(digest);
        let size = self.0.blobs.has(digest);
        let size = size.ok_or(RefusalCode::Unknown.of("digest"))?;
        let content = self.0.blobs.get(digest, 0..size).await;
        let content = content.map_err(crate::api::blob_refusal)?;
        Ok((size, content.map_err(std::io::Error::other).boxed()))
    }

    /// Stores a blob, and keeps it for a day.
    ///
    /// # Errors
    ///
    /// The store's refusal.
    pub async fn store(&self, bytes: Bytes) -> Result<Digest, Refusal> {
        if self.0.blobs.is_shared() {
            // In a bucket, blobs are the leader's alone.
            self.ask(Request::Price).await?;
        }
        let (digest, size) = (BlobDigest::of(&bytes), bytes.len() as u64);
        let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
        let put = self.0.blobs.put(digest, size, body).await;
        put.map_err(crate::api::blob_refusal)?;
        self.0.hold_upload(digest);
        Ok(digest.0)
    }

    /// Checks a task, which the coordinator's key signed, as that of a user.
    fn checked(&self, signed: &Signed<Task>) -> Result<(Caller, Signed<Task>), Refusal> {
        let caller = self.caller();
        if !caller.namespaces.contains(&signed.ns) {
            return Err(RefusalCode::Role.of("ns"));
        }
        if signed.owner != caller.key {
            return Err(RefusalCode::NotYours.of("owner"));
        }
        let now_ms = self.0.handle.shared.clock.now().unix_ms;
        // The same checks as for a record from outside: types, bounds, deadline.
        let signed = Signed::<Task>::open(&signed.to_bytes(), now_ms)?;
        Ok((caller, signed))
    }

    /// Submits a task, whose owner is the coordinator's key.
    ///
    /// # Errors
    ///
    /// The refusal, as at the admin address.
    pub async fn submit(&self, task: Task) -> Result<TaskId, Refusal> {
        let task = Signed::sign(task, &self.0.identity)?;
        let id = task.id();
        self.submit_all(vec![task]).await.map(|_| id)
    }

    async fn submit_one(&self, task: &Signed<Task>) -> Result<TaskId, Refusal> {
        let (caller, task) = self.checked(task)?;
        self.0.check_budget(&caller, &task).await?;
        let (id, missing) = (task.id(), self.0.missing(&task));
        self.0.hold_blobs(&task);
        let task = Box::new(task);
        let submit = Request::Submit { task, missing };
        match in_time(self.0.handle.ask(caller, submit)).await? {
            Reply::Created | Reply::Done => Ok(id),
            _ => Err(odd()),
        }
    }

    /// Submits tasks that the coordinator's key signed, in this order. Their budgets are held first, in one go. If one is refused, those
    /// before it are cancelled, and the budgets of it and of those after it are given back.
    ///
    /// # Errors
    ///
    /// The refusal of the first that is not taken, as at the admin address.
    pub async fn submit_all(&self, tasks: Vec<Signed<Task>>) -> Result<Vec<TaskId>, Refusal> {
        for task in &tasks {
            self.checked(task)?;
        }
        let _all = self.0.begin(&tasks)?;
        self.0.hold_budgets(&tasks).await?;
        let mut sent = Vec::with_capacity(tasks.len());
        for (at, task) in tasks.iter().enumerate() {
            match self.submit_one(task).await {
                Ok(id) => sent.push(id),
                Err(refusal) => {
                    for id in sent {
                        // A task that cannot be cancelled now expires by its deadline.
                        let _ = self.ask(Request::Cancel(id)).await;
                    }
                    // Without an answer of the leader, a task may be taken even so: its budget stays.
                    let untold = refusal.code == RefusalCode::NotLeader;
                    let from = at.saturating_add(usize::from(untold));
                    self.0
                        .release_budgets(tasks.get(from..).unwrap_or_default())
                        .await;
                    return Err(refusal);
                }
            }
        }
        Ok(sent)
    }

    /// Where a task would go now, and its cost. Nothing is changed.
    ///
    /// # Errors
    ///
    /// The refusal, as at the admin address.
    pub async fn plan(&self, task: Task) -> Result<Plan, Refusal> {
        self.plan_signed(Signed::sign(task, &self.0.identity)?)
            .await
    }

    /// Where a task that the coordinator's key signed would go now, and its cost. Nothing is changed.
    ///
    /// # Errors
    ///
    /// The refusal, as at the admin address.
    pub async fn plan_signed(&self, task: Signed<Task>) -> Result<Plan, Refusal> {
        let (caller, task) = self.checked(&task)?;
        let plan = Request::Plan(Box::new(task));
        match in_time(self.0.handle.ask(caller, plan)).await? {
            Reply::Plan(plan) => Ok(*plan),
            _ => Err(odd()),
        }
    }

    /// The present version of a job.
    ///
    /// # Errors
    ///
    /// The refusal; `unknown` for a job that is not known or was deleted.
    pub async fn job(&self, ns: Word, name: Word) -> Result<Signed<Job>, Refusal> {
        match self.ask(Request::Job(ns, name)).await? {
            Reply::Job(envelope) => Signed::<Job>::restore(&envelope),
            _ => Err(odd()),
        }
    }

    /// The last version of a job, deleted ones included; `None` for a job that never was.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub async fn last_job(&self, ns: Word, name: Word) -> Result<Option<LastJob>, Refusal> {
        match self.ask(Request::LastJob(ns, name)).await {
            Ok(Reply::LastJob(last)) => Ok(Some(last)),
            Ok(_) => Err(odd()),
            Err(refusal) if refusal.code == RefusalCode::Unknown => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// States a job's next version, whose owner is the coordinator's key.
    ///
    /// # Errors
    ///
    /// The refusal, as at the admin address.
    pub async fn put_job(&self, job: Job) -> Result<(), Refusal> {
        let caller = self.caller();
        if !caller.namespaces.contains(&job.ns) {
            return Err(RefusalCode::Role.of("ns"));
        }
        let now_ms = self.0.handle.shared.clock.now().unix_ms;
        let signed = Signed::sign(job, &self.0.identity)?;
        let signed = Signed::<Job>::open(&signed.to_bytes(), now_ms)?;
        let put = Request::PutJob(Box::new(signed));
        match in_time(self.0.handle.ask(caller, put)).await? {
            Reply::Created | Reply::Done => Ok(()),
            _ => Err(odd()),
        }
    }

    /// Issues a join token; returns its text.
    ///
    /// # Errors
    ///
    /// The refusal, as at the admin address.
    pub async fn issue_token(&self, request: TokenRequest) -> Result<String, Refusal> {
        let Reply::Token(token) = self.ask(Request::IssueToken(request)).await? else {
            return Err(odd());
        };
        let text = Signed::sign(*token, &self.0.identity)?.to_text()?;
        Ok(text.into_string())
    }

    /// The last bytes of the log of a copy, and the offset at which they begin.
    ///
    /// # Errors
    ///
    /// The store's refusal. A copy that has written nothing has an empty log.
    pub async fn log(&self, task: TaskId, fence: u64, most: u64) -> Result<(u64, Bytes), Refusal> {
        let (logs, name) = (&self.0.logs, BlobDigest(task.0));
        let length = logs.len(name, fence).await;
        let length = length.map_err(crate::api::blob_refusal)?.unwrap_or(0);
        let from = length.saturating_sub(most);
        match logs.read(name, fence, from..length).await {
            Ok(bytes) => Ok((from, bytes)),
            Err(BlobError::NoLog { .. } | BlobError::Range { .. }) => Ok((from, Bytes::new())),
            Err(error) => Err(crate::api::blob_refusal(error)),
        }
    }
}
