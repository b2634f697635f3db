//! Requests of users: tasks, jobs, lists, prices and the auction.

use std::time::Duration;

use betanet_bar::Method;
use betanet_fog::bodies::{
    Event, MarketView, NodeList, Plan, Price, SeedView, Status, TaskList, TopologyList,
};
use betanet_fog::{Commitment, Digest, Job, Order, Signed, Task, TaskId, Text, Tier, Word, to_vec};
use betanet_keys::Name;
use betanet_wire::{NodeId, text};

use super::outgoing::Outgoing;
use super::{FogClient, Items, Log, Stored};
use crate::Error;

/// Filters and paging of a list.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lists {
    /// Namespace; empty means all.
    pub ns: Word,
    /// State; empty means all.
    pub state: Word,
    /// ID after which the page begins, in hex; empty for the first page.
    pub after: Text,
    /// Most items of the page, up to 1 000; 0 leaves it to the coordinator.
    pub n: u64,
}

impl Lists {
    fn path(&self, list: &str) -> String {
        let mut path = list.to_owned();
        let mut mark = '?';
        let n = match self.n {
            0 => String::new(),
            n => n.to_string(),
        };
        // A word and hex digits need no escapes.
        let after: String = self.after.chars().filter(char::is_ascii_hexdigit).collect();
        for (key, value) in [
            ("ns", self.ns.as_str()),
            ("state", self.state.as_str()),
            ("after", after.as_str()),
            ("n", n.as_str()),
        ] {
            if !value.is_empty() {
                path.push(mark);
                path.push_str(&format!("{key}={value}"));
                mark = '&';
            }
        }
        path
    }

    /// Turns to the page that begins after this ID.
    pub fn turn(&mut self, next: &[u8]) {
        self.after = text::hex(next).parse().unwrap_or_default();
    }
}

fn task_path(task: &TaskId) -> String {
    format!("tasks/{task}")
}

fn job_path(ns: &Word, name: &Word) -> String {
    format!("jobs/{ns}/{name}")
}

impl FogClient {
    /// Checks that a task's level allows this client's route. The task must not be sent otherwise.
    fn check_route(&self, what: &'static str, task: &Task) -> Result<(), Error> {
        let relays = self.relays();
        if task.level.relays() <= relays {
            return Ok(());
        }
        Err(Error::Route {
            what,
            level: task.level,
            relays,
        })
    }

    /// Submits a task. Its blobs must be stored.
    ///
    /// # Errors
    ///
    /// [`Error::Route`] before anything is sent; the refusal, or the reason why no coordinator answered.
    pub async fn submit(&self, task: &Signed<Task>) -> Result<Stored, Error> {
        const WHAT: &str = "submit the task";
        self.check_route(WHAT, task)?;
        let path = task_path(&task.id());
        let out = Outgoing::new(WHAT, Method::Put, &path).with(task.to_bytes());
        self.tell(&out).await
    }

    /// Returns a task's status.
    ///
    /// # Errors
    ///
    /// The refusal, or the reason why no coordinator answered.
    pub async fn status(&self, task: &TaskId) -> Result<Status, Error> {
        let out = Outgoing::get("look at the task", &task_path(task));
        self.fetch(&out).await
    }

    /// Follows a task's status: its present one, and each change. A status may repeat the one before.
    #[must_use]
    pub fn watch(&self, task: &TaskId) -> Items<Status> {
        let wait = Duration::from_secs(30);
        let what = "watch the task";
        Items::new(self, what, task_path(task), (0, wait, true))
    }

