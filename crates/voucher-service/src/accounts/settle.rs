//! The asking side of ACCOUNT: counts go to the journal, and peers are asked to countersign them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_durable::Unavailable;
use betanet_session::{SessionHandle, StreamType};
use betanet_vouchers::account::{Account, Countersigned};
use betanet_wire::{Code, NodeId, cbor, msg};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::state::{Ask, Said};
use super::stream::{Claim, Countersignature, MESSAGE_MAX, Refusal};
use super::{Ledger, Peers, WRITE, locked};

/// Peers that are asked at once.
const AT_ONCE: usize = 8;
/// Claims that are made at once.
const MADE_AT_ONCE: usize = 64;
/// Longest that a peer is dialled, and that it may take for all of its claims.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest that a round begins to ask peers. The next goes on behind the last of them.
const ROUND: Duration = Duration::from_secs(300);
/// Pause before a state that refused the last counts gets them again.
const AGAIN: Duration = Duration::from_millis(200);

/// Writes counts down and settles them.
pub(crate) struct Settler {
    pub(super) ledger: Arc<Ledger>,
    peers: Arc<dyn Peers>,
    /// The peer that was asked last.
    last: Mutex<Option<NodeId>>,
    answer: Duration,
    round: Duration,
}

/// Reasons why a claim has no answer that counts.
enum Failed {
    /// The peer was not reached, left, or does not keep accounts. The same claim is sent again.
    Silent,
    /// It refused.
    Refused(Code),
}

impl Settler {
    pub(super) fn new(ledger: Arc<Ledger>, peers: Arc<dyn Peers>) -> Self {
        Self {
            ledger,
            peers,
            last: Mutex::default(),
            answer: ANSWER,
            round: ROUND,
        }
    }

