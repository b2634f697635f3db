//! Redemptions that a ledger pays out.

use std::collections::BTreeMap;

use betanet_vouchers::bank::Verified;

use super::*;

const PAYEE: NodeId = NodeId([1; 20]);
const RICH: Standing = Standing {
    available: 100,
    left: 1_000,
    size: 9,
};

fn desk() -> Desk {
    let mut desk = Desk::new();
    desk.of.ledger = [desk.world.id].into();
    desk.of.genesis = Some([7; 32]);
    desk.state = VoucherState::new(desk.of.clone());
    desk
}

/// A request, and its bytes read and verified again.
fn asked(desk: &Desk, id: u8, vouchers: &[Voucher]) -> Box<(RedeemRequest, Verified)> {
    let bytes = RedeemRequest::encode(Op::Redeem, PAYEE, [id; 16], vouchers);
    let request = RedeemRequest::from_bytes(&bytes).unwrap();
    let mut rng = Rng::new(&Seed::from_number(1));
    let (hash, vouchers) = (request.hash(), &request.vouchers);
    let verdict = verified(hash, vouchers, &desk.of.keysets, &mut rng);
    Box::new((request, verdict))
}

/// Redeems as a node does: the state says first whether the ledger is to be asked.
fn redeem(
    desk: &mut Desk,
    asker: Option<NodeId>,
    (id, vouchers): (u8, &[Voucher]),
    standing: Result<Standing, Code>,
) -> Said {
    let first = asked(desk, id, vouchers);
    match desk.ask(Ask::Redeem(asker, first, None)) {
        Said::AskLedger(keyset, again) => {
            assert_eq!(keyset, desk.world.id);
            desk.ask(Ask::Redeem(asker, again, Some(standing)))
        }
        said => said,
    }
}

fn answered(said: Said) -> Answer {
    match said {
        Said::Answer(answer) => answer,
        said => panic!("{said:?}"),
    }
}

fn owed(desk: &mut Desk) -> Waiting {
    match desk.ask(Ask::Owed(100)) {
        Said::Owed(waiting) => waiting,
        said => panic!("{said:?}"),
    }
}

#[test]
fn a_redemption_is_owed_in_its_own_commit_and_credited_nowhere_else() {
    let mut desk = desk();
    let vouchers = desk.world.issue(&[2, 0]);
    let said = redeem(&mut desk, Some(PAYEE), (1, &vouchers), Ok(RICH));
    let answer = answered(said);
    assert_eq!((answer.total, answer.balance), (5, 105));
    let kinds: Vec<&str> = desk.journal.iter().map(|r| r.kind.as_str()).collect();
    assert_eq!(kinds, ["bank", "outbox", "ledger"]);
    assert_eq!(desk.balances(), 0, "no balance grows here");
    let waiting = owed(&mut desk);
    let [one] = &waiting.first[..] else {
        panic!("{waiting:?}");
    };
    assert_eq!((one.units, one.to, one.keyset), (5, PAYEE, desk.world.id.0));
    assert_eq!(one.ans, answer.body_hash());

    // Whoever repeats it gets the same body, without a look at the ledger, and nothing is owed twice.
    let again = asked(&desk, 1, &vouchers);
    let other = Some(NodeId([9; 20]));
    let again = answered(desk.ask(Ask::Redeem(other, again, None)));
    assert_eq!(again, answer);
    assert_eq!(owed(&mut desk).all, 1);
    let spent = answered(redeem(&mut desk, None, (2, &vouchers[..1]), Ok(RICH)));
    assert_eq!(spent.codes, [Code::VOUCHER_SPENT]);
    assert_eq!((owed(&mut desk).all, desk.journal.len()), (1, 3));
    assert_eq!(desk.rebuilt().fingerprint(), desk.state.fingerprint());

    // A snapshot carries it.
    let mut restored = VoucherState::new(desk.of.clone());
    restored.restore(desk.state.snapshot()).unwrap();
    assert_eq!(restored.fingerprint(), desk.state.fingerprint());
    let Said::Swept = desk.ask(Ask::Settle(vec![answer.body_hash()], Vec::new(), 9)) else {
        panic!("not settled");
    };
    assert_eq!(owed(&mut desk).all, 0);
    assert_eq!(desk.rebuilt().fingerprint(), desk.state.fingerprint());
}

