use alloc::vec::Vec;

use super::*;
use crate::Blinding;
use crate::bank::{Bank, verified};
use crate::message::{SwapRequest, swap_pays};
use crate::testkit::{BEGIN, World, keyset};
use crate::{GRACE, MIN_LIFE, Voucher, finish, verify};

const NOW: u64 = BEGIN + 5;

struct Setting {
    world: World,
    mint: Mint,
    shares: MintShares,
    journal: Vec<Vec<u8>>,
}

impl Setting {
    fn new() -> Self {
        let world = World::new(50, 1, 2, &[0, 1]);
        let (mut mint, mut shares) = (Mint::new(), MintShares::default());
        assert!(shares.add(world.keyset(), world.of_mint(1).iter().cloned()));
        let journal = [mint.open(world.keyset()).unwrap()].into();
        Self {
            world,
            mint,
            shares,
            journal,
        }
    }

    fn blind(&mut self, exponents: &[u8]) -> (Vec<Blinding>, Vec<Blinded>) {
        let blindings: Vec<Blinding> = exponents.iter().map(|e| self.world.blinding(*e)).collect();
        let blinded = blindings.iter().map(|b| Blinded {
            denomination: b.denomination(),
            point: b.blinded(self.world.keyset()).unwrap().to_bytes(),
        });
        let blinded = blinded.collect();
        (blindings, blinded)
    }

    fn ask(
        &mut self,
        now: u64,
        id: u8,
        blinded: &[Blinded],
        pay: &[u8],
        paid: Paid,
    ) -> Result<IssueAnswer, Code> {
        let bytes = IssueRequest::encode([id; 16], &self.world.id, blinded, pay);
        let request = IssueRequest::from_bytes(&bytes).unwrap();
        let points = request.points().unwrap();
        let keyset = self.world.keyset().clone();
        let decided = self.mint.issue(now, &keyset, &request, &points, paid);
        self.journal.extend(decided.record);
        let answer = decided
            .answer
            .release(self.journal.len() as u64)
            .ok()
            .unwrap();
        answer.map(|to_sign| to_sign.sign(&self.shares).unwrap())
    }

    fn issue(&mut self, id: u8, blinded: &[Blinded], amount: u64) -> Result<IssueAnswer, Code> {
        self.ask(NOW, id, blinded, b"", Paid { amount, at: NOW })
    }
}

#[test]
fn a_paid_request_is_signed_and_the_same_number_gives_the_same_answer() {
    let mut s = Setting::new();
    let (blindings, blinded) = s.blind(&[0, 1, 1]);
    for wrong in [0, 4, 6, u64::MAX] {
        assert_eq!(s.issue(1, &blinded, wrong), Err(Code::POLICY_REJECTED));
    }
    let answer = s.issue(1, &blinded, 5).unwrap();
    let keyset = s.world.keyset().clone();
    let vouchers = finish(
        &keyset,
        &blindings,
        core::slice::from_ref(&answer.partials),
        &mut s.world.rng,
    )
    .unwrap();
    assert!(vouchers.iter().all(|v| verify(v, &s.world.keysets).is_ok()));
    let records = s.journal.len();
    assert_eq!(s.issue(1, &blinded, 5).unwrap(), answer);
    assert_eq!(s.issue(1, &blinded[1..], 4), Err(Code::POLICY_REJECTED));
    assert_eq!(s.journal.len(), records);
    assert_eq!(
        s.mint.issued(&keyset.id(), Denomination::new(1).unwrap()),
        2
    );
}

#[test]
fn one_point_is_one_voucher_however_often_it_is_paid() {
    let mut s = Setting::new();
    let (_, blinded) = s.blind(&[0, 0]);
    let twice = [blinded[0], blinded[0]];
    assert_eq!(s.issue(1, &twice, 2), Err(Code::POLICY_REJECTED));
    let first = s.issue(1, &blinded[..1], 1).unwrap();
    let again = s.issue(2, &blinded, 2).unwrap();
    assert_eq!(
        again.partials.signatures[0], first.partials.signatures[0],
        "the same voucher"
    );
    let id = s.world.id;
    assert_eq!(s.mint.issued(&id, Denomination::LEAST), 2);
}

#[test]
fn no_other_payer_keeps_a_request_from_its_points() {
    let mut s = Setting::new();
    let (_, victim) = s.blind(&[0, 1, 1]);
    let (_, own) = s.blind(&[0]);
    let paid = |amount| Paid { amount, at: NOW };
    // A mint that saw the request pays one unit each for its number, for a point of it, and for that point as a smaller one.
    assert!(s.ask(NOW, 7, &own, b"other", paid(1)).is_ok());
    assert!(s.ask(NOW, 8, &victim[..1], b"other", paid(1)).is_ok());
    let smaller = Blinded {
        denomination: Denomination::LEAST,
        ..victim[1]
    };
    assert!(s.ask(NOW, 9, &[smaller], b"other", paid(1)).is_ok());
    let answer = s.ask(NOW, 7, &victim, b"mine", paid(5)).unwrap();
    assert_eq!(
        s.ask(NOW, 7, &victim, b"mine", paid(5)).unwrap(),
        answer,
        "the same answer"
    );
    let other = s.ask(NOW, 7, &victim[..1], b"mine", paid(1));
    assert_eq!(other, Err(Code::POLICY_REJECTED), "one request a payment");
}

