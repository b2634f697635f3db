//! One session over its carrier: the task that drives it, the handles of its users, and the services that answer its peer.
//!
//! **Promises.** One task per session drives the layers over its carrier. Credit bounds the data that a peer can send, end to
//! end. All waiting users are notified when the session ends, with the reason. A slow service does not delay any other.
//!
//! **Below:** `stack`, `carrier`. **Above:** `dial`, which opens sessions, and `runtime`, which listens and admits.
//! **Source:** profile chapters 2 and 8 (`spec-vectors/PROFILE.md`).
//!
//! A [`Driver`] uses three interfaces: [`Admit`] decides whether its session may stay, [`Paths`] and [`StreamRegistry`] handle
//! streams of other types than BAR, and [`Count`] counts events.

mod admit;
mod ciphers;
mod clock;
mod count;
mod driver;
mod error;
mod exchange;
mod facts;
mod kind;
pub mod ops;
mod padding;
mod paths;
mod room;
mod service;
mod session;
mod stream_carrier;
mod stream_type;
mod streams;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use admit::{Admit, Denied, Dialled};
pub use betanet_carrier::client::Facts as OuterFacts;
pub use ciphers::{NativeCiphers, native};
pub use clock::{Clock, seed};
pub use count::Count;
pub use driver::{Controls, Driver, OnSilence, Opened, Silence};
pub use error::Error;
pub use exchange::{ExchangeError, Feed, Inbox};
pub use facts::{Outcome, SessionFacts};
pub use kind::ErrorKind;
pub use ops::{AnswerBody as Answer, Body, RawSender, RawStream};
pub use paths::{CameFrom, Paths};
pub use room::{Part, Room, Share};
pub use service::{
    Allowance, BodyError, BodySource, Broken, CHUNK, Call, CallBody, Exchange, HandlerService,
    Lent, Next, OwnTask, Reply, ReplyBody, RequestSource, Router, Running, Service, ServiceFuture,
    TRICKLE, Tower, TowerService,
};
pub use session::{SessionHandle, Upload};
pub use stream_carrier::ForwardCarrier;
pub use stream_type::{StreamType, StreamTypeError};
pub use streams::{PeerSession, StreamRegistry, Streams, Substream, session_id};
