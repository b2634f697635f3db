//! The asking side of ACCOUNT: counts go to the journal, and peers are asked to countersign them.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_durable::Unavailable;
use betanet_session::{SessionHandle, StreamType};
use betanet_vouchers::account::{Account, Countersigned};
use betanet_wire::{Code, NodeId, cbor, msg};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::state::{Ask, Said};
use super::stream::{Claim, Countersignature, MESSAGE_MAX, Refusal};
use super::{Ledger, Peers, WRITE, locked};

/// Peers that are asked at once.
const AT_ONCE: usize = 8;
/// Longest that a peer is dialled and asked.
const ANSWER: Duration = Duration::from_secs(20);

/// Writes counts down and settles them.
pub(crate) struct Settler {
    pub(super) ledger: Arc<Ledger>,
    pub(super) peers: Arc<dyn Peers>,
    /// The peers that were known last: a node that stops knows none any more.
    pub(super) known: Mutex<BTreeSet<NodeId>>,
}

/// Reasons why a claim has no answer that counts.
enum Failed {
    /// The peer was not reached, left, or does not keep accounts. The same claim is sent again.
    Silent,
    /// It refused.
    Refused(Code),
}

impl Settler {
    pub(super) async fn run(self: Arc<Self>) {
        let mut settles = Instant::now() + self.ledger.settings.every.min(WRITE);
        loop {
            let writes = Instant::now() + WRITE;
            tokio::time::sleep_until(writes.min(settles)).await;
            // A state that does not lead settles nothing. Its counts stay in memory.
            let written = self.write().await.is_ok();
            if Instant::now() >= settles {
                if written {
                    let _ = self.settle().await;
                }
                settles = Instant::now() + self.ledger.settings.every;
            }
            let _ = self.ledger.view().await;
        }
    }

    pub(super) async fn write(&self) -> Result<(), Unavailable> {
        let now = self.peers.known().await;
        let known = {
            let mut known = locked(&self.known);
            if !now.is_empty() {
                *known = now;
            }
            known.clone()
        };
        self.ledger.write(&known).await
    }

    /// Asks every peer that has something to countersign.
    pub(super) async fn settle(&self) -> Result<(), Unavailable> {
        let Said::Due(due) = self.ledger.ask(Ask::Due).await? else {
            return Err(Unavailable);
        };
        let asked = stream::iter(due).map(|peer| self.settle_with(peer));
        let asked: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
        asked.into_iter().collect::<Result<(), _>>()?;
        self.ledger.view().await.map(|_| ())
    }

    async fn settle_with(&self, peer: NodeId) -> Result<(), Unavailable> {
        let counted = &self.ledger.counted;
        let session = tokio::time::timeout(ANSWER, self.peers.session(peer)).await;
        let Ok(Some(session)) = session else {
            counted.silent.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let Said::Claims(claims) = self.ledger.ask(Ask::Claim(peer)).await? else {
            return Err(Unavailable);
        };
        for claim in claims {
            let asked = tokio::time::timeout(ANSWER, self.asked(&session, &claim)).await;
            let answer = match asked.unwrap_or(Err(Failed::Silent)) {
                Ok(signed) => {
                    counted.settled.fetch_add(1, Ordering::Relaxed);
                    Ok(signed)
                }
                Err(Failed::Refused(code)) => {
                    counted.refused.fetch_add(1, Ordering::Relaxed);
                    let bytes = claim.bytes;
                    tracing::warn!(%code, bytes, "a peer does not countersign its account");
                    Err(code)
                }
                Err(Failed::Silent) => {
                    counted.silent.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
            };
            self.ledger
                .ask(Ask::Answered(claim, Box::new(answer)))
                .await?;
        }
        Ok(())
    }

    /// Sends one claim, and reads the peer's answer.
    async fn asked(
        &self,
        session: &SessionHandle,
        claim: &Account,
    ) -> Result<Countersigned, Failed> {
        let identity = &self.ledger.identity;
        let rec = claim.to_bytes();
        let own = claim.sign(identity);
        let message = msg::to_vec(&Claim {
            rec: rec.clone(),
            sig: own,
        });
        let kind = StreamType::ACCOUNT.number();
        let stream = session.open_raw(kind, message.into()).await;
        let (mut answers, mut ours) = stream.map_err(|_| Failed::Silent)?.split();
        ours.send(Bytes::new(), true)
            .await
            .map_err(|_| Failed::Silent)?;
        let mut all = Vec::new();
        let message = loop {
            match msg::split(&all, MESSAGE_MAX) {
                Ok(Some((message, _))) => break message,
                Ok(None) => {}
                Err(_) => return Err(Failed::Silent),
            }
            // A node without accounts resets the stream: UNSUPPORTED_FEATURE.
            match answers.chunk().await {
                Ok(Some(piece)) => all.extend_from_slice(&piece),
                Ok(None) | Err(_) => return Err(Failed::Silent),
            }
        };
        if let Ok(Refusal { code }) = cbor::from_slice(message) {
            return Err(match Code(code) {
                // It may sign later.
                Code::INTERNAL_ERROR => Failed::Silent,
                code => Failed::Refused(code),
            });
        }
        let answer = cbor::from_slice(message);
        let Countersignature { sig } = answer.map_err(|_| Failed::Silent)?;
        let signed = Countersigned {
            record: rec,
            relay: (*identity.public(), own),
            from: (*session.peer(), sig),
        };
        match signed.verify() {
            Ok(_) => Ok(signed),
            Err(_) => Err(Failed::Refused(Code::AUTH_FAILED)),
        }
    }
}
