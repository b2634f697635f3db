use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use betanet_machine::{Rng, Seed as MachineSeed};
use betanet_wire::NodeId;

use super::*;
use crate::Partials;
use crate::bank::{Bank, verified};
use crate::message::{Answer, IssueRequest, RedeemRequest, RestoreAnswer, SwapRequest, swap_pays};
use crate::mint::{Mint, MintShares, Paid};
use crate::testkit::{BEGIN, World};

mod faults;

const ME: NodeId = NodeId([1; 20]);
const EXPONENTS: [u8; 7] = [0, 1, 2, 3, 4, 5, 6];
const CHEAP: Cost = Cost {
    memory: 8,
    passes: 1,
};

/// Two of three mints, and the spender; they lose nothing.
struct Services {
    world: World,
    mints: Vec<(Mint, MintShares)>,
    bank: Bank,
}

impl Services {
    fn new() -> Self {
        let world = World::new(60, 2, 3, &EXPONENTS);
        let mint = |i| {
            let (mut mint, mut shares) = (Mint::new(), MintShares::default());
            assert!(shares.add(world.keyset(), world.of_mint(i).iter().cloned()));
            mint.open(world.keyset()).unwrap();
            (mint, shares)
        };
        let mints = (1..=3).map(mint).collect();
        let bank = Bank::new(*world.spender.public());
        Self { world, mints, bank }
    }

    fn keyset(&self) -> Keyset {
        self.world.keyset().clone()
    }

    /// What a mint answers. The proof of a payment is its amount, or a swap's answer.
    fn mint(&mut self, i: usize, bytes: &[u8]) -> Option<Partials> {
        let request = IssueRequest::from_bytes(bytes).unwrap();
        let keyset = self.keyset();
        let paid = match <[u8; 8]>::try_from(&request.pay[..]) {
            Ok(amount) => Paid {
                amount: u64::from_be_bytes(amount),
                at: BEGIN,
            },
            Err(_) => {
                let (amount, at) = swap_pays(&request, &keyset).unwrap();
                Paid { amount, at }
            }
        };
        let points = request.points().unwrap();
        let (mint, shares) = &mut self.mints[i];
        let decided = mint.issue(BEGIN + 1, &keyset, &request, &points, paid);
        let to_sign = decided.answer.release(u64::MAX).ok().unwrap().ok()?;
        Some(to_sign.sign(shares).unwrap().partials)
    }

    fn spender(&mut self, request: &Request) -> Vec<u8> {
        let (keysets, rng) = (&self.world.keysets, &mut self.world.rng);
        let decided = match request.receiver {
            Receiver::Redeem => {
                let r = RedeemRequest::from_bytes(&request.bytes).unwrap();
                let v = verified(r.hash(), &r.vouchers, keysets, rng);
                self.bank.redeem(BEGIN + 1, Some(ME), keysets, &r, &v)
            }
            _ => {
                let r = SwapRequest::from_bytes(&request.bytes).unwrap();
                let v = verified(r.hash(), &r.vouchers, keysets, rng);
                self.bank
                    .swap(BEGIN + 1, keysets, &r, &r.points().unwrap(), &v)
            }
        };
        let answer: Answer = decided.answer.release(u64::MAX).ok().unwrap();
        answer.sign(&self.world.spender).0
    }

    /// Asks the first two mints whether an operation's points are used, and gives it others until they are not.
    fn renewed(&mut self, device: &mut Device, id: &[u8; 16]) -> usize {
        let keyset = self.keyset();
        for rounds in 0..8 {
            let probe = device.wallet.probe(id, &keyset).unwrap();
            let mut is_used = false;
            for (mint, shares) in &self.mints[..2] {
                let said = mint.restore(&probe).release(u64::MAX).ok().unwrap();
                let said = said.sign(shares).unwrap();
                let said = device
                    .wallet
                    .is_used(id, &keyset, &said, &mut self.world.rng);
                is_used |= said.unwrap().unwrap();
            }
            if !is_used {
                return rounds;
            }
            device.wallet.renew(id, &keyset).unwrap();
            assert_eq!(
                device.wallet.probe(id, &keyset).err(),
                Some(WalletError::NotStored)
            );
            device.save();
        }
        panic!("its points are always used")
    }

