//! The typed stream REDEEM: one request and one answer, each a message.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use betanet_session::{Part, PeerSession, Streams, Substream};
use betanet_vouchers::message::MESSAGE_MAX;
use zeroize::Zeroizing;

use crate::bar::TIME;
use crate::desk::{Asker, Desk, Refusal};

/// Handles streams of type 0x13.
pub(crate) struct RedeemStreams(pub(crate) Arc<Desk>);

impl Streams for RedeemStreams {
    fn opened(&self, session: &PeerSession, _: u8, stream: Substream) {
        let desk = Arc::clone(&self.0);
        desk.counted.requests.fetch_add(1, Ordering::Relaxed);
        let by = Asker {
            node: Some(session.peer().node_id()),
            charge: Some(session.charge()),
        };
        let Some(part) = desk.room.part(by.charge) else {
            // A stream that is dropped is reset.
            desk.counted.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let over = session.over();
        tokio::spawn(async move {
            tokio::select! {
                () = over => {}
                () = serve(desk, by, part, stream) => {}
            }
        });
    }
}

async fn serve(desk: Arc<Desk>, by: Asker, mut part: Part, mut stream: Substream) {
    let read = tokio::time::timeout(TIME, read(&mut stream, &mut part)).await;
    let answered = match read.unwrap_or(Err(Refusal::malformed())) {
        Ok(body) => desk.redeem(by, body).await,
        Err(refusal) => Err(refusal),
    };
    let answer = answered.unwrap_or_else(|refusal| {
        desk.counted.refused.fetch_add(1, Ordering::Relaxed);
        refusal.body()
    });
    let mut message = Vec::with_capacity(4 + answer.len());
    message.extend_from_slice(
        &u32::try_from(answer.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes(),
    );
    message.extend_from_slice(&answer);
    let sent = async {
        stream.write(message.into()).await?;
        stream.finish().await
    };
    // The peer may have left.
    let _ = tokio::time::timeout(TIME, sent).await;
}

/// Reads one message. Bytes after it are ignored.
async fn read(stream: &mut Substream, part: &mut Part) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let mut all = Zeroizing::new(Vec::new());
    loop {
        match betanet_wire::msg::split(&all, MESSAGE_MAX) {
            Ok(Some((message, _))) => return Ok(Zeroizing::new(message.to_vec())),
            Ok(None) => {}
            Err(_) => return Err(Refusal::malformed()),
        }
        let piece = stream.next().await.map_err(|_| Refusal::malformed())?;
        let piece = piece.ok_or(Refusal::malformed())?;
        if !part.grow(piece.len()) {
            return Err(Refusal::busy());
        }
        all.extend_from_slice(&piece);
    }
}
