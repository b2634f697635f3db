use alloc::vec::Vec;

use betanet_machine::{Rng, Seed};
use proptest::prelude::*;

use super::record::Kept;
use super::*;
use crate::held::Decided;
use crate::message::{Blinded, Op, RedeemRequest, SwapRequest, blinded_hash};
use crate::testkit::{BEGIN, World, keyset};
use crate::{GRACE, MIN_LIFE, Phase};

const ME: NodeId = NodeId([1; 20]);
const NOW: u64 = BEGIN + 1;

struct Desk {
    world: World,
    bank: Bank,
    journal: Vec<Vec<u8>>,
}

impl Desk {
    fn new(exponents: &[u8]) -> Self {
        let world = World::new(40, 1, 2, exponents);
        let bank = Bank::new(*world.spender.public());
        Self {
            world,
            bank,
            journal: Vec::new(),
        }
    }

    fn log<T>(&mut self, decided: Decided<T>) -> T {
        self.journal.extend(decided.record);
        let committed = self.journal.len() as u64;
        decided.answer.release(committed).ok().unwrap()
    }

    fn bytes(op: Op, id: u8, vouchers: &[Voucher]) -> Vec<u8> {
        RedeemRequest::encode(op, ME, [id; 16], vouchers).to_vec()
    }

    fn send(&mut self, now: u64, asker: Option<NodeId>, bytes: &[u8]) -> Answer {
        let request = RedeemRequest::from_bytes(bytes).unwrap();
        let v = verified(
            request.hash(),
            &request.vouchers,
            &self.world.keysets,
            &mut self.world.rng,
        );
        let decided = self
            .bank
            .redeem(now, asker, &self.world.keysets, &request, &v);
        self.log(decided)
    }

    fn redeem(&mut self, id: u8, vouchers: &[Voucher]) -> Answer {
        self.send(NOW, Some(ME), &Self::bytes(Op::Redeem, id, vouchers))
    }

    fn swap(&mut self, id: u8, vouchers: &[Voucher], blinded: &[Blinded]) -> Answer {
        let bytes = SwapRequest::encode([id; 16], &self.world.id, vouchers, blinded);
        let request = SwapRequest::from_bytes(&bytes).unwrap();
        let v = verified(
            request.hash(),
            &request.vouchers,
            &self.world.keysets,
            &mut self.world.rng,
        );
        let points = request.points().unwrap();
        let decided = self
            .bank
            .swap(NOW, &self.world.keysets, &request, &points, &v);
        self.log(decided)
    }

    fn blinded(&mut self, exponents: &[u8]) -> Vec<Blinded> {
        let one = |e: &u8| {
            let blinding = self.world.blinding(*e);
            let point = blinding.blinded(self.world.keyset()).unwrap().to_bytes();
            Blinded {
                denomination: blinding.denomination(),
                point,
            }
        };
        exponents.iter().map(one).collect()
    }
}

#[test]
fn a_voucher_is_redeemed_once_and_the_payee_alone_sees_the_balance() {
    let mut desk = Desk::new(&[0, 3]);
    let v = desk.world.issue(&[0, 3, 3]);
    let checked = desk.send(NOW, Some(ME), &Desk::bytes(Op::Check, 1, &v));
    assert_eq!(
        (checked.codes.as_slice(), checked.total, checked.balance),
        (&[Code::OK; 3][..], 17, 0)
    );
    let answer = desk.redeem(1, &v[..2]);
    assert_eq!((answer.is_ok(), answer.total, answer.balance), (true, 9, 9));
    assert_eq!(desk.bank.balance(&ME, "FOG"), 9);
    // All or nothing: the good one stays good.
    let answer = desk.redeem(2, &v[1..]);
    assert_eq!(answer.codes, [Code::VOUCHER_SPENT, Code::OK]);
    assert_eq!((answer.total, desk.bank.balance(&ME, "FOG")), (0, 9));
    assert!(!desk.bank.is_spent(&v[2]));
    let bytes = Desk::bytes(Op::Redeem, 3, &v[2..]);
    let other = desk.send(NOW, Some(NodeId([2; 20])), &bytes);
    assert_eq!((other.is_ok(), other.total, other.balance), (true, 8, 0));
    assert_eq!(desk.send(NOW, Some(ME), &bytes).balance, 17);
}

