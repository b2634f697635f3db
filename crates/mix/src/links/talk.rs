//! What the links of a node are told and what they want done.

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
    /// Who pays for the session has its part of them.
    Address,
    /// Who pays has its part of the links.
    LinkShare,
    /// Nobody of the next node's name takes packets.
    Unknown,
    /// The next node was not reached in time.
    Dead,
}

/// What became of what a link asked for.
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

/// What is to be done for a link, one thing at a time.
#[derive(Debug)]
pub enum LinkTransmit {
    /// A stream to the next node is to be opened.
    Open {
        /// What its outcome is told under.
        op: Op,
        /// What the packet came over that wants it.
        via: Via,
        /// From then on nobody waits for it.
        until: Time,
    },
    /// Packets are to be written to the link's stream.
    Write {
        /// What the outcome is told under.
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

/// What became of packets, whose buffers are free.
#[derive(Debug)]
pub enum LinkEvent {
    /// They were sent.
    Sent {
        /// The packets.
        packets: Vec<Departure>,
    },
    /// They were dropped.
    Dropped {
        /// Why.
        cause: Cause,
        /// The packets.
        packets: Vec<Departure>,
    },
}
