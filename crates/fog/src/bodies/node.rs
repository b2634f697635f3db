use alloc::string::String;
use core::fmt;

use betanet_wire::NodeId;
use betanet_wire::cbor::{Reader, Writer};
use zeroize::Zeroizing;

use crate::item::{record, tuple};
use crate::shape::{refuse, tag_of};
use crate::{Envelope, Item, List, Refusal, RefusalCode, Shape, TaskId, Text, Word};

/// Text of a join token: whoever knows it may use it. It prints as `…`, and is wiped on drop.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct TokenText(Zeroizing<String>);

impl TokenText {
    /// The text, exposed on purpose.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Text> for TokenText {
    fn from(text: Text) -> Self {
        Self(Zeroizing::new(text.into_string()))
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Item for TokenText {
    const SHAPE: Shape = Shape::Text;
    fn encode(&self, w: &mut Writer) {
        w.text(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        Text::decode(r).map(Self::from)
    }
}

record! {
    /// `POST join`: a node asks to be a part of the cluster.
    pub struct Join {
        /// Its signed description.
        "node" node: Envelope,
        /// The text of its token.
        "token" token: TokenText,
    }
}

record! {
    /// Answer to `POST join`.
    pub struct JoinAnswer {
        /// Time until the first beat, in ms.
        "ttl" ttl: u64,
        /// Silence after which the node is offline, in ms.
        "down" down: u64,
        /// Journal index at which the node joined.
        "join" join: u64,
        /// The leader's epoch.
        "epoch" epoch: u64,
        /// Keys of the cluster's coordinators.
        "coords" coords: List<[u8; 32]>,
    }
}

/// A copy that a node holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Held {
    /// The task.
    pub task: TaskId,
    /// The copy's fence.
    pub fence: u64,
}

/// A measured round-trip time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RoundTrip {
    /// The other node.
    pub node: NodeId,
    /// The time in ms.
    pub ms: u64,
}

tuple!(Held {
    task: TaskId,
    fence: u64,
});
tuple!(RoundTrip {
    node: NodeId,
    ms: u64,
});

record! {
    /// `POST nodes/<id>/beat`: a node reports that it lives.
    pub struct Beat {
        /// Round-trip times to other nodes.
        "rtt" rtt: List<RoundTrip, 16>,
        /// Rises with each sending.
        "seq" seq: u64,
        /// Blobs that it no longer holds.
        "gone" gone: List<[u8; 32], 1024>,
        /// All copies that it holds and has not reported.
        "have" have: List<Held, 1024>,
        /// Whether it takes new copies.
        "work" work: bool,
    }
}

record! {
    /// Answer to a beat.
    pub struct BeatAnswer {
        /// Time until the next beat, in ms.
        "ttl" ttl: u64,
        /// Silence after which the node is offline, in ms.
        "down" down: u64,
        /// The leader's epoch.
        "epoch" epoch: u64,
    }
}

record! {
    /// A copy to run.
    pub struct RunCopy {
        /// Journal index of the item.
        "at" at: u64,
        /// The signed task.
        "task" task: Envelope,
        /// The signed assignment.
        "work" work: Envelope,
    }
}

record! {
    /// A copy to drop.
    pub struct DropCopy {
        /// Journal index of the item.
        "at" at: u64,
        /// Reason, for people.
        "why" why: Word,
        /// The task.
        "task" task: TaskId,
        /// The copy's fence.
        "fence" fence: u64,
    }
}

/// An item of `GET nodes/<id>/work`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum WorkItem {
    /// Run a copy.
    Run(RunCopy),
    /// Drop a copy.
    Drop(DropCopy),
}

/// The word that tells the two kinds of item apart.
const TAG: &str = "do";

impl Item for WorkItem {
    const SHAPE: Shape = Shape::Tagged(
        TAG,
        &[
            (
                "run",
                &Shape::Record(&[
                    ("at", &Shape::Unsigned),
                    (TAG, &Shape::Choice(&["run"])),
                    ("task", &Envelope::SHAPE),
                    ("work", &Envelope::SHAPE),
                ]),
            ),
            (
                "drop",
                &Shape::Record(&[
                    ("at", &Shape::Unsigned),
                    (TAG, &Shape::Choice(&["drop"])),
                    ("why", &Shape::Word),
                    ("task", &TaskId::SHAPE),
                    ("fence", &Shape::Unsigned),
                ]),
            ),
        ],
    );

    fn encode(&self, w: &mut Writer) {
        let (n, at, tag) = match self {
            Self::Run(run) => (4, run.at, "run"),
            Self::Drop(drop) => (5, drop.at, "drop"),
        };
        w.map(n);
        w.text("at");
        at.encode(w);
        w.text(TAG);
        w.text(tag);
        match self {
            Self::Run(run) => {
                w.text("task");
                run.task.encode(w);
                w.text("work");
                run.work.encode(w);
            }
            Self::Drop(drop) => {
                w.text("why");
                drop.why.encode(w);
                w.text("task");
                drop.task.encode(w);
                w.text("fence");
                drop.fence.encode(w);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        // The tag is one more key that either record passes over.
        match tag_of(&mut r.clone(), TAG, "")? {
            "run" => RunCopy::decode(r).map(Self::Run),
            "drop" => DropCopy::decode(r).map(Self::Drop),
            _ => {
                r.skip().map_err(|e| refuse(e, ""))?;
                Err(RefusalCode::Malformed.of(TAG))
            }
        }
    }
}

record! {
    /// `POST tasks/<id>/start`: the copy runs.
    pub struct Start {
        /// The copy's fence.
        "fence" fence: u64,
    }
}

record! {
    /// `POST tasks/<id>/nack`: the node gives the copy back.
    pub struct Nack {
        /// Reason, for people.
        "why" why: Word,
        /// The copy's fence.
        "fence" fence: u64,
    }
}

record! {
    /// Answer to a piece of a copy's log.
    pub struct LogAnswer {
        /// Offset of the next piece.
        "next" next: u64,
    }
}