#[test]
fn the_same_request_has_the_same_bytes_and_another_under_its_number_is_refused() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0, 0]);
    let key = desk.world.spender.clone();
    let first = desk.redeem(7, &v[..1]).sign(&key);
    let second = desk.redeem(8, &v[1..]);
    assert_eq!(second.balance, 2);
    assert_eq!(desk.redeem(7, &v[..1]).sign(&key), first);
    let records = desk.journal.len();
    assert_eq!(desk.redeem(7, &v[1..]).codes, [Code::POLICY_REJECTED]);
    let check = desk.send(NOW, Some(ME), &Desk::bytes(Op::Check, 7, &v[..1]));
    assert_eq!(check.codes, [Code::POLICY_REJECTED]);
    assert_eq!(desk.journal.len(), records);
    // Kept for 30 days; then the vouchers are just spent.
    let bytes = Desk::bytes(Op::Redeem, 7, &v[..1]);
    assert!(desk.send(NOW + ANSWER_KEPT - 1, Some(ME), &bytes).is_ok());
    assert_eq!(
        desk.send(NOW + ANSWER_KEPT, Some(ME), &bytes).codes,
        [Code::VOUCHER_SPENT]
    );
}

#[test]
fn an_answer_is_not_released_before_its_commit() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0]);
    let bytes = Desk::bytes(Op::Redeem, 1, &v);
    let request = RedeemRequest::from_bytes(&bytes).unwrap();
    let verdict = verified(
        request.hash(),
        &request.vouchers,
        &desk.world.keysets,
        &mut desk.world.rng,
    );
    let decided = desk
        .bank
        .redeem(NOW, None, &desk.world.keysets, &request, &verdict);
    let held = decided.answer.release(0).unwrap_err();
    // Nor is a refusal that rests on it.
    let again = Desk::bytes(Op::Redeem, 2, &v);
    let again = RedeemRequest::from_bytes(&again).unwrap();
    let verdict = verified(
        again.hash(),
        &again.vouchers,
        &desk.world.keysets,
        &mut desk.world.rng,
    );
    let refused = desk
        .bank
        .redeem(NOW, None, &desk.world.keysets, &again, &verdict);
    assert!(refused.record.is_none());
    let refused = refused.answer.release(0).unwrap_err();
    assert!(held.release(1).is_ok());
    assert_eq!(refused.release(1).unwrap().codes, [Code::VOUCHER_SPENT]);
}

#[test]
fn duplicates_and_verdicts_of_other_requests_take_nothing() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0, 0]);
    let answer = desk.redeem(1, &[v[0].clone(), v[1].clone(), v[0].clone()]);
    assert_eq!(answer.codes, [Code::VOUCHER_INVALID; 3]);
    let request = RedeemRequest::from_bytes(&Desk::bytes(Op::Redeem, 1, &v[..1])).unwrap();
    let other = RedeemRequest::from_bytes(&Desk::bytes(Op::Redeem, 1, &v[1..])).unwrap();
    let verdict = verified(
        other.hash(),
        &other.vouchers,
        &desk.world.keysets,
        &mut desk.world.rng,
    );
    let decided = desk
        .bank
        .redeem(NOW, None, &desk.world.keysets, &request, &verdict);
    assert_eq!(desk.log(decided).codes, [Code::INTERNAL_ERROR]);
    assert!(desk.journal.is_empty());
}

