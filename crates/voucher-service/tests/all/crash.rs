use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_journal::{Journal, MemoryStore};
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_store::State;
use betanet_voucher_service::{JournalSettings, Settings};
use betanet_vouchers::Voucher;
use betanet_vouchers::message::{Answer, IssueRequest, Op, RedeemRequest};
use betanet_wire::Code;

use super::world::{Mint, Town, client, code, identity, post, session};

async fn journal(folder: &Path) -> Arc<dyn Journal> {
    // The driver of the life before lets the folder go when it notices that it is over.
    let opened = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            match State::open(folder) {
                Ok(state) => return state,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let state = Arc::new(opened.await.unwrap());
    let settings = SqliteSettings {
        floor: 0,
        ..SqliteSettings::default()
    };
    Arc::new(SqliteJournal::open(&state, settings).unwrap())
}

async fn start(town: &mut Town, folder: &Path) {
    let settings = Settings {
        journal: JournalSettings {
            // Some of the state comes back from a snapshot, the rest from records.
            snapshot_every: 5,
            snapshots: 1,
        },
        ..Settings::default()
    };
    let mint = town.folder(1);
    let mint = Mint::start(1, vec![mint], settings, Some(journal(folder).await)).await;
    town.mints.push(mint);
}

/// Ends a node as a crash would: the state says no farewell.
async fn crash(town: &mut Town) {
    let mut mint = town.mints.remove(0);
    drop(mint.running.take());
    mint.gateway.shutdown().await;
    drop(mint);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlasts_crashes_and_balances_and_unspent_are_what_was_issued() {
    let mut town = Town::dealt(1, 1, &[0, 1, 2]);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("journal");
    let (mut unspent, mut issued) = (Vec::new(), 0);
    let coupon = town.coupon(1);
    let (_, points) = town.blind(&[0, 0]);
    let id = town.keyset.id();
    let pays = |n: u8| {
        let point = &points[usize::from(n)..][..1];
        IssueRequest::encode([n; 16], &id, point, &coupon.to_bytes())
    };
    let mut first = None;
    for round in 0..3_u8 {
        start(&mut town, &folder).await;
        let client = client(53);
        let session = session(53, &town.mints[0]).await;
        // The coupon was used by the first request, in whichever life that was.
        let used = post(&session, "issue", &pays(0)).await;
        assert_eq!(used.0, 200);
        assert_eq!(first.get_or_insert_with(|| used.clone()), &used);
        let (status, refused) = post(&session, "issue", &pays(1)).await;
        assert_eq!((status, code(&refused)), (403, Code::POLICY_REJECTED));
        unspent.extend(town.issue(&client, &[0, 1, 2, 2]).await);
        issued += 11;
        let spent: Vec<_> = unspent.drain(..2).collect();
        let to = identity(53).public().node_id();
        let request = RedeemRequest::encode(Op::Redeem, to, [round; 16], &spent);
        let answer = post(&session, "redeem", &request).await;
        assert_eq!(answer.0, 200);
        let value: u64 = unspent.iter().map(|v| v.value()).sum();
        let running = town.mints[0].running.as_ref().unwrap();
        let view = running.view().await.unwrap();
        // The coupon's point is a voucher that nobody unblinds.
        assert_eq!(view.balances["FOG"] + u128::from(value), issued);
        let before = running.fingerprint().await.unwrap();
        assert!(!view.keysets[0].alarm);
        crash(&mut town).await;

        start(&mut town, &folder).await;
        let after = town.mints[0]
            .running
            .as_ref()
            .unwrap()
            .fingerprint()
            .await
            .unwrap();
        assert_eq!(after, before);
        let session = super::world::session(53, &town.mints[0]).await;
        assert_eq!(
            post(&session, "redeem", &request).await,
            answer,
            "the bytes of then"
        );
        let again = town.redeem(&client, 53, &spent).await;
        assert_eq!(again.codes, [Code::VOUCHER_SPENT; 2]);
        crash(&mut town).await;
    }
}

/// Asks one node to redeem a voucher. `None` if it does not lead.
async fn redeems(at: &Mint, id: u8, voucher: &Voucher, town: &Town) -> Option<Vec<Code>> {
    let to = identity(54).public().node_id();
    let request = RedeemRequest::encode(Op::Redeem, to, [id; 16], std::slice::from_ref(voucher));
    let session = session(54, at).await;
    let (status, body) = post(&session, "redeem", &request).await;
    assert!(status == 200 || status == 503, "{status}");
    let answer = (status == 200).then(|| Answer::verify(&body, town.keyset.spender()).unwrap());
    answer.map(|a| a.codes)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_on_one_journal_never_spend_a_voucher_twice() {
    let mut town = Town::dealt(1, 1, &[0]);
    let store = MemoryStore::new();
    for name in ["first", "second"] {
        let (folders, journal) = (vec![town.folder(1)], store.open(name));
        let journal: Option<Arc<dyn Journal>> = Some(Arc::new(journal));
        let begun = Mint::begin(1, folders, Settings::default(), journal, Vec::new()).await;
        if town.mints.is_empty() {
            begun.running.as_ref().unwrap().leads().await;
        }
        town.mints.push(begun);
    }
    let second = town.mints.pop().unwrap();
    let v = town.issue(&client(54), &[0; 12]).await;
    let first = &town.mints[0];
    let ok = Some(vec![Code::OK]);
    let spent = Some(vec![Code::VOUCHER_SPENT]);
    assert_eq!(redeems(first, 1, &v[0], &town).await, ok);
    assert_eq!(redeems(&second, 2, &v[1], &town).await, None, "it follows");

    // The first one's lease ends, while both are asked about each of ten vouchers at the same time.
    let running = second.running.as_ref().unwrap();
    let ends = async {
        loop {
            store.pass(60_000);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let both = async {
        let mut of = Vec::new();
        for (id, voucher) in (10..).zip(&v[2..]) {
            let one = redeems(first, id, voucher, &town);
            let other = redeems(&second, id + 100, voucher, &town);
            of.push(tokio::join!(one, other));
        }
        running.leads().await;
        of
    };
    let both = tokio::time::timeout(Duration::from_secs(120), both);
    let of = tokio::select! {
        of = both => of.expect("the second one leads at last"),
        () = ends => unreachable!("it has no end"),
    };
    let mut redeemed = 1;
    for (n, (one, other)) in of.iter().enumerate() {
        let wins = [one, other].iter().filter(|a| **a == &ok).count();
        assert!(wins <= 1, "voucher {n}: {one:?}, {other:?}");
        redeemed += wins as u128;
    }
    // Whoever answered OK, the journal has it: the one that leads now knows of all of them.
    for (id, voucher) in (200..).zip(&v) {
        let was_good = redeems(&second, id, voucher, &town).await == ok;
        redeemed += u128::from(was_good);
        assert_eq!(redeems(&second, id + 20, voucher, &town).await, spent);
    }
    assert_eq!(redeemed, 12);
    assert_eq!(running.view().await.unwrap().balances["FOG"], 12);
    second.end().await;
    town.end().await;
}
