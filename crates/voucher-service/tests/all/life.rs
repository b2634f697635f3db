//! Keysets on a running node, from announced to expired, as a client sees them over one session.

use std::path::Path;
use std::time::Duration;

use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};
use betanet_runtime::{Headers, Method, SessionHandle, load_identity};
use betanet_voucher_service::coupon::Coupon;
use betanet_voucher_service::{MintFolder, Offered, Settings, mint_init};
use betanet_vouchers::message::{Answer, Blinded, IssueRequest, Op, RedeemRequest, SwapRequest};
use betanet_vouchers::{
    Blinding, Denomination, GRACE, Keyset, MIN_LIFE, Partials, Phase, Voucher, finish, sign_blinded,
};
use betanet_wire::Code;

use super::world::{HOUR, Mint, ask, code, deal_at, identity, now_ms, post, session};

/// A keyset, and what its operator has.
struct Dealt {
    folder: MintFolder,
    issuer: Identity,
    rng: Rng,
}

fn dealt(dir: &Path, unit: &str, not_before: u64, exp: u64) -> Dealt {
    let mut rng = Rng::new(&Seed::from_number(not_before));
    let deal = betanet_voucher_service::Deal {
        unit,
        ..deal_at(1, 1, &[0], not_before, exp)
    };
    mint_init(dir, &deal, &mut rng).unwrap();
    Dealt {
        folder: MintFolder::open(&dir.join("mint-1"), &mut rng).unwrap(),
        issuer: load_identity(&dir.join("issuer.pem")).unwrap(),
        rng,
    }
}

/// One client of one keyset.
struct Buyer<'a> {
    keyset: &'a Keyset,
    dealt: &'a mut Dealt,
    session: &'a SessionHandle,
}

