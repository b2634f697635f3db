//! Pays redemptions out on the ledger: each is posted until a final head shows that it happened, or that it cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use betanet_economy_service::RemoteError;
use betanet_economy_service::rows::{Account, table};
use betanet_machine::Rng;
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Code, Envelope, Request, redeemed_mark};
use betanet_vouchers::KeysetId;
use tokio::time::Instant;

use crate::bridge::{Bridge, Seen};
use crate::desk::Desk;
use crate::state::{Ask, Owed, Said};

/// Most redemptions that are posted and that no final head shows yet.
const POSTED_MAX: usize = 1_024;
/// Marks that are looked up together.
const MARKS: usize = 64;
/// Validity of a request, in ms.
const VALID_MS: u64 = 3_600_000;
/// Time after which a redemption is posted again that no final head shows: the ledger makes it happen once, and may have dropped it.
const FORGET: Duration = Duration::from_secs(600);
/// Pause before the ledger is asked for its head again, while redemptions wait for it.
const LOOK: Duration = Duration::from_secs(1);
/// Longest pause, after failures or while nothing waits.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why a round was not finished. The next one goes on.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("the spender has no account on the ledger")]
    NoAccount,
    #[error("the ledger answers {}", .0.name())]
    Refused(Code),
    #[error("the system gives no random bytes")]
    Randomness,
    #[error("the vouchers of this node belong to another ledger: start it with that one's genesis")]
    OtherLedger,
    /// Another process leads the journal.
    #[error("this node does not lead the journal")]
    NotHere,
}

/// A redemption that was posted.
#[derive(Clone, Copy, Debug)]
struct Posted {
    /// Records that a final head must cover before it shows the outcome.
    needs: u64,
    /// The code of a refusal that will not change, if the ledger's state shows the same.
    code: Option<Code>,
    /// When.
    at: Instant,
}

impl Posted {
    fn now(needs: u64, code: Option<Code>) -> Self {
        let at = Instant::now();
        Self { needs, code, at }
    }
}

/// What is posted, and the next nonce.
#[derive(Debug, Default)]
struct Payout {
    posted: BTreeMap<[u8; 32], Posted>,
    nonce: Option<u64>,
    /// Those that were refused before this start, which are tried once more; `None` before the first round.
    again: Option<Vec<Owed>>,
}

/// Pays out for as long as the desk is there.
pub(crate) async fn run(desk: Weak<Desk>) {
    let mut payout = Payout::default();
    let mut pause = LOOK;
    loop {
        let Some(now) = desk.upgrade() else { return };
        let Some(bridge) = now.bridge.get() else {
            return;
        };
        let round = payout.round(&now, bridge).await;
        let wait = match &round {
            Ok(waits) => {
                pause = LOOK;
                if *waits { LOOK } else { PAUSE_MAX }
            }
            Err(_) => {
                pause = (pause * 2).min(PAUSE_MAX);
                pause
            }
        };
        let fault = match round {
            Ok(_) | Err(Lost::NotHere) => None,
            Err(lost) => Some(lost.to_string()),
        };
        bridge.note(|seen| {
            if fault.is_some() && seen.fault != fault {
                tracing::warn!(why = fault, "redemptions are not paid out on the ledger");
            }
            seen.fault = fault;
        });
        let _ = tokio::time::timeout(wait, bridge.wake.notified()).await;
    }
}

/// Whether a refusal stands for ever.
const fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Malformed
            | Code::NotAllowed
            | Code::Unknown
            | Code::Closed
            | Code::Over
            | Code::Exceeds
    )
}

impl Payout {
    /// One round; whether redemptions wait for a head.
    async fn round(&mut self, desk: &Desk, bridge: &Bridge) -> Result<bool, Lost> {
        let owed = match desk.ask(Ask::Owed(POSTED_MAX)).await {
            Ok(Said::Owed(owed)) => owed,
            Ok(Said::Elsewhere) => return Err(Lost::OtherLedger),
            _ => {
                self.posted.clear();
                return Err(Lost::NotHere);
            }
        };
        bridge.note(|seen| {
            *seen = Seen {
                waiting: owed.all,
                refusals: owed.refusals,
                refused: owed.refused.iter().take(MARKS).cloned().collect(),
                fault: seen.fault.take(),
            };
        });
        let mut open = owed.first;
        open.extend(self.again.get_or_insert(owed.refused).iter().cloned());
        let known = |ans: &[u8; 32]| open.iter().any(|o| o.ans == *ans);
        self.posted
            .retain(|ans, posted| known(ans) && posted.at.elapsed() < FORGET);
        if open.is_empty() {
            return Ok(false);
        }
        let size = bridge.remote.head().await?.head().size;
        for part in open.chunks(MARKS) {
            self.look(desk, bridge, part, size).await?;
        }
        self.post(desk, bridge, &open).await?;
        Ok(true)
    }