    fn restore(&mut self, phrase: &Phrase) -> Wallet {
        let mut wallet = Wallet::new(phrase, "");
        let keyset = self.keyset();
        let mut restore = Restore::new(&keyset);
        while let Some(request) = restore.request(&wallet, &keyset) {
            let answers: Vec<RestoreAnswer> = self
                .mints
                .iter()
                .map(|(mint, shares)| {
                    mint.restore(&request)
                        .release(u64::MAX)
                        .ok()
                        .unwrap()
                        .sign(shares)
                        .unwrap()
                })
                .collect();
            restore
                .answered(&mut wallet, &keyset, &answers, &mut self.world.rng)
                .unwrap();
        }
        if let Some(bytes) = wallet.check(&keyset.id(), 0, [9; 16]) {
            let request = Request {
                receiver: Receiver::Redeem,
                bytes,
            };
            let answer = self.spender(&request);
            wallet.checked(&keyset, 0, [9; 16], &answer).unwrap();
        }
        wallet
    }
}

#[derive(Clone, Copy)]
enum Step {
    Buy(u64),
    Swap(u64),
    Redeem(u64),
}

const PLAN: [Step; 5] = [
    Step::Buy(100),
    Step::Swap(37),
    Step::Redeem(37),
    Step::Buy(55),
    Step::Swap(0),
];

/// A device: a wallet in memory, and what is on its disk. The disk has the number of steps that are done, too.
struct Device {
    wallet: Wallet,
    disk: Vec<u8>,
    done: usize,
    done_on_disk: usize,
    rng: Rng,
    points: usize,
    crash_at: usize,
}

struct Crashed;

impl Device {
    fn new(phrase: &Phrase, crash_at: usize) -> Self {
        let mut rng = Rng::new(&MachineSeed::from_number(3));
        let wallet = Wallet::new(phrase, "");
        let key = WalletKey::new(b"pw", CHEAP, &mut rng).unwrap();
        let disk = wallet.to_bytes(&key, &mut rng).unwrap().as_bytes().to_vec();
        let (done, done_on_disk, points) = (0, 0, 0);
        Self {
            wallet,
            disk,
            done,
            done_on_disk,
            rng,
            points,
            crash_at,
        }
    }

    /// Perhaps the device crashes here.
    fn point(&mut self) -> Result<(), Crashed> {
        self.points += 1;
        match self.points == self.crash_at {
            true => Err(Crashed),
            false => Ok(()),
        }
    }

    fn save(&mut self) {
        let key = WalletKey::new(b"pw", CHEAP, &mut self.rng).unwrap();
        let sealed = self.wallet.to_bytes(&key, &mut self.rng).unwrap();
        self.disk = sealed.as_bytes().to_vec();
        self.done_on_disk = self.done;
        self.wallet.stored(sealed.revision());
    }

    fn run(&mut self, s: &mut Services) -> Result<(), Crashed> {
        let keyset = s.keyset();
        while let Some(step) = PLAN.get(self.done) {
            let id = [u8::try_from(self.done).unwrap() + 1; 16];
            if !self.wallet.open().any(|open| *open == id) {
                let begun = match *step {
                    Step::Buy(amount) => self.wallet.buy(&keyset, amount, id),
                    Step::Swap(0) => self.wallet.swap(&keyset, &[3], id),
                    Step::Swap(amount) => self.wallet.swap(&keyset, &[amount], id),
                    Step::Redeem(amount) => self.wallet.redeem(&keyset.id(), amount, ME, id),
                };
                begun.unwrap();
                self.point()?;
            }
            while self.wallet.open().any(|open| *open == id) {
                self.save();
                self.point()?;
                let request = match self.wallet.request(&id, &keyset) {
                    Err(WalletError::NotPaid) => {
                        let Step::Buy(amount) = step else { panic!() };
                        self.wallet.paid(&id, &amount.to_be_bytes()).unwrap();
                        self.point()?;
                        continue;
                    }
                    request => request.unwrap(),
                };
                if request.receiver == Receiver::Mints {
                    let mut answers = Vec::new();
                    for i in [0, 2] {
                        answers.push(s.mint(i, &request.bytes).unwrap());
                        self.point()?;
                    }
                    self.wallet
                        .issued(&id, &keyset, &answers, &mut self.rng)
                        .unwrap();
                } else {
                    let answer = s.spender(&request);
                    self.point()?;
                    self.wallet.answered(&id, &keyset, &answer).unwrap();
                }
                self.point()?;
            }
            self.done += 1;
            self.save();
            self.point()?;
        }
        Ok(())
    }

