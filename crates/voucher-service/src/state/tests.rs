use std::sync::atomic::Ordering;

use betanet_machine::{Rng, Seed, Time};
use betanet_vouchers::bank::verified;
use betanet_vouchers::message::{Blinded, Op, blinded_value};
use betanet_vouchers::testkit::{BEGIN, World};
use betanet_vouchers::{MIN_LIFE, Voucher, finish};
use proptest::prelude::*;

use super::*;
use crate::payments::Once;

mod ledger;

/// A state, its journal, and a wallet.
struct Desk {
    world: World,
    of: Of,
    state: VoucherState,
    journal: Vec<Record>,
    at: u64,
    next: u64,
}

impl Desk {
    fn new() -> Self {
        let world = World::new(60, 1, 1, &[0, 1, 2]);
        let of = Of {
            spender: *world.spender.public(),
            keysets: Arc::new(world.keysets.clone()),
            mints: [world.id].into(),
            ledger: BTreeSet::new(),
            genesis: None,
            alarm: Arc::default(),
        };
        Self {
            world,
            state: VoucherState::new(of.clone()),
            of,
            journal: Vec::new(),
            at: BEGIN,
            next: 0,
        }
    }

    fn id(&mut self) -> [u8; 16] {
        self.next += 1;
        u128::from(self.next).to_be_bytes()
    }

    fn ask(&mut self, ask: Ask) -> Said {
        let now = Now::new(Time::ZERO, self.at);
        self.state.decide(now, ask, &mut self.journal)
    }

    /// Asks for points with a coupon of this number; gives the vouchers.
    fn issue(&mut self, exponents: &[u8], coupon: u8) -> Result<Vec<Voucher>, Code> {
        let blindings: Vec<_> = exponents.iter().map(|e| self.world.blinding(*e)).collect();
        let points = blindings.iter().map(|b| Blinded {
            denomination: b.denomination(),
            point: b.blinded(self.world.keyset()).unwrap().to_bytes(),
        });
        let points: Vec<Blinded> = points.collect();
        let bytes = IssueRequest::encode(self.id(), &self.world.id, &points, &[coupon]);
        let request = IssueRequest::from_bytes(&bytes).unwrap();
        let payment = Payment {
            paid: Paid {
                amount: blinded_value(&points).unwrap(),
                at: self.at,
            },
            once: Some(Once {
                id: [coupon; 16],
                exp: BEGIN + MIN_LIFE,
            }),
            counted: false,
        };
        let checked = request.points().unwrap();
        let Said::Sign(decided) = self.ask(Ask::Issue(request, checked, Some(payment))) else {
            panic!("something else was said")
        };
        let to_sign = decided?;
        let mut shares = betanet_vouchers::mint::MintShares::default();
        assert!(shares.add(self.world.keyset(), self.world.of_mint(1).iter().cloned()));
        let answer = to_sign.sign(&shares).unwrap();
        let keyset = self.world.keyset().clone();
        Ok(finish(&keyset, &blindings, &[answer.partials], &mut self.world.rng).unwrap())
    }

    fn redeem(&mut self, vouchers: &[Voucher]) -> Answer {
        let id = self.id();
        let bytes = RedeemRequest::encode(Op::Redeem, NodeId([1; 20]), id, vouchers);
        let request = RedeemRequest::from_bytes(&bytes).unwrap();
        let mut rng = Rng::new(&Seed::from_number(1));
        let verdict = verified(
            request.hash(),
            &request.vouchers,
            &self.of.keysets,
            &mut rng,
        );
        let Said::Answer(answer) = self.ask(Ask::Redeem(None, Box::new((request, verdict)), None))
        else {
            panic!("something else was said")
        };
        answer
    }

    fn balances(&mut self) -> u128 {
        let Said::View(view) = self.ask(Ask::View) else {
            panic!("something else was said")
        };
        view.balances["FOG"]
    }

    /// A state from the journal alone, as after a crash.
    fn rebuilt(&self) -> VoucherState {
        let mut state = VoucherState::new(self.of.clone());
        self.journal.iter().for_each(|r| state.apply(r).unwrap());
        state
    }
}

#[test]
fn the_records_of_one_issue_stand_together_and_a_coupon_is_used_up_by_them() {
    let mut desk = Desk::new();
    assert_eq!(desk.issue(&[0, 2], 1).unwrap().len(), 2);
    let kinds: Vec<&str> = desk.journal.iter().map(|r| r.kind.as_str()).collect();
    // The keyset is opened by the first issue.
    assert_eq!(kinds, ["mint", "coupon", "mint", "bank"]);
    assert_eq!(desk.issue(&[0, 2], 1), Err(Code::POLICY_REJECTED));
    assert_eq!(desk.journal.len(), 4);
    assert!(desk.issue(&[0, 2], 2).is_ok());
}