    /// Looks which of these happened, among those whose outcome a final head of so many records shows.
    async fn look(
        &mut self,
        desk: &Desk,
        bridge: &Bridge,
        open: &[Owed],
        size: u64,
    ) -> Result<(), Lost> {
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        for owed in open {
            let Some(posted) = self.posted.get(&owed.ans).copied() else {
                continue;
            };
            if posted.needs > size {
                continue;
            }
            let mark = (table::MARKS, redeemed_mark(&owed.ans).to_vec());
            // A mark stays: under whichever head it is seen, the redemption happened.
            let mark = bridge.remote.row_since(&mark, posted.needs).await?;
            match (mark, posted.code) {
                (Some(_), _) => done.push(owed.ans),
                (None, Some(code)) if self.stands(desk, bridge, owed, code).await? => {
                    refused.push((owed.ans, code.number()));
                }
                // Its record was dropped, as signers refused one before it, or the refusal was of such a record: it is posted again.
                (None, _) => drop(self.posted.remove(&owed.ans)),
            }
        }
        for (ans, code) in &refused {
            tracing::error!(
                code,
                "the ledger refuses to pay a redemption out: answer {}",
                betanet_wire::text::hex(ans)
            );
        }
        let refusals = refused.iter().map(|(ans, _)| *ans);
        let ended: BTreeSet<[u8; 32]> = done.iter().copied().chain(refusals).collect();
        if ended.is_empty() {
            return Ok(());
        }
        let Ok(Said::Swept) = desk.ask(Ask::Settle(done, refused, size)).await else {
            return Err(Lost::NotHere);
        };
        if let Some(again) = &mut self.again {
            again.retain(|owed| !ended.contains(&owed.ans));
        }
        // Kept until the next round, whose list is without them.
        for ans in ended {
            self.posted.insert(ans, Posted::now(u64::MAX, None));
        }
        Ok(())
    }

    /// Whether a final head shows why the ledger refused: one node's word writes nothing off, nor does a record that is dropped.
    async fn stands(
        &self,
        desk: &Desk,
        bridge: &Bridge,
        owed: &Owed,
        code: Code,
    ) -> Result<bool, Lost> {
        // This request could not even be made.
        if code == Code::Malformed {
            return Ok(true);
        }
        let me = desk.identity.public().node_id();
        let keyset = KeysetId(owed.keyset);
        let standing = bridge.ledgers(&keyset, &owed.to, &me).await?;
        Ok(standing.is_none_or(|standing| standing.left < owed.units))
    }

    /// Posts those that are not posted.
    async fn post(&mut self, desk: &Desk, bridge: &Bridge, open: &[Owed]) -> Result<(), Lost> {
        let fresh = |o: &&Owed| !self.posted.contains_key(&o.ans);
        let fresh: Vec<&Owed> = open.iter().filter(fresh).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let me = desk.identity.public().node_id();
        let (_, rows) = bridge
            .remote
            .rows(&[(table::ACCOUNTS, me.0.to_vec())])
            .await?;
        let account = rows.first().and_then(|row| row.as_deref());
        let account = account.and_then(|row| Account::read(row).ok());
        let account = account.ok_or(Lost::NoAccount)?;
        let mut nonce = self.nonce.unwrap_or(0).max(account.nonce);
        for owed in fresh {
            let code = self.post_one(desk, bridge, owed, nonce).await;
            match code {
                Ok(Code::Ok) => nonce = nonce.saturating_add(1),
                Ok(_) => {}
                Err(lost) => {
                    // A nonce that is known here may be of records that were dropped.
                    let stale = matches!(lost, Lost::Refused(Code::BadNonce));
                    self.nonce = (!stale).then_some(nonce);
                    return Err(lost);
                }
            }
            self.nonce = Some(nonce);
        }
        Ok(())
    }

    /// Posts one; the code of an answer that a final head will show.
    async fn post_one(
        &mut self,
        desk: &Desk,
        bridge: &Bridge,
        owed: &Owed,
        nonce: u64,
    ) -> Result<Code, Lost> {
        let op = Op::Redeem {
            ans: owed.ans,
            keyset: owed.keyset,
            to: owed.to,
            vu: owed.units,
        };
        let seed = betanet_session::seed().map_err(|_| Lost::Randomness)?;
        // Nobody knows the ID before it is used, who could use it up; the answer's hash makes it happen once.
        let id = Rng::new(&seed).array();
        let exp = desk.clock.now().unix_ms.saturating_add(VALID_MS);
        let me = desk.identity.public().node_id();
        let request = Request::new(&[(me, nonce)], exp, id, &op);
        let Some(request) = request else {
            self.posted
                .insert(owed.ans, Posted::now(0, Some(Code::Malformed)));
            return Ok(Code::Malformed);
        };
        let genesis = bridge.remote.genesis().id();
        let envelope = Envelope::sign(request, genesis, &[&desk.identity]);
        let answer = bridge.remote.submit(&envelope).await?.answer;
        let posted = match answer.code {
            Code::Ok => Posted::now(answer.seq.saturating_add(1), None),
            Code::Once => Posted::now(answer.seq, None),
            code if is_final(code) => Posted::now(answer.seq, Some(code)),
            code => return Err(Lost::Refused(code)),
        };
        self.posted.insert(owed.ans, posted);
        Ok(answer.code)
    }
}
