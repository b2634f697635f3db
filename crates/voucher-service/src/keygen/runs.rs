//! The runs of all denominations, of which each file carries one message.

use std::collections::BTreeMap;

use betanet_keys::{Identity, PublicKey, hash, schedule};
use betanet_machine::{Rng, Seed};
use betanet_vouchers::dkg::{
    Cheat, Commit, Complaint, Dealer, DealtShare, DkgError, Receiver, Reveal, Setup, refreshed,
};
use betanet_vouchers::{Denomination, KeyShare, Keyset, KeysetDraft, SharedKey};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use zeroize::Zeroizing;

use super::file::{Round, RoundFile};
use super::{KeygenError, Plan};
use crate::{Error, KEYSET_FILE, MintFolder};

/// The run of one denomination.
#[derive(Debug)]
struct Run {
    denomination: Denomination,
    dealer: Dealer,
    receiver: Receiver,
}

/// What is made of a run.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) keyset: Vec<u8>,
    /// The record of refreshed shares; empty for a new keyset.
    pub(super) refresh: Vec<u8>,
    pub(super) shares: Vec<KeyShare>,
    excluded: BTreeMap<u8, Cheat>,
    pub(super) issuer: Option<PublicKey>,
}

impl Made {
    /// Hash of the public part, which is the same for all.
    pub(super) fn hash(&self) -> [u8; 32] {
        hash(&[b"BN-DKG-MADE1", &hash(&[&self.keyset]), &self.refresh])
    }
}

#[derive(Debug)]
pub(super) struct Runs {
    index: u8,
    runs: Vec<Run>,
    /// Complaints, with the exponent of their run.
    complaints: Vec<(u8, Complaint)>,
    /// This mint's file of commitments: other dealings have other keys for their shares.
    commitments: BTreeMap<u8, [u8; 32]>,
    pub(super) cheats: BTreeMap<u8, Cheat>,
}

impl Runs {
    pub(super) fn new(plan: &Plan, index: u8, seed: &Seed) -> Result<Self, KeygenError> {
        let context = plan.id();
        let mut rng = Rng::new(seed);
        let mut run = |denomination: &Denomination| {
            let (t, n) = (plan.threshold(), plan.n());
            let setup = Setup::new(&context, *denomination, t, n, plan.kind())?;
            Some(Run {
                denomination: *denomination,
                dealer: Dealer::new(setup, index, &mut rng)?,
                receiver: Receiver::new(setup, index)?,
            })
        };
        let runs: Option<Vec<Run>> = plan.exponents.iter().map(&mut run).collect();
        Ok(Self {
            index,
            runs: runs.ok_or(KeygenError::Numbers)?,
            complaints: Vec::new(),
            commitments: BTreeMap::new(),
            cheats: BTreeMap::new(),
        })
    }

    pub(super) const fn has_complaints(&self) -> bool {
        !self.complaints.is_empty()
    }

    /// What this mint says in a round.
    pub(super) fn messages(
        &self,
        round: Round,
        me: &Identity,
        plan: &Plan,
        old: Option<&MintFolder>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let runs = self.runs.iter();
        Ok(match round {
            Round::Commit => runs.map(|r| r.dealer.commit().to_bytes()).collect(),
            Round::Reveal => {
                let reveal = |r: &Run| Ok(r.dealer.reveal(&r.receiver)?.to_bytes());
                runs.map(reveal)
                    .collect::<Result<_, DkgError>>()
                    .map_err(KeygenError::Run)?
            }
            Round::Share => {
                let all = (1..=plan.n()).map(|to| self.sealed(to, me, plan));
                all.collect::<Result<_, _>>()?
            }
            Round::Complain => {
                let own = runs.flat_map(|r| {
                    let all = r.receiver.complaints().into_iter();
                    all.map(|c| tagged(r.denomination, &c.to_bytes()))
                });
                own.collect()
            }
            Round::Answer => self.answers(),
            Round::Confirm => {
                // The check of what others dealt needs numbers that they do not know; here only the hash is wanted.
                vec![self.draft(plan, old)?.hash().to_vec()]
            }
        })
    }

