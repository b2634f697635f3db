//! The inputs, transmits and events of a relay.

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

/// Something that happened.
#[derive(Debug)]
pub enum Input<S, A, T> {
    /// A path message came on a session.
    Control {
        /// Whose session it is.
        from: PublicKey,
        /// The payer.
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
        /// The payer.
        charge: ChargeTo,
        /// The path's name on that session.
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

/// Something to do with sessions and streams.
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
        /// Code of the refusal.
        code: Code,
    },
    /// A path's next hop is to be found and dialled, and sent the header.
    Dial {
        /// The name under which its outcome is told.
        dial: DialId,
        /// The next hop.
        next: NodeId,
        /// The payer.
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
        /// The path's name on that session.
        onward: PathId,
        /// Its place, to be given back when it is over.
        place: Place,
    },
    /// A path failed: first the session that brought it is told, then the streams that waited are refused.
    Fail {
        /// The session to tell, and the message. It is `None` where the path has ended meanwhile.
        told: Option<(S, Message)>,
        /// Streams to refuse.
        streams: Vec<T>,
    },
    /// A stream is refused.
    Reject {
        /// The stream.
        stream: T,
        /// Code of the refusal.
        code: Code,
    },
}

/// News for those above.
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
        /// The payer.
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

/// A refusal and its reason.
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
        /// The failure.
        why: Failure,
        /// The path's name on the session.
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

/// The outcome of a look at a header's signature.
#[derive(Clone, Debug)]
pub struct Judged<S> {
    pub(super) stands: Result<Stands, PathError>,
    pub(super) prev: NodeId,
    pub(super) charge: ChargeTo,
    pub(super) session: S,
}
