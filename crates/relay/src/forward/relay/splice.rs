//! A relayed stream: passes its bytes both ways, and releases its place at the end.

use std::sync::Arc;

use betanet_htx::kind;
use betanet_path::PathId;
use betanet_path::relay::{Input, Place};
use betanet_wire::{Code, NodeId};
use bytes::{Bytes, BytesMut};

use super::super::RawStream;
use super::super::load::Load;
use super::{Begun, Relay};
use crate::CountPeers;
use betanet_session::{CameFrom, Error, SessionHandle};

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

/// The accounts with the two peers of a stream.
struct Sides<'a> {
    peers: &'a dyn CountPeers,
    behind: CameFrom,
    ahead: NodeId,
}

impl Sides<'_> {
    /// Bytes of either direction are forwarded for the peer that opened the stream.
    fn passed(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let (behind, charge) = (self.behind.key.node_id(), self.behind.charge);
        self.peers.given(&behind, charge, bytes);
        self.peers.taken(&self.ahead, charge, bytes);
    }
}

/// Opens the stream to the next hop, and passes bytes both ways.
pub(super) async fn go_on(mut held: Held, begun: Begun, ahead: Box<SessionHandle>, onward: PathId) {
    let Begun {
        stream,
        first,
        from,
    } = begun;
    let relay = Arc::clone(&held.relay);
    let sides = relay.peers.get().map(|peers| Sides {
        peers: &**peers,
        behind: from,
        ahead: ahead.peer().node_id(),
    });
    if let Some(sides) = &sides
        && !sides.peers.admits(&from.key.node_id(), from.charge)
    {
        stream.refuse(Code::POLICY_REJECTED).await;
        return;
    }
    let rest = first.into_rest();
    let mut head = BytesMut::from(&onward[..]);
    head.extend_from_slice(&rest);
    match ahead.open_raw(kind::FORWARD, head.freeze()).await {
        Ok(opened) => {
            held.relay.metrics.stream();
            if let Some(sides) = &sides {
                sides.passed(rest.len());
            }
            splice(stream, opened, &held.relay.load, sides.as_ref()).await;
        }
        Err(_) => stream.refuse(Code::POLICY_REJECTED).await,
    }
    held.over(ahead.is_closed());
}

/// Passes bytes both ways until both directions have ended. If one breaks off, so does the other.
async fn splice(behind: RawStream, ahead: RawStream, load: &Load, sides: Option<&Sides<'_>>) {
    let (mut from_behind, mut to_behind) = behind.split();
    let (mut from_ahead, mut to_ahead) = ahead.split();
    let passed = |bytes: usize| {
        if let Some(sides) = sides {
            sides.passed(bytes);
        }
    };
    let onward = async {
        while let Some(bytes) = from_behind.chunk().await? {
            let _waits = load.waits();
            let length = bytes.len();
            to_ahead.send(bytes, false).await?;
            passed(length);
        }
        to_ahead.send(Bytes::new(), true).await?;
        Ok::<(), Error>(())
    };
    let back = async {
        while let Some(bytes) = from_ahead.chunk().await? {
            let _waits = load.waits();
            let length = bytes.len();
            to_behind.send(bytes, false).await?;
            passed(length);
        }
        to_behind.send(Bytes::new(), true).await?;
        Ok::<(), Error>(())
    };
    // Dropping both resets the broken stream.
    let _ = tokio::try_join!(onward, back);
}
