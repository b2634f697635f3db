//! The requests: bounds, limits, arithmetic on its own threads, and the way to the state. BAR and streams are faces of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use betanet_durable::Handle;
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_session::{Clock, Room};
use betanet_vouchers::bank::{FORGED_MAX, Verified, verified};
use betanet_vouchers::message::{
    Answer, BlindedPoints, IssueRequest, RedeemRequest, RestoreRequest, SwapRequest,
};
use betanet_vouchers::mint::{MintShares, ToSign};
use betanet_vouchers::{Keyset, KeysetId, Keysets, Phase, Voucher, VoucherError};
use betanet_wire::Code;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::allowed::Allowed;
use crate::bridge::{Bridge, LEDGER_UNIT};
use crate::keysets::Listed;
use crate::payments::{Payment, Payments, Swaps};
pub(crate) use crate::refusal::{Asker, Refusal};
use crate::state::{Ask, Of, Said, View, VoucherState};
use crate::watched::{Reported, Watched};

/// Pauses of a redemption that the ledger does not cover at the moment.
const LATER: Duration = Duration::from_secs(1);
const LATER_MOST: u32 = 5;
/// Longest that a request waits for the state's answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at the ledger for one redemption, after the pauses too: it is looked at again if payments were settled since.
const LEDGER_LOOKS: usize = 10;

/// What was counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) requests: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) forged: AtomicU64,
}

/// One node's desk.
pub(crate) struct Desk {
    pub(crate) identity: Identity,
    pub(crate) clock: Clock,
    pub(crate) keysets: Arc<Keysets>,
    /// The index of this mint's share of each keyset that it has one of.
    pub(crate) mints: BTreeMap<KeysetId, u8>,
    pub(crate) shares: MintShares,
    pub(crate) payments: Box<dyn Payments>,
    pub(crate) handle: OnceLock<Handle<VoucherState>>,
    /// Of direct sessions, and of all callers over the mix together.
    pub(crate) limits: Allowed,
    /// Of swaps, a day.
    pub(crate) swaps: Allowed,
    pub(crate) room: Room,
    pub(crate) arithmetic: Arc<Semaphore>,
    pub(crate) counted: Counted,
    pub(crate) listed: Listed,
    pub(crate) alarm: Arc<AtomicBool>,
    /// The newest totals, for metrics.
    pub(crate) seen: Mutex<View>,
    /// The mints that are asked for their counts.
    pub(crate) watched: OnceLock<Watched>,
    /// What they reported last.
    pub(crate) reported: Mutex<BTreeMap<KeysetId, Reported>>,
    /// The ledger for which it sells, and to whose accounts it redeems.
    pub(crate) bridge: OnceLock<Bridge>,
}

impl Desk {
    /// What the state is told.
    pub(crate) fn of(&self) -> Of {
        Of {
            spender: *self.identity.public(),
            keysets: Arc::clone(&self.keysets),
            mints: self.mints.keys().copied().collect::<BTreeSet<_>>(),
            ledger: self.ledger_keysets().collect(),
            genesis: self.bridge.get().map(|b| *b.remote.genesis().id()),
            alarm: Arc::clone(&self.alarm),
        }
    }

    /// The ledger that a keyset belongs to, if this service is connected to it.
    pub(crate) fn ledger_of(&self, keyset: &Keyset) -> Option<&Bridge> {
        let bridge = self.bridge.get()?;
        (keyset.unit() == LEDGER_UNIT).then_some(bridge)
    }

