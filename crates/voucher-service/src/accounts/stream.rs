//! The answering side of ACCOUNT: a relay's record, and this node's signature over it or the code of its refusal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use betanet_keys::PublicKey;
use betanet_session::{Part, PeerSession, Streams, Substream};
use betanet_vouchers::account::{ACCOUNT_LABEL, Account, PERIOD};
use betanet_wire::{Code, cbor, message, msg};

use super::state::{Ask, Said};
use super::{Dispute, Ledger, locked};

/// Longest message.
pub(super) const MESSAGE_MAX: usize = 1_024;
/// Longest that a message may take.
pub(super) const TIME: Duration = Duration::from_secs(30);

message! {
    pub(super) struct Claim {
        req "rec" rec: Vec<u8>,
        req "sig" sig: [u8; 64],
    }
}

message! {
    pub(super) struct Countersignature {
        req "sig" sig: [u8; 64],
    }
}

message! {
    pub(super) struct Refusal {
        req "code" code: u16,
    }
}

/// Handles streams of type 0x12.
pub(super) struct AccountStreams(pub(super) Arc<Ledger>);

impl Streams for AccountStreams {
    fn opened(&self, session: &PeerSession, _: u8, stream: Substream) {
        let ledger = Arc::clone(&self.0);
        let Some(part) = ledger.room.part(Some(session.charge())) else {
            // A stream that is dropped is reset.
            return;
        };
        let (session, over) = (session.clone(), session.over());
        tokio::spawn(async move {
            tokio::select! {
                () = over => {}
                () = serve(&ledger, &session, part, stream) => {}
            }
        });
    }
}

async fn serve(ledger: &Ledger, session: &PeerSession, mut part: Part, mut stream: Substream) {
    let read = tokio::time::timeout(TIME, read(&mut stream, &mut part)).await;
    let answered = match read.unwrap_or(Err(Code::MALFORMED_FRAME)) {
        Ok(message) => countersign(ledger, *session.peer(), &message).await,
        Err(code) => Err(code),
    };
    let answer = match answered {
        Ok(sig) => msg::to_vec(&Countersignature { sig }),
        Err(code) => msg::to_vec(&Refusal { code: code.0 }),
    };
    let sent = async {
        stream.write(answer.into()).await?;
        stream.finish().await
    };
    // The peer may have left.
    let _ = tokio::time::timeout(TIME, sent).await;
}

/// Reads one message. Bytes after it are ignored.
async fn read(stream: &mut Substream, part: &mut Part) -> Result<Vec<u8>, Code> {
    let mut all = Vec::new();
    loop {
        match msg::split(&all, MESSAGE_MAX) {
            Ok(Some((message, _))) => return Ok(message.to_vec()),
            Ok(None) => {}
            Err(_) => return Err(Code::MALFORMED_FRAME),
        }
        let piece = stream.next().await.map_err(|_| Code::MALFORMED_FRAME)?;
        let piece = piece.ok_or(Code::MALFORMED_FRAME)?;
        if !part.grow(piece.len()) {
            return Err(Code::POLICY_REJECTED);
        }
        all.extend_from_slice(&piece);
    }
}

/// Signs a record of the session's peer that agrees with this node's own count. The signature leaves after the commit.
async fn countersign(ledger: &Ledger, relay: PublicKey, message: &[u8]) -> Result<[u8; 64], Code> {
    let Claim { rec, sig } = cbor::from_slice(message).map_err(|_| Code::MALFORMED_FRAME)?;
    let account = Account::from_bytes(&rec).map_err(|_| Code::MALFORMED_FRAME)?;
    let (day, node) = (ledger.now_ms() / PERIOD, relay.node_id());
    // A relay that was used once may ask for ever: beyond the bound, neither the state nor the log hears of it.
    if account.relay != node || !locked(&ledger.asked).allows(day, &node) {
        return Err(Code::POLICY_REJECTED);
    }
    relay
        .verify(ACCOUNT_LABEL, &[&rec], &sig)
        .map_err(|_| Code::AUTH_FAILED)?;
    let asked = ledger.ask(Ask::Sign(account, Box::new((relay, sig)))).await;
    let key = (account.period, account.relay);
    match asked.map_err(|_| Code::INTERNAL_ERROR)? {
        Said::Signed(Ok(())) => {
            ledger.counted.signed.fetch_add(1, Ordering::Relaxed);
            locked(&ledger.asked).add(day, node);
            ledger.agreed(key);
            Ok(account.sign(&ledger.identity))
        }
        Said::Signed(Err((code, counted))) => {
            ledger.counted.disputed.fetch_add(1, Ordering::Relaxed);
            // Of a relay that this node never used there is nothing to show.
            if counted > 0 {
                locked(&ledger.asked).add(day, node);
                let claimed = account.bytes;
                ledger.dispute(key, Dispute { claimed, counted });
                tracing::warn!(%code, claimed, counted, "a relay's account was not countersigned");
            }
            Err(code)
        }
        _ => Err(Code::INTERNAL_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use betanet_journal::{Journal, MemoryStore};
    use betanet_keys::Identity;
    use betanet_wire::ChargeTo;

    use super::super::asked::ASKED_MAX;
    use super::super::settle::tests::Silent;
    use super::super::{AccountService, AccountSettings};
    use super::*;

    #[tokio::test]
    async fn refused_claims_of_a_relay_end_at_a_bound() {
        let (me, relay) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let (key, node) = (*relay.public(), relay.public().node_id());
        let service = AccountService::new(me.clone(), AccountSettings::default());
        let journal: Arc<dyn Journal> = Arc::new(MemoryStore::new().open("one"));
        let running = service.start(journal, Silent::of(&[node])).await.unwrap();
        running.leads().await;
        service.meter().taken(&node, ChargeTo::Unknown, 10);
        running.settler.write().await.unwrap();
        let ledger = &service.0;
        let claim = |bytes| {
            let account = Account {
                bytes,
                from: me.public().node_id(),
                period: ledger.now_ms() / PERIOD,
                relay: node,
                seq: 1,
            };
            let (rec, sig) = (account.to_bytes(), account.sign(&relay));
            cbor::to_vec(&Claim { rec, sig })
        };
        let lie = claim(1 << 30);
        for _ in 0..ASKED_MAX {
            let answer = countersign(ledger, key, &lie).await;
            assert_eq!(answer, Err(Code::POLICY_REJECTED));
        }
        let disputed = || ledger.counted.disputed.load(Ordering::Relaxed);
        assert_eq!(disputed(), ASKED_MAX);
        // From now on the state is not asked: it would sign this one.
        let answer = countersign(ledger, key, &claim(10)).await;
        assert_eq!(
            (answer, disputed()),
            (Err(Code::POLICY_REJECTED), ASKED_MAX)
        );
        let claimed: Vec<u64> = locked(&ledger.disputes)
            .values()
            .map(|d| d.claimed)
            .collect();
        assert_eq!(claimed, [1 << 30]);
        running.stop().await;
    }
}
