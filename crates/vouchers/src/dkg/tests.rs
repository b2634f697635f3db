use alloc::vec::Vec;

use betanet_bls::G1Projective;
use betanet_keys::Identity;
use betanet_machine::Seed;

use super::*;
use crate::polynomial::lagrange;
use crate::testkit::BEGIN;
use crate::{
    Blinding, IssueError, KeysetDraft, Keysets, MIN_LIFE, Partials, finish, sign_blinded, verify,
};

const E: Denomination = Denomination::LEAST;

/// A run, in which participants may cheat.
struct Run {
    setup: Setup,
    dealers: Vec<Dealer>,
    receivers: Vec<Receiver>,
}

type Change = fn(&mut Reveal);

#[derive(Default)]
struct Cheats {
    /// Does not commit.
    silent: Option<u8>,
    /// Commits, but does not reveal.
    no_reveal: Option<u8>,
    /// Changes what it reveals.
    reveal: Option<(u8, Change)>,
    /// Deals wrong shares to these.
    share: Option<(u8, &'static [u8])>,
    /// Whether it justifies.
    stubborn: bool,
    /// Justifies with a wrong share.
    wrong_justification: bool,
    /// Complains for no reason.
    liar: Option<(u8, u8)>,
}

fn setup(t: u8, n: u8, kind: Kind) -> Setup {
    Setup::new(&[7; 32], E, t, n, kind).unwrap()
}

impl Run {
    fn new(setup: Setup, seed: u64) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let dealers = (1..=setup.n).map(|i| Dealer::new(setup, i, &mut rng).unwrap());
        let receivers = (1..=setup.n).map(|i| Receiver::new(setup, i).unwrap());
        Self {
            setup,
            dealers: dealers.collect(),
            receivers: receivers.collect(),
        }
    }

    fn all(&mut self, mut f: impl FnMut(&mut Receiver)) {
        self.receivers.iter_mut().for_each(&mut f);
    }

    /// Runs all rounds. Every message goes over the wire.
    fn go(
        mut self,
        cheats: &Cheats,
        old: &[(KeyShare, SharedKey)],
    ) -> Vec<Result<Outcome, DkgError>> {
        let n = self.setup.n;
        assert_eq!(
            self.dealers[0].reveal(&self.receivers[0]),
            Err(DkgError::Order)
        );
        for i in (1..=n).filter(|i| Some(*i) != cheats.silent) {
            let commit =
                Commit::from_bytes(&self.dealers[usize::from(i) - 1].commit().to_bytes()).unwrap();
            self.all(|r| r.commit(&commit).unwrap());
        }
        self.all(Receiver::end_commits);
        assert_eq!(
            self.dealers[0].share_for(1, &self.receivers[0]),
            Err(DkgError::Order)
        );
        for i in (1..=n).filter(|i| Some(*i) != cheats.silent && Some(*i) != cheats.no_reveal) {
            let at = usize::from(i) - 1;
            let bytes = self.dealers[at]
                .reveal(&self.receivers[at])
                .unwrap()
                .to_bytes();
            let mut reveal = Reveal::from_bytes(&bytes).unwrap();
            if let Some((who, change)) = cheats.reveal
                && who == i
            {
                change(&mut reveal);
            }
            self.all(|r| {
                let _ = r.reveal(&reveal);
            });
        }
        self.all(Receiver::end_reveals);
        for from in 1..=n {
            for to in 1..=n {
                let at = usize::from(from) - 1;
                let mut dealt = self.dealers[at].share_for(to, &self.receivers[at]).unwrap();
                if let Some((who, victims)) = cheats.share
                    && who == from
                    && victims.contains(&to)
                {
                    dealt.secret = &dealt.secret + &Scalar::one();
                }
                let dealt = DealtShare::from_bytes(&dealt.to_bytes()).unwrap();
                let _ = self.receivers[usize::from(to) - 1].share(&dealt);
            }
        }
        let mut complaints: Vec<Complaint> = self
            .receivers
            .iter()
            .flat_map(Receiver::complaints)
            .collect();
        if let Some((by, against)) = cheats.liar {
            complaints.push(Complaint {
                session: self.setup.session,
                by,
                against,
            });
        }
        for complaint in &complaints {
            let complaint = Complaint::from_bytes(&complaint.to_bytes()).unwrap();
            self.all(|r| {
                let _ = r.complain(&complaint);
            });
        }
        for complaint in &complaints {
            if cheats.stubborn
                && cheats
                    .share
                    .is_some_and(|(who, _)| who == complaint.against)
            {
                continue;
            }
            let mut dealt = self.dealers[usize::from(complaint.against) - 1]
                .justify(complaint)
                .unwrap();
            if cheats.wrong_justification {
                dealt.secret = &dealt.secret + &Scalar::one();
            }
            self.all(|r| {
                let _ = r.justification(&dealt);
            });
        }
        let one = |(i, r): (usize, Receiver)| r.finish(old.get(i).map(|(s, k)| (s, k)));
        self.receivers.into_iter().enumerate().map(one).collect()
    }
}

