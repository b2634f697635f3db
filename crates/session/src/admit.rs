//! The interface between a session's task and the policy that admits peers.

use std::borrow::Cow;
use std::net::IpAddr;
use std::task::Context;

use betanet_htx::Session;
use betanet_machine::{Now, Time};
use betanet_wire::{ChargeTo, Code, NodeId};

/// The reason for closing a session as soon as it is open. The CLOSE carries both fields to the peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denied {
    /// Code of the CLOSE.
    pub code: Code,
    /// Reason text of the CLOSE.
    pub reason: Cow<'static, str>,
}

/// Decides for one session whether it may stay open, and how many streams its peer may open.
pub trait Admit: Send {
    /// The peer's IP address, or `None` where the session does not come directly.
    fn ip(&self) -> Option<IpAddr> {
        None
    }

    /// The party charged for the resources that a session with this peer occupies.
    fn charge(&self, peer: NodeId) -> ChargeTo {
        ChargeTo::Node(peer)
    }

    /// Called when the handshake is finished. Decides whether the session may stay open.
    ///
    /// # Errors
    ///
    /// The code and the reason with which the session is closed.
    fn enter(&mut self, _now: Now, _session: &Session) -> Result<(), Denied> {
        Ok(())
    }

    /// Returns whether the peer may open one more stream now.
    fn may_open(&mut self, _now: Time, _peer: NodeId) -> bool {
        true
    }

    /// Returns whether another session waits for this session's place. The task is woken when one does.
    fn is_doubted(&mut self, _cx: &Context<'_>) -> bool {
        false
    }

    /// Called when the session is over and sends its last bytes.
    fn leave(&mut self) {}
}

/// Admits everything, for sessions to peers that this node dialled.
#[derive(Clone, Copy, Debug)]
pub struct Dialled;

impl Admit for Dialled {}
