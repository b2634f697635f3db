//! The face over BAR: proposals in, signatures out.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_bar::{Client, Method, status};
use betanet_fog::TaskId;
use betanet_fog_service::Claim;
use betanet_session::{Call, CallBody, Clock, Part as Place, Reply, Room, Service, ServiceFuture};
use betanet_tokenomics::account::address;
use betanet_tokenomics::request::{ITEMS_MAX, REQUEST_LABEL};
use betanet_tokenomics::{Request, Role};
use betanet_wire::{NodeId, cbor};
use tokio::time::Instant;

use super::body::{PROPOSAL_MAX, Proposal, RefusedBody, SignedBody};
use super::kept::{Ask, Part, Payees, Said};
use super::rate::Rates;
use super::{Check, Of, PREFIX, check};
use crate::ids::id_of;
use crate::items::Payout;
use crate::open::{Open, is_held, open_items};
use crate::reason::Reason;
use crate::tally::count;
use crate::{LedgerEscrow, When};

/// Longest that a body is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Proposals that are looked at together. Others wait for their turn.
const TOGETHER: usize = 16;
/// Lots are paid no longer before the end of their hold, in ms: the hold lasts 3 days beyond them, and clocks differ.
const PAID_SINCE_MS: u64 = 5 * 86_400_000;
/// Time for which the list of coordinators is not read again.
const LISTED: Duration = Duration::from_secs(1);
/// Seconds after which one that was refused for now may ask again.
const RETRY_AFTER: &str = "1";

/// What stands before the checks.
pub(crate) struct Door {
    room: Room,
    rates: Rates,
    turns: tokio::sync::Semaphore,
    listed: Mutex<Option<(Instant, BTreeSet<NodeId>)>>,
    pub(crate) signed: AtomicU64,
    pub(crate) refused: AtomicU64,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            room: Room::standard(),
            rates: Rates::default(),
            turns: tokio::sync::Semaphore::new(TOGETHER),
            listed: Mutex::default(),
            signed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

/// The service for [`PREFIX`].
pub(crate) struct BarService(pub(crate) Arc<LedgerEscrow>);

impl Service for BarService {
    fn call(&self, call: Call) -> ServiceFuture {
        let escrow = Arc::clone(&self.0);
        Box::pin(async move {
            let door = &escrow.cosigner.door;
            let (code, body) = match escrow.answer(call).await {
                Ok(Some(sig)) => {
                    count(&door.signed);
                    (status::OK, cbor::to_vec(&SignedBody { sig }))
                }
                Ok(None) => {
                    let why = "no such resource";
                    (status::NOT_FOUND, cbor::to_vec(&RefusedBody { why }))
                }
                Err(reason) => {
                    count(&door.refused);
                    let why = reason.to_string();
                    let body = cbor::to_vec(&RefusedBody { why: &why });
                    (reason.status(), body)
                }
            };
            let reply = Reply::new(code)
                .with_header("content-type", "application/cbor")
                .with_header("content-length", body.len().to_string())
                .with_body(body);
            match code {
                status::TOO_MANY | status::UNAVAILABLE => {
                    reply.with_header("retry-after", RETRY_AFTER)
                }
                _ => reply,
            }
        })
    }
}

/// A proposal that was read and checked by itself.
struct Read {
    request: Request,
    of: About,
}

/// What a request is about.
enum About {
    /// A settlement; what is held and paid, where the proposal tells. A bid's is in the journal alone.
    Pays(Of, Option<Box<(Claim, Payout)>>),
    /// Evidence of a task's wrong result.
    Accuses(TaskId),
}

impl LedgerEscrow {
    /// The signature that is asked for; `None` without such a resource.
    async fn answer(&self, call: Call) -> Result<Option<[u8; 64]>, Reason> {
        let Client::Direct(asker) = call.client else {
            return Err(Reason::Stranger);
        };
        let path = call.request.target.strip_prefix(PREFIX);
        if call.request.method != Method::Post || path != Some("/sign") {
            return Ok(None);
        }
        // Before anything of the body is read.
        if !self.lists(asker).await? {
            return Err(Reason::Stranger);
        }
        let door = &self.cosigner.door;
        if !door.rates.take(asker, Instant::now()) {
            return Err(Reason::Crowded);
        }
        let mut place = door
            .room
            .part(Some(call.from.charge))
            .ok_or(Reason::Crowded)?;
        let body = tokio::time::timeout(PATIENCE, read(call.body, &mut place));
        let body = body.await.unwrap_or(Err(Reason::Body))?;
        let _turn = door.turns.acquire().await;
        self.sign(body).await.map(Some)
    }