/// Checks that all have the same key and shares of it; gives the outcomes.
fn agreed(
    outcomes: Vec<Result<Outcome, DkgError>>,
    t: u8,
    excluded: &[(u8, Cheat)],
) -> Vec<Outcome> {
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(Result::unwrap).collect();
    let first = &outcomes[0];
    for outcome in &outcomes {
        assert_eq!(outcome.key, first.key);
        assert_eq!(outcome.excluded, excluded.iter().copied().collect());
        assert_eq!(
            outcome.key.share(outcome.share.index()),
            outcome.share.public().as_ref()
        );
    }
    // Any t sign what the key verifies.
    let base = hash_to_g1(b"m", b"D").unwrap();
    let need = usize::from(t);
    for start in 0..=outcomes.len() - need {
        let some = &outcomes[start..start + need];
        let indices: Vec<u8> = some.iter().map(|o| o.share.index()).collect();
        let parts: Vec<G1Affine> = some
            .iter()
            .map(|o| sign_blinded(&o.share, &base).unwrap())
            .collect();
        let joined = G1Projective::sum_of_products(&parts, &lagrange(&indices).unwrap());
        let claim = Claim {
            base,
            signature: joined.to_affine().unwrap(),
            key: first.key.public,
        };
        assert!(claim.holds());
    }
    outcomes
}

#[test]
fn honest_participants_agree_on_a_key_that_makes_a_keyset() {
    for (t, n) in [(1, 1), (1, 3), (2, 3), (3, 5), (4, 4)] {
        let outcomes = Run::new(setup(t, n, Kind::Fresh), 1).go(&Cheats::default(), &[]);
        let outcomes = agreed(outcomes, t, &[]);
        let keys = [(E, outcomes[0].key.clone())];
        let draft = KeysetDraft {
            unit: "FOG",
            not_before: 0,
            exp: 1,
            t,
            spender: *Identity::from_seed(&[1; 32]).public(),
            keys: &keys,
        };
        let mut rng = Rng::new(&Seed::from_number(1));
        assert!(
            Keyset::check(&draft.to_bytes(), &mut rng).is_ok(),
            "{t} of {n}"
        );
    }
}

#[test]
fn who_is_silent_or_lies_about_its_polynomial_is_named_and_left_out() {
    let run = || Run::new(setup(3, 5, Kind::Fresh), 2);
    let cheats = Cheats {
        silent: Some(4),
        ..Cheats::default()
    };
    agreed(run().go(&cheats, &[]), 3, &[(4, Cheat::Silent)]);
    let cheats = Cheats {
        no_reveal: Some(4),
        ..Cheats::default()
    };
    agreed(run().go(&cheats, &[]), 3, &[(4, Cheat::Silent)]);
    let changed: Change = |r| r.commitments.swap(0, 1);
    let cheats = Cheats {
        reveal: Some((2, changed)),
        ..Cheats::default()
    };
    agreed(run().go(&cheats, &[]), 3, &[(2, Cheat::OtherReveal)]);
}

/// Makes a dealer's reveal another one before it commits.
fn with_reveal(seed: u64, who: u8, change: impl FnOnce(&mut Reveal)) -> Run {
    let mut run = Run::new(setup(3, 5, Kind::Fresh), seed);
    change(&mut run.dealers[usize::from(who) - 1].reveal);
    run
}