    fn restart(&mut self) {
        let (wallet, _) = Wallet::from_bytes(&self.disk, b"pw").unwrap();
        (self.wallet, self.done) = (wallet, self.done_on_disk);
    }
}

fn phrase() -> Phrase {
    Phrase::short(&[5; 16])
}

fn set(wallet: &Wallet) -> BTreeSet<Vec<u8>> {
    wallet.vouchers().map(|v| v.as_bytes().to_vec()).collect()
}

#[test]
fn a_crash_anywhere_loses_nothing_and_the_phrase_finds_every_voucher() {
    let mut crash_at = 0;
    loop {
        let mut s = Services::new();
        let mut device = Device::new(&phrase(), crash_at);
        let crashed = device.run(&mut s).is_err();
        if crashed {
            device.restart();
            assert!(device.run(&mut s).is_ok());
        }
        assert_eq!(
            device.wallet.free(&s.world.keysets, "FOG"),
            100 + 55 - 37,
            "{crash_at}"
        );
        assert_eq!(s.bank.balance(&ME, "FOG"), 37, "{crash_at}");
        assert_eq!(device.wallet.open().count(), 0);
        // Two of the three mints would do; all three are asked.
        if crash_at % 12 == 0 {
            let restored = s.restore(&phrase());
            assert_eq!(set(&restored), set(&device.wallet), "{crash_at}");
        }
        if crash_at > 0 && !crashed {
            assert!(crash_at > 30, "{crash_at}");
            break;
        }
        crash_at += 1;
    }
}

#[test]
fn a_wallet_lost_in_the_middle_is_restored_by_its_phrase_alone() {
    for crash_at in (1..40).step_by(4) {
        let mut s = Services::new();
        let mut device = Device::new(&phrase(), crash_at);
        let _ = device.run(&mut s);
        // What both mints signed and nobody spent is found.
        let restored = s.restore(&phrase());
        for voucher in device.wallet.vouchers() {
            let found = restored.vouchers().any(|v| v == voucher);
            assert_eq!(found, !s.bank.is_spent(voucher), "{crash_at}");
        }
        // It goes on without using a secret twice.
        let mut device = Device::new(&phrase(), 0);
        device.wallet = restored;
        let before = set(&device.wallet).len();
        let keyset = s.keyset();
        device.wallet.buy(&keyset, 7, [99; 16]).unwrap();
        device.save();
        device.wallet.paid(&[99; 16], &7_u64.to_be_bytes()).unwrap();
        device.save();
        let request = device.wallet.request(&[99; 16], &keyset).unwrap();
        let answers = [0, 1].map(|i| s.mint(i, &request.bytes).unwrap());
        device
            .wallet
            .issued(&[99; 16], &keyset, &answers, &mut device.rng)
            .unwrap();
        assert_eq!(set(&device.wallet).len(), before + 3);
    }
}

/// A device that has bought this amount.
fn bought(s: &mut Services, phrase: &Phrase, amount: u64) -> Device {
    let keyset = s.keyset();
    let mut device = Device::new(phrase, 0);
    device.wallet.buy(&keyset, amount, [1; 16]).unwrap();
    device.wallet.paid(&[1; 16], &amount.to_be_bytes()).unwrap();
    device.save();
    let request = device.wallet.request(&[1; 16], &keyset).unwrap();
    let answers = [0, 1].map(|i| s.mint(i, &request.bytes).unwrap());
    device
        .wallet
        .issued(&[1; 16], &keyset, &answers, &mut device.rng)
        .unwrap();
    device.save();
    device
}