    /// Keysets of the ledger that this service is connected to.
    pub(crate) fn ledger_keysets(&self) -> impl Iterator<Item = KeysetId> + '_ {
        let own = self.keysets.iter().filter(|k| self.ledger_of(k).is_some());
        own.map(Keyset::id)
    }

    /// Whether this node keeps the spent set of a keyset.
    pub(crate) fn spends(&self) -> bool {
        self.keysets
            .iter()
            .any(|k| k.spender() == self.identity.public())
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().unix_ms
    }

    /// Charges a request with so many vouchers or points.
    pub(crate) fn charge(&self, by: Asker, vouchers: usize) -> Result<(), Refusal> {
        let within = self
            .limits
            .charge(self.clock.now().mono, by.charge, vouchers);
        within.then_some(()).ok_or(Refusal::busy())
    }

    /// Charges a swap of so many vouchers and points.
    fn charge_swap(&self, by: Asker, weight: usize) -> Result<(), Refusal> {
        let within = self.swaps.charge(self.clock.now().mono, by.charge, weight);
        within.then_some(()).ok_or(Refusal::tomorrow())
    }

    /// Verifies vouchers of a request that was charged. As many as are looked for are charged as forged beforehand, so that requests
    /// beside each other do not outrun the allowance; the good ones are given back.
    fn verified(
        &self,
        by: Asker,
        request: &[u8; 32],
        vouchers: &[Result<Voucher, VoucherError>],
    ) -> Result<Verified, Refusal> {
        let now = self.clock.now().mono;
        let most = vouchers.len().min(FORGED_MAX);
        self.limits.charge_forged(now, by.charge, most);
        let verified = verified(request, vouchers, &self.keysets, &mut rng()?);
        let forged = verified.forged();
        self.counted
            .forged
            .fetch_add(forged as u64, Ordering::Relaxed);
        let good = most.saturating_sub(forged);
        self.limits.give_back(now, by.charge, good);
        Ok(verified)
    }

    /// Does arithmetic on a thread for it. At most as many do it at once as there are processors; others wait in their places.
    pub(crate) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let permit = Arc::clone(&self.arithmetic).acquire_owned().await;
        let permit = permit.map_err(|_| Refusal::unavailable())?;
        let desk = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&desk);
            // Held by the work itself: whoever asked may have left.
            drop(permit);
            done
        });
        done.await.map_err(|_| Refusal::failed())?
    }

    /// Asks the state, within a bound of time.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Said, Refusal> {
        let handle = self.handle.get().ok_or(Refusal::unavailable())?;
        match tokio::time::timeout(PATIENCE, handle.ask(ask)).await {
            Ok(Ok(said)) => Ok(said),
            Ok(Err(_)) | Err(_) => Err(Refusal::unavailable()),
        }
    }

    async fn answer(&self, ask: Ask) -> Result<Answer, Refusal> {
        match self.ask(ask).await? {
            Said::Answer(answer) => Ok(answer),
            _ => Err(Refusal::failed()),
        }
    }

    async fn signed(self: &Arc<Self>, answer: Answer) -> Result<Vec<u8>, Refusal> {
        self.work(move |desk| Ok(answer.sign(&desk.identity).0))
            .await
    }

    /// Checks or redeems; the answer is signed.
    pub(crate) async fn redeem(
        self: &Arc<Self>,
        by: Asker,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, Refusal> {
        if !self.spends() {
            return Err(Refusal::elsewhere());
        }
        let answer = self.redeemed(by, body, true).await?;
        self.signed(answer).await
    }

    /// Checks or redeems. `charged` says whether the asker's allowance pays for it.
    pub(crate) async fn redeemed(
        self: &Arc<Self>,
        by: Asker,
        body: Zeroizing<Vec<u8>>,
        charged: bool,
    ) -> Result<Answer, Refusal> {
        let (request, verified) = self
            .work(move |desk| {
                let request = RedeemRequest::from_bytes(&body)?;
                if charged {
                    desk.charge(by, request.vouchers.len())?;
                }
                let (hash, vouchers) = (request.hash(), &request.vouchers);
                let verified = match charged {
                    true => desk.verified(by, hash, vouchers)?,
                    false => verified(hash, vouchers, &desk.keysets, &mut rng()?),
                };
                Ok((request, verified))
            })
            .await?;
        let mut asked = Ask::Redeem(by.node, Box::new((request, verified)), None);
        let (mut is_new, mut waits) = (false, LATER_MOST);
        for _ in 0..LEDGER_LOOKS {
            let said = self.ask(asked).await?;
            let bridge = self.bridge.get();
            // What is new is posted; what has to wait may be there already, unseen.
            if (is_new || matches!(said, Said::Later(..)))
                && let Some(bridge) = bridge
            {
                bridge.wake.notify_one();
            }
            let (keyset, again) = match said {
                Said::Answer(answer) => return Ok(answer),
                // What the ledger paid out a moment ago still counts as waiting.
                Said::Later(keyset, again) if waits > 0 => {
                    waits -= 1;
                    tokio::time::sleep(LATER).await;
                    (keyset, again)
                }
                Said::Later(..) | Said::Elsewhere => return Err(Refusal::unavailable()),
                Said::AskLedger(keyset, again) => (keyset, again),
                _ => return Err(Refusal::failed()),
            };
            let bridge = bridge.ok_or(Refusal::failed())?;
            let me = self.identity.public().node_id();
            let standing = bridge.standing(by, &keyset, &again.0.to, &me).await?;
            is_new = standing.is_ok();
            asked = Ask::Redeem(by.node, again, Some(standing));
        }
        // Payments were settled after each look.
        Err(Refusal::unavailable())
    }

    pub(crate) async fn swap(
        self: &Arc<Self>,
        by: Asker,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, Refusal> {
        if !self.spends() {
            return Err(Refusal::elsewhere());
        }
        let (request, points, verified) = self
            .work(move |desk| {
                let request = SwapRequest::from_bytes(&body)?;
                let weight = request.vouchers.len() + request.blinded.len();
                desk.charge(by, weight)?;
                desk.charge_swap(by, weight)?;
                // No mint would sign a bad point, and the vouchers would be spent.
                let points = request.points().map_err(|_| Refusal::malformed())?;
                let verified = desk.verified(by, request.hash(), &request.vouchers)?;
                Ok((request, points, verified))
            })
            .await?;
        let answer = self.answer(Ask::Swap(request, points, verified)).await?;
        self.signed(answer).await
    }

    pub(crate) async fn issue(
        self: &Arc<Self>,
        by: Asker,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, Refusal> {
        if self.mints.is_empty() {
            return Err(Refusal::elsewhere());
        }
        let (request, points, payment) = self
            .work(move |desk| {
                let request = IssueRequest::from_bytes(&body)?;
                desk.charge(by, request.blinded.len())?;
                let keyset = desk.signs(&request.keyset)?;
                let points = request.points().map_err(|_| Refusal::malformed())?;
                let now = desk.now_ms();
                // Coupons pay for nothing that the ledger stands for.
                let payment = match desk.ledger_of(keyset) {
                    Some(_) => Swaps.worth(now, &request, keyset),
                    None => desk.payments.worth(now, &request, keyset),
                };
                Ok((request, points, payment))
            })
            .await?;
        let to_sign = match self.bought(by, &request, &points, payment).await? {
            Some(to_sign) => to_sign,
            None => self.to_sign(request, points, payment).await?,
        };
        self.work(move |desk| {
            let answer = to_sign.sign(&desk.shares).ok_or(Refusal::failed())?;
            Ok(answer.to_bytes())
        })
        .await
    }

    async fn to_sign(
        &self,
        request: IssueRequest,
        points: BlindedPoints,
        payment: Option<Payment>,
    ) -> Result<ToSign, Refusal> {
        match self.ask(Ask::Issue(request, points, payment)).await? {
            Said::Sign(Ok(to_sign)) => Ok(to_sign),
            Said::Sign(Err(code)) => Err(Refusal::refused(code)),
            Said::Elsewhere => Err(Refusal::unavailable()),
            _ => Err(Refusal::failed()),
        }
    }

    /// Decides an issue that a purchase on the ledger is to pay for; `None` if it is none.
    async fn bought(
        &self,
        by: Asker,
        request: &IssueRequest,
        points: &BlindedPoints,
        payment: Option<Payment>,
    ) -> Result<Option<ToSign>, Refusal> {
        let keyset = self.keysets.get(&request.keyset);
        let bridge = keyset.and_then(|keyset| Some((keyset, self.ledger_of(keyset)?)));
        let Some((keyset, bridge)) = bridge.filter(|_| payment.is_none()) else {
            return Ok(None);
        };
        // What was signed before is signed again, whether the ledger answers or not.
        let again = self.to_sign(request.clone(), points.clone(), None).await;
        match again {
            Err(Refusal { status: 403, .. }) => {}
            decided => return decided.map(Some),
        }
        let payment = bridge.bought(by, request, keyset).await?;
        let decided = self.to_sign(request.clone(), points.clone(), payment).await;
        decided.map(Some)
    }

    pub(crate) async fn restore(
        self: &Arc<Self>,
        by: Asker,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, Refusal> {
        if self.mints.is_empty() {
            return Err(Refusal::elsewhere());
        }
        let request = self
            .work(move |desk| {
                let request = RestoreRequest::from_bytes(&body)?;
                desk.charge(by, request.blinded.len())?;
                desk.signs(&request.keyset)?;
                Ok(request)
            })
            .await?;
        let Said::Restore(to_restore) = self.ask(Ask::Restore(request)).await? else {
            return Err(Refusal::failed());
        };
        self.work(move |desk| {
            let answer = to_restore.sign(&desk.shares).ok_or(Refusal::failed())?;
            Ok(answer.to_bytes())
        })
        .await
    }

    /// A keyset under which this mint signs now.
    fn signs(&self, id: &KeysetId) -> Result<&Keyset, Refusal> {
        let keyset = self.keysets.get(id).filter(|_| self.mints.contains_key(id));
        let keyset = keyset.ok_or(Refusal::no_share())?;
        match keyset.phase(self.now_ms()) {
            Phase::Active | Phase::Retiring => Ok(keyset),
            Phase::Announced | Phase::Expired => Err(Refusal::refused(Code::POLICY_REJECTED)),
        }
    }

    /// The keysets as they are listed.
    pub(crate) fn keysets(&self, by: Asker) -> Result<bytes::Bytes, Refusal> {
        self.charge(by, 0)?;
        let ledger = self.bridge.get().map(|b| *b.remote.genesis().id());
        let listed = self
            .listed
            .at(&self.keysets, &self.mints, ledger, self.now_ms());
        Ok(listed)
    }

    /// Totals, which metrics show too.
    pub(crate) async fn view(&self) -> Result<View, Refusal> {
        let Said::View(view) = self.ask(Ask::View).await? else {
            return Err(Refusal::failed());
        };
        let mut view = *view;
        {
            let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            for keyset in &mut view.keysets {
                keyset.reported = reported.get(&keyset.id).cloned();
                keyset.alarm |= keyset.reported.as_ref().is_some_and(|r| r.alarm);
            }
        }
        (*self.seen.lock().unwrap_or_else(PoisonError::into_inner)).clone_from(&view);
        Ok(view)
    }

    /// Whether more was redeemed than issued, by this node's counts or by the reports of mints.
    pub(crate) fn alarms(&self) -> bool {
        let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        self.alarm.load(Ordering::Relaxed) || reported.values().any(|r| r.alarm)
    }
}

/// Fresh randomness: nobody could know it when the vouchers were made.
fn rng() -> Result<Rng, Refusal> {
    let seed = betanet_session::seed().map_err(|_| Refusal::failed())?;
    Ok(Rng::new(&seed))
}
