//! The inputs, transmits and events of a node's links.

use alloc::vec::Vec;

use betanet_machine::Time;
use betanet_wire::NodeId;

use crate::share::Via;
use crate::waiting::Departure;

/// One thing that a link asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Op {
    /// The next node.
    pub next: NodeId,
    /// The link, which no later one shares.
    pub id: u64,
    pub(super) turn: u64,
}

/// Why a link does not stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fails {
    /// Nobody of this name takes packets.
    Unknown,
    /// Nothing is known of it, and as many are looked for as may be.
    Busy,
    /// It is not reached now.
    Down,
}

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// As many wait as may, for this next node or for all; or as many links stand.
    LinkFull,
    /// The session has its part of the packets that wait for links.
    Session,
    /// The session's payer has its part of them.
    Address,
    /// The payer has its part of the links.
    LinkShare,
    /// Nobody of the next node's name takes packets.
    Unknown,
    /// The next node was not reached in time.
    Dead,
}

/// The outcome of a link's request.
#[derive(Debug)]
pub enum LinkInput {
    /// A stream is open.
    Opened {
        /// For which it was wanted.
        op: Op,
    },
    /// No stream was opened.
    Failed {
        /// For which it was wanted.
        op: Op,
        /// Why not.
        why: Fails,
    },
    /// Packets were written.
    Written {
        /// For which they were written.
        op: Op,
        /// The packets.
        packets: Vec<Departure>,
    },
    /// The stream is gone, or took too long.
    Broken {
        /// For which it was written to.
        op: Op,
        /// The packets that it was to take.
        packets: Vec<Departure>,
    },
}

/// A link's request. Each link has one at a time.
#[derive(Debug)]
pub enum LinkTransmit {
    /// A stream to the next node is to be opened.
    Open {
        /// The name under which its outcome is told.
        op: Op,
        /// The way of the packet that wants it.
        via: Via,
        /// From then on nobody waits for it.
        until: Time,
    },
    /// Packets are to be written to the link's stream.
    Write {
        /// The name under which the outcome is told.
        op: Op,
        /// The packets.
        packets: Vec<Departure>,
        /// When it has taken too long.
        until: Time,
    },
    /// The link is over, and its stream with it.
    Close {
        /// The link.
        id: u64,
    },
}

/// The end of packets. Their buffers are free.
#[derive(Debug)]
pub enum LinkEvent {
    /// They were sent.
    Sent {
        /// The packets.
        packets: Vec<Departure>,
    },
    /// They were dropped.
    Dropped {
        /// Reason for the drop.
        cause: Cause,
        /// The packets.
        packets: Vec<Departure>,
    },
}
