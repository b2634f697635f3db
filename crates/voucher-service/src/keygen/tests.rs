use betanet_runtime::write_private;
use betanet_vouchers::{Keysets, MIN_LIFE};

use super::*;
use crate::{Deal, SHARE_FILE, mint_init};

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

/// Five mints, of which three sign together.
struct Five {
    home: tempfile::TempDir,
    plan: Vec<u8>,
    rng: Rng,
}

/// Changes what mints send: the mint, the round, and the file in place of its own, or none.
type Cheat<'a> = &'a dyn Fn(&Five, u8, Round, RoundFile) -> Option<Vec<u8>>;

fn honest(_: &Five, _: u8, _: Round, file: RoundFile) -> Option<Vec<u8>> {
    Some(file.bytes().to_vec())
}

impl Five {
    fn new() -> Self {
        let mut rng = Rng::new(&Seed::from_number(1));
        let members: Vec<_> = (1..=5).map(|n| *identity(n).public()).collect();
        let deal = Deal {
            t: 3,
            n: 5,
            unit: "FOG",
            exponents: &[2, 0],
            not_before: 1_000,
            exp: 1_000 + MIN_LIFE,
            spender: *identity(1).public(),
        };
        let plan = Plan::fresh(&deal, &members, *identity(9).public(), &mut rng).unwrap();
        Self {
            home: tempfile::tempdir().unwrap(),
            plan: plan.as_bytes().to_vec(),
            rng,
        }
    }

    fn plan(&self) -> Plan {
        Plan::read(&self.plan).unwrap()
    }

    fn dir(&self, mint: u8) -> PathBuf {
        self.home.path().join(format!("run-{mint}"))
    }

    fn step(&mut self, mint: u8, files: &[PathBuf], without: bool) -> Result<Progress, Error> {
        let (dir, plan) = (self.dir(mint), self.plan.clone());
        let me = identity(mint);
        step(
            &dir,
            Some(&plan),
            &me,
            files,
            (None, without),
            &mut self.rng,
        )
    }

    fn read(&self, path: &Path) -> RoundFile {
        RoundFile::read(&std::fs::read(path).unwrap(), &self.plan()).unwrap()
    }

    /// Signs a file as a mint that says something else.
    fn says(&self, mint: u8, file: &RoundFile, messages: &[Vec<u8>]) -> Vec<u8> {
        let place = (mint, file.round);
        RoundFile::sign(&identity(mint), &self.plan(), place, &file.seen, messages)
    }

    fn sent(&self, mint: u8, bytes: &[u8]) -> PathBuf {
        let path = self.home.path().join(format!("sent-by-{mint}"));
        write_private(&path, bytes).unwrap();
        path
    }

    /// All steps until every honest mint is done, or the first error.
    fn run(&mut self, cheats: Cheat<'_>, liar: u8) -> Result<Vec<Progress>, Error> {
        // The step that makes a mint's folder names the cheats.
        let mut done = BTreeMap::new();
        for _ in 0..8 {
            let mut own = Vec::new();
            for mint in 1..=5 {
                let progress = self.step(mint, &[], false)?;
                own.push(progress.file.clone());
                if progress.made.is_some() {
                    done.entry(mint).or_insert(progress);
                }
            }
            if done.len() == 5 {
                return Ok(done.into_values().collect());
            }
            for from in 1..=5 {
                let file = self.read(&own[usize::from(from) - 1]);
                let round = file.round;
                let bytes = match from == liar {
                    true => cheats(self, from, round, file),
                    false => honest(self, from, round, file),
                };
                let Some(bytes) = bytes else { continue };
                let path = self.sent(from, &bytes);
                if from == liar {
                    // What it told the others is what it stands by.
                    let kept = format!("round-{}.mint-{from}", round.number());
                    write_private(&self.dir(from).join(FILES).join(kept), &bytes)?;
                }
                for to in (1..=5).filter(|to| *to != from) {
                    let progress = self.step(to, std::slice::from_ref(&path), false)?;
                    if progress.made.is_some() {
                        done.entry(to).or_insert(progress);
                    }
                }
            }
        }
        panic!("the run does not end")
    }

