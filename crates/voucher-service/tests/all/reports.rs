use std::sync::Arc;

use betanet_voucher_service::Settings;
use betanet_voucher_service::client::{ClientError, Direct, Patience, VoucherClient};
use betanet_vouchers::{Denomination, Partials, Voucher, finish, sign_blinded};
use betanet_wire::Code;

use super::world::{Mint, Town, client, node};

/// The spender's client: each mint is asked once.
fn asking() -> VoucherClient {
    let patience = Patience {
        tries: 1,
        ..Patience::default()
    };
    VoucherClient::with_patience(Direct::new(Arc::new(node(1))), patience)
}

impl Town {
    /// Signs with the shares of two mints that somebody has stolen. No mint knows of it.
    fn forge(&mut self, exponents: &[u8]) -> Vec<Voucher> {
        let (blindings, _) = self.blind(exponents);
        let shares = [self.folder(2).shares, self.folder(3).shares];
        let of = |shares: &[betanet_vouchers::KeyShare]| Partials {
            share: shares[0].index(),
            signatures: blindings
                .iter()
                .map(|b| {
                    let mut shares = shares.iter();
                    let share = shares.find(|s| s.denomination() == b.denomination());
                    let point = b.blinded(&self.keyset).unwrap();
                    sign_blinded(share.unwrap(), &point).unwrap()
                })
                .collect(),
        };
        let partials = [of(&shares[0]), of(&shares[1])];
        finish(&self.keyset, &blindings, &partials, &mut self.rng).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mints_are_asked_for_their_counts_and_a_stolen_key_raises_the_alarm() {
    let mut town = Town::dealt(2, 3, &[0, 1]);
    for me in 1..=3 {
        let folder = town.folder(me);
        town.mints
            .push(Mint::start(me, vec![folder], Settings::default(), None).await);
    }
    let others = vec![town.mints[1].peer(), town.mints[2].peer()];
    town.mints[0]
        .service
        .watch(asking(), others.clone())
        .unwrap();
    assert!(town.mints[0].service.watch(asking(), others).is_err());
    let buyer = client(61);
    let good = town.issue(&buyer, &[0, 0, 1]).await;
    assert!(town.redeem(&buyer, 61, &good).await.is_ok());

    // Every signature of a mint counts, and the spender's own: two mints have signed two points.
    let running = town.mints[0].running.as_ref().unwrap();
    running.compare().await.unwrap();
    let seen = running.view().await.unwrap().keysets.remove(0);
    let reported = seen.reported.unwrap();
    assert_eq!(reported.shares, [1, 2, 3]);
    let most = reported.most.unwrap();
    assert_eq!(most.values().copied().collect::<Vec<_>>(), [2, 1]);
    assert!(!seen.alarm && !reported.alarm);
    let face = town.mints[0].service.extension();
    assert!(face.faults().is_empty(), "{:?}", face.faults());

    // Nobody but the spender is told.
    let told = buyer
        .signed_points(&town.mints[1].peer(), &town.keyset.id())
        .await;
    let refused = matches!(
        told,
        Err(ClientError::Refused {
            status: 403,
            code: Some(Code::POLICY_REJECTED),
            ..
        })
    );
    assert!(refused, "{told:?}");

    // What two stolen shares sign is redeemed, and is more than all mints have signed.
    let stolen = town.forge(&[0]);
    assert!(town.redeem(&buyer, 61, &stolen).await.is_ok());
    let running = town.mints[0].running.as_ref().unwrap();
    assert!(!running.view().await.unwrap().keysets[0].alarm);
    running.compare().await.unwrap();
    let seen = running.view().await.unwrap().keysets.remove(0);
    assert!(seen.alarm);
    let low = Denomination::new(0).unwrap();
    let counts = seen.counts.iter().find(|c| c.denomination == low).unwrap();
    assert_eq!((counts.redeemed, reported_most(&seen, low)), (3, Some(2)));
    let why = &face.faults()[0].why;
    assert!(why.contains("redeemed than issued"), "{why}");
    let measured = face.measures();
    let silent = measured.iter().find(|m| m.name.contains("silent"));
    assert_eq!(silent.unwrap().values[0].1, 0);

    // With one mint silent the bound is wider; what was proven stays. With two there is none.
    let last = town.mints.pop().unwrap();
    last.end().await;
    let running = town.mints[0].running.as_ref().unwrap();
    running.compare().await.unwrap();
    let seen = running.view().await.unwrap().keysets.remove(0);
    assert_eq!(seen.reported.as_ref().unwrap().shares, [1, 2]);
    assert!(seen.alarm && reported_most(&seen, low).unwrap() >= 2);
    let last = town.mints.pop().unwrap();
    last.end().await;
    let running = town.mints[0].running.as_ref().unwrap();
    running.compare().await.unwrap();
    let seen = running.view().await.unwrap().keysets.remove(0);
    assert_eq!(seen.reported.unwrap().most, None);
    let faults = face.faults();
    assert!(faults[0].why.contains("1 of 3 mints report"), "{faults:?}");
    town.end().await;
}

fn reported_most(seen: &betanet_voucher_service::KeysetView, e: Denomination) -> Option<u64> {
    let most = seen.reported.as_ref()?.most.as_ref()?;
    most.get(&e).copied()
}