#[test]
fn pieces_are_packed_into_parts_and_read_from_them() {
    let mut parts = Vec::new();
    let piece = |n: u8, length: usize| vec![n; length];
    for n in 0..40 {
        pack(&mut parts, BANK_PIECE, &piece(n, 60_000));
    }
    pack(&mut parts, MINT_PIECE, &piece(40, PART_MAX - 6));
    assert_eq!(parts.len(), 4, "17 pieces of 60 KB fit into 1 MiB");
    assert!(parts.iter().all(|p| p.len() <= PART_MAX));
    let mut n = 0;
    for part in &parts {
        let mut rest = part.strip_prefix(&[PACKED]).unwrap();
        while let Some((piece, after)) = unpack(rest).unwrap() {
            assert_eq!(piece[1..].first(), Some(&n));
            (rest, n) = (after, n + 1);
        }
        assert!(unpack(&part[1..part.len() - 1]).is_err() || n > 1);
    }
    assert_eq!(n, 41);
    assert!(unpack(&[0, 0, 0]).is_err() && unpack(&[0, 0, 0, 2, 1]).is_err());
    // A state comes back from packed parts, and from parts of one piece each.
    let mut desk = Desk::new();
    let vouchers = desk.issue(&[0, 1, 2], 1).unwrap();
    assert!(desk.redeem(&vouchers[..1]).is_ok());
    let packed = desk.state.snapshot();
    assert_eq!(packed.len(), 1);
    let mut single = Vec::new();
    let mut rest = &packed[0][1..];
    while let Some((piece, after)) = unpack(rest).unwrap() {
        single.push(piece.to_vec());
        rest = after;
    }
    for parts in [packed, single] {
        let mut state = VoucherState::new(desk.of.clone());
        state.restore(parts).unwrap();
        assert_eq!(state.fingerprint(), desk.state.fingerprint());
    }
}

#[test]
fn records_and_pieces_of_another_version_are_refused() {
    let mut state = Desk::new().state;
    let other = Record::new(Kind::new("other").unwrap(), *b"x");
    assert_eq!(state.apply(&other), Err(Unreadable));
    assert_eq!(state.apply(&Record::new(BANK, *b"x")), Err(Unreadable));
    for part in [&b""[..], b"\x09", b"\x01x", b"\x03x"] {
        assert_eq!(state.restore(vec![part.to_vec()]), Err(Unreadable));
    }
}

#[test]
fn more_redeemed_than_issued_raises_the_alarm_after_a_restart_too() {
    let mut desk = Desk::new();
    let v = desk.issue(&[0], 1).unwrap();
    assert!(desk.redeem(&v).is_ok());
    assert!(!desk.of.alarm.load(Ordering::Relaxed));
    // Signed by a thief of the key: the mint knows nothing of it.
    let stolen = desk.world.issue(&[0]);
    assert!(desk.redeem(&stolen).is_ok());
    assert!(desk.of.alarm.swap(false, Ordering::Relaxed));
    let rebuilt = desk.rebuilt();
    assert!(rebuilt.of.alarm.load(Ordering::Relaxed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is asked, and wherever it is cut off: balances and unspent vouchers are what was issued.
    #[test]
    fn balances_and_unspent_are_what_was_issued(
        steps in prop::collection::vec((0..4_u8, 0..3_u8, 0..40_u8), 1..25),
    ) {
        let mut desk = Desk::new();
        let (mut issued, mut unspent, mut spent) = (0_u128, Vec::new(), Vec::new());
        for (step, e, coupon) in steps {
            match step {
                0 => if let Ok(vouchers) = desk.issue(&[e, 0], coupon) {
                    issued += vouchers.iter().map(|v| u128::from(v.value())).sum::<u128>();
                    unspent.extend(vouchers);
                },
                1 => if let Some(voucher) = unspent.pop() {
                    prop_assert!(desk.redeem(std::slice::from_ref(&voucher)).is_ok());
                    spent.push(voucher);
                },
                2 => if let Some(voucher) = spent.last() {
                    let again = desk.redeem(std::slice::from_ref(&voucher.clone()));
                    prop_assert_eq!(again.codes, [Code::VOUCHER_SPENT]);
                },
                _ => {
                    let before = desk.state.fingerprint();
                    let rebuilt = desk.rebuilt();
                    prop_assert_eq!(rebuilt.fingerprint(), before);
                    let mut restored = VoucherState::new(desk.of.clone());
                    restored.restore(rebuilt.snapshot()).unwrap();
                    prop_assert_eq!(restored.fingerprint(), before);
                    desk.state = restored;
                }
            }
            let value: u128 = unspent.iter().map(|v| u128::from(v.value())).sum();
            prop_assert_eq!(desk.balances() + value, issued);
        }
    }
}