    /// Writes counts down until the stop, and then once more: a clean stop loses none.
    pub(super) async fn writes(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let every = self.ledger.settings.every.min(WRITE);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stops| *stops) => break,
                () = sleep(every) => {}
            }
            // Counts that a state does not take stay in memory.
            let _ = self.write().await;
            let _ = self.ledger.view().await;
        }
        while self.write().await.is_err() && self.ledger.may_lead() {
            sleep(AGAIN).await;
        }
    }

    /// Has the peers asked at each interval. Those that are not reached keep nobody from writing.
    pub(super) async fn settles(self: Arc<Self>) {
        let settings = self.ledger.settings;
        sleep(settings.every.min(WRITE)).await;
        loop {
            let next = Instant::now() + settings.every;
            // A state that does not lead settles nothing.
            let _ = self.settle(settings.lag).await;
            tokio::time::sleep_until(next).await;
        }
    }

    pub(super) async fn write(&self) -> Result<(), Unavailable> {
        let known = self.peers.known().await;
        // A node that stops knows none any more.
        if !known.is_empty() {
            locked(&self.ledger.meter).set_known(known);
        }
        self.ledger.write().await
    }

    /// Makes the claims on every peer that has something to countersign, and asks for them when they are so old.
    pub(super) async fn settle(&self, lag: Duration) -> Result<(), Unavailable> {
        let Said::Due(due) = self.ledger.ask(Ask::Due).await? else {
            return Err(Unavailable);
        };
        let due = behind(due, *locked(&self.last));
        let made = stream::iter(due).map(|peer| async move {
            match self.ledger.ask(Ask::Claim(peer)).await? {
                Said::Claims(claims) => Ok((peer, claims)),
                _ => Err(Unavailable),
            }
        });
        let made: Vec<_> = made.buffered(MADE_AT_ONCE).try_collect().await?;
        if made.is_empty() {
            return Ok(());
        }
        sleep(lag).await;
        let end = Instant::now() + self.round;
        let asked = stream::iter(made)
            .take_while(|_| future::ready(Instant::now() < end))
            .map(|(peer, claims)| self.settle_with(peer, claims))
            .buffer_unordered(AT_ONCE);
        let asked: Vec<_> = asked.collect().await;
        asked.into_iter().collect::<Result<(), _>>()?;
        self.ledger.view().await.map(|_| ())
    }

    /// Asks one peer, until its first answer that does not come in time.
    async fn settle_with(&self, peer: NodeId, claims: Vec<Account>) -> Result<(), Unavailable> {
        let counted = &self.ledger.counted;
        *locked(&self.last) = Some(peer);
        let session = timeout(self.answer, self.peers.session(peer)).await;
        let Ok(Some(session)) = session else {
            counted.silent.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let end = Instant::now() + self.answer;
        for claim in claims {
            let asked = timeout_at(end, self.asked(&session, &claim)).await;
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

/// The peers in order of their IDs, those behind the last one first: a round that was cut off is gone on with.
fn behind(mut due: Vec<NodeId>, last: Option<NodeId>) -> Vec<NodeId> {
    due.sort_unstable();
    let done = due.partition_point(|peer| Some(*peer) <= last);
    due.rotate_left(done);
    due
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use betanet_journal::{Journal, MemoryStore};
    use betanet_keys::Identity;
    use betanet_wire::ChargeTo;

    use super::super::{AccountService, AccountSettings, AccountsRunning, PeersFuture};
    use super::*;

    /// Peers that are never reached, and take their time for it.
    pub(in super::super) struct Silent {
        known: BTreeSet<NodeId>,
        dialled: Mutex<Vec<NodeId>>,
    }

    impl Silent {
        pub(in super::super) fn of(peers: &[NodeId]) -> Arc<Self> {
            Arc::new(Self {
                known: peers.iter().copied().collect(),
                dialled: Mutex::default(),
            })
        }
    }

    impl Peers for Silent {
        fn known(&self) -> PeersFuture<'_, BTreeSet<NodeId>> {
            Box::pin(future::ready(self.known.clone()))
        }

        fn session(&self, peer: NodeId) -> PeersFuture<'_, Option<SessionHandle>> {
            locked(&self.dialled).push(peer);
            Box::pin(future::pending())
        }
    }

    async fn service(peers: &Arc<Silent>, every: Duration) -> (AccountService, AccountsRunning) {
        let settings = AccountSettings {
            every,
            lag: Duration::ZERO,
            ..AccountSettings::default()
        };
        let service = AccountService::new(Identity::from_seed(&[1; 32]), settings);
        for peer in &peers.known {
            service.meter().given(peer, ChargeTo::Unknown, 100);
        }
        let journal: Arc<dyn Journal> = Arc::new(MemoryStore::new().open("one"));
        let peers = Arc::clone(peers) as Arc<dyn Peers>;
        let running = service.start(journal, peers).await.unwrap();
        running.leads().await;
        (service, running)
    }

    fn nodes(n: u8) -> Vec<NodeId> {
        (1..=n).map(|n| NodeId([n; 20])).collect()
    }

    #[tokio::test]
    async fn peers_that_are_not_reached_keep_nobody_from_writing() {
        let peers = Silent::of(&nodes(40));
        let (service, running) = service(&peers, Duration::from_millis(20)).await;
        let written = timeout(ANSWER / 2, async {
            while locked(&peers.dialled).len() < AT_ONCE {
                tokio::task::yield_now().await;
            }
            // The round hangs, and counts go to the journal.
            let peer = NodeId([1; 20]);
            service.meter().given(&peer, ChargeTo::Unknown, 11);
            while running.view().await.unwrap().given.0 < 40 * 100 + 11 {
                tokio::task::yield_now().await;
            }
        });
        written.await.unwrap();
        running.stop().await;
    }

    #[tokio::test]
    async fn a_round_ends_in_time_and_the_next_goes_on_behind_it() {
        let all = nodes(16);
        let peers = Silent::of(&all);
        let (service, running) = service(&peers, Duration::from_secs(3_600)).await;
        running.settler.write().await.unwrap();
        let settler = Settler {
            answer: Duration::from_millis(1_500),
            round: Duration::from_millis(700),
            ..Settler::new(Arc::clone(&service.0), Arc::clone(&peers) as Arc<dyn Peers>)
        };
        let mut rounds = 0;
        while locked(&peers.dialled).len() < all.len() {
            settler.settle(Duration::ZERO).await.unwrap();
            rounds += 1;
        }
        // Each began with as many as are asked at once, and none was asked twice before all were.
        assert_eq!(rounds, all.len() / AT_ONCE);
        assert_eq!(*locked(&peers.dialled), all);
        settler.settle(Duration::ZERO).await.unwrap();
        assert_eq!(locked(&peers.dialled).get(all.len()), all.first());
        running.stop().await;
    }
}
