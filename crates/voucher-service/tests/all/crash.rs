use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_journal::Journal;
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_store::State;
use betanet_voucher_service::{JournalSettings, Settings};
use betanet_vouchers::message::{IssueRequest, Op, RedeemRequest};
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
