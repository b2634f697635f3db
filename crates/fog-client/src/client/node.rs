//! Requests of nodes: join, describe, beat, fetch work, report copies.

use std::time::Duration;

use betanet_bar::Method;
use betanet_fog::bodies::{
    Beat, BeatAnswer, Join, JoinAnswer, LogAnswer, Nack, Start, TokenText, WorkItem,
};
use betanet_fog::{Node, Receipt, Refusal, RefusalCode, Signed, TaskId, Word, to_vec};
use betanet_wire::NodeId;
use bytes::Bytes;

use super::outgoing::Outgoing;
use super::user::node_path;
use super::{FogClient, Items};
use crate::Error;

impl FogClient {
    fn own_path(&self) -> String {
        node_path(&self.me().public().node_id())
    }

    /// Joins the cluster with a token.
    ///
    /// # Errors
    ///
    /// The refusal, or the reason why no coordinator answered.
    pub async fn join(&self, node: &Signed<Node>, token: &TokenText) -> Result<JoinAnswer, Error> {
        let join = Join {
            node: node.envelope().clone(),
            token: token.clone(),
        };
        let out = Outgoing::new("join", Method::Post, "join").with(to_vec(&join));
        self.fetch(&out).await
    }

    /// Writes a new description, whose sequence number is higher than the last.
    ///
    /// # Errors
    ///
    /// See [`FogClient::join`].
    pub async fn describe(&self, node: &Signed<Node>) -> Result<(), Error> {
        let out = Outgoing::new("describe the node", Method::Put, &self.own_path());
        self.tell(&out.with(node.to_bytes())).await.map(drop)
    }

    /// Leaves the cluster. The copies of the node must have ended.
    ///
    /// # Errors
    ///
    /// See [`FogClient::join`].
    pub async fn leave(&self) -> Result<(), Error> {
        let me: NodeId = self.me().public().node_id();
        self.remove_node(&me).await
    }

    /// Sends a beat. It is not repeated by itself, because each sending has a sequence number of its own.
    ///
    /// # Errors
    ///
    /// See [`FogClient::join`].
    pub async fn beat(&self, beat: &Beat) -> Result<BeatAnswer, Error> {
        let path = format!("{}/beat", self.own_path());
        let out = Outgoing::new("beat", Method::Post, &path)
            .with(to_vec(beat))
            .once();
        self.fetch(&out).await
    }

    /// Follows the node's work: copies to run and to drop, after a journal index.
    #[must_use]
    pub fn work(&self, after: u64) -> Items<WorkItem> {
        let path = format!("{}/work", self.own_path());
        let wait = Duration::from_secs(60);
        Items::new(self, "fetch work", path, (after, wait, true))
    }

    /// Reports that a copy runs.
    ///
    /// # Errors
    ///
    /// See [`FogClient::join`].
    pub async fn start(&self, task: &TaskId, fence: u64) -> Result<(), Error> {
        let path = format!("tasks/{task}/start");
        let out = Outgoing::new("report the start", Method::Post, &path);
        let out = out.with(to_vec(&Start { fence }));
        self.tell(&out).await.map(drop)
    }

    /// Gives a copy back.
    ///
    /// # Errors
    ///
    /// See [`FogClient::join`].
    pub async fn nack(&self, task: &TaskId, fence: u64, why: Word) -> Result<(), Error> {
        let path = format!("tasks/{task}/nack");
        let out = Outgoing::new("give the copy back", Method::Post, &path);
        let out = out.with(to_vec(&Nack { why, fence }));
        self.tell(&out).await.map(drop)
    }

    /// Sends a receipt. A worker stores it before.
    ///
    /// # Errors
    ///
    /// See [`FogClient::join`].
    pub async fn done(&self, receipt: &Signed<Receipt>) -> Result<(), Error> {
        let path = format!("tasks/{}/done", receipt.task);
        let out = Outgoing::new("report the result", Method::Post, &path);
        self.tell(&out.with(receipt.to_bytes())).await.map(drop)
    }

    /// Appends a piece of at most 64 KiB to the log of a copy. Returns the offset of the next piece.
    ///
    /// # Errors
    ///
    /// See [`FogClient::join`]; [`Error::Record`] for a longer piece, before anything is sent.
    pub async fn append_log(
        &self,
        task: &TaskId,
        (fence, offset): (u64, u64),
        piece: Bytes,
    ) -> Result<u64, Error> {
        const WHAT: &str = "append to the log";
        const PIECE_MAX: usize = 64 << 10;
        if piece.len() > PIECE_MAX {
            let refusal: Refusal = RefusalCode::TooLarge.bare();
            return Err(Error::Record {
                what: WHAT,
                refusal,
            });
        }
        let path = format!("tasks/{task}/log?fence={fence}&off={offset}");
        let out = Outgoing::new(WHAT, Method::Post, &path).with(piece);
        let answer: LogAnswer = self.fetch(&out).await?;
        Ok(answer.next)
    }
}