#[test]
fn a_request_comes_out_only_after_the_wallet_is_stored_and_always_the_same() {
    let mut s = Services::new();
    let keyset = s.keyset();
    let mut device = Device::new(&phrase(), 0);
    let id = [1; 16];
    device.wallet.buy(&keyset, 5, id).unwrap();
    assert_eq!(
        device.wallet.points(&id, &keyset),
        Err(WalletError::NotStored)
    );
    // A file from before does not help.
    device.wallet.stored(device.wallet.revision() - 1);
    assert_eq!(
        device.wallet.points(&id, &keyset),
        Err(WalletError::NotStored)
    );
    device.save();
    assert_eq!(device.wallet.points(&id, &keyset).unwrap().len(), 2);
    assert_eq!(
        device.wallet.request(&id, &keyset).err(),
        Some(WalletError::NotPaid)
    );
    device.wallet.paid(&id, b"12345678").unwrap();
    assert_eq!(
        device.wallet.request(&id, &keyset).err(),
        Some(WalletError::NotStored)
    );
    assert_eq!(device.wallet.paid(&id, b"other"), Err(WalletError::Id));
    device.save();
    let first = device.wallet.request(&id, &keyset).unwrap();
    device.restart();
    assert_eq!(
        device.wallet.request(&id, &keyset).unwrap().bytes,
        first.bytes
    );
    assert_eq!(device.wallet.buy(&keyset, 5, id), Err(WalletError::Id));
    let mut s2 = bought(&mut s, &Phrase::short(&[6; 16]), 8);
    s2.wallet.give(&keyset.id(), 8, [2; 16]).unwrap();
    assert_eq!(s2.wallet.given(&[2; 16]), Err(WalletError::NotStored));
    s2.save();
    assert_eq!(s2.wallet.given(&[2; 16]).unwrap().len(), 1);
}

#[test]
fn a_friend_is_paid_offline_and_renews_the_vouchers_later() {
    let mut s = Services::new();
    let keyset = s.keyset();
    let mut mine = bought(&mut s, &phrase(), 13);
    let mut friend = Device::new(&Phrase::short(&[8; 16]), 0);
    assert_eq!(
        mine.wallet.give(&keyset.id(), 6, [2; 16]),
        Err(WalletError::NoExact)
    );
    assert_eq!(
        mine.wallet.give(&keyset.id(), 14, [2; 16]),
        Err(WalletError::NotEnough)
    );
    mine.wallet.give(&keyset.id(), 5, [2; 16]).unwrap();
    mine.save();
    for voucher in mine.wallet.given(&[2; 16]).unwrap() {
        let text = alloc::format!("{voucher}");
        friend
            .wallet
            .accept(text.parse().unwrap(), &s.world.keysets)
            .unwrap();
    }
    assert_eq!(
        (
            friend.wallet.foreign().count(),
            mine.wallet.free(&s.world.keysets, "FOG")
        ),
        (2, 8)
    );
    friend.wallet.swap(&keyset, &[], [4; 16]).unwrap();
    friend.save();
    let answer = s.spender(&friend.wallet.request(&[4; 16], &keyset).unwrap());
    assert_eq!(friend.wallet.answered(&[4; 16], &keyset, &answer), Ok(5));
    assert_eq!(
        friend.wallet.request(&[4; 16], &keyset).err(),
        Some(WalletError::NotStored)
    );
    friend.save();
    let request = friend.wallet.request(&[4; 16], &keyset).unwrap();
    // A wrong mint is named, and the operation goes on.
    let mut answers = [0, 1].map(|i| s.mint(i, &request.bytes).unwrap());
    answers[1].signatures.reverse();
    let wrong = friend
        .wallet
        .issued(&[4; 16], &keyset, &answers, &mut friend.rng);
    assert_eq!(wrong, Err(IssueError::BadShares([2].into()).into()));
    let answers = [0, 2].map(|i| s.mint(i, &request.bytes).unwrap());
    assert_eq!(
        friend
            .wallet
            .issued(&[4; 16], &keyset, &answers, &mut friend.rng),
        Ok(5)
    );
    assert_eq!(friend.wallet.foreign().count(), 0);
    // The giver takes the gift back, too late.
    mine.wallet.take_back(&[2; 16]).unwrap();
    mine.wallet.redeem(&keyset.id(), 5, ME, [5; 16]).unwrap();
    mine.save();
    let answer = s.spender(&mine.wallet.request(&[5; 16], &keyset).unwrap());
    assert!(mine.wallet.answered(&[5; 16], &keyset, &answer).is_err());
    assert_eq!(mine.wallet.free(&s.world.keysets, "FOG"), 8);
}

