use betanet_wire::NodeId;

use super::TokenText;
use crate::item::record;
use crate::records::ensure;
use crate::{Kind, List, NodeState, Refusal, Word};

record! {
    /// `POST nodes/<id>/state`: a node or its operator asks for another state.
    pub struct StateRequest {
        /// The wanted state.
        "to" to: NodeState,
        /// Moment at which the node is active again, in UNIX ms; 0 means never by itself.
        "until" until: u64,
    }
}

impl StateRequest {
    /// Checks that the state can be asked for: joining and offline follow from beats.
    ///
    /// # Errors
    ///
    /// `bad_value`.
    pub fn check(&self) -> Result<(), Refusal> {
        let never = matches!(self.to, NodeState::Joining | NodeState::Offline);
        ensure(!never, "to")
    }
}

record! {
    /// `POST tokens`: an operator orders a join token.
    pub struct TokenRequest {
        /// The token's ID, chosen by the operator so that a repeated request is the same.
        "id" id: [u8; 16],
        /// Moment from which the token is no longer valid, in UNIX ms.
        "exp" exp: u64,
        /// The organisation that the node must have; empty means any.
        "org" org: Word,
        /// The node that it is for; `None` means any.
        "node" node: Option<NodeId>,
        /// Kinds of nodes that it is for, at least one.
        "kinds" kinds: List<Kind>,
    }
}

impl TokenRequest {
    /// Checks that the token could be used.
    ///
    /// # Errors
    ///
    /// `bad_value` for no kinds, or an end that has passed.
    pub fn check(&self, now_ms: u64) -> Result<(), Refusal> {
        ensure(self.exp > now_ms, "exp")?;
        ensure(!self.kinds.is_empty(), "kinds")
    }
}

record! {
    /// Answer to `POST tokens`.
    pub struct TokenAnswer {
        /// The text of the token.
        "token" token: TokenText,
    }
}
