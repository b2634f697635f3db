//! Joining the cluster, and what a restart needs to join again.

use std::sync::Arc;
use std::time::Duration;

use betanet_fog::bodies::{JoinAnswer, StateRequest, TokenText};
use betanet_fog::{Node, NodeState, RefusalCode, Signed, Text};
use betanet_fog_client::{Error as FogError, FogClient};
use betanet_store::{Kind, Storage};
use tokio::time::sleep;

use crate::Error;

const TOKEN: Kind = Kind::new("fog-token", 1);
const DRAINED: Kind = Kind::new("fog-drained", 1);
const TOKEN_NAME: &str = "token";
const DRAINED_NAME: &str = "drained";
/// First and longest pause before another attempt to join.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The node's place in its cluster.
pub(crate) struct Membership {
    storage: Arc<dyn Storage>,
    client: FogClient,
}

/// Whether repeating changes nothing.
const fn is_final(code: RefusalCode) -> bool {
    !matches!(code.status(), 429 | 503)
}

impl Membership {
    pub(crate) const fn new(storage: Arc<dyn Storage>, client: FogClient) -> Self {
        Self { storage, client }
    }

    fn stored(&self) -> Result<Option<TokenText>, Error> {
        let Some(loaded) = self.storage.load(TOKEN, TOKEN_NAME)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&loaded.bytes).ok();
        let text: Option<Text> = text.and_then(|text| text.parse().ok());
        let text = text.ok_or_else(|| self.storage.unreadable(TOKEN_NAME))?;
        Ok(Some(text.into()))
    }

    /// Joins with the given token or that of an earlier run. Tries until a coordinator answers.
    pub(crate) async fn join(
        &self,
        node: &Signed<Node>,
        given: Option<TokenText>,
    ) -> Result<JoinAnswer, Error> {
        let stored = self.stored()?;
        let same = given.as_ref() == stored.as_ref();
        let mut tokens = given.into_iter().chain(stored.filter(|_| !same));
        let mut token = tokens.next().ok_or(Error::NoToken)?;
        let mut pause = PAUSES.0;
        loop {
            let error = match self.client.join(node, &token).await {
                Ok(answer) => {
                    let text = token.expose().as_bytes();
                    self.storage.replace(TOKEN, TOKEN_NAME, text)?;
                    self.describe(node).await;
                    return Ok(answer);
                }
                Err(error) => error,
            };
            match error.code().filter(|code| is_final(*code)) {
                // A new token for a node that is there: the one with which it joined stays right.
                Some(_) => match tokens.next() {
                    Some(other) => token = other,
                    None => return Err(Error::Join(Box::new(error))),
                },
                None => {
                    tracing::warn!(error = %reason(&error), "the node cannot join yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Writes the description. Where the node has just joined with it, this changes nothing.
    async fn describe(&self, node: &Signed<Node>) {
        if let Err(error) = self.client.describe(node).await {
            tracing::warn!(error = %reason(&error), "the coordinator keeps the node's earlier description");
        }
    }

    async fn set_state(&self, to: NodeState, until: u64) -> Result<(), FogError> {
        let me = self.client.me().public().node_id();
        let wanted = StateRequest { to, until };
        self.client.set_node_state(&me, &wanted).await
    }

    /// Tells the coordinator that the node takes nothing new. The next start ends that again.
    pub(crate) async fn drain(&self, until_ms: u64) {
        if let Err(error) = self.storage.replace(DRAINED, DRAINED_NAME, b"1") {
            // Without the note, the node would stay in maintenance.
            tracing::warn!(%error, "the node does not tell that it drains");
            return;
        }
        if let Err(error) = self.set_state(NodeState::Draining, until_ms).await {
            tracing::warn!(error = %reason(&error), "the coordinator does not know that the node drains");
        }
    }

    /// Ends a drain that [`Membership::drain`] began in an earlier run. It also ends maintenance that an operator began meanwhile.
    pub(crate) async fn undrain(&self) -> Result<(), Error> {
        if self.storage.load(DRAINED, DRAINED_NAME)?.is_none() {
            return Ok(());
        }
        match self.set_state(NodeState::Active, 0).await {
            Ok(()) => {}
            Err(error) if error.code().is_some_and(is_final) => {
                tracing::warn!(error = %reason(&error), "the node stays as the coordinator has it");
            }
            Err(error) => {
                tracing::warn!(error = %reason(&error), "the node may still count as drained");
                return Ok(());
            }
        }
        self.storage.remove(DRAINED_NAME)?;
        Ok(())
    }
}

/// An error with its causes.
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = source.source();
    }
    text
}
