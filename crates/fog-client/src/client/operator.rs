//! Requests of operators: join tokens, and states of nodes.

use betanet_bar::Method;
use betanet_fog::bodies::{StateRequest, TokenAnswer, TokenRequest, TokenText};
use betanet_fog::to_vec;
use betanet_wire::{NodeId, text};

use super::FogClient;
use super::outgoing::Outgoing;
use super::user::node_path;
use crate::Error;

impl FogClient {
    /// Orders a join token. The same request again gets the same token.
    ///
    /// # Errors
    ///
    /// The refusal, or the reason why no coordinator answered.
    pub async fn token(&self, request: &TokenRequest) -> Result<TokenText, Error> {
        let out = Outgoing::new("order a join token", Method::Post, "tokens");
        let answer: TokenAnswer = self.fetch(&out.with(to_vec(request))).await?;
        Ok(answer.token)
    }

    /// Revokes a join token.
    ///
    /// # Errors
    ///
    /// See [`FogClient::token`].
    pub async fn revoke_token(&self, id: &[u8; 16]) -> Result<(), Error> {
        let path = format!("tokens/{}", text::hex(id));
        let out = Outgoing::new("revoke the join token", Method::Del, &path);
        self.tell(&out).await.map(drop)
    }

    /// Asks for another state of a node: its operator may, and the node itself.
    ///
    /// # Errors
    ///
    /// See [`FogClient::token`].
    pub async fn set_node_state(&self, node: &NodeId, to: &StateRequest) -> Result<(), Error> {
        let path = format!("{}/state", node_path(node));
        let out = Outgoing::new("change the node's state", Method::Post, &path);
        self.tell(&out.with(to_vec(to))).await.map(drop)
    }

    /// Removes a node whose copies have ended: its operator may, and the node itself.
    ///
    /// # Errors
    ///
    /// See [`FogClient::token`].
    pub async fn remove_node(&self, node: &NodeId) -> Result<(), Error> {
        let out = Outgoing::new("remove the node", Method::Del, &node_path(node));
        self.tell(&out).await.map(drop)
    }
}
