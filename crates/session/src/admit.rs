//! The seam between a session's task and whoever lets peers in.

use std::borrow::Cow;
use std::net::IpAddr;
use std::task::Context;

use betanet_htx::Session;
use betanet_machine::{Now, Time};
use betanet_wire::{ChargeTo, Code, NodeId};

/// Why a session is closed as soon as it stands. The peer is told both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denied {
    /// The code of the CLOSE.
    pub code: Code,
    /// The reason in the CLOSE.
    pub reason: Cow<'static, str>,
}

/// Decides for one session whether it may stay, and how much its peer may open.
pub trait Admit: Send {
    /// The address that the session comes from, where it comes directly.
    fn ip(&self) -> Option<IpAddr> {
        None
    }

    /// Who pays for what the session with this peer makes the node hold.
    fn charge(&self, peer: NodeId) -> ChargeTo {
        ChargeTo::Node(peer)
    }

    /// The handshake is finished: whether the session may stay.
    ///
    /// # Errors
    ///
    /// The code and the reason that the session is closed with.
    fn enter(&mut self, _now: Now, _session: &Session) -> Result<(), Denied> {
        Ok(())
    }

    /// Whether the peer may open one more stream now.
    fn may_open(&mut self, _now: Time, _peer: NodeId) -> bool {
        true
    }

    /// Whether another session waits for this one's place. The task is woken when one does.
    fn is_doubted(&mut self, _cx: &Context<'_>) -> bool {
        false
    }

    /// The session is over, and sends its last bytes.
    fn leave(&mut self) {}
}

/// Admits everything: the peer was dialled by this node.
#[derive(Clone, Copy, Debug)]
pub struct Dialled;

impl Admit for Dialled {}
