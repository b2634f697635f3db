//! What fuzz targets call.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use betanet_bls::G1Affine;
use betanet_keys::Identity;
use betanet_wire::{Code, NodeId};

use super::{BEGIN, World};
use crate::account::Account;
use crate::bank::{Bank, Verified, Withdrawal, Withdrawn};
use crate::dkg::{Commit, Complaint, DealtShare, Reveal};
use crate::message::{
    Answer, IssueAnswer, IssueRequest, Op, RedeemRequest, RestoreAnswer, RestoreRequest,
    SwapRequest,
};
use crate::mint::Mint;
use crate::wallet::{Phrase, Wallet};
use crate::{Denomination, KeyShare, Keyset, Voucher};

/// Number of parsers of [`parsers`].
pub const PARSERS: u8 = 18;

/// Gives bytes to the parser that the first byte names. No parser may panic, and accepted bytes are the only encoding of their value.
pub fn parsers(data: &[u8]) {
    let Some((which, data)) = data.split_first() else {
        return;
    };
    let text = core::str::from_utf8(data);
    match which % PARSERS {
        0 => {
            if let Ok(voucher) = Voucher::from_bytes(data) {
                assert_eq!(voucher.as_bytes(), data);
                assert_eq!(format!("{voucher}").parse::<Voucher>(), Ok(voucher));
            }
        }
        1 => {
            if let Some(Ok(voucher)) = text.ok().map(str::parse::<Voucher>) {
                assert!(format!("{voucher}").eq_ignore_ascii_case(text.unwrap()));
            }
        }
        2 => {
            // A keyset of few points: the arithmetic is not what is looked for.
            if data.len() < 4_096 {
                let mut rng = betanet_machine::Rng::new(&betanet_machine::Seed::from_number(1));
                if let Ok(keyset) = Keyset::check(data, &mut rng) {
                    assert_eq!(keyset.as_bytes(), data);
                }
            }
        }
        3 => {
            if let Ok(r) = RedeemRequest::from_bytes(data) {
                let vouchers: Result<Vec<Voucher>, _> = r.vouchers.iter().cloned().collect();
                if let Ok(vouchers) = vouchers {
                    let again = RedeemRequest::encode(r.op, r.to, r.id, &vouchers);
                    let again = RedeemRequest::from_bytes(&again).unwrap();
                    assert_eq!(again.vouchers, r.vouchers);
                }
            }
        }
        4 => drop(SwapRequest::from_bytes(data)),
        5 => {
            if let Ok(r) = IssueRequest::from_bytes(data) {
                let again = IssueRequest::encode(r.id, &r.keyset, &r.blinded, &r.pay);
                let again = IssueRequest::from_bytes(&again).unwrap();
                assert_eq!(
                    (again.blinded, again.pay),
                    (r.blinded.clone(), r.pay.clone())
                );
                if r.blinded.len() < 8 {
                    let _ = r.points();
                }
            }
        }
        6 => {
            if let Ok(a) = IssueAnswer::from_bytes(data) {
                assert_eq!(IssueAnswer::from_bytes(&a.to_bytes()), Ok(a));
            }
        }
        7 => {
            if let Ok(r) = RestoreRequest::from_bytes(data) {
                assert_eq!(RestoreRequest::from_bytes(&r.to_bytes()), Ok(r));
            }
        }
        8 => {
            if let Ok(a) = RestoreAnswer::from_bytes(data) {
                assert_eq!(RestoreAnswer::from_bytes(&a.to_bytes()), Ok(a));
            }
        }
        9 => {
            let spender = Identity::from_seed(&[1; 32]);
            if let Ok(a) = Answer::verify(data, spender.public()) {
                assert_eq!(Answer::verify(&a.sign(&spender).0, spender.public()), Ok(a));
            }
        }
        10 => {
            if let Ok(a) = Account::from_bytes(data) {
                assert_eq!(Account::from_bytes(&a.to_bytes()), Ok(a));
            }
        }
        11 => {
            if let Ok(m) = Commit::from_bytes(data) {
                assert_eq!(Commit::from_bytes(&m.to_bytes()), Ok(m));
            }
        }
        12 => {
            if let Ok(m) = Reveal::from_bytes(data) {
                assert_eq!(Reveal::from_bytes(&m.to_bytes()), Ok(m));
            }
        }
        13 => {
            if let Ok(m) = DealtShare::from_bytes(data) {
                assert_eq!(DealtShare::from_bytes(&m.to_bytes()), Ok(m));
            }
        }
        14 => {
            if let Ok(m) = Complaint::from_bytes(data) {
                assert_eq!(Complaint::from_bytes(&m.to_bytes()), Ok(m));
            }
        }
        15 => {
            // Journals: a record is applied or changes nothing.
            let mut bank = Bank::new(*Identity::from_seed(&[1; 32]).public());
            let (mut mint, before) = (Mint::new(), bank.fingerprint());
            if bank.apply(data).is_err() {
                assert_eq!(bank.fingerprint(), before);
            }
            let before = mint.fingerprint();
            if mint.apply(data).is_err() {
                assert_eq!(mint.fingerprint(), before);
            }
        }
        16 => {
            if let Ok(bytes) = data.try_into()
                && let Some(share) = KeyShare::from_bytes(bytes)
            {
                assert_eq!(*share.to_bytes(), *bytes);
            }
            if let Some(Ok(phrase)) = text.ok().map(str::parse::<Phrase>) {
                let again: Phrase = phrase.words().parse().unwrap();
                assert_eq!(again.words(), phrase.words());
            }
        }
        _ => {
            // A body as it is after decryption.
            if let Ok(wallet) = Wallet::decode(data) {
                let again = Wallet::decode(&wallet.encode()).unwrap();
                assert_eq!(*again.encode(), *wallet.encode());
            }
        }
    }
}