#[test]
fn after_so_many_forged_vouchers_the_rest_are_not_looked_at() {
    let mut desk = Desk::new(&[0]);
    let good = desk.world.issue(&[0]);
    let point = betanet_bls::G1Affine::generator();
    let forged = (0..2 * FORGED_MAX).map(|n| {
        let secret = [u8::try_from(n).unwrap(); 32];
        Voucher::new(&desk.world.id, Denomination::LEAST, &secret, &point)
    });
    let mut all: Vec<Voucher> = forged.collect();
    all.extend(good.iter().cloned());
    let request = RedeemRequest::from_bytes(&Desk::bytes(Op::Redeem, 1, &all)).unwrap();
    let verdict = verified(
        request.hash(),
        &request.vouchers,
        &desk.world.keysets,
        &mut desk.world.rng,
    );
    assert_eq!(verdict.forged(), FORGED_MAX);
    let answer = desk.redeem(1, &all);
    let n = |code| answer.codes.iter().filter(|c| **c == code).count();
    assert_eq!(n(Code::VOUCHER_INVALID), FORGED_MAX);
    // Not called worthless: one of them is good.
    assert_eq!(n(Code::POLICY_REJECTED), FORGED_MAX + 1);
    assert!(desk.redeem(2, &good).is_ok());
}

#[test]
fn expired_unknown_and_not_yet_valid_keysets_are_told_apart() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0]);
    let bytes = Desk::bytes(Op::Check, 1, &v);
    let end = BEGIN + MIN_LIFE;
    for (now, code) in [
        (BEGIN - 1, Code::POLICY_REJECTED),
        (BEGIN, Code::OK),
        (end + GRACE - 1, Code::OK),
        (end + GRACE, Code::POLICY_REJECTED),
    ] {
        assert_eq!(desk.send(now, None, &bytes).codes, [code], "{now}");
    }
    let mut stranger = World::new(41, 1, 1, &[0]);
    let foreign = stranger.issue(&[0]);
    let bytes = Desk::bytes(Op::Check, 1, &foreign);
    assert_eq!(
        desk.send(NOW, None, &bytes).codes,
        [Code::VOUCHER_INVALID],
        "unknown"
    );
    // Known, but another service keeps its spent set.
    desk.world.keysets.add(stranger.keyset().clone()).unwrap();
    assert_eq!(
        desk.send(NOW, None, &bytes).codes,
        [Code::VOUCHER_INVALID],
        "another's"
    );
}

#[test]
fn a_swept_keyset_is_never_taken_again() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0, 0]);
    assert!(desk.redeem(1, &v[..1]).is_ok());
    let keyset = desk.world.keyset().clone();
    let over = keyset.exp() + GRACE;
    assert_eq!(
        (keyset.phase(over), desk.bank.sweep(over - 1, &keyset)),
        (Phase::Expired, None)
    );
    assert_eq!(
        desk.bank.sweepable(&desk.world.keysets, over),
        [keyset.id()]
    );
    desk.journal.push(desk.bank.sweep(over, &keyset).unwrap());
    assert_eq!(desk.bank.sweep(over, &keyset), None);
    // Even if the clock runs back.
    assert_eq!(desk.redeem(2, &v[..1]).codes, [Code::POLICY_REJECTED]);
    assert_eq!(desk.redeem(3, &v[1..]).codes, [Code::POLICY_REJECTED]);
    assert_eq!(desk.bank.issued(&keyset.id(), &[]), None);
    assert_eq!(desk.bank.balance(&ME, "FOG"), 1);
}