#[test]
fn a_keyset_issues_in_its_life_and_later_only_what_was_bought_before() {
    let mut s = Setting::new();
    let (_, b) = s.blind(&[0, 0, 0, 0]);
    let end = BEGIN + MIN_LIFE;
    let paid = |at| Paid { amount: 1, at };
    let refused = Err(Code::POLICY_REJECTED);
    assert_eq!(s.ask(BEGIN - 1, 1, &b[..1], b"", paid(BEGIN - 1)), refused);
    assert_eq!(s.ask(end, 1, &b[..1], b"", paid(end)), refused);
    assert!(s.ask(end, 1, &b[..1], b"", paid(end - 1)).is_ok());
    assert!(
        s.ask(end + GRACE - 1, 2, &b[1..2], b"", paid(end - 1))
            .is_ok()
    );
    assert_eq!(s.ask(end + GRACE, 3, &b[2..3], b"", paid(end - 1)), refused);
    let other = Mint::new().issue(
        NOW,
        s.world.keyset(),
        &IssueRequest::from_bytes(&IssueRequest::encode([1; 16], &s.world.id, &b[3..], b""))
            .unwrap(),
        &IssueRequest::from_bytes(&IssueRequest::encode([1; 16], &s.world.id, &b[3..], b""))
            .unwrap()
            .points()
            .unwrap(),
        paid(NOW),
    );
    assert!(other.record.is_none(), "not open there");
}

#[test]
fn of_one_unit_one_keyset_is_active() {
    let mut s = Setting::new();
    let spender = s.world.spender.clone();
    let mut at = |begin| keyset(1, 1, &[0], begin, &spender, &mut s.world.rng).1;
    let (overlapping, next) = (at(BEGIN + MIN_LIFE - 1), at(BEGIN + MIN_LIFE));
    assert_eq!(s.mint.open(&overlapping), None);
    assert_eq!(s.mint.open(&s.world.keyset().clone()), None, "twice");
    assert!(s.mint.open(&next).is_some());
}

#[test]
fn shares_of_another_keyset_are_refused() {
    let s = Setting::new();
    let other = World::new(51, 1, 2, &[0, 1]);
    let mut shares = MintShares::default();
    assert!(!shares.add(s.world.keyset(), other.of_mint(1).iter().cloned()));
    assert!(shares.add(s.world.keyset(), s.world.of_mint(2).iter().cloned()));
    shares.remove(&s.world.id);
    assert!(shares.0.is_empty());
}

#[test]
fn what_was_signed_is_found_again_and_nothing_else() {
    let mut s = Setting::new();
    let (_, b) = s.blind(&[0, 1, 0]);
    let answer = s.issue(1, &b[..2], 3).unwrap();
    let mut asked = b.clone();
    // Signed, but of another denomination.
    asked.push(Blinded {
        denomination: Denomination::LEAST,
        ..b[1]
    });
    let request = RestoreRequest {
        keyset: s.world.id,
        blinded: asked,
    };
    let committed = s.journal.len() as u64;
    let restored = s
        .mint
        .restore(&request)
        .release(committed)
        .ok()
        .unwrap()
        .sign(&s.shares)
        .unwrap();
    let [first, second] = answer.partials.signatures[..] else {
        panic!()
    };
    assert_eq!(restored.signatures, [Some(first), Some(second), None, None]);
    assert_eq!(restored.share, answer.partials.share);
}

