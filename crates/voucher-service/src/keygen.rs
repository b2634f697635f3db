//! A keyset's keys made by its mints together, and its shares refreshed: the rounds of [`betanet_vouchers::dkg`] over files.
//!
//! The mints need no network for it. One of them writes a [`Plan`]; each gives its copy to a folder of its own, and calls [`step`]
//! with the files of the others until the keyset is there. All files are public: shares travel encrypted to their mint. The
//! folder's seed and the new shares are secrets, and only their owner may read them.
//!
//! | round | file of each mint |
//! |---|---|
//! | 1, 2 | commitments; what was committed to |
//! | 3 | the shares of all, each encrypted to its mint |
//! | 4, 5 | complaints about wrong shares; if there are any, the answers |
//! | 6 | the hash of what was made, which must be the same for all |
//!
//! Each file is signed, and names the files that its mint has of the round before. A mint that gives two others different files is
//! found by that.

mod file;
mod plan;
mod runs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use betanet_keys::{Identity, hash};
use betanet_machine::{Rng, Seed};
use betanet_runtime::{FileError, write_secret};
use betanet_store::disk::{self, Readers};
use betanet_vouchers::KeyShare;
use betanet_vouchers::dkg::Cheat;
use betanet_wire::text::hex;
use zeroize::Zeroizing;

use crate::folder::{make, write_mint};
pub use crate::keygen_error::{FileFault, KeygenError};
use crate::{Error, MintFolder};
pub use file::FILE_MAX;
use file::{Round, RoundFile};
pub use plan::{PLAN_FILE, Plan};
use runs::{Made, Runs};

/// The seed of what a mint deals. Whoever has it and another mint's file knows what this mint dealt.
const SEED_FILE: &str = "seed.bin";
/// The folder of the files that came, one's own included.
const FILES: &str = "files";
/// The folder that is made: what [`MintFolder::open`] reads.
const MINT: &str = "mint";

/// What a step has done.
#[derive(Debug)]
pub struct Progress {
    /// This mint's index, from 1.
    pub index: u8,
    /// The round whose files are collected.
    pub round: u8,
    /// This mint's file of that round, for all others.
    pub file: PathBuf,
    /// Mints whose file of that round is missing.
    pub waits_for: Vec<u8>,
    /// Mints that broke the rules, and how. The keys are made without their shares.
    pub cheats: BTreeMap<u8, Cheat>,
    /// The folder that was made, once all is over.
    pub made: Option<PathBuf>,
}

/// A mint's folder of one run.
#[derive(Debug)]
struct Folder<'a> {
    dir: &'a Path,
    plan: Plan,
    index: u8,
}

/// Takes the files of others, and goes on as far as they allow. `old` is the mint's folder, for a refresh. With `without`, the
/// present round ends though files are missing: all mints must then agree on whose.
///
/// The first step makes `dir`, and needs the plan's bytes.
///
/// # Errors
///
/// A file is not of this run or cannot be read; a mint gives different files to different mints, which the error names.
pub fn step(
    dir: &Path,
    plan: Option<&[u8]>,
    me: &Identity,
    files: &[PathBuf],
    (old, without): (Option<&MintFolder>, bool),
    rng: &mut Rng,
) -> Result<Progress, Error> {
    if let Some(plan) = plan {
        begin(dir, &Plan::read(plan)?, rng)?;
    }
    let path = dir.join(PLAN_FILE);
    let bytes = disk::read_regular(&path, FILE_MAX as u64).map_err(FileError::io(&path))?;
    let plan = Plan::read(&bytes)?;
    let index = plan
        .index_of(me.public())
        .ok_or(KeygenError::NoMember(Box::new(*me.public())))?;
    plan.fits(index, old)?;
    let folder = Folder { dir, plan, index };
    let made = dir.join(MINT);
    if made.is_dir() {
        let last = folder.path(Round::Confirm, index);
        return Ok(folder.progress(
            Round::Confirm,
            last,
            Vec::new(),
            BTreeMap::new(),
            Some(made),
        ));
    }
    for file in files {
        folder.take(file)?;
    }
    folder.go(me, (old, without), rng)
}

