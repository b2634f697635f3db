//! A keyset that five mints made together over files, and fresh shares of it.

use std::path::{Path, PathBuf};

use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};
use betanet_runtime::{load_identity, write_secret};
use betanet_voucher_service::keygen::{Plan, step};
use betanet_voucher_service::{
    Error, KEYSET_FILE, MintFolder, REFRESH_FILE, Settings, VoucherService, new_issuer,
};

use super::world::{HOUR, Mint, Town, client, deal, identity, now_ms};

fn folder(dir: &Path, run: &str, mint: u8) -> PathBuf {
    dir.join(format!("{run}-{mint}"))
}

/// All five step on, and give their files to each other, until each has its folder.
fn run(dir: &Path, run: &str, plan: &Plan, old: Option<&str>, rng: &mut Rng) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for _ in 0..8 {
        let mut next = Vec::new();
        let mut made = Vec::new();
        for mint in 1..=5 {
            let old = old.map(|old| folder(dir, old, mint).join("mint"));
            let old = old.map(|old| MintFolder::open(&old, rng).unwrap());
            let me: Identity = identity(mint);
            let at = folder(dir, run, mint);
            let how = (old.as_ref(), false);
            let done = step(&at, Some(plan.as_bytes()), &me, &files, how, rng).unwrap();
            assert!(done.cheats.is_empty());
            made.extend(done.made);
            next.push(done.file);
        }
        if made.len() == 5 {
            return made;
        }
        files = next;
    }
    panic!("the run does not end")
}

#[tokio::test(flavor = "multi_thread")]
async fn mints_that_made_their_keys_together_issue_and_old_shares_end_with_a_refresh() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(&Seed::from_number(78));
    let members: Vec<_> = (1..=5).map(|n| *identity(n).public()).collect();
    let issuer = new_issuer(dir.path()).unwrap();
    let plan = Plan::fresh(&deal(3, 5, &[0, 2]), &members, issuer, &mut rng).unwrap();
    let first = run(dir.path(), "first", &plan, None, &mut rng);

    // Three of the five issue; the first one redeems.
    let open = |path: &PathBuf, rng: &mut Rng| vec![MintFolder::open(path, rng).unwrap()];
    let keyset = std::sync::Arc::new(open(&first[0], &mut rng).remove(0).keyset);
    let issuer = load_identity(&dir.path().join("issuer.pem")).unwrap();
    let mut town = Town::made(keyset, issuer, dir);
    for me in [1, 2, 5] {
        let folders = open(&first[usize::from(me) - 1], &mut rng);
        town.mints
            .push(Mint::start(me, folders, Settings::default(), None).await);
    }
    let old = town.issue(&client(60), &[0, 2, 0]).await;
    assert_eq!(town.redeem(&client(60), 60, &old[..1]).await.balance, 1);

    // Fresh shares. The keyset and its vouchers stay.
    let before = MintFolder::open(&first[0], &mut rng).unwrap();
    let plan = Plan::refresh(&before.keyset, &members, &mut rng).unwrap();
    let path = town.dir.path().to_owned();
    let second = run(&path, "second", &plan, Some("first"), &mut rng);
    let after = MintFolder::open(&second[0], &mut rng).unwrap();
    assert_eq!(after.keyset.id(), before.keyset.id());
    assert_eq!(after.keyset.generation(), 1);
    let stale = town.mints.split_off(1);
    for mint in town.mints.drain(..) {
        mint.end().await;
    }
    for me in [1, 3] {
        let folders = open(&second[usize::from(me) - 1], &mut rng);
        town.mints
            .push(Mint::start(me, folders, Settings::default(), None).await);
    }
    // A wallet reads the fresh shares' keys from a mint that has them.
    let offered = client(60).keysets(&town.mints[0].peer()).await.unwrap();
    let fresh = offered[0].check(&mut rng).unwrap();
    assert_eq!((fresh.id(), fresh.generation()), (town.keyset.id(), 1));
    town.keyset = std::sync::Arc::new(fresh);
    let buyer = client(61);
    // Two with fresh shares and two with old ones are not three.
    let [fresh, old_ones] = [&town.mints, &stale].map(|m| m.iter().map(Mint::peer));
    let mixed: Vec<_> = fresh.chain(old_ones).collect();
    let (blindings, points) = town.blind(&[2]);
    let pay = town.coupon(4).to_bytes();
    let request =
        betanet_vouchers::message::IssueRequest::encode([9; 16], &town.keyset.id(), &points, &pay);
    let refused = buyer.issue_vouchers(&mixed, &town.keyset, &request, &blindings);
    assert!(
        refused.await.is_err(),
        "shares of two generations were joined"
    );
    for mint in stale {
        mint.end().await;
    }
    // The old share does not even start with the fresh keys.
    let wrong = town.dir.path().join("wrong");
    std::fs::create_dir(&wrong).unwrap();
    for (from, name) in [
        (&second[1], KEYSET_FILE),
        (&second[1], REFRESH_FILE),
        (&first[1], betanet_voucher_service::SHARE_FILE),
    ] {
        write_secret(&wrong.join(name), &std::fs::read(from.join(name)).unwrap()).unwrap();
    }
    let started = VoucherService::new(identity(2), open(&wrong, &mut rng), Settings::default());
    assert!(matches!(started, Err(Error::Shares(_))));

    // With a third fresh share the very same request is answered.
    let folders = open(&second[3], &mut rng);
    town.mints
        .push(Mint::start(4, folders, Settings::default(), None).await);
    let peers = town.peers();
    let v = buyer.issue_vouchers(&peers, &town.keyset, &request, &blindings);
    let v = v.await.unwrap();
    let answer = town.redeem(&buyer, 61, &v).await;
    assert_eq!((answer.is_ok(), answer.balance), (true, 4));
    // Vouchers from before the refresh are good.
    let answer = town.redeem(&client(62), 62, &old[1..]).await;
    assert_eq!((answer.is_ok(), answer.balance), (true, 5));
    assert!(town.keyset.exp() > now_ms() + HOUR);
    town.end().await;
}
