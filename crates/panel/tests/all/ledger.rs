//! The pages of the ledger: without one, and with accounts, a hold and a proposal.

use std::sync::Arc;
use std::time::Duration;

use betanet_economy_service::{EconomyService, Settings};
use betanet_journal::MemoryStore;
use betanet_keys::{Identity, Name};
use betanet_tokenomics::account::{MICRO, NODE, USER, address};
use betanet_tokenomics::request::{Effect, Op};
use betanet_tokenomics::{Code, Envelope, GenesisDraft, Param, Request, Role};

use crate::world::world;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn now_ms() -> u64 {
    betanet_runtime::Clock::start().now().unix_ms
}

async fn send(service: &EconomyService, by: u8, op: &Op) -> Code {
    let key = identity(by);
    let id = address(key.public().as_bytes());
    let ledger = service.ledger();
    let nonce = ledger.look(move |view| view.latest.nonce(&id));
    let nonce = nonce.await.unwrap().unwrap();
    let request = Request::new(
        &[(id, nonce)],
        now_ms() + 60_000,
        [u8::try_from(nonce).unwrap() + by; 16],
        op,
    );
    let envelope = Envelope::sign(request.unwrap(), service.genesis().id(), &[&key]);
    let body = service.ledger().submit(envelope.to_bytes()).await.unwrap();
    body.answer.code
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledgers_pages_show_what_is_there_or_that_nothing_is() {
    let mut world = world().await;
    let (cookie, _) = world.admin().await;
    let get = async |world: &crate::world::World, path: &str, cookie: &str| {
        world.ask("GET", path, &[("cookie", cookie)], "").await
    };
    for path in ["/tokens", "/governance"] {
        let page = get(&world, path, &cookie).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.contains("not-installed-card"), "{path}");
    }

    let signers = [21, 22].map(identity);
    let mut keys: Vec<Vec<u8>> = signers
        .iter()
        .map(|k| k.public().as_bytes().to_vec())
        .collect();
    keys.sort_unstable();
    let alloc = [(3, USER, 10), (4, NODE, 3_000)];
    let alloc = alloc.map(|(n, kind, fog)| (*identity(n).public().as_bytes(), kind, fog * MICRO));
    let genesis = GenesisDraft {
        name: "a town",
        t0: now_ms() - 5_500,
        epoch_ms: 1_000,
        cap: 100_000 * MICRO,
        halving: 365,
        alloc: &alloc,
        roles: &[(Role::Signers, keys)],
        ..GenesisDraft::default()
    };
    let mut settings = Settings::new(genesis.to_bytes());
    settings.signers = signers.into();
    settings.head_every = Duration::from_millis(20);
    let service = EconomyService::new(identity(21), settings).unwrap();
    let journal = Arc::new(MemoryStore::new().open("one"));
    let running = service.start(journal).await.unwrap();
    running.leads().await;
    let bond = Op::Bond {
        amt: 1_500 * MICRO,
        comm: 0,
    };
    assert_eq!(send(&service, 4, &bond).await, Code::Ok);
    let reserve = Op::Reserve {
        amt: 2 * MICRO,
        credit: 0,
        of: [9; 32],
        kind: 0,
        ttl: 86_400,
    };
    assert_eq!(send(&service, 3, &reserve).await, Code::Ok);
    // A snapshot of the stake is taken when the epoch ends.
    let (param, value) = (Param::FeeTx, 200);
    let propose = Op::propose(vec![Effect::Param { param, value }], [7; 32]);
    while send(&service, 4, &propose).await != Code::Ok {
        service.ledger().changed(Duration::from_millis(50)).await;
    }
    let ledger = service.ledger();
    let records = ledger.look(|view| view.latest.records());
    running.reaches(records.await.unwrap()).await;

    world.panel.take().unwrap().stop().await;
    world.ledger = Some(service.ledger());
    world.start().await;
    let cookie = world.log_in("root", "").await;
    let page = get(&world, "/tokens", &cookie).await;
    let name = Name::from(identity(3).public().node_id()).to_string();
    for part in [
        "Ledger a town",
        "leads",
        "accounts-table",
        "holds-table",
        "7.9999",
        &name,
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    let page = get(&world, "/governance", &cookie).await;
    for part in [
        "fee_tx: 100 -&gt; 200",
        "opens in",
        "all effects would be accepted",
        "unbond_ms",
    ] {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    // A link to the same rows as a file.
    let after = "0".repeat(32);
    let path = format!("/governance?after={after}");
    let page = get(&world, &path, &cookie).await;
    let link = format!("/governance?after={after}&amp;format=json");
    assert!(page.body.contains(&link), "{}", page.body);
    let all = get(&world, "/tokens?format=json", &cookie).await;
    assert_eq!(all.status, 200, "{all:?}");
    assert!(all.body.contains("\"account\":") && !all.body.contains("\"cut\""));
    let wrong = get(&world, "/tokens?format=xml", &cookie).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    let wrong = get(&world, "/tokens?after=xyz", &cookie).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    running.stop().await;
}