    /// Whether the ledger lists a node as coordinator.
    async fn lists(&self, node: NodeId) -> Result<bool, Reason> {
        let now = Instant::now();
        let locked = || {
            let listed = self.cosigner.door.listed.lock();
            listed.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((at, list)) = &*locked()
            && now < *at + LISTED
        {
            return Ok(list.contains(&node));
        }
        let list = self.ledger.peek(|view| {
            let list = view.latest.role(Role::Coordinators);
            let ids = list.iter().filter_map(|id| id[..].try_into().ok());
            ids.map(NodeId).collect::<BTreeSet<_>>()
        });
        let list = list.await.map_err(|_| Reason::Unavailable)?;
        let is = list.contains(&node);
        *locked() = Some((now, list));
        Ok(is)
    }

    async fn sign(&self, body: Vec<u8>) -> Result<[u8; 64], Reason> {
        let now_ms = Clock::start().now().unix_ms;
        let when = match self.settings.check {
            Check::Proposal => self.settings.when,
            // The end of the task in the journal counts: its reader tells whether that is due.
            Check::Journal => When::AtOnce,
        };
        // Signatures are verified: no executor's thread waits for that.
        let reading = tokio::task::spawn_blocking(move || examine(&body, (when, now_ms)));
        let Read { request, of } = reading.await.unwrap_or(Err(Reason::Unavailable))?;
        let me = address(self.settings.own.public().as_bytes());
        let mut others = request.by.iter().map(|(id, _)| *id);
        if !request.by.iter().any(|(id, _)| *id == me) {
            return Err(Reason::Signers);
        }
        for id in &mut others {
            if !self.lists(id).await? {
                return Err(Reason::Signers);
            }
        }
        let (of, task) = match of {
            About::Pays(of, task) => (of, task.map(|paid| *paid)),
            About::Accuses(task) => return self.accuses(&request, task).await,
        };
        let (claim, payout) = match (self.settings.check, task) {
            (Check::Proposal, Some(paid)) => paid,
            (Check::Proposal, None) => return Err(Reason::Lots),
            (Check::Journal, task) => {
                let here = self.cosigner.looked_up(of).await?;
                if task.is_some_and(|(claim, payout)| {
                    id_of(&claim) != id_of(&here.0) || payout != here.1
                }) {
                    return Err(Reason::Journal);
                }
                here
            }
        };
        self.approve(&request, (claim, payout), now_ms).await
    }

    /// Signs evidence of listed coordinators if the fog's journal here gives the same. It needs no memory: the ledger punishes once.
    async fn accuses(&self, request: &Request, task: TaskId) -> Result<[u8; 64], Reason> {
        if self.settings.check != Check::Journal {
            return Err(Reason::Assignments);
        }
        let here = self.cosigner.accusations(task).await?;
        if !here.contains(&request.op) {
            return Err(Reason::Evidence);
        }
        let (genesis, own) = (self.ledger.genesis().id(), &self.settings.own);
        Ok(own.sign(REQUEST_LABEL, &[genesis, request.body()]))
    }

    /// Signs a settlement of listed coordinators if it pays this, and no other settlement was signed.
    pub(crate) async fn approve(
        &self,
        request: &Request,
        (claim, payout): (Claim, Payout),
        now_ms: u64,
    ) -> Result<[u8; 64], Reason> {
        let kept = self.cosigner.kept.get().ok_or(Reason::Unavailable)?;
        let settled = check::settlement(request, now_ms)?;
        if *settled.res != id_of(&claim) {
            return Err(Reason::Reservation);
        }
        // Nonces first: whatever is paid after this look uses it up, and then this request is refused.
        if !settled.end && !self.is_next(request).await? {
            return Err(Reason::Nonce);
        }
        let final_ms = self.compare(&settled, claim, payout).await?;
        let digest = check::digest(&request.op).ok_or(Reason::Request)?;
        let part = Part {
            res: *settled.res,
            end: settled.end,
            exp: request.exp,
            digest,
            payees: Payees(settled.list.iter().map(|item| item.to).collect()),
        };
        match kept.ask(Ask::Sign(part, final_ms)).await {
            Ok(Said::Sign) => {}
            Ok(Said::Other) => return Err(Reason::Other),
            Ok(Said::Full) => return Err(Reason::Full),
            _ => return Err(Reason::Unavailable),
        }
        let genesis = self.ledger.genesis().id();
        let own = &self.settings.own;
        Ok(own.sign(REQUEST_LABEL, &[genesis, request.body()]))
    }

    /// Whether a request has the nonce that this node uses next. Lots have no mark of being paid: a part that pays them could be sent
    /// again with a later nonce. The last part cannot, since its reservation is gone then.
    async fn is_next(&self, request: &Request) -> Result<bool, Reason> {
        let me = address(self.settings.own.public().as_bytes());
        let nonce = request.by.iter().find(|(id, _)| *id == me);
        let next = self.ledger.peek(move |view| view.latest.nonce(&me));
        let next = next.await.map_err(|_| Reason::Unavailable)?;
        Ok(next.is_some() && nonce.map(|(_, nonce)| *nonce) == next)
    }

    /// Compares a settlement with what is to be paid, and its reservation with the ledger. Returns the time of the final head.
    async fn compare(
        &self,
        settled: &check::Settlement<'_>,
        claim: Claim,
        payout: Payout,
    ) -> Result<u64, Reason> {
        let (status, out) = (settled.status.to_owned(), settled.out.to_vec());
        let (list, end) = (settled.list.to_vec(), settled.end);
        let paid = match payout.items.len() > ITEMS_MAX {
            true => self.paid_before(&claim).await?,
            false => BTreeSet::new(),
        };
        let looked = self.ledger.peek(move |view| {
            let covered = view.covered.ok_or(Reason::Reservation)?;
            if !is_held(covered, &claim) || !is_held(view.latest, &claim) {
                return Err(Reason::Reservation);
            }
            let Open { mut items, .. } = open_items(view.latest, payout.items, &paid);
            let ends = items.len() <= ITEMS_MAX;
            items.truncate(ITEMS_MAX);
            let same = (status, out, end, list) == (payout.status, payout.out, ends, items);
            same.then(|| covered.time()).ok_or(Reason::Pay)
        });
        looked.await.unwrap_or(Err(Reason::Unavailable))
    }

    /// Who was paid by earlier parts of a bid's settlement.
    async fn paid_before(&self, claim: &Claim) -> Result<BTreeSet<NodeId>, Reason> {
        let since_ms = claim.until_ms.saturating_sub(PAID_SINCE_MS);
        let past = self.past_of(id_of(claim), since_ms, true).await;
        Ok(past.map_err(|_| Reason::Unavailable)?.paid)
    }
}

/// Reads a proposal, and checks what can be checked by itself.
fn examine(body: &[u8], at: (When, u64)) -> Result<Read, Reason> {
    let proposal: Proposal<'_> = cbor::from_slice(body).map_err(|_| Reason::Form)?;
    let request = Request::from_bytes(proposal.request).ok_or(Reason::Form)?;
    if let Some(task) = check::accused(&request, at.1)? {
        let of = About::Accuses(task);
        return Ok(Read { request, of });
    }
    check::settlement(&request, at.1)?;
    if let Some(bid) = proposal.bid {
        return Ok(Read {
            request,
            of: About::Pays(Of::Bid(bid), None),
        });
    }
    let task = check::task(proposal.task)?;
    let payout = check::payout(&proposal, &task, at)?;
    let paid = Some(Box::new((check::claim(&task), payout)));
    let of = About::Pays(Of::Task(task.id()), paid);
    Ok(Read { request, of })
}

/// Reads a body of bounded length.
async fn read(mut body: CallBody, place: &mut Place) -> Result<Vec<u8>, Reason> {
    let mut all = Vec::new();
    while let Some(bytes) = body.chunk().await.map_err(|_| Reason::Body)? {
        if all.len() + bytes.len() > PROPOSAL_MAX {
            return Err(Reason::Body);
        }
        if !place.grow(bytes.len()) {
            return Err(Reason::Crowded);
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}