#[test]
fn a_swap_keeps_the_sum_and_stays_within_its_keyset() {
    let mut desk = Desk::new(&[0, 1, 2]);
    let v = desk.world.issue(&[2, 1, 0]);
    let out = desk.blinded(&[0, 0, 2]);
    let refused = desk.swap(1, &v[..2], &out[..2]);
    assert_eq!(refused.codes, [Code::POLICY_REJECTED; 2], "2 for 6");
    let answer = desk.swap(1, &v[..2], &out);
    assert!(answer.is_ok());
    let swapped = answer.swapped.unwrap();
    assert_eq!(
        (answer.total, swapped.blinded, swapped.keyset),
        (6, blinded_hash(&out), desk.world.id)
    );
    let key = desk.world.spender.clone();
    assert_eq!(desk.swap(1, &v[..2], &out).sign(&key), answer.sign(&key));
    let out = desk.blinded(&[0]);
    assert_eq!(
        desk.swap(1, &v[2..], &out).codes,
        [Code::POLICY_REJECTED],
        "the number"
    );
    assert_eq!(desk.swap(2, &v[..1], &out).codes, [Code::VOUCHER_SPENT]);
    assert_eq!(desk.redeem(3, &v[1..2]).codes, [Code::VOUCHER_SPENT]);
    // Another keyset of the same service.
    let spender = desk.world.spender.clone();
    let (_, second) = keyset(1, 1, &[0], BEGIN, &spender, &mut desk.world.rng);
    let id = second.id();
    desk.world.keysets.add(second).unwrap();
    let bytes = SwapRequest::encode([4; 16], &id, &v[2..], &out);
    let request = SwapRequest::from_bytes(&bytes).unwrap();
    let verdict = verified(
        request.hash(),
        &request.vouchers,
        &desk.world.keysets,
        &mut desk.world.rng,
    );
    let points = request.points().unwrap();
    let decided = desk
        .bank
        .swap(NOW, &desk.world.keysets, &request, &points, &verdict);
    assert_eq!(desk.log(decided).codes, [Code::POLICY_REJECTED]);
    let e = Denomination::LEAST;
    assert_eq!(
        desk.bank.counter(&desk.world.id, e),
        Counter {
            issued: 2,
            redeemed: 0
        }
    );
}

#[test]
fn a_point_is_granted_once_and_a_second_swap_of_it_spends_nothing() {
    let mut desk = Desk::new(&[0, 1]);
    let v = desk.world.issue(&[0, 0, 0, 1, 1]);
    let out = desk.blinded(&[0, 0]);
    assert!(desk.swap(1, &v[..1], &out[..1]).is_ok());
    let refused = [Code::POLICY_REJECTED; 2];
    // As another device of the same phrase sends it.
    assert_eq!(desk.swap(2, &v[1..3], &out).codes, refused);
    let twice = [out[1], out[1]];
    assert_eq!(desk.swap(3, &v[1..3], &twice).codes, refused);
    let other = Blinded {
        denomination: v[3].denomination(),
        ..out[0]
    };
    assert_eq!(desk.swap(4, &v[3..4], &[other]).codes, refused[..1]);
    assert!(v[1..].iter().all(|v| !desk.bank.is_spent(v)));
    // The same after a restart, from the journal and from a snapshot.
    let mut pieces = Vec::new();
    desk.bank.snapshot(&mut |piece| pieces.push(piece));
    for records in [desk.journal.clone(), pieces] {
        desk.bank = rebuilt(&desk, &records);
        assert_eq!(desk.swap(2, &v[1..2], &out[..1]).codes, refused[..1]);
    }
    assert!(desk.swap(2, &v[1..2], &out[1..]).is_ok());
    let keyset = desk.world.keyset().clone();
    assert!(desk.bank.sweep(keyset.exp() + GRACE, &keyset).is_some());
    assert_eq!(desk.bank.books.granted, 0);
}

#[test]
fn more_redeemed_than_issued_raises_an_alarm() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0, 0]);
    let id = desk.world.id;
    desk.journal
        .push(desk.bank.issued(&id, &[(Denomination::LEAST, 1)]).unwrap());
    assert!(desk.redeem(1, &v[..1]).is_ok());
    assert_eq!(desk.bank.alarms().count(), 0);
    assert!(desk.redeem(2, &v[1..]).is_ok());
    let counter = Counter {
        issued: 1,
        redeemed: 2,
    };
    let alarm = Alarm {
        keyset: id,
        denomination: Denomination::LEAST,
        counter,
    };
    assert_eq!(desk.bank.alarms().collect::<Vec<_>>(), [alarm]);
}