#[test]
fn a_rogue_key_a_wrong_degree_and_bad_points_are_refused() {
    // The constant term of another, which it does not know.
    let other = Run::new(setup(3, 5, Kind::Fresh), 3).dealers[0]
        .reveal
        .commitments[0];
    let run = with_reveal(3, 2, |r| r.commitments[0] = other);
    agreed(
        run.go(&Cheats::default(), &[]),
        3,
        &[(2, Cheat::Possession)],
    );
    // Another's proof, for another's key.
    let first = Run::new(setup(3, 5, Kind::Fresh), 3).dealers[0]
        .reveal
        .clone();
    let run = with_reveal(3, 2, |r| {
        (r.commitments, r.proof) = (first.commitments, first.proof);
    });
    agreed(
        run.go(&Cheats::default(), &[]),
        3,
        &[(2, Cheat::Possession)],
    );
    let run = with_reveal(3, 2, |r| r.proof = None);
    agreed(
        run.go(&Cheats::default(), &[]),
        3,
        &[(2, Cheat::Possession)],
    );
    let changes: [Change; 3] = [
        |r| r.commitments.truncate(2),
        |r| r.commitments.push([0; 96]),
        |r| r.commitments[1] = [0; 96],
    ];
    for change in changes {
        let run = with_reveal(3, 2, change);
        agreed(run.go(&Cheats::default(), &[]), 3, &[(2, Cheat::Degree)]);
    }
}

#[test]
fn a_wrong_share_is_mended_in_public_or_its_dealer_left_out() {
    let run = || Run::new(setup(3, 5, Kind::Fresh), 4);
    let share = Some((2, &[1, 5][..]));
    agreed(
        run().go(
            &Cheats {
                share,
                ..Cheats::default()
            },
            &[],
        ),
        3,
        &[],
    );
    let cheats = Cheats {
        share,
        stubborn: true,
        ..Cheats::default()
    };
    agreed(run().go(&cheats, &[]), 3, &[(2, Cheat::Share)]);
    let cheats = Cheats {
        share,
        wrong_justification: true,
        ..Cheats::default()
    };
    agreed(run().go(&cheats, &[]), 3, &[(2, Cheat::Share)]);
    let share = Some((2, &[1, 3, 5][..]));
    agreed(
        run().go(
            &Cheats {
                share,
                ..Cheats::default()
            },
            &[],
        ),
        3,
        &[(2, Cheat::Complaints)],
    );
    // A lie about an honest dealer excludes nobody.
    let cheats = Cheats {
        liar: Some((3, 1)),
        ..Cheats::default()
    };
    agreed(run().go(&cheats, &[]), 3, &[]);
}

#[test]
fn fewer_than_t_honest_ones_get_no_key() {
    let mut run = Run::new(setup(3, 3, Kind::Fresh), 5);
    run.dealers[0].reveal.proof = None;
    let outcomes = run.go(&Cheats::default(), &[]);
    assert!(outcomes.iter().all(|o| matches!(o, Err(DkgError::TooFew))));
}

#[test]
fn messages_of_other_runs_and_doubles_are_refused() {
    let run = setup(2, 3, Kind::Fresh);
    let other = Setup::new(&[8; 32], E, 2, 3, Kind::Fresh).unwrap();
    let mut rng = Rng::new(&Seed::from_number(1));
    let mut receiver = Receiver::new(run, 1).unwrap();
    let foreign = Dealer::new(other, 2, &mut rng).unwrap();
    assert_eq!(receiver.commit(&foreign.commit()), Err(DkgError::OtherRun));
    let commit = Dealer::new(run, 2, &mut rng).unwrap().commit();
    assert_eq!(receiver.commit(&commit), Ok(()));
    assert_eq!(receiver.commit(&commit), Ok(()));
    let second = Dealer::new(run, 2, &mut rng).unwrap().commit();
    let twice = DkgError::Cheated {
        from: 2,
        why: Cheat::Twice,
    };
    assert_eq!(receiver.commit(&second), Err(twice));
    assert!(Dealer::new(run, 0, &mut rng).is_none() && Dealer::new(run, 4, &mut rng).is_none());
    assert!(Receiver::new(run, 4).is_none());
    assert!(Setup::new(&[0; 32], E, 1, 3, Kind::Refresh).is_none());
    assert!(Setup::new(&[0; 32], E, 4, 3, Kind::Fresh).is_none());
    let long = alloc::vec![0; DKG_MESSAGE_MAX + 1];
    assert!(Reveal::from_bytes(&long).is_err());
}