/// Drives a redemption service by bytes, beside a small model of it. Signatures are not looked at: the verdicts are said to be good.
#[derive(Debug)]
pub struct Desk {
    world: World,
    vouchers: Vec<Voucher>,
}

impl Default for Desk {
    fn default() -> Self {
        let mut world = World::new(70, 1, 1, &[0, 1, 2, 3]);
        let one = |e: u8, n: u8| {
            let e = Denomination::new(e % 4).unwrap();
            Voucher::new(&world.id, e, &[n; 32], &G1Affine::generator())
        };
        let vouchers = (0..16).map(|n| one(n, n)).collect();
        let _ = world.rng.next_u64();
        Self { world, vouchers }
    }
}

impl Desk {
    /// Runs the operations that the bytes name, five bytes each, and a crash and a replay now and then.
    pub fn run(&self, data: &[u8]) {
        let (mut bank, mut journal) = (Bank::new(*self.world.spender.public()), Vec::new());
        let mut spent: BTreeSet<usize> = BTreeSet::new();
        let mut balances: BTreeMap<u8, u64> = BTreeMap::new();
        let mut ids: BTreeSet<u8> = BTreeSet::new();
        let mut last = Vec::new();
        for step in data.as_chunks::<5>().0.iter().take(64) {
            let [op, id, to, from, n] = *step;
            let (id, to) = (id % 32, to % 4);
            match op % 4 {
                0 | 1 => {
                    let n = usize::from(n % 4) + 1;
                    let at = |i: usize| (usize::from(from) + i) % 16;
                    let places: Vec<usize> = (0..n).map(at).collect();
                    let some: Vec<Voucher> =
                        places.iter().map(|p| self.vouchers[*p].clone()).collect();
                    let bytes =
                        RedeemRequest::encode(Op::Redeem, NodeId([to; 20]), [id; 16], &some);
                    let answer = self.redeem(&mut bank, &mut journal, &bytes);
                    if ids.contains(&id) {
                        assert!(answer.is_ok() || answer.codes[0] == Code::POLICY_REJECTED);
                    } else if places.iter().any(|p| spent.contains(p)) {
                        assert!(!answer.is_ok() && answer.total == 0);
                    } else {
                        let value: u64 = some.iter().map(Voucher::value).sum();
                        assert!(answer.is_ok() && answer.total == value);
                        spent.extend(places);
                        *balances.entry(to).or_default() += value;
                        ids.insert(id);
                        last = bytes.to_vec();
                    }
                }
                2 => {
                    let w = Withdrawal {
                        id: [id; 16],
                        of: NodeId([to; 20]),
                        unit: "FOG",
                        amount: u64::from(n) % 8,
                    };
                    let decided = bank.withdraw(BEGIN, &w);
                    let is_new = decided.record.is_some();
                    journal.extend(decided.record);
                    let balance = balances.entry(to).or_default();
                    let good = !ids.contains(&id) && w.amount > 0 && w.amount <= *balance;
                    assert_eq!(is_new, good);
                    if good {
                        *balance -= w.amount;
                        ids.insert(id);
                        let left = decided
                            .answer
                            .release(u64::MAX)
                            .unwrap_or_else(|_| panic!());
                        assert_eq!(left, Withdrawn::Left(*balance));
                    }
                }
                _ => {
                    let mut again = Bank::new(*self.world.spender.public());
                    for record in &journal {
                        again.apply(record).unwrap();
                    }
                    assert_eq!(again.fingerprint(), bank.fingerprint());
                    bank = again;
                    if !last.is_empty() {
                        let (records, answer) =
                            (journal.len(), self.redeem(&mut bank, &mut journal, &last));
                        assert!(answer.is_ok() && journal.len() == records);
                    }
                }
            }
            for (to, balance) in &balances {
                assert_eq!(bank.balance(&NodeId([*to; 20]), "FOG"), *balance);
            }
            for (at, voucher) in self.vouchers.iter().enumerate() {
                assert_eq!(bank.is_spent(voucher), spent.contains(&at));
            }
        }
    }

    fn redeem(&self, bank: &mut Bank, journal: &mut Vec<Vec<u8>>, bytes: &[u8]) -> Answer {
        let request = RedeemRequest::from_bytes(bytes).unwrap();
        let good = Verified::good(request.hash(), request.vouchers.len());
        let decided = bank.redeem(BEGIN, None, &self.world.keysets, &request, &good);
        journal.extend(decided.record);
        decided
            .answer
            .release(u64::MAX)
            .unwrap_or_else(|_| panic!())
    }
}