#[test]
fn balances_are_paid_out_once() {
    let mut desk = Desk::new(&[3]);
    let v = desk.world.issue(&[3]);
    assert!(desk.redeem(1, &v).is_ok());
    let w = |id: u8, amount| Withdrawal {
        id: [id; 16],
        of: ME,
        unit: "FOG",
        amount,
    };
    for (w, expected) in [
        (w(2, 9), Withdrawn::Refused),
        (w(2, 0), Withdrawn::Refused),
        (w(2, 5), Withdrawn::Left(3)),
        (w(2, 5), Withdrawn::Left(3)),
        (w(2, 3), Withdrawn::Refused),
        (w(1, 3), Withdrawn::Refused),
        (w(3, 3), Withdrawn::Left(0)),
    ] {
        let decided = desk.bank.withdraw(NOW, &w);
        assert_eq!(desk.log(decided), expected, "{w:?}");
    }
    assert_eq!(desk.bank.balances("FOG"), 0);
}

/// Rebuilds a service from records.
fn rebuilt(desk: &Desk, records: &[Vec<u8>]) -> Bank {
    let mut bank = Bank::new(*desk.world.spender.public());
    for record in records {
        bank.apply(record).unwrap();
    }
    bank
}

#[test]
fn replay_and_snapshot_give_the_same_state_and_wrong_records_none() {
    let mut desk = Desk::new(&[0, 1]);
    let v = desk.world.issue(&[0, 0, 1, 1]);
    assert!(desk.redeem(1, &v[..2]).is_ok());
    let out = desk.blinded(&[0, 0]);
    assert!(desk.swap(2, &v[2..3], &out).is_ok());
    desk.journal.push(
        desk.bank
            .issued(&desk.world.id, &[(Denomination::LEAST, 9)])
            .unwrap(),
    );
    let w = Withdrawal {
        id: [3; 16],
        of: ME,
        unit: "FOG",
        amount: 1,
    };
    let decided = desk.bank.withdraw(NOW, &w);
    desk.log(decided);
    let replayed = rebuilt(&desk, &desk.journal);
    assert_eq!(replayed.fingerprint(), desk.bank.fingerprint());
    let mut pieces = Vec::new();
    desk.bank.snapshot(&mut |p| pieces.push(p));
    assert!(pieces.iter().all(|p| p.len() < 1 << 17));
    let mut restored = rebuilt(&desk, &pieces);
    assert_eq!(restored.fingerprint(), desk.bank.fingerprint());
    assert_eq!(restored.records(), 4);
    for record in &desk.journal {
        // A record twice would spend twice; a report of the mints would just count.
        let before = restored.fingerprint();
        if restored.apply(record).is_err() {
            assert_eq!(restored.fingerprint(), before);
        }
    }
    assert_eq!(
        restored.apply(&desk.journal[0]),
        Err(JournalError::Contradiction)
    );
    assert!(matches!(
        restored.apply(b"x"),
        Err(JournalError::Malformed(_))
    ));
    let keysets = &desk.world.keysets;
    for bank in [&mut restored, &mut desk.bank] {
        let request = RedeemRequest::from_bytes(&Desk::bytes(Op::Redeem, 9, &v[3..])).unwrap();
        let mut rng = Rng::new(&Seed::from_number(1));
        let verdict = verified(request.hash(), &request.vouchers, keysets, &mut rng);
        let decided = bank.redeem(NOW, Some(ME), keysets, &request, &verdict);
        assert!(decided.record.is_some());
    }
    assert_eq!(restored.balance(&ME, "FOG"), desk.bank.balance(&ME, "FOG"));
}