#[test]
fn a_swaps_answer_pays_for_its_points_only() {
    let mut s = Setting::new();
    let spent: Vec<Voucher> = s.world.issue(&[1]);
    let (_, b) = s.blind(&[0, 0, 0]);
    let bytes = SwapRequest::encode([7; 16], &s.world.id, &spent, &b[..2]);
    let request = SwapRequest::from_bytes(&bytes).unwrap();
    let mut bank = Bank::new(*s.world.spender.public());
    let verdict = verified(
        request.hash(),
        &request.vouchers,
        &s.world.keysets,
        &mut s.world.rng,
    );
    let points = request.points().unwrap();
    let decided = bank.swap(NOW, &s.world.keysets, &request, &points, &verdict);
    let answer = decided.answer.release(1).ok().unwrap();
    let signed = answer.sign(&s.world.spender).0;
    let keyset = s.world.keyset().clone();
    let with = |id: u8, b: &[Blinded], pay: &[u8]| {
        let bytes = IssueRequest::encode([id; 16], &keyset.id(), b, pay);
        swap_pays(&IssueRequest::from_bytes(&bytes).unwrap(), &keyset)
    };
    assert_eq!(with(7, &b[..2], &signed), Ok((2, NOW)));
    assert!(with(8, &b[..2], &signed).is_err(), "another number");
    assert!(with(7, &b[1..], &signed).is_err(), "other points");
    assert!(with(7, &[b[1], b[0]], &signed).is_err(), "another order");
    let forged = answer.sign(&betanet_keys::Identity::from_seed(&[1; 32])).0;
    assert!(with(7, &b[..2], &forged).is_err());
    // A refused swap pays for nothing.
    let again = SwapRequest::encode([8; 16], &s.world.id, &spent, &b[..2]);
    let request = SwapRequest::from_bytes(&again).unwrap();
    let verdict = verified(
        request.hash(),
        &request.vouchers,
        &s.world.keysets,
        &mut s.world.rng,
    );
    let refused = bank
        .swap(
            NOW,
            &s.world.keysets,
            &request,
            &request.points().unwrap(),
            &verdict,
        )
        .answer
        .release(1)
        .ok()
        .unwrap();
    assert!(with(8, &b[..2], &refused.sign(&s.world.spender).0).is_err());
    let (amount, at) = with(7, &b[..2], &signed).unwrap();
    assert!(s.ask(NOW, 7, &b[..2], &signed, Paid { amount, at }).is_ok());
}

#[test]
fn one_payment_in_many_encodings_takes_one_record() {
    let mut s = Setting::new();
    let (_, blinded) = s.blind(&[0, 1]);
    let paid = Paid { amount: 3, at: NOW };
    let first = s.ask(NOW, 7, &blinded, b"paid", paid).unwrap();
    let (records, numbers) = (s.journal.len(), s.mint.books.ids.len());
    for n in 0..50_u8 {
        let again = s.ask(NOW, 7, &blinded, &[b'p', n], paid).unwrap();
        assert_eq!(again, first, "the same signatures");
    }
    assert_eq!(
        (s.journal.len(), s.mint.books.ids.len()),
        (records, numbers)
    );
}

#[test]
fn replay_snapshot_and_sweep_agree() {
    let mut s = Setting::new();
    let (_, b) = s.blind(&[0, 1, 0]);
    assert!(s.issue(1, &b[..1], 1).is_ok() && s.issue(2, &b[1..], 3).is_ok());
    let rebuilt = |records: &[Vec<u8>]| {
        let mut mint = Mint::new();
        records.iter().for_each(|r| mint.apply(r).unwrap());
        mint
    };
    assert_eq!(rebuilt(&s.journal).fingerprint(), s.mint.fingerprint());
    let mut pieces = Vec::new();
    s.mint.snapshot(&mut |p| pieces.push(p));
    let mut restored = rebuilt(&pieces);
    assert_eq!(restored.fingerprint(), s.mint.fingerprint());
    assert_eq!(restored.issued(&s.world.id, Denomination::LEAST), 2);
    assert_eq!(
        restored.apply(&s.journal[1]),
        Err(JournalError::Contradiction)
    );
    let keyset = s.world.keyset().clone();
    let over = keyset.exp() + GRACE;
    assert_eq!(s.mint.sweep(over - 1, &keyset), None);
    s.journal.push(s.mint.sweep(over, &keyset).unwrap());
    assert_eq!(s.mint.sweep(over, &keyset), None);
    assert!(s.mint.books.ids.is_empty());
    assert_eq!(rebuilt(&s.journal).fingerprint(), s.mint.fingerprint());
    assert_eq!(s.mint.open(&keyset), None);
    assert_eq!(s.issue(1, &b[..1], 1), Err(Code::POLICY_REJECTED));
}

#[test]
fn a_full_mint_signs_no_more() {
    let mut s = Setting::new();
    let (_, b) = s.blind(&[0, 0]);
    s.mint.books.fill(SIGNED_MAX - 1);
    assert!(s.mint.has_room(1) && !s.mint.has_room(2));
    // The reserve for committed swaps.
    s.mint.books.fill(SIGNED_MAX + crate::bank::GRANTED_MAX - 1);
    assert!(!s.mint.has_room(1));
    assert_eq!(s.issue(1, &b, 2), Err(Code::POLICY_REJECTED));
    assert!(s.issue(1, &b[..1], 1).is_ok());
    assert_eq!(s.issue(2, &b[1..], 1), Err(Code::POLICY_REJECTED));
    assert!(s.issue(1, &b[..1], 1).is_ok(), "again");
    let spender = s.world.spender.clone();
    for n in 1..u64::try_from(OPENED_MAX).unwrap() {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let (exp, unit) = (n + 1, "other".into());
        let record = Opened {
            exp,
            unit,
            keyset: id,
            not_before: n,
        };
        assert!(s.mint.books.apply(&Record::Opened(record)).is_ok());
    }
    let (_, next) = keyset(1, 1, &[0], BEGIN + MIN_LIFE, &spender, &mut s.world.rng);
    assert_eq!(s.mint.open(&next), None);
}