#[test]
fn the_balance_is_of_the_ledger_and_for_the_payee_alone() {
    let mut desk = desk();
    let vouchers = desk.world.issue(&[2, 0, 1]);
    let mut balance = |asker, id, at: usize| {
        let one = std::slice::from_ref(&vouchers[at]);
        answered(redeem(&mut desk, asker, (id, one), Ok(RICH))).balance
    };
    assert_eq!(balance(Some(NodeId([8; 20])), 1, 0), 0);
    assert_eq!(balance(Some(PAYEE), 2, 1), 105, "what waits counts");
    assert_eq!(balance(None, 3, 2), 0);
}

#[test]
fn what_the_ledger_would_refuse_spends_nothing() {
    let mut desk = desk();
    let vouchers = desk.world.issue(&[2, 1]);
    let refused = redeem(&mut desk, None, (1, &vouchers), Err(Code::POLICY_REJECTED));
    assert_eq!(answered(refused).codes, [Code::POLICY_REJECTED; 2]);
    let few = Standing { left: 5, ..RICH };
    let said = redeem(&mut desk, None, (1, &vouchers), Ok(few));
    assert!(matches!(said, Said::Later(..)), "{said:?}");
    assert!(desk.journal.is_empty());
    // Units that wait are counted: what is left covers one of them.
    assert!(answered(redeem(&mut desk, None, (2, &vouchers[..1]), Ok(few))).is_ok());
    let said = redeem(&mut desk, None, (3, &vouchers[1..]), Ok(few));
    assert!(matches!(said, Said::Later(..)), "{said:?}");
    assert!(answered(redeem(&mut desk, None, (3, &vouchers[1..]), Ok(RICH))).is_ok());
}

#[test]
fn vouchers_stay_with_their_ledger() {
    let mut desk = desk();
    let vouchers = desk.world.issue(&[2, 1, 0]);
    assert!(answered(redeem(&mut desk, None, (1, &vouchers[..1]), Ok(RICH))).is_ok());
    for genesis in [Some([8; 32]), None] {
        desk.of.genesis = genesis;
        // A node without a ledger knows of no keysets of one.
        desk.of.ledger = genesis.map(|_| desk.world.id).into_iter().collect();
        desk.state = desk.rebuilt();
        let said = redeem(&mut desk, None, (2, &vouchers[1..2]), Ok(RICH));
        assert!(matches!(said, Said::Elsewhere), "{said:?}");
        // Nor is the other ledger told what this one owes.
        assert!(matches!(desk.ask(Ask::Owed(100)), Said::Elsewhere));
    }
    desk.of.genesis = Some([7; 32]);
    desk.of.ledger = [desk.world.id].into();
    let mut restored = VoucherState::new(desk.of.clone());
    restored.restore(desk.state.snapshot()).unwrap();
    assert_eq!(restored.bound, Some([7; 32]));
    desk.state = restored;
    assert_eq!(owed(&mut desk).all, 1);
    assert!(answered(redeem(&mut desk, None, (2, &vouchers[1..2]), Ok(RICH))).is_ok());
}

#[test]
fn a_look_at_the_ledger_that_is_older_than_a_payment_is_made_again() {
    let mut desk = desk();
    let vouchers = desk.world.issue(&[2, 1]);
    let first = answered(redeem(&mut desk, None, (1, &vouchers[..1]), Ok(RICH)));
    let paid = vec![first.body_hash()];
    let _ = desk.ask(Ask::Settle(paid, Vec::new(), RICH.size + 1));
    let said = redeem(&mut desk, None, (2, &vouchers[1..]), Ok(RICH));
    assert!(matches!(said, Said::AskLedger(..)), "{said:?}");
    // A restart knows it too.
    desk.state = desk.rebuilt();
    let said = redeem(&mut desk, None, (2, &vouchers[1..]), Ok(RICH));
    assert!(matches!(said, Said::AskLedger(..)), "{said:?}");
    let newer = Standing {
        size: RICH.size + 1,
        ..RICH
    };
    assert!(answered(redeem(&mut desk, None, (2, &vouchers[1..]), Ok(newer))).is_ok());
}