#[derive(Clone, Debug)]
enum Step {
    Redeem {
        id: u8,
        from: usize,
        n: usize,
        to: u8,
    },
    Swap {
        id: u8,
        at: usize,
    },
    Withdraw {
        id: u8,
        to: u8,
        amount: u64,
    },
    /// Loses so many of the last records.
    Crash {
        lost: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..12_u8;
    prop_oneof![
        4 => (id.clone(), 0..24_usize, 1..4_usize, 0..3_u8)
            .prop_map(|(id, from, n, to)| Step::Redeem { id, from, n, to }),
        2 => (id.clone(), 0..24_usize).prop_map(|(id, at)| Step::Swap { id, at }),
        1 => (id, 0..3_u8, 1..6_u64).prop_map(|(id, to, amount)| Step::Withdraw { id, to, amount }),
        1 => (0..4_usize).prop_map(|lost| Step::Crash { lost }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Balances, payments out, and unspent vouchers sum to what was issued, whatever happens; and a crash loses nothing that was
    /// answered.
    #[test]
    fn value_is_conserved_through_crashes(steps in prop::collection::vec(step(), 1..30)) {
        let mut desk = Desk::new(&[0, 1, 2]);
        let exponents: Vec<u8> = (0..24).map(|i| [0, 1, 2][i % 3]).collect();
        let vouchers = desk.world.issue(&exponents);
        let issued: u64 = vouchers.iter().map(Voucher::value).sum();
        for step in steps {
            match step {
                Step::Redeem { id, from, n, to } => {
                    let some: Vec<Voucher> = vouchers.iter().cycle().skip(from).take(n).cloned().collect();
                    let bytes = RedeemRequest::encode(Op::Redeem, NodeId([to; 20]), [id; 16], &some);
                    let _ = desk.send(NOW, None, &bytes);
                }
                Step::Swap { id, at } => {
                    let voucher = &vouchers[at];
                    let e = voucher.denomination().exponent();
                    let out: Vec<u8> = if e == 0 { [0].into() } else { [e - 1; 2].into() };
                    let blinded = desk.blinded(&out);
                    let _ = desk.swap(id, core::slice::from_ref(voucher), &blinded);
                }
                Step::Withdraw { id, to, amount } => {
                    let w = Withdrawal { id: [id; 16], of: NodeId([to; 20]), unit: "FOG", amount };
                    let decided = desk.bank.withdraw(NOW, &w);
                    let _ = desk.log(decided);
                }
                Step::Crash { lost } => {
                    let kept = desk.journal.len().saturating_sub(lost);
                    desk.journal.truncate(kept);
                    desk.bank = rebuilt(&desk, &desk.journal);
                }
            }
            let unspent: u64 = vouchers.iter().filter(|v| !desk.bank.is_spent(v)).map(Voucher::value).sum();
            // What swaps issued stays with its owners here, as unspent vouchers do; payments out left the service.
            let (mut swapped, mut paid) = (0, 0);
            for record in &desk.journal {
                match Record::from_bytes(record).unwrap() {
                    Record::Swap(s) => swapped += s.out.iter().map(|c| c.0.value() * c.1).sum::<u64>(),
                    Record::Debit(d) => paid += d.amount,
                    _ => {}
                }
            }
            let balances = u64::try_from(desk.bank.balances("FOG")).unwrap();
            prop_assert_eq!(balances + unspent + swapped + paid, issued);
        }
        let rebuilt = rebuilt(&desk, &desk.journal);
        prop_assert_eq!(rebuilt.fingerprint(), desk.bank.fingerprint());
    }
}

#[test]
fn full_books_take_no_more_and_forget_nothing() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0, 0, 0]);
    desk.bank.books.spent = SPENT_MAX - 1;
    assert_eq!(desk.redeem(1, &v[..2]).codes, [Code::POLICY_REJECTED; 2]);
    let out = desk.blinded(&[0, 0]);
    assert_eq!(
        desk.swap(2, &v[..2], &out).codes,
        [Code::POLICY_REJECTED; 2]
    );
    assert!(desk.redeem(3, &v[..1]).is_ok());
    assert_eq!(desk.redeem(4, &v[1..2]).codes, [Code::POLICY_REJECTED]);
    assert_eq!(desk.redeem(5, &v[..1]).codes, [Code::VOUCHER_SPENT]);
    // Keysets: one that is known goes on.
    desk.bank.books.spent = 1;
    for n in 1..u64::try_from(BOOKS_MAX).unwrap() {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        desk.bank.books.of.entry(KeysetId(id)).or_default();
    }
    assert!(desk.redeem(6, &v[1..2]).is_ok());
    assert_eq!(desk.bank.issued(&KeysetId([9; 32]), &[]), None);
    assert_eq!(desk.bank.books.of.len(), BOOKS_MAX);
}