#[test]
fn answers_of_others_change_nothing() {
    let mut s = Services::new();
    let keyset = s.keyset();
    let mut device = bought(&mut s, &phrase(), 3);
    device.wallet.redeem(&keyset.id(), 1, ME, [2; 16]).unwrap();
    device.wallet.redeem(&keyset.id(), 2, ME, [3; 16]).unwrap();
    device.save();
    let answer = s.spender(&device.wallet.request(&[2; 16], &keyset).unwrap());
    let before = device.wallet.revision();
    let wrong = device.wallet.answered(&[3; 16], &keyset, &answer);
    assert_eq!(wrong, Err(AnswerError::OtherRequest.into()));
    let forged = Answer::verify(&answer, keyset.spender()).unwrap();
    let forged = forged.sign(&betanet_keys::Identity::from_seed(&[1; 32])).0;
    assert!(device.wallet.answered(&[2; 16], &keyset, &forged).is_err());
    assert_eq!(device.wallet.revision(), before);
    assert_eq!(device.wallet.answered(&[2; 16], &keyset, &answer), Ok(1));
    // A swap's answer that grants other points, another value, or nothing.
    let mut s = Services::new();
    let mut device = bought(&mut s, &phrase(), 4);
    device.wallet.swap(&keyset, &[1], [4; 16]).unwrap();
    device.save();
    let answer = s.spender(&device.wallet.request(&[4; 16], &keyset).unwrap());
    let good = Answer::verify(&answer, keyset.spender()).unwrap();
    let swapped = good.swapped.unwrap();
    for (swapped, total) in [
        (None, 4),
        (
            Some(crate::message::Swapped {
                blinded: [0; 32],
                ..swapped
            }),
            4,
        ),
        (Some(swapped), 5),
    ] {
        let other = Answer {
            swapped,
            total,
            ..good.clone()
        };
        let other = other.sign(&s.world.spender).0;
        let refused = device.wallet.answered(&[4; 16], &keyset, &other);
        assert_eq!(refused, Err(AnswerError::OtherRequest.into()));
    }
    assert_eq!(device.wallet.answered(&[4; 16], &keyset, &answer), Ok(4));
}

#[test]
fn a_file_opens_with_its_password_only_and_bounds_its_cost() {
    let mut s = Services::new();
    let device = bought(&mut s, &phrase(), 3);
    let (wallet, key) = Wallet::from_bytes(&device.disk, b"pw").unwrap();
    assert_eq!(set(&wallet), set(&device.wallet));
    assert_eq!(
        Wallet::from_bytes(&device.disk, b"pv").err(),
        Some(FileError::Password)
    );
    for at in 0..device.disk.len() {
        let mut bad = device.disk.clone();
        bad[at] ^= 1;
        assert!(Wallet::from_bytes(&bad, b"pw").is_err(), "byte {at}");
    }
    for at in [8, 12, 16] {
        let mut bad = device.disk.clone();
        bad[at] = 1;
        assert_eq!(
            Wallet::from_bytes(&bad, b"pw").err(),
            Some(FileError::Cost),
            "byte {at}"
        );
    }
    for n in [0, 1, 59, device.disk.len() - 1] {
        assert!(Wallet::from_bytes(&device.disk[..n], b"pw").is_err());
    }
    let mut rng = Rng::new(&MachineSeed::from_number(1));
    let (a, b) = (
        wallet.to_bytes(&key, &mut rng).unwrap(),
        wallet.to_bytes(&key, &mut rng).unwrap(),
    );
    assert_ne!(a.as_bytes(), b.as_bytes(), "a fresh nonce");
    for cost in [
        Cost {
            memory: 7,
            passes: 1,
        },
        Cost {
            memory: 262_145,
            passes: 1,
        },
        Cost {
            memory: 8,
            passes: 17,
        },
    ] {
        assert_eq!(
            WalletKey::new(b"", cost, &mut rng).err(),
            Some(FileError::Cost)
        );
    }
    let secret = betanet_wire::text::hex(wallet.seed.as_bytes());
    let shown = alloc::format!("{wallet:?} {key:?} {:?}", wallet.pending);
    assert!(!shown.contains(&secret[..8]) && shown.contains("WalletKey(…)"));
}