#[derive(Clone, Debug)]
enum Step {
    Redeem {
        id: u8,
        from: usize,
        n: usize,
        /// Payments since the look at the ledger.
        since: usize,
    },
    /// The ledger pays out the oldest so many.
    Pay { n: usize },
    /// Loses so many of the last commits.
    Crash { lost: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8, 0..12_usize, 1..4_usize, 0..3_usize).prop_map(|(id, from, n, since)| Step::Redeem { id, from, n, since }),
        2 => (1..4_usize).prop_map(|n| Step::Pay { n }),
        1 => (0..4_usize).prop_map(|lost| Step::Crash { lost }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The ledger pays each redemption once and never more than was issued, and what is paid, owed and unspent sums to it, whatever is
    /// repeated and wherever the spender crashes. The ledger is modelled by its two rules: one payment an answer, and redeemed ≤ issued.
    #[test]
    fn redeemed_never_exceeds_issued(steps in prop::collection::vec(step(), 1..40)) {
        let mut desk = desk();
        let vouchers = desk.world.issue(&[0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
        let issued: u64 = vouchers.iter().map(Voucher::value).sum();
        let mut paid: BTreeMap<[u8; 32], u64> = BTreeMap::new();
        // What each head of the ledger shows as redeemed.
        let mut heads = vec![0];
        // Journal lengths after each commit that the spender answered or told the ledger of.
        let mut told = 0;
        let mut commits = vec![0];
        for step in steps {
            match step {
                Step::Redeem { id, from, n, since } => {
                    let some: Vec<Voucher> = vouchers.iter().cycle().skip(from).take(n).cloned().collect();
                    let under = |since: usize| {
                        let at = (heads.len() - 1).saturating_sub(since);
                        let redeemed: u64 = heads[at];
                        Ok(Standing { available: redeemed, left: issued - redeemed, size: at as u64 })
                    };
                    let said = redeem(&mut desk, Some(PAYEE), (id, &some), under(since));
                    if matches!(said, Said::AskLedger(..)) {
                        let _ = redeem(&mut desk, Some(PAYEE), (id, &some), under(0));
                    }
                }
                Step::Pay { n } => {
                    let first: Vec<Owed> = owed(&mut desk).first.into_iter().take(n).collect();
                    for one in &first {
                        paid.entry(one.ans).or_insert(one.units);
                    }
                    // What leaves to the ledger is committed.
                    told = desk.journal.len();
                    let done = first.iter().map(|o| o.ans).collect();
                    heads.push(paid.values().sum());
                    let size = heads.len() as u64 - 1;
                    let _ = desk.ask(Ask::Settle(done, Vec::new(), size));
                }
                Step::Crash { lost } => {
                    let at = commits.len().saturating_sub(lost + 1);
                    desk.journal.truncate(commits[at].max(told));
                    desk.state = desk.rebuilt();
                }
            }
            commits.retain(|length| *length < desk.journal.len());
            commits.push(desk.journal.len());
            let redeemed: u64 = paid.values().sum();
            prop_assert!(redeemed <= issued);
            let open: u64 = owed(&mut desk).first.iter().filter(|o| !paid.contains_key(&o.ans)).map(|o| o.units).sum();
            let unspent: u64 = vouchers.iter().filter(|v| !desk.state.bank.is_spent(v)).map(Voucher::value).sum();
            prop_assert_eq!(redeemed + open + unspent, issued);
        }
        prop_assert_eq!(desk.rebuilt().fingerprint(), desk.state.fingerprint());
    }
}