#[test]
fn swaps_leave_room_for_redemptions_and_push_no_answer_out() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0, 0, 0, 0]);
    let out = desk.blinded(&[0, 0, 0, 0]);
    let refused = [Code::POLICY_REJECTED];
    desk.bank.books.spent = SWAPS_MAX;
    assert_eq!(desk.swap(1, &v[..1], &out[..1]).codes, refused);
    assert!(desk.redeem(1, &v[..1]).is_ok());
    desk.bank.books.spent = 1;
    desk.bank.books.granted = GRANTED_MAX;
    assert_eq!(desk.swap(2, &v[1..2], &out[..1]).codes, refused);
    desk.bank.books.granted = 0;
    let first = desk.swap(2, &v[1..2], &out[..1]);
    assert!(first.is_ok());
    let kept = desk.bank.books.answers[&[2; 16]].clone();
    for n in 1..u64::try_from(ANSWERS_MAX).unwrap() {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        let (at, kept) = (NOW + n, kept.clone());
        desk.bank.books.swap_ages.insert((at, id));
        desk.bank.books.answers.insert(id, Kept { id, at, ..kept });
    }
    assert_eq!(desk.swap(3, &v[2..3], &out[1..2]).codes, refused);
    assert!(desk.redeem(4, &v[2..3]).is_ok(), "redemptions go on");
    assert_eq!(desk.swap(2, &v[1..2], &out[..1]), first, "it is kept");
}

#[test]
fn answers_and_balances_are_bounded() {
    let mut desk = Desk::new(&[0]);
    let v = desk.world.issue(&[0, 0, 0]);
    assert!(desk.redeem(1, &v[..1]).is_ok());
    let kept = desk.bank.books.answers.values().next().unwrap().clone();
    for n in 1..u64::try_from(ANSWERS_MAX).unwrap() {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        let (at, kept) = (NOW + n, kept.clone());
        desk.bank.books.ages.insert((at, id));
        desk.bank.books.answers.insert(id, Kept { id, at, ..kept });
    }
    assert!(desk.redeem(2, &v[1..2]).is_ok());
    assert_eq!(desk.bank.books.answers.len(), ANSWERS_MAX);
    assert_eq!(desk.bank.books.ages.len(), ANSWERS_MAX);
    // The oldest made room: its request finds the voucher spent.
    assert_eq!(desk.redeem(1, &v[..1]).codes, [Code::VOUCHER_SPENT]);
    let most = u64::try_from(BALANCES_MAX).unwrap();
    for n in 1..most {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&n.to_be_bytes());
        desk.bank
            .books
            .balances
            .insert((NodeId(id), "FOG".into()), 1);
    }
    let other =
        |id: u8| RedeemRequest::encode(Op::Redeem, NodeId([0xee; 20]), [id; 16], &v[2..]).to_vec();
    assert_eq!(
        desk.send(NOW, None, &other(3)).codes,
        [Code::POLICY_REJECTED]
    );
    assert!(desk.redeem(4, &v[2..]).is_ok(), "a known payee");
}