    fn folders(&mut self) -> Vec<MintFolder> {
        let dirs: Vec<_> = (1..=5).map(|n| self.dir(n).join(MINT)).collect();
        let open = |dir: &PathBuf| MintFolder::open(dir, &mut self.rng).unwrap();
        dirs.iter().map(open).collect()
    }
}

#[test]
fn five_folders_make_one_keyset_and_nobody_is_left_out() {
    let mut five = Five::new();
    let done = five.run(&honest, 0).unwrap();
    assert!(done.iter().all(|p| p.cheats.is_empty() && p.round == 6));
    let folders = five.folders();
    for (index, folder) in (1..).zip(&folders) {
        assert_eq!(folder.keyset.id(), folders[0].keyset.id());
        assert_eq!((folder.keyset.threshold(), folder.keyset.shares()), (3, 5));
        assert_eq!(folder.issuer, Some(*identity(9).public()));
        assert!(folder.shares.iter().all(|s| s.index() == index));
        assert_eq!(folder.shares.len(), 2);
    }
    use std::os::unix::fs::PermissionsExt as _;
    let dir = five.dir(1);
    let share = dir.join(MINT).join(SHARE_FILE).metadata().unwrap();
    assert_eq!(share.permissions().mode() & 0o777, 0o600);
    assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!dir.join(SEED_FILE).exists(), "the seed is gone");
    // Another call says the same, and changes nothing.
    assert_eq!(five.step(1, &[], false).unwrap().made, Some(dir.join(MINT)));
    let mut keysets = Keysets::default();
    keysets.add(folders[0].keyset.clone()).unwrap();
}

#[test]
fn the_seed_is_a_secret_and_shares_travel_encrypted() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut five = Five::new();
    five.step(1, &[], false).unwrap();
    let seed = five.dir(1).join(SEED_FILE);
    assert_eq!(seed.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&seed, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = five.step(1, &[], false).unwrap_err().to_string();
    assert!(
        open.contains("seed.bin") && open.contains("chmod 600"),
        "{open}"
    );

    let mut five = Five::new();
    five.run(&honest, 0).unwrap();
    let share = std::fs::read(five.dir(2).join(MINT).join(SHARE_FILE)).unwrap();
    let dealt = std::fs::read(five.dir(2).join(FILES).join("round-3.mint-1")).unwrap();
    assert!(!dealt.windows(32).any(|w| w == &share[2..34]));
    // In another mint's hands the sealed text is nothing.
    let file = RoundFile::read(&dealt, &five.plan()).unwrap();
    assert_eq!(file.messages.len(), 5);
    assert!(
        file.messages
            .iter()
            .all(|m| !m.windows(7).any(|w| w == b"session"))
    );
}

#[test]
fn a_mint_that_deals_wrong_shares_is_named_by_all_and_left_out() {
    // Its shares for mint 1 do not open, and it does not mend them.
    let lie = |five: &Five, from: u8, round: Round, file: RoundFile| {
        let mut messages = file.messages.clone();
        match round {
            Round::Share => messages[0][0] ^= 1,
            Round::Answer => messages.clear(),
            _ => return Some(file.bytes().to_vec()),
        }
        Some(five.says(from, &file, &messages))
    };
    let mut five = Five::new();
    let done = five.run(&lie, 4).unwrap();
    for progress in done.iter().filter(|p| p.index != 4) {
        let named = [(4, betanet_vouchers::dkg::Cheat::Share)].into();
        assert_eq!(progress.cheats, named, "mint {}", progress.index);
    }
    let folders = five.folders();
    assert!(
        folders
            .iter()
            .all(|f| f.keyset.id() == folders[0].keyset.id())
    );

    // An honest answer mends them, and nobody is left out.
    let slip = |five: &Five, from: u8, round: Round, file: RoundFile| {
        let mut messages = file.messages.clone();
        if round == Round::Share {
            messages[0][0] ^= 1;
        }
        Some(five.says(from, &file, &messages))
    };
    let mut five = Five::new();
    let done = five.run(&slip, 4).unwrap();
    assert!(done.iter().all(|p| p.cheats.is_empty()));
}

