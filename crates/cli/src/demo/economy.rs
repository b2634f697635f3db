//! The demo's economy: a task that is paid through escrow, a lie that costs stake, a vote, and an audit.

mod drill;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_economy_service::words::fog as shown;
use betanet_economy_service::{EconomyService, Ledger, Settings};
use betanet_escrow_service::{
    LedgerEscrow, Settings as EscrowSettings, When, reservation_id, reserve,
};
use betanet_fog::{DAY_MS, RefusalCode};
use betanet_fog_service::{Claim, Escrow, Purpose};
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_runtime::{Clock, seed};
use betanet_tokenomics::account::{MICRO, NODE, USER, address};
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Asset, Code, Envelope, GenesisDraft, Request, Role};

use super::fog::{Cast, Fog, Lie};
use super::{Steps, failed};
use crate::Fail;
use crate::economy::past::{account, public, sorted};
use crate::fail::chain;

/// Time between two heads of the demo's ledger, and longest wait for one.
const HEADS: Duration = Duration::from_millis(100);
const BOUND: Duration = Duration::from_secs(30);
/// µFOG that the owner of the task begins with.
const PURSE: u64 = 10 * MICRO;

fn wrong(error: &(dyn std::error::Error + 'static)) -> Fail {
    failed(format!("economy: {}", chain(error)))
}

/// Available µFOG of a key's account under the final head.
async fn has(ledger: &Ledger, key: &Identity) -> Result<u128, Fail> {
    let id = address(key.public().as_bytes());
    let looked = ledger.look(move |view| {
        let state = view.covered?;
        Some(state.counters(&id, Asset::Fog).available())
    });
    Ok(looked.await.map_err(|e| wrong(&e))?.unwrap_or(0))
}

/// Runs the steps. `lie` is of the fog that runs beside.
pub(super) async fn run(home: &Path, steps: &mut Steps, lie: Lie) -> Result<(), Fail> {
    let mut rng = Rng::new(&seed()?);
    let mut fresh = || Identity::from_seed(&rng.array::<32>());
    let (me, second, owner, worker) = (fresh(), fresh(), fresh(), fresh());
    paid(home, steps, (&me, &second, &owner, &worker)).await?;
    drill::run(steps, lie, [&me, &second])
}

/// A task is paid through escrow.
async fn paid(
    home: &Path,
    steps: &mut Steps,
    (me, second, owner, worker): (&Identity, &Identity, &Identity, &Identity),
) -> Result<(), Fail> {
    let key = |of: &Identity| *of.public().as_bytes();
    let alloc = [
        (key(me), USER, 0),
        (key(second), USER, 0),
        (key(owner), USER, PURSE),
        (key(worker), NODE, 0),
    ];
    let officers = [me, second];
    let genesis = GenesisDraft {
        name: "demo",
        t0: Clock::start().now().unix_ms,
        epoch_ms: DAY_MS,
        cap: 1_000 * MICRO,
        halving: 365,
        alloc: &alloc,
        roles: &[
            (Role::Coordinators, sorted(&officers, account)),
            (Role::Signers, sorted(&officers, public)),
        ],
        ..GenesisDraft::default()
    };
    let mut settings = Settings::new(genesis.to_bytes());
    settings.signers = vec![me.clone(), second.clone()];
    settings.head_every = HEADS;
    let service = EconomyService::new(me.clone(), settings).map_err(|e| wrong(&e))?;
    let journal = crate::journal::open(&home.join("ledger-journal"), "ledger")?;
    let books = service.start(journal).await.map_err(|e| wrong(&e))?;
    books.leads().await;
    let ledger = service.ledger();
    let mut settings = EscrowSettings::new(me.clone());
    settings.keys.push(second.clone());
    settings.when = When::AtOnce;
    let escrow = LedgerEscrow::new(ledger.clone(), settings);
    let cast = Cast {
        me: me.clone(),
        owner: owner.clone(),
        workers: vec![worker.clone()],
        escrow: Some(Arc::clone(&escrow) as Arc<dyn Escrow>),
    };
    let folder = home.join("paid");
    std::fs::create_dir(&folder).map_err(Fail::file(&folder))?;
    let mut fog = Fog::start_with(&folder, cast).await?;
    let (handle, journal) = fog.books();
    let paying = escrow.start(handle, journal);
    steps.done(
        "started a ledger with two signers, and a fog with one worker whose tasks are paid from it",
    );

    let task = fog.small()?;
    match fog.offer(&task).await? {
        Err((RefusalCode::Budget, _)) => {}
        other => return Err(failed(format!("economy: without money: {other:?}"))),
    }
    let claim = Claim {
        purpose: Purpose::Task,
        of: task.id().0,
        owner: task.owner,
        amount: task.budget,
        until_ms: task.deadline + 3 * DAY_MS,
    };
    let now_ms = Clock::start().now().unix_ms;
    let op = reserve(&claim, now_ms).ok_or_else(|| failed("economy: the hold is too long"))?;
    let id = reservation_id(&claim.owner, claim.purpose, &claim.of);
    let by = [(address(owner.public().as_bytes()), 0)];
    send(&ledger, &by, owner, (&op, id), now_ms).await?;
    let held = async {
        while escrow.covers(claim).await != Ok(true) {
            ledger.changed(HEADS).await;
        }
    };
    let held = tokio::time::timeout(BOUND, held).await;
    held.map_err(|_| failed("economy: no final head covers the hold"))?;
    if let Err((code, why)) = fog.offer(&task).await? {
        return Err(failed(format!("economy: with a hold: {code}: {why}")));
    }
    steps.done(&format!(
        "refused a task without money behind it, held {} FOG of its owner, and the task was accepted",
        shown(claim.amount.into())
    ));

    let cost = u128::from(fog.cost(&task.id()).await?);
    let paid = async {
        loop {
            let paid = has(&ledger, worker).await?;
            if paid > 0 {
                return Ok::<_, Fail>(paid);
            }
            ledger.changed(HEADS).await;
        }
    };
    let paid = tokio::time::timeout(BOUND, paid).await;
    let paid = paid.map_err(|_| failed("economy: the worker was not paid"))??;
    let rest = has(&ledger, owner).await?;
    let fees = u128::from(PURSE) - rest - paid;
    let fee = cost - paid;
    // 100 µFOG are the fee of the hold.
    if rest + cost + 100 != u128::from(PURSE) {
        return Err(failed(format!(
            "economy: {rest} of {PURSE} are left after a cost of {cost}"
        )));
    }
    steps.done(&format!(
        "the receipt paid the worker {} FOG and {} of fees, {} went back to the owner, who paid {} in all",
        shown(paid),
        shown(fee),
        shown(u128::from(claim.amount) - cost),
        shown(paid + fees)
    ));
    let audited = ledger.look(|view| view.latest.audit());
    let audited = audited.await.map_err(|e| wrong(&e))?;
    audited.map_err(|e| wrong(&e))?;
    drop(paying);
    fog.stop().await;
    books.stop().await;
    Ok(())
}

/// Sends one request, which the ledger must accept.
async fn send(
    ledger: &Ledger,
    by: &[(betanet_wire::NodeId, u64)],
    signer: &Identity,
    (op, id): (&Op, [u8; 16]),
    now_ms: u64,
) -> Result<(), Fail> {
    let request = Request::new(by, now_ms + 60_000, id, op);
    let request = request.ok_or_else(|| failed("economy: a request is out of its bounds"))?;
    let envelope = Envelope::sign(request, ledger.genesis().id(), &[signer]);
    let body = ledger.submit(envelope.to_bytes()).await;
    match body.map_err(|e| wrong(&e))?.answer.code {
        Code::Ok => Ok(()),
        code => Err(failed(format!("economy: {}", code.name()))),
    }
}
