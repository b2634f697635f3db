//! A relayed stream: passes its bytes both ways, and releases its place at the end.

use std::sync::Arc;

use betanet_htx::kind;
use betanet_path::PathId;
use betanet_path::relay::{Input, Place};
use betanet_wire::Code;
use bytes::{Bytes, BytesMut};

use super::super::RawStream;
use super::super::load::Load;
use super::{Begun, Relay};
use betanet_session::{Error, SessionHandle};

/// A stream's place at the relay, until this is dropped.
pub(super) struct Held {
    relay: Arc<Relay>,
    place: Option<Place>,
}

impl Held {
    pub(super) const fn new(relay: Arc<Relay>, place: Place) -> Self {
        Self {
            relay,
            place: Some(place),
        }
    }

    fn over(&mut self, down: bool) {
        if let Some(place) = self.place.take() {
            self.relay.input(Input::Over { place, down });
        }
    }
}

impl Drop for Held {
    /// The stream broke off. This says nothing about the next hop, and needs no action.
    fn drop(&mut self) {
        self.over(false);
    }
}

/// Opens the stream to the next hop, and passes bytes both ways.
pub(super) async fn go_on(mut held: Held, begun: Begun, ahead: Box<SessionHandle>, onward: PathId) {
    let Begun { stream, first } = begun;
    let mut head = BytesMut::from(&onward[..]);
    head.extend_from_slice(&first.into_rest());
    match ahead.open_raw(kind::FORWARD, head.freeze()).await {
        Ok(opened) => {
            held.relay.metrics.stream();
            splice(stream, opened, &held.relay.load).await;
        }
        Err(_) => stream.refuse(Code::POLICY_REJECTED).await,
    }
    held.over(ahead.is_closed());
}

/// Passes bytes both ways until both directions have ended. If one breaks off, so does the other.
async fn splice(behind: RawStream, ahead: RawStream, load: &Load) {
    let (mut from_behind, mut to_behind) = behind.split();
    let (mut from_ahead, mut to_ahead) = ahead.split();
    let onward = async {
        while let Some(bytes) = from_behind.chunk().await? {
            let _waits = load.waits();
            to_ahead.send(bytes, false).await?;
        }
        to_ahead.send(Bytes::new(), true).await?;
        Ok::<(), Error>(())
    };
    let back = async {
        while let Some(bytes) = from_ahead.chunk().await? {
            let _waits = load.waits();
            to_behind.send(bytes, false).await?;
        }
        to_behind.send(Bytes::new(), true).await?;
        Ok::<(), Error>(())
    };
    // Dropping both resets the broken stream.
    let _ = tokio::try_join!(onward, back);
}