#[test]
fn a_mint_that_reveals_something_else_is_named() {
    let lie = |five: &Five, from: u8, round: Round, file: RoundFile| {
        let mut messages = file.messages.clone();
        if round == Round::Reveal {
            messages.swap(0, 1);
        }
        Some(five.says(from, &file, &messages))
    };
    let mut five = Five::new();
    let done = five.run(&lie, 2).unwrap();
    for progress in &done {
        assert!(progress.cheats.contains_key(&2), "{:?}", progress.cheats);
        assert_eq!(progress.cheats.len(), 1);
    }
}

#[test]
fn two_different_files_of_one_mint_are_found() {
    let mut five = Five::new();
    let files: Vec<PathBuf> = (1..=5)
        .map(|mint| five.step(mint, &[], false).unwrap().file)
        .collect();
    let file = five.read(&files[3]);
    let mut messages = file.messages.clone();
    messages[0] = five.read(&files[2]).messages[0].clone();
    let other = five.says(4, &file, &messages);
    let other = five.sent(4, &other);
    // Both to one mint.
    five.step(1, &files[3..4], false).unwrap();
    let twice = five
        .step(1, std::slice::from_ref(&other), false)
        .unwrap_err();
    assert!(
        matches!(
            twice,
            Error::Keygen(KeygenError::Twice { from: 4, round: 1 })
        ),
        "{twice}"
    );
    // One to mint 1, the other to mint 2: their next files tell.
    five.step(
        2,
        &[files[0].clone(), files[2].clone(), files[4].clone(), other],
        false,
    )
    .unwrap();
    let first = five.step(1, &files, false).unwrap();
    assert_eq!(first.round, 2);
    let second = five.step(2, &[], false).unwrap().file;
    let others: Vec<PathBuf> = (3..=5)
        .map(|mint| five.step(mint, &files, false).unwrap().file)
        .collect();
    five.step(1, &others, false).unwrap();
    let views = five.step(1, &[second], false).unwrap_err();
    assert!(
        matches!(
            views,
            Error::Keygen(KeygenError::Views {
                by: 2,
                about: 4,
                round: 2
            })
        ),
        "{views}"
    );
}

#[test]
fn a_mint_that_is_gone_is_left_out_where_all_agree() {
    let mut five = Five::new();
    for round in 1..=6 {
        let files: Vec<PathBuf> = (1..=4)
            .map(|mint| five.step(mint, &[], false).unwrap())
            .filter(|p| p.made.is_none() && (p.round == round || round > 4))
            .map(|p| p.file)
            .collect();
        for mint in 1..=4 {
            let waiting = five.step(mint, &files, false).unwrap();
            if waiting.made.is_none() {
                assert_eq!(waiting.waits_for, [5]);
            }
            five.step(mint, &[], true).unwrap();
        }
    }
    for mint in 1..=4 {
        let done = five.step(mint, &[], false).unwrap();
        assert!(done.made.is_some());
    }
    // Its file comes too late.
    let late = five.step(5, &[], false).unwrap().file;
    let mut other = Five::new();
    other.plan.clone_from(&five.plan);
    let gone = other.step(1, &[], true).unwrap();
    assert_eq!(gone.round, 2);
    let refused = other.step(1, &[late], false).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Keygen(KeygenError::Late { from: 5, round: 1 })
        ),
        "{refused}"
    );
}

