//! What a relay is told and what it wants done.

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey};
use betanet_machine::Time;
use betanet_wire::{ChargeTo, Code, NodeId};

use crate::control::{Cf, Control, Failure, PathId};
use crate::hop::{Header, LinkPath, PathError, Stands};
use crate::sign::Route;

/// One dial to a next hop.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct DialId(u64);

impl DialId {
    pub(super) const FIRST: Self = Self(0);

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(super) const fn number(self) -> u64 {
        self.0
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input<S, A, T> {
    /// A path message came on a session.
    Control {
        /// Whose session it is.
        from: PublicKey,
        /// Who pays for it.
        charge: ChargeTo,
        /// The session.
        session: S,
        /// Whether this node opened it: then it brings no paths.
        ours: bool,
        /// The message.
        control: Control,
    },
    /// A header's signature was looked at.
    Judged(Judged<S>),
    /// A FORWARD stream said which path it is bound to.
    Stream {
        /// Whose session it came on.
        from: NodeId,
        /// Who pays for it.
        charge: ChargeTo,
        /// What that session calls the path.
        path: PathId,
        /// The stream.
        stream: T,
    },
    /// The session with a next hop stands, and has the header.
    Reached {
        /// The dial.
        dial: DialId,
        /// The session.
        ahead: A,
    },
    /// A next hop is not reached.
    Unreached {
        /// The dial.
        dial: DialId,
        /// Why not.
        why: Failure,
    },
    /// A stream that went on is over. This input is never refused.
    Over {
        /// The stream's place.
        place: Place,
        /// Whether the session with the next hop is gone.
        down: bool,
    },
}

/// What is to be done with sessions and streams.
#[derive(Debug)]
pub enum Transmit<S, A, T> {
    /// A header's signature is to be looked at, in whatever thread.
    Check(Box<Work<S>>),
    /// A session's message is answered.
    Answer {
        /// The session.
        to: S,
        /// The answer.
        message: Message,
    },
    /// A session's probe is acknowledged, with how busy this node is.
    Acknowledge {
        /// The session.
        to: S,
        /// The probe's token.
        token: [u8; 8],
    },
    /// A session's header is refused.
    Refuse {
        /// The session.
        to: S,
        /// Why.
        code: Code,
    },
    /// A path's next hop is to be found and dialled, and sent the header.
    Dial {
        /// What its outcome is told under.
        dial: DialId,
        /// The next hop.
        next: NodeId,
        /// Who pays.
        charge: ChargeTo,
        /// From then on nobody waits for it.
        until: Time,
        /// The header.
        control: Control,
    },
    /// A stream goes on: over a stream of the session with the next hop, which begins with the path's name there.
    Open {
        /// The stream.
        stream: T,
        /// The session with the next hop.
        ahead: A,
        /// What that session calls the path.
        onward: PathId,
        /// Its place, to be given back when it is over.
        place: Place,
    },
    /// A path failed: first the session that brought it is told, then the streams that waited are refused.
    Fail {
        /// Who is told, and what; nobody where the path has ended meanwhile.
        told: Option<(S, Message)>,
        /// Streams to refuse.
        streams: Vec<T>,
    },
    /// A stream is refused.
    Reject {
        /// The stream.
        stream: T,
        /// Why.
        code: Code,
    },
}

/// What those above are told.
#[derive(Debug)]
pub enum Event<T> {
    /// A path ends here.
    Ends,
    /// A path goes on.
    GoesOn,
    /// A path or a stream was refused.
    Refused(Refused),
    /// A session begins in a stream.
    Session {
        /// The stream.
        stream: T,
        /// The nodes that its path leads over.
        nodes: Vec<NodeId>,
        /// Who pays for it.
        charge: ChargeTo,
    },
    /// A peer says how busy it is.
    Load {
        /// The peer.
        from: NodeId,
        /// How busy.
        cf: Cf,
    },
}

/// What was refused, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refused {
    /// A header.
    Header(PathError),
    /// A path whose header stands.
    Path(Failure),
    /// A stream: who pays for it has its share of those to the next hop.
    Stream,
}

/// The place of a stream among those to its next hop.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "a place that is not given back is taken for ever"]
pub struct Place {
    pub(super) next: NodeId,
    pub(super) path: LinkPath,
    pub(super) charge: ChargeTo,
}

/// A path message that is to be sent.
#[derive(Clone, Debug)]
pub enum Message {
    /// As it is.
    Ready(Control),
    /// An ERROR that this node signs.
    Error {
        /// The path's nodes.
        route: Route,
        /// What failed.
        why: Failure,
        /// What the session calls the path.
        path: PathId,
    },
}

impl Message {
    /// The message, signed where it needs to be.
    #[must_use]
    pub fn sign(self, me: &Identity) -> Control {
        match self {
            Self::Ready(control) => control,
            Self::Error { route, why, path } => route.error(why, path, me),
        }
    }
}

/// A header whose signature is to be looked at: arithmetic of some 100 µs.
#[derive(Clone, Debug)]
pub struct Work<S> {
    header: Header,
    stamp: u64,
    from: PublicKey,
    charge: ChargeTo,
    session: S,
}

impl<S> Work<S> {
    pub(super) fn new(
        header: Header,
        stamp: u64,
        from: PublicKey,
        (charge, session): (ChargeTo, S),
    ) -> Self {
        Self {
            header,
            stamp,
            from,
            charge,
            session,
        }
    }

    /// Looks at it, and signs what goes on, as the node `me`.
    #[must_use]
    pub fn run(self, me: &Identity) -> Judged<S> {
        Judged {
            stands: self.header.verify(self.stamp, me, &self.from),
            prev: self.from.node_id(),
            charge: self.charge,
            session: self.session,
        }
    }
}

/// What became of a header's signature.
#[derive(Clone, Debug)]
pub struct Judged<S> {
    pub(super) stands: Result<Stands, PathError>,
    pub(super) prev: NodeId,
    pub(super) charge: ChargeTo,
    pub(super) session: S,
}