    fn answers(&self) -> Vec<Vec<u8>> {
        let answer = |(e, complaint): &(u8, Complaint)| {
            let run = self.runs.iter().find(|r| r.denomination.exponent() == *e)?;
            let dealt = run.dealer.justify(complaint)?;
            Some(tagged(run.denomination, &dealt.to_bytes()))
        };
        self.complaints.iter().filter_map(answer).collect()
    }

    /// All shares for one mint, encrypted to it.
    fn sealed(&self, to: u8, me: &Identity, plan: &Plan) -> Result<Vec<u8>, KeygenError> {
        let mut plain = Zeroizing::new(Vec::new());
        for run in &self.runs {
            let dealt = run.dealer.share_for(to, &run.receiver)?.to_bytes();
            let length = u32::try_from(dealt.len()).unwrap_or(u32::MAX);
            plain.extend_from_slice(&length.to_be_bytes());
            plain.extend_from_slice(&dealt);
        }
        let key = plan.member(to).ok_or(DkgError::OtherRun)?;
        let dealing = self.commitments.get(&self.index).ok_or(DkgError::Order)?;
        let cipher = share_cipher(me, key, plan, (self.index, to), dealing);
        let sealed = cipher.encrypt(&Nonce::default(), Payload::from(plain.as_slice()));
        Ok(sealed.map_err(|_| DkgError::Order)?)
    }

    /// Takes the files of a round that is over. A message that is none counts as not sent.
    pub(super) fn take(
        &mut self,
        round: Round,
        files: &BTreeMap<u8, RoundFile>,
        me: &Identity,
        plan: &Plan,
    ) {
        for (from, file) in files {
            match round {
                Round::Commit => {
                    self.commitments.insert(*from, hash(&[file.bytes()]));
                    self.each(file, |receiver, bytes| {
                        let commit = Commit::from_bytes(bytes).ok()?;
                        (commit.from == *from).then(|| receiver.commit(&commit))
                    });
                }
                Round::Reveal => self.each(file, |receiver, bytes| {
                    let reveal = Reveal::from_bytes(bytes).ok()?;
                    (reveal.from == *from).then(|| receiver.reveal(&reveal))
                }),
                Round::Share => self.open(file, me, plan),
                Round::Complain => self.complain(file),
                Round::Answer => self.answered(file),
                Round::Confirm => {}
            }
        }
        for run in &mut self.runs {
            match round {
                Round::Commit => run.receiver.end_commits(),
                Round::Reveal => run.receiver.end_reveals(),
                _ => {}
            }
        }
        if matches!(round, Round::Commit | Round::Reveal) {
            for silent in (1..=plan.n()).filter(|n| !files.contains_key(n)) {
                self.cheats.entry(silent).or_insert(Cheat::Silent);
            }
        }
    }

    /// One message for each run, in their order.
    fn each(
        &mut self,
        file: &RoundFile,
        mut take: impl FnMut(&mut Receiver, &[u8]) -> Option<Result<(), DkgError>>,
    ) {
        let mut messages = file.messages.iter();
        for run in &mut self.runs {
            let taken = messages.next().and_then(|m| take(&mut run.receiver, m));
            match taken {
                Some(Ok(())) => {}
                Some(Err(DkgError::Cheated { from, why })) => {
                    self.cheats.entry(from).or_insert(why);
                }
                // What is no message of this run counts as none.
                _ => {
                    self.cheats.entry(file.from).or_insert(Cheat::Silent);
                }
            }
        }
    }

    fn open(&mut self, file: &RoundFile, me: &Identity, plan: &Plan) {
        let (Some(sealed), Some(key), Some(dealing)) = (
            file.messages.get(usize::from(self.index) - 1),
            plan.member(file.from),
            self.commitments.get(&file.from),
        ) else {
            return;
        };
        let cipher = share_cipher(me, key, plan, (file.from, self.index), dealing);
        let plain = cipher.decrypt(&Nonce::default(), Payload::from(sealed.as_slice()));
        let Ok(plain) = plain.map(Zeroizing::new) else {
            return;
        };
        let mut rest = plain.as_slice();
        for run in &mut self.runs {
            let Some((length, after)) = rest.split_first_chunk::<4>() else {
                return;
            };
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let Some((one, after)) = after.split_at_checked(length) else {
                return;
            };
            rest = after;
            if let Ok(dealt) = DealtShare::from_bytes(one)
                && dealt.from == file.from
            {
                // A wrong share is complained about.
                let _ = run.receiver.share(&dealt);
            }
        }
    }