#[test]
fn files_and_plans_that_are_not_of_the_run_are_refused() {
    let mut five = Five::new();
    let file = five.step(1, &[], false).unwrap().file;
    let bytes = std::fs::read(&file).unwrap();
    let plan = five.plan();
    let fault = |bytes: &[u8]| RoundFile::read(bytes, &plan).unwrap_err();
    assert_eq!(fault(b""), FileFault::Form);
    assert_eq!(fault(&vec![0; FILE_MAX + 1]), FileFault::Form);
    let mut damaged = bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(fault(&damaged), FileFault::Signature);
    let read = RoundFile::read(&bytes, &plan).unwrap();
    let place = (1, read.round);
    let stranger = RoundFile::sign(&identity(2), &plan, place, &read.seen, &read.messages);
    assert_eq!(fault(&stranger), FileFault::Signature);
    let other = Five::new();
    let mut rng = Rng::new(&Seed::from_number(2));
    let deal = Deal {
        t: 1,
        n: 1,
        unit: "FOG",
        exponents: &[0],
        not_before: 1_000,
        exp: 1_000 + MIN_LIFE,
        spender: *identity(1).public(),
    };
    let one = Plan::fresh(
        &deal,
        &[*identity(1).public()],
        *identity(9).public(),
        &mut rng,
    );
    let one = one.unwrap();
    let foreign = RoundFile::sign(&identity(1), &one, place, &[[0; 32]], &[]);
    assert_eq!(fault(&foreign), FileFault::Plan);
    drop(other);
    // Another plan in the same folder, a key that is no member's, a refresh without the old share.
    let dir = five.dir(1);
    let mut go = |plan: &Plan, me: u8, old| {
        let me = identity(me);
        let done = step(
            &dir,
            Some(plan.as_bytes()),
            &me,
            &[],
            (old, false),
            &mut rng,
        );
        match done.unwrap_err() {
            Error::Keygen(error) => error,
            other => panic!("{other}"),
        }
    };
    assert!(matches!(go(&one, 1, None), KeygenError::OtherPlan(_)));
    assert!(matches!(go(&plan, 7, None), KeygenError::NoMember(_)));
    let mut rng = Rng::new(&Seed::from_number(3));
    let home = tempfile::tempdir().unwrap();
    let dealt = mint_init(home.path(), &Deal { t: 3, n: 5, ..deal }, &mut rng).unwrap();
    let mint = MintFolder::open(&dealt.mints[0], &mut rng).unwrap();
    let members: Vec<_> = (1..=5).map(|n| *identity(n).public()).collect();
    let fresh = Plan::refresh(&mint.keyset, &members, &mut rng).unwrap();
    let at = home.path().join("again");
    let mut go = |me: u8, old| {
        let me = identity(me);
        let done = step(
            &at,
            Some(fresh.as_bytes()),
            &me,
            &[],
            (old, false),
            &mut rng,
        );
        done.map(|p| p.round)
    };
    assert!(matches!(go(1, None), Err(Error::Keygen(KeygenError::Old))));
    let wrong = go(2, Some(&mint));
    assert!(matches!(wrong, Err(Error::Keygen(KeygenError::OtherMint))));
    assert_eq!(go(1, Some(&mint)).unwrap(), 1);
    // Numbers that no plan has.
    let mut rng = Rng::new(&Seed::from_number(4));
    let mut twice = members.clone();
    twice[1] = twice[0];
    let doubled = Plan::refresh(&mint.keyset, &twice, &mut rng);
    assert!(matches!(doubled, Err(KeygenError::MemberTwice)));
    let fewer = Plan::refresh(&mint.keyset, &members[1..], &mut rng);
    assert!(matches!(fewer, Err(KeygenError::Numbers)));
    for (t, exponents) in [(2, &[0][..]), (6, &[0]), (3, &[]), (3, &[0, 0]), (3, &[41])] {
        let deal = Deal {
            t,
            n: 5,
            exponents,
            ..deal
        };
        let none = Plan::fresh(&deal, &members, *identity(9).public(), &mut rng);
        assert!(
            matches!(none, Err(KeygenError::Numbers)),
            "{t} {exponents:?}"
        );
    }
    assert!(matches!(Plan::read(b"x"), Err(KeygenError::NoPlan)));
}
