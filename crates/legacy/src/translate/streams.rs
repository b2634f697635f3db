//! Handlers of streams that peers of 1.2 open, for joints.

use std::sync::Arc;

use betanet_session::{PeerSession, Streams, Substream};
use tokio::sync::mpsc;

use super::{STREAMS, Translator};

/// Passes streams that the session's peer opens to the joint.
pub(super) struct Given(pub(super) mpsc::Sender<Substream>);

impl Streams for Given {
    fn opened(&self, _: &PeerSession, _: u8, stream: Substream) {
        // A stream that is not accepted in time is reset.
        let _ = self.0.try_send(stream);
    }
}

/// Handles streams of sessions that a peer of 1.2 opened for a peer of 1.1.
pub struct ToServer(pub Arc<Translator>);

impl Streams for ToServer {
    fn opened(&self, session: &PeerSession, _: u8, stream: Substream) {
        let mut state = self.0.lock();
        if let Some(joined) = state.joined.get(&session.id()) {
            let _ = joined.try_send(stream);
            return;
        }
        let (streams, taken) = mpsc::channel(STREAMS);
        let _ = streams.try_send(stream);
        state.joined.insert(session.id(), streams);
        drop(state);
        let (this, session) = (Arc::clone(&self.0), session.clone());
        tokio::spawn(async move {
            match this.standing(session.charge()) {
                Some(_standing) => this.join(session, taken).await,
                None => {
                    this.lock().joined.remove(&session.id());
                    session.close().await;
                }
            }
        });
    }
}