#[test]
fn a_refresh_keeps_the_key_and_makes_old_shares_useless() {
    let fresh = agreed(
        Run::new(setup(3, 5, Kind::Fresh), 6).go(&Cheats::default(), &[]),
        3,
        &[],
    );
    let old: Vec<(KeyShare, SharedKey)> = fresh
        .iter()
        .map(|o| (o.share.clone(), o.key.clone()))
        .collect();
    // One cheats in the refresh, too.
    let cheats = Cheats {
        share: Some((4, &[1])),
        stubborn: true,
        ..Cheats::default()
    };
    let run = || Run::new(setup(3, 5, Kind::Refresh), 7);
    let new = agreed(run().go(&cheats, &old), 3, &[(4, Cheat::Share)]);
    assert_eq!(new[0].key.public, fresh[0].key.public);
    for (a, b) in new[0].key.shares.iter().zip(&fresh[0].key.shares) {
        assert_ne!(a, b);
    }
    // The wrong old shares, or none.
    let wrong: Vec<_> = (0..5)
        .map(|i| (old[(i + 1) % 5].0.clone(), old[i].1.clone()))
        .collect();
    assert!(
        run()
            .go(&Cheats::default(), &wrong)
            .iter()
            .all(Result::is_err)
    );
    assert!(run().go(&Cheats::default(), &[]).iter().all(Result::is_err));

    let mut rng = Rng::new(&Seed::from_number(8));
    let keys = [(E, fresh[0].key.clone())];
    let draft = KeysetDraft {
        unit: "FOG",
        not_before: BEGIN,
        exp: BEGIN + MIN_LIFE,
        t: 3,
        spender: *Identity::from_seed(&[1; 32]).public(),
        keys: &keys,
    };
    let before = Keyset::check(&draft.to_bytes(), &mut rng).unwrap();
    let mut after = before.clone();
    let keys = [(E, new[0].key.clone())];
    let record = refreshed(&before, 1, &keys);
    after.refresh(&record, &mut rng).unwrap();
    assert_eq!((after.id(), after.generation()), (before.id(), 1));
    let stale = after.refresh(&record, &mut rng);
    assert_eq!(stale, Err(crate::KeysetError::OtherShares));
    // Shares of another key.
    let stranger = agreed(
        Run::new(setup(3, 5, Kind::Fresh), 9).go(&Cheats::default(), &[]),
        3,
        &[],
    );
    let record = refreshed(&before, 2, &[(E, stranger[0].key.clone())]);
    assert_eq!(
        after.refresh(&record, &mut rng),
        Err(crate::KeysetError::Polynomial(0))
    );

    let blinding = Blinding::new(E, &[3; 32], Scalar::from(77)).unwrap();
    let blinded = blinding.blinded(&after).unwrap();
    let answer = |o: &Outcome| Partials {
        share: o.share.index(),
        signatures: [sign_blinded(&o.share, &blinded).unwrap()].into(),
    };
    let one = core::slice::from_ref(&blinding);
    let mixed = [answer(&new[0]), answer(&new[1]), answer(&fresh[2])];
    let refused = finish(&after, one, &mixed, &mut rng);
    assert_eq!(refused, Err(IssueError::BadShares([3].into())));
    let vouchers = finish(
        &after,
        one,
        &[answer(&new[0]), answer(&new[1]), answer(&new[4])],
        &mut rng,
    )
    .unwrap();
    // A reader with the keyset as it was published accepts it.
    let mut known = Keysets::default();
    known.add(before).unwrap();
    assert_eq!(verify(&vouchers[0], &known), Ok(()));
    // Without the check of each answer, old and new shares would join to nothing.
    let parts: Vec<G1Affine> = mixed.iter().map(|p| p.signatures[0]).collect();
    let joined = G1Projective::sum_of_products(&parts, &lagrange(&[1, 2, 3]).unwrap());
    let claim = Claim {
        base: blinded,
        signature: joined.to_affine().unwrap(),
        key: fresh[0].key.public,
    };
    assert!(!claim.holds());
}