/// Makes the folder, once.
fn begin(dir: &Path, plan: &Plan, rng: &mut Rng) -> Result<(), Error> {
    make(&dir.join(FILES))?;
    let path = dir.join(PLAN_FILE);
    match disk::read_regular(&path, FILE_MAX as u64) {
        Ok(known) if known == plan.as_bytes() => return Ok(()),
        Ok(_) => return Err(KeygenError::OtherPlan(path).into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FileError::io(&path)(error).into()),
    }
    let seed = Zeroizing::new(rng.array::<32>());
    // The plan is last: a folder with a plan has a seed.
    let at = dir.join(SEED_FILE);
    if !at.exists() {
        write_secret(&at, &*seed)?;
    }
    Ok(write_secret(&path, plan.as_bytes())?)
}

impl Folder<'_> {
    fn path(&self, round: Round, from: u8) -> PathBuf {
        let name = format!("round-{}.mint-{from}", round.number());
        self.dir.join(FILES).join(name)
    }

    /// The hashes of a round's files, in the order of the mints; zero for those without which it ended.
    fn ended(&self, round: Round) -> Result<Option<Vec<[u8; 32]>>, Error> {
        let path = self.dir.join(format!("round-{}.ended", round.number()));
        match disk::read_regular(&path, FILE_MAX as u64) {
            Ok(bytes) => {
                let (all, rest) = bytes.as_chunks::<32>();
                if !rest.is_empty() || all.len() != usize::from(self.plan.n()) {
                    let why = "not a hash for each mint";
                    return Err(Error::Content { path, why });
                }
                Ok(Some(all.to_vec()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::io(&path)(error).into()),
        }
    }

    /// Keeps the file of another mint.
    fn take(&self, path: &Path) -> Result<(), Error> {
        let bytes = disk::read_bounded(path, FILE_MAX as u64).map_err(FileError::io(path))?;
        let file = RoundFile::read(&bytes, &self.plan).map_err(|why| KeygenError::File {
            path: path.to_owned(),
            why,
        })?;
        let at = self.path(file.round, file.from);
        if let Some(known) = self.kept(file.round, file.from)? {
            let twice = KeygenError::Twice {
                from: file.from,
                round: file.round.number(),
            };
            return if known == bytes {
                Ok(())
            } else {
                Err(twice.into())
            };
        }
        if self.ended(file.round)?.is_some() {
            let (from, round) = (file.from, file.round.number());
            return Err(KeygenError::Late { from, round }.into());
        }
        Ok(write_secret(&at, &bytes)?)
    }

    fn kept(&self, round: Round, from: u8) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(round, from);
        match disk::read_regular(&path, FILE_MAX as u64) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::io(&path)(error).into()),
        }
    }

    fn go(
        &self,
        me: &Identity,
        (old, mut without): (Option<&MintFolder>, bool),
        rng: &mut Rng,
    ) -> Result<Progress, Error> {
        let path = self.dir.join(SEED_FILE);
        let seed = disk::read_secret(&path, Readers::Owner).map_err(FileError::io(&path))?;
        let bytes = seed.first_chunk::<32>().filter(|_| seed.len() == 32);
        let bytes = bytes.ok_or(Error::Content {
            path,
            why: "not 32 bytes",
        })?;
        let mut runs = Runs::new(&self.plan, self.index, &Seed::new(*bytes))?;
        let mut seen = vec![[0; 32]; usize::from(self.plan.n())];
        let mut round = Round::Commit;
        loop {
            let own = self.own(me, round, &seen, &mut runs, old)?;
            let files = self.files(round)?;
            let missing = self.missing(&files);
            let ended = match self.ended(round)? {
                Some(ended) => ended,
                None if missing.is_empty() || without => {
                    without = without && missing.is_empty();
                    self.end(round, &files)?
                }
                None => return Ok(self.progress(round, own, missing, runs.cheats, None)),
            };
            let files: BTreeMap<u8, RoundFile> = files
                .into_iter()
                .filter(|(from, file)| {
                    ended.get(usize::from(*from) - 1) == Some(&hash(&[file.bytes()]))
                })
                .collect();
            self.agree(round, &files, &seen)?;
            if round == Round::Confirm {
                let made = runs.made(&self.plan, old, rng)?;
                self.confirmed(&files, &made)?;
                let dir = self.write(&made)?;
                let cheats = runs.cheats;
                return Ok(self.progress(round, own, Vec::new(), cheats, Some(dir)));
            }
            runs.take(round, &files, me, &self.plan);
            seen = ended;
            round = match round.next() {
                Round::Answer if !runs.has_complaints() => Round::Confirm,
                next => next,
            };
        }
    }

    /// Writes this mint's file of a round, if it is not there yet.
    fn own(
        &self,
        me: &Identity,
        round: Round,
        seen: &[[u8; 32]],
        runs: &mut Runs,
        old: Option<&MintFolder>,
    ) -> Result<PathBuf, Error> {
        let path = self.path(round, self.index);
        if self.kept(round, self.index)?.is_none() {
            let messages = runs.messages(round, me, &self.plan, old)?;
            let file = RoundFile::sign(me, &self.plan, (self.index, round), seen, &messages);
            write_secret(&path, &file)?;
        }
        Ok(path)
    }

    fn files(&self, round: Round) -> Result<BTreeMap<u8, RoundFile>, Error> {
        let mut files = BTreeMap::new();
        for from in 1..=self.plan.n() {
            let Some(bytes) = self.kept(round, from)? else {
                continue;
            };
            let path = self.path(round, from);
            let file = RoundFile::read(&bytes, &self.plan);
            let file = file.map_err(|why| KeygenError::File { path, why })?;
            files.insert(from, file);
        }
        Ok(files)
    }

    fn missing(&self, files: &BTreeMap<u8, RoundFile>) -> Vec<u8> {
        let all = 1..=self.plan.n();
        all.filter(|from| !files.contains_key(from)).collect()
    }

    fn end(&self, round: Round, files: &BTreeMap<u8, RoundFile>) -> Result<Vec<[u8; 32]>, Error> {
        let of = |from| files.get(&from).map_or([0; 32], |f| hash(&[f.bytes()]));
        let ended: Vec<[u8; 32]> = (1..=self.plan.n()).map(of).collect();
        let path = self.dir.join(format!("round-{}.ended", round.number()));
        write_secret(&path, ended.as_flattened())?;
        Ok(ended)
    }

    /// All have the same files of the round before.
    fn agree(
        &self,
        round: Round,
        files: &BTreeMap<u8, RoundFile>,
        seen: &[[u8; 32]],
    ) -> Result<(), KeygenError> {
        for (by, file) in files {
            let differs = |(a, b): (&[u8; 32], &[u8; 32])| a != b;
            let Some(at) = file.seen.iter().zip(seen).position(differs) else {
                continue;
            };
            return Err(KeygenError::Views {
                by: *by,
                about: u8::try_from(at + 1).unwrap_or(u8::MAX),
                round: round.number(),
            });
        }
        Ok(())
    }

    fn confirmed(&self, files: &BTreeMap<u8, RoundFile>, made: &Made) -> Result<(), KeygenError> {
        let differ = |f: &&RoundFile| f.messages.as_slice() != [made.hash().to_vec()];
        let others: BTreeSet<u8> = files.values().filter(differ).map(|f| f.from).collect();
        match others.first() {
            Some(from) => Err(KeygenError::Result(*from)),
            None => Ok(()),
        }
    }

    fn write(&self, made: &Made) -> Result<PathBuf, Error> {
        let dir = self.dir.join(MINT);
        // Whole or not at all: a folder with a part of its files would be no mint.
        let draft = self.dir.join("mint.new");
        match std::fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::io(&draft)(error).into());
            }
            _ => {}
        }
        let mut shares = Zeroizing::new(Vec::with_capacity(made.shares.len() * KeyShare::BYTES));
        made.shares
            .iter()
            .for_each(|share| shares.extend_from_slice(&*share.to_bytes()));
        let issuer = made
            .issuer
            .map(|key| hex(key.as_bytes()) + "\n")
            .unwrap_or_default();
        write_mint(&draft, (&made.keyset, &made.refresh), &shares, &issuer)?;
        std::fs::rename(&draft, &dir).map_err(FileError::io(&dir))?;
        // Nobody needs to know any more what this mint dealt.
        let seed = self.dir.join(SEED_FILE);
        std::fs::remove_file(&seed).map_err(FileError::io(&seed))?;
        Ok(dir)
    }

    fn progress(
        &self,
        round: Round,
        file: PathBuf,
        waits_for: Vec<u8>,
        cheats: BTreeMap<u8, Cheat>,
        made: Option<PathBuf>,
    ) -> Progress {
        Progress {
            index: self.index,
            round: round.number(),
            file,
            waits_for,
            cheats,
            made,
        }
    }
}