#[test]
fn waits_differ_and_stay_within_their_range() {
    let mut rng = Rng::new(&MachineSeed::from_number(1));
    let waits: BTreeSet<_> = (0..50).map(|_| Wallet::suggested_wait(&mut rng)).collect();
    assert!(waits.len() > 40);
    assert!(waits.iter().all(|w| (600..21_600).contains(&w.as_secs())));
}

#[test]
fn a_wallet_is_bounded() {
    let mut s = Services::new();
    let keyset = s.keyset();
    let mut wallet = Wallet::new(&phrase(), "");
    let point = betanet_bls::G1Affine::generator();
    for n in 0..u32::try_from(COINS_MAX).unwrap() - 1 {
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let voucher = Voucher::new(&keyset.id(), Denomination::LEAST, &secret, &point);
        let (foreign, held) = (false, None);
        wallet.coins.insert(
            place(&voucher),
            Coin {
                voucher,
                foreign,
                held,
            },
        );
    }
    let two = s.world.issue(&[0, 0]);
    assert_eq!(wallet.accept(two[0].clone(), &s.world.keysets), Ok(()));
    assert_eq!(
        wallet.accept(two[1].clone(), &s.world.keysets),
        Err(WalletError::Full)
    );
    assert_eq!(wallet.buy(&keyset, 1, [1; 16]), Err(WalletError::Full));
    let mut wallet = Wallet::new(&phrase(), "");
    for n in 0..u8::try_from(PENDING_MAX).unwrap() {
        wallet.buy(&keyset, 1, [n; 16]).unwrap();
    }
    assert_eq!(wallet.buy(&keyset, 1, [0xff; 16]), Err(WalletError::Full));
    wallet.abandon(&[0; 16]).unwrap();
    assert_eq!(wallet.buy(&keyset, 1, [0xff; 16]), Ok(()));
    assert_eq!(wallet.abandon(&[0xee; 16]), Err(WalletError::Id));
    // 65 of the highest denomination.
    assert_eq!(
        Wallet::new(&phrase(), "").buy(&keyset, 128, [1; 16]),
        Err(WalletError::Amount)
    );
}

#[test]
fn a_purchase_is_kept_with_its_issue_and_fixes_its_points() {
    let services = Services::new();
    let keyset = services.keyset();
    let phrase = Phrase::short(&zeroize::Zeroizing::new([7; 16]));
    let mut wallet = Wallet::new(&phrase, "");
    let id = [1; 16];
    assert_eq!(wallet.ordered(&id, &[1]), Err(WalletError::Id));
    wallet.buy(&keyset, 5, id).unwrap();
    wallet.stored(wallet.revision());
    let points = wallet.points(&id, &keyset).unwrap();
    assert!(wallet.order(&id).is_err());
    let long = [1; ORDER_MAX + 1];
    assert_eq!(wallet.ordered(&id, &long), Err(WalletError::Amount));
    wallet.ordered(&id, &[1; ORDER_MAX]).unwrap();
    assert_eq!(wallet.order(&id), Err(WalletError::NotStored));
    wallet.stored(wallet.revision());
    // Whatever others have signed, what is paid for stays.
    assert!(wallet.probe(&id, &keyset).is_err() && wallet.renew(&id, &keyset).is_err());

    // It is in the file, and a later one takes its place.
    let mut again = Wallet::decode(&wallet.encode()).unwrap();
    assert_eq!(
        again.order(&id).unwrap(),
        (keyset.id(), &[1; ORDER_MAX][..])
    );
    assert_eq!(again.points(&id, &keyset).unwrap(), points);
    again.ordered(&id, &[2]).unwrap();
    again.stored(again.revision());
    assert_eq!(again.order(&id).unwrap().1, [2]);
    let unpaid = again.request(&id, &keyset).map(|_| ());
    assert_eq!(unpaid, Err(WalletError::NotPaid));

    // Once it is paid for, the purchase has served.
    again.paid(&id, &[0, 0, 0, 0, 0, 0, 0, 9]).unwrap();
    again.stored(again.revision());
    assert!(again.order(&id).is_err() && again.ordered(&id, &[3]).is_err());
    let request = again.request(&id, &keyset).unwrap();
    let request = IssueRequest::from_bytes(&request.bytes).unwrap();
    assert_eq!((request.blinded, request.id), (points, id));
    assert!(again.abandon(&id).is_ok());
}