impl Buyer<'_> {
    fn blind(&mut self) -> (Blinding, Blinded) {
        let secret: [u8; 32] = self.dealt.rng.array();
        let factor = betanet_bls::Scalar::draw(|b| self.dealt.rng.fill(b));
        let blinding = Blinding::new(Denomination::LEAST, &secret, factor).unwrap();
        let point = blinding.blinded(self.keyset).unwrap().to_bytes();
        let denomination = Denomination::LEAST;
        (
            blinding,
            Blinded {
                denomination,
                point,
            },
        )
    }

    /// A voucher that was issued at some time before: its mint's share signs it here.
    fn earlier(&mut self, share: &betanet_vouchers::KeyShare) -> Voucher {
        let (blinding, _) = self.blind();
        let blinded = blinding.blinded(self.keyset).unwrap();
        let partials = Partials {
            share: 1,
            signatures: vec![sign_blinded(share, &blinded).unwrap()],
        };
        let rng = &mut self.dealt.rng;
        finish(self.keyset, &[blinding], &[partials], rng)
            .unwrap()
            .remove(0)
    }

    /// Status and code of an issue for a good coupon.
    async fn issue(&mut self) -> (u16, Option<Code>) {
        let (_, blinded) = self.blind();
        let coupon = Coupon {
            id: self.dealt.rng.array(),
            keyset: self.keyset.id(),
            value: 1,
            exp: now_ms() + HOUR,
        };
        let pay = coupon.sign(&self.dealt.issuer).to_bytes();
        let id = self.dealt.rng.array();
        let request = IssueRequest::encode(id, &self.keyset.id(), &[blinded], &pay);
        let (status, body) = post(self.session, "issue", &request).await;
        (status, (status != 200).then(|| code(&body)))
    }

    async fn answer(&mut self, op: Op, voucher: &Voucher) -> Vec<Code> {
        let (to, id) = (identity(70).public().node_id(), self.dealt.rng.array());
        let request = RedeemRequest::encode(op, to, id, std::slice::from_ref(voucher));
        let (status, body) = post(self.session, "redeem", &request).await;
        assert_eq!(status, 200);
        Answer::verify(&body, self.keyset.spender()).unwrap().codes
    }

    /// The codes of a swap for a fresh point of the same keyset.
    async fn swap(&mut self, voucher: &Voucher) -> Vec<Code> {
        let (_, blinded) = self.blind();
        let id = self.dealt.rng.array();
        let given = std::slice::from_ref(voucher);
        let request = SwapRequest::encode(id, &self.keyset.id(), given, &[blinded]);
        let (status, body) = post(self.session, "swap", &request).await;
        assert_eq!(status, 200, "{:?}", code(&body));
        Answer::verify(&body, self.keyset.spender()).unwrap().codes
    }

    /// The phase that the node tells.
    async fn phase(&self) -> Phase {
        let listed = ask(
            self.session,
            Method::Get,
            "/vouchers/keysets",
            Headers::default(),
            b"",
        );
        let all = Offered::read_list(&listed.await.2).unwrap();
        let of = |o: &&Offered| o.keyset == self.keyset.as_bytes();
        all.iter().find(of).unwrap().phase
    }

    /// Waits until the node tells this phase.
    async fn becomes(&self, phase: Phase) {
        let turns = async {
            while self.phase().await != phase {
                // An address has 120 requests a minute.
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let turns = tokio::time::timeout(Duration::from_secs(60), turns);
        turns.await.unwrap_or_else(|_| panic!("never {phase:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keysets_pass_through_their_life_on_a_running_node() {
    const POLICY: Code = Code::POLICY_REJECTED;
    let home = tempfile::tempdir().unwrap();
    let now = now_ms();
    // One becomes active in eight seconds and retires twelve later; the grace of the other ends in fourteen.
    let mut young = dealt(
        &home.path().join("young"),
        "YOUNG",
        now + 8_000,
        now + 20_000,
    );
    let end = now + 14_000 - GRACE;
    let mut old = dealt(&home.path().join("old"), "OLD", end - MIN_LIFE, end);
    let open = |name: &str, rng: &mut Rng| {
        MintFolder::open(&home.path().join(name).join("mint-1"), rng).unwrap()
    };
    let folders = vec![open("young", &mut young.rng), open("old", &mut old.rng)];
    let mint = Mint::start(1, folders, Settings::default(), None).await;
    let session = session(70, &mint).await;
    let (young_keys, old_keys) = (young.folder.keyset.clone(), old.folder.keyset.clone());
    let (young_share, old_share) = (young.folder.shares[0].clone(), old.folder.shares[0].clone());
    let mut young = Buyer {
        keyset: &young_keys,
        dealt: &mut young,
        session: &session,
    };
    let mut old = Buyer {
        keyset: &old_keys,
        dealt: &mut old,
        session: &session,
    };

    // Announced: nothing is issued, and nothing that somebody signed early is good.
    let early = young.earlier(&young_share);
    assert_eq!(young.phase().await, Phase::Announced);
    assert_eq!(young.issue().await, (403, Some(POLICY)));
    for op in [Op::Check, Op::Redeem] {
        assert_eq!(young.answer(op, &early).await, [POLICY]);
    }
    assert_eq!(young.swap(&early).await, [POLICY]);

    // Retiring: what was issued is good, and so is a coupon that was signed before the end. Nothing is swapped into it.
    let kept = [(); 3].map(|()| old.earlier(&old_share));
    assert_eq!(old.phase().await, Phase::Retiring);
    assert_eq!(old.issue().await, (200, None));
    assert_eq!(old.answer(Op::Check, &kept[0]).await, [Code::OK]);
    assert_eq!(old.answer(Op::Redeem, &kept[0]).await, [Code::OK]);
    assert_eq!(
        old.answer(Op::Redeem, &kept[0]).await,
        [Code::VOUCHER_SPENT]
    );
    assert_eq!(old.swap(&kept[1]).await, [POLICY]);
    assert_eq!(old.answer(Op::Check, &kept[1]).await, [Code::OK]);

    // Active.
    young.becomes(Phase::Active).await;
    assert_eq!(young.issue().await, (200, None));
    assert_eq!(young.answer(Op::Check, &early).await, [Code::OK]);
    assert_eq!(young.swap(&early).await, [Code::OK]);
    assert_eq!(
        young.answer(Op::Redeem, &early).await,
        [Code::VOUCHER_SPENT]
    );
    let late = young.earlier(&young_share);

    // Expired: what was not redeemed by then is lost.
    old.becomes(Phase::Expired).await;
    assert_eq!(old.issue().await, (403, Some(POLICY)));
    for op in [Op::Check, Op::Redeem] {
        assert_eq!(old.answer(op, &kept[1]).await, [POLICY]);
    }
    assert_eq!(old.swap(&kept[2]).await, [POLICY]);

    // Retiring, after it was active on this node.
    young.becomes(Phase::Retiring).await;
    assert_eq!(young.issue().await, (200, None));
    assert_eq!(young.swap(&late).await, [POLICY]);
    assert_eq!(young.answer(Op::Redeem, &late).await, [Code::OK]);
    assert!(!session.is_closed());
    let view = mint.running.as_ref().unwrap().view().await.unwrap();
    assert_eq!((view.balances["OLD"], view.balances["YOUNG"]), (1, 1));
    mint.end().await;
}