    fn complain(&mut self, file: &RoundFile) {
        for message in &file.messages {
            let Some((e, bytes)) = message.split_first() else {
                continue;
            };
            let run = self
                .runs
                .iter_mut()
                .find(|r| r.denomination.exponent() == *e);
            let (Some(run), Ok(complaint)) = (run, Complaint::from_bytes(bytes)) else {
                continue;
            };
            if complaint.by != file.from {
                continue;
            }
            let taken = run.receiver.complain(&complaint);
            if taken.is_ok() {
                self.complaints.push((*e, complaint));
            }
            named(&mut self.cheats, taken);
        }
    }

    fn answered(&mut self, file: &RoundFile) {
        for message in &file.messages {
            let Some((e, bytes)) = message.split_first() else {
                continue;
            };
            let run = self
                .runs
                .iter_mut()
                .find(|r| r.denomination.exponent() == *e);
            let (Some(run), Ok(dealt)) = (run, DealtShare::from_bytes(bytes)) else {
                continue;
            };
            if dealt.from == file.from {
                named(&mut self.cheats, run.receiver.justification(&dealt));
            }
        }
    }

    /// The keyset, checked.
    pub(super) fn made(
        &mut self,
        plan: &Plan,
        old: Option<&MintFolder>,
        rng: &mut Rng,
    ) -> Result<Made, Error> {
        let made = self.draft(plan, old)?;
        let named = |why| Error::KeysetFile {
            path: KEYSET_FILE.into(),
            why,
        };
        let mut keyset = Keyset::check(&made.keyset, rng).map_err(named)?;
        if !made.refresh.is_empty() {
            keyset.refresh(&made.refresh, rng).map_err(named)?;
        }
        for (from, why) in &made.excluded {
            self.cheats.entry(*from).or_insert(*why);
        }
        Ok(made)
    }

    fn draft(&self, plan: &Plan, old: Option<&MintFolder>) -> Result<Made, KeygenError> {
        let mut keys: Vec<(Denomination, SharedKey)> = Vec::new();
        let (mut shares, mut excluded) = (Vec::new(), BTreeMap::new());
        for run in &self.runs {
            let before = old.and_then(|old| {
                let of = |s: &&KeyShare| s.denomination() == run.denomination;
                Some((
                    old.shares.iter().find(of)?,
                    old.keyset.key(run.denomination)?,
                ))
            });
            let outcome = run.receiver.clone().finish(before)?;
            keys.push((run.denomination, outcome.key));
            shares.push(outcome.share);
            excluded.extend(outcome.excluded);
        }
        let (keyset, refresh, issuer) = match old {
            Some(old) => (
                old.keyset.as_bytes().to_vec(),
                refreshed(&old.keyset, plan.generation, &keys),
                old.issuer,
            ),
            None => {
                let draft = KeysetDraft {
                    unit: &plan.unit,
                    not_before: plan.not_before,
                    exp: plan.exp,
                    t: plan.t,
                    spender: plan.spender,
                    keys: &keys,
                };
                (draft.to_bytes(), Vec::new(), plan.issuer)
            }
        };
        Ok(Made {
            keyset,
            refresh,
            shares,
            excluded,
            issuer,
        })
    }
}

fn named(cheats: &mut BTreeMap<u8, Cheat>, taken: Result<(), DkgError>) {
    if let Err(DkgError::Cheated { from, why }) = taken {
        cheats.entry(from).or_insert(why);
    }
}

fn tagged(denomination: Denomination, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1);
    out.push(denomination.exponent());
    out.extend_from_slice(message);
    out
}

/// The cipher of one dealing for one mint: its key is used for one text.
fn share_cipher(
    me: &Identity,
    other: &PublicKey,
    plan: &Plan,
    (from, to): (u8, u8),
    dealing: &[u8; 32],
) -> ChaCha20Poly1305 {
    let shared = Zeroizing::new(x25519_dalek::x25519(*me.x25519(), other.x25519()));
    let secret = schedule::extract(&plan.id(), &[&*shared]);
    let key = schedule::expand::<32>(&secret, &[b"BN-DKG-SHARE1", &[from, to], dealing]);
    ChaCha20Poly1305::new(&Key::from(*key))
}