    /// Cancels a task.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn cancel(&self, task: &TaskId) -> Result<(), Error> {
        let out = Outgoing::new("cancel the task", Method::Del, &task_path(task));
        self.tell(&out).await.map(drop)
    }

    /// Asks where a task would be placed, and for how much. Nothing is changed.
    ///
    /// # Errors
    ///
    /// See [`FogClient::submit`].
    pub async fn plan(&self, task: &Signed<Task>) -> Result<Plan, Error> {
        const WHAT: &str = "plan the task";
        self.check_route(WHAT, task)?;
        let out = Outgoing::new(WHAT, Method::Post, "plan").with(task.to_bytes());
        self.fetch(&out).await
    }

    /// Fetches the log of the copy with this fence, without its first `from` bytes.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn log(&self, task: &TaskId, fence: u64, from: u64) -> Result<Log, Error> {
        let what = "fetch the log";
        let path = format!("{}/log?fence={fence}", task_path(task));
        let answer = self.send(&Outgoing::get(what, &path)).await?;
        Ok(Log {
            what,
            body: answer.body,
            skip: from,
        })
    }

    /// Writes a job. Its tasks must be submitted; those of the last version alone are cancelled.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn put_job(&self, job: &Signed<Job>) -> Result<Stored, Error> {
        let path = job_path(&job.ns, &job.name);
        let out = Outgoing::new("write the job", Method::Put, &path).with(job.to_bytes());
        self.tell(&out).await
    }

    /// Returns a job's present version, with its owner's signature checked.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`]; [`Error::Record`] for a job that its owner did not sign.
    pub async fn job(&self, ns: &Word, name: &Word) -> Result<Signed<Job>, Error> {
        const WHAT: &str = "look at the job";
        let answer = self.send(&Outgoing::get(WHAT, &job_path(ns, name))).await?;
        let bytes = self.whole(WHAT, answer).await?;
        let now = self.clock().now().unix_ms;
        Signed::open(&bytes, now).map_err(|refusal| Error::Record {
            what: WHAT,
            refusal,
        })
    }

    /// Deletes a job and cancels its tasks.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn delete_job(&self, ns: &Word, name: &Word) -> Result<(), Error> {
        let out = Outgoing::new("stop the job", Method::Del, &job_path(ns, name));
        self.tell(&out).await.map(drop)
    }

    /// Lists tasks.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn tasks(&self, lists: &Lists) -> Result<TaskList, Error> {
        let out = Outgoing::get("list tasks", &lists.path("tasks"));
        self.fetch(&out).await
    }

    /// Lists tasks that failed.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn dead(&self, lists: &Lists) -> Result<TaskList, Error> {
        let out = Outgoing::get("list failed tasks", &lists.path("dead"));
        self.fetch(&out).await
    }

    /// Lists nodes.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn nodes(&self, lists: &Lists) -> Result<NodeList, Error> {
        let out = Outgoing::get("list nodes", &lists.path("nodes"));
        self.fetch(&out).await
    }

    /// Reads events after a journal index. With `follow`, waits for more without end; otherwise reads one request's worth.
    #[must_use]
    pub fn events(&self, after: u64, follow: bool) -> Items<Event> {
        let wait = Duration::from_secs(if follow { 60 } else { 0 });
        let what = "read events";
        Items::new(self, what, "events".to_owned(), (after, wait, follow))
    }

    /// Returns the last snapshots of the cluster, oldest first.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn topology(&self) -> Result<TopologyList, Error> {
        let out = Outgoing::get("look at the topology", "topology");
        self.fetch(&out).await
    }

    /// Returns the present demand factors.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn price(&self) -> Result<Price, Error> {
        let out = Outgoing::get("look at the prices", "price");
        self.fetch(&out).await
    }

    /// Returns the secret of a day, counted from 1970, or its hash.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn seed(&self, day: u64) -> Result<SeedView, Error> {
        let out = Outgoing::get("look at the day's secret", &format!("seed/{day}"));
        self.fetch(&out).await
    }

    /// Returns a page of an auction's round.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn market(
        &self,
        tier: Tier,
        round: u64,
        after: Option<&Digest>,
    ) -> Result<MarketView, Error> {
        let mut path = format!("market/{tier}/{round}");
        if let Some(after) = after {
            path.push_str(&format!("?after={}", text::hex(after)));
        }
        self.fetch(&Outgoing::get("look at the auction", &path))
            .await
    }

    /// Commits to an order.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn commit(&self, commitment: &Signed<Commitment>) -> Result<(), Error> {
        let out = Outgoing::new("commit to the order", Method::Post, "market/commit");
        self.tell(&out.with(commitment.to_bytes())).await.map(drop)
    }

    /// Reveals an order.
    ///
    /// # Errors
    ///
    /// See [`FogClient::status`].
    pub async fn reveal(&self, order: &Order) -> Result<(), Error> {
        let out = Outgoing::new("reveal the order", Method::Post, "market/reveal");
        self.tell(&out.with(to_vec(order))).await.map(drop)
    }
}

/// Path of a node.
pub(super) fn node_path(id: &NodeId) -> String {
    format!("nodes/{}", text::hex(&id.0))
}

/// NodeID of a name or of hex digits.
#[must_use]
pub fn node_id(text: &str) -> Option<NodeId> {
    let named = text.parse::<Name>().map(|name| name.node_id()).ok();
    named.or_else(|| text::unhex_array(text).map(NodeId))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_a_query_without_empty_values() {
        assert_eq!(Lists::default().path("tasks"), "tasks");
        let mut lists = Lists {
            ns: "acme".parse().unwrap(),
            n: 5,
            ..Lists::default()
        };
        lists.turn(&[0xab, 1]);
        assert_eq!(lists.path("tasks"), "tasks?ns=acme&after=ab01&n=5");
        // An ID of the command line cannot add parameters.
        lists.after = "ab&n=9".parse().unwrap();
        assert_eq!(lists.path("dead"), "dead?ns=acme&after=ab9&n=5");
    }
}
