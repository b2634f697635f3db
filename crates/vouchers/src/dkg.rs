//! Keys that no single party ever knows: distributed key generation, and the refresh of shares.
//!
//! One run makes one denomination's key. Everybody deals a random polynomial to all (Feldman); the key is the sum of what those dealt
//! who kept to the rules (Pedersen, 1991; Gennaro, Jarecki, Krawczyk and Rabin, 2007). Everybody commits first, and proves possession
//! of its constant term, so that nobody chooses its part after having seen the others' (a rogue key). Who reveals last can still
//! choose whether to reveal at all, which lets it choose between a few keys; it learns none of them.
//!
//! | round | message | to |
//! |---|---|---|
//! | 1 | [`Dealer::commit`] | all |
//! | 2, with the commitments of all | [`Dealer::reveal`] | all |
//! | 3, with the reveals of all | [`Dealer::share_for`] | each one, in private |
//! | 4 | [`Receiver::complaints`] | all |
//! | 5 | the accused's [`Dealer::justify`] | all |
//! | end | [`Receiver::finish`] | |
//!
//! Broadcasts reach everybody in the same form, for example through a ledger, and come with their sender's signature; both are the
//! caller's. A private share travels in a session. The caller decides when a round is over.

mod message;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use betanet_bls::{G1Affine, G2Affine, G2Projective, Scalar, hash_to_g1};
use betanet_keys::hash;
use betanet_machine::Rng;

use crate::batch::Claim;
use crate::keyset::record;
use crate::polynomial::{Polynomial, committed_at};
use crate::{DST_POP, Denomination, KeyShare, Keyset, SharedKey};

pub use message::{Commit, Complaint, DKG_MESSAGE_MAX, DealtShare, Reveal};

/// What a run makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A fresh key.
    Fresh,
    /// Fresh shares of the same key: old and new ones do not join.
    Refresh,
}

/// What everybody agrees on before a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Setup {
    session: [u8; 32],
    denomination: Denomination,
    t: u8,
    n: u8,
    kind: Kind,
}

impl Setup {
    /// A run among participants 1 to `n`. `context` is never used for two runs. `None` unless 1 ≤ `t` ≤ `n`; a refresh needs a `t` of
    /// 2, as with 1 every share is the key.
    #[must_use]
    pub fn new(
        context: &[u8; 32],
        denomination: Denomination,
        t: u8,
        n: u8,
        kind: Kind,
    ) -> Option<Self> {
        let least = if kind == Kind::Refresh { 2 } else { 1 };
        if t < least || t > n {
            return None;
        }
        let words = [
            denomination.exponent(),
            t,
            n,
            u8::from(kind == Kind::Refresh),
        ];
        Some(Self {
            session: hash(&[b"BN-DKG1", context, &words]),
            denomination,
            t,
            n,
            kind,
        })
    }

    /// Power of the first commitment: a refresh's constant term is zero, and not sent.
    const fn from(&self) -> u8 {
        match self.kind {
            Kind::Fresh => 0,
            Kind::Refresh => 1,
        }
    }

    const fn is_participant(&self, index: u8) -> bool {
        index >= 1 && index <= self.n
    }

    fn possession(&self, from: u8, constant: &G2Affine) -> Option<G1Affine> {
        let mut message = Vec::with_capacity(140);
        message.extend_from_slice(b"BN-DKG-POP1");
        message.extend_from_slice(&self.session);
        message.push(from);
        message.extend_from_slice(&constant.to_bytes());
        hash_to_g1(&message, DST_POP)
    }
}

/// Why a participant was left out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, thiserror::Error)]
#[non_exhaustive]
pub enum Cheat {
    /// It sent two different commitments or reveals.
    #[error("it sent two different messages")]
    Twice,
    /// It did not commit in time, or did not reveal.
    #[error("it did not commit, or did not reveal")]
    Silent,
    /// What it revealed is not what it had committed to.
    #[error("it revealed something else than it committed to")]
    OtherReveal,
    /// Its commitments are not so many as the polynomial has terms.
    #[error("its polynomial has another degree")]
    Degree,
    /// It did not prove that it knows its constant term.
    #[error("it does not prove possession of its constant term")]
    Possession,
    /// It dealt a wrong share, or none, and did not mend it.
    #[error("it dealt a wrong share and did not mend it")]
    Share,
    /// At least t participants complained: together they know its polynomial.
    #[error("t participants complained")]
    Complaints,
}

/// Reason why a message is not taken, or a run gives no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DkgError {
    /// Of another run, or of no participant of it.
    #[error("the message is of another run")]
    OtherRun,
    /// The sender breaks the rules, and is left out.
    #[error("participant {from}: {why}")]
    Cheated {
        /// The participant.
        from: u8,
        /// What it did.
        why: Cheat,
    },
    /// Too early: a round before is not over.
    #[error("a round before is not over")]
    Order,
    /// Fewer than t participants kept to the rules.
    #[error("fewer than t participants kept to the rules")]
    TooFew,
    /// The old share or key does not fit, or is missing.
    #[error("the old share does not fit")]
    OldShare,
    /// The sum is the identity: start again.
    #[error("the key is the identity")]
    Identity,
}

/// What a participant deals: its secret polynomial, wiped on drop.
pub struct Dealer {
    setup: Setup,
    index: u8,
    polynomial: Polynomial,
    commitments: Vec<G2Affine>,
    reveal: Reveal,
}

impl Dealer {
    /// Draws the polynomial. `None` for an index that is not of a participant.
    #[must_use]
    pub fn new(setup: Setup, index: u8, rng: &mut Rng) -> Option<Self> {
        if !setup.is_participant(index) {
            return None;
        }
        let polynomial = match setup.kind {
            Kind::Fresh => Polynomial::draw(setup.t, rng),
            Kind::Refresh => Polynomial::draw_from_zero(setup.t, rng),
        };
        let commitments = polynomial.commitments(setup.from().into())?;
        let proof = match setup.kind {
            Kind::Refresh => None,
            Kind::Fresh => {
                let base = setup.possession(index, commitments.first()?)?;
                Some(base.times(polynomial.constant()).to_affine()?.to_bytes())
            }
        };
        let reveal = Reveal {
            session: setup.session,
            from: index,
            commitments: commitments.iter().map(G2Affine::to_bytes).collect(),
            proof,
        };
        Some(Self {
            setup,
            index,
            polynomial,
            commitments,
            reveal,
        })
    }

    /// Round 1, broadcast.
    #[must_use]
    pub fn commit(&self) -> Commit {
        Commit {
            session: self.setup.session,
            from: self.index,
            hash: self.reveal.hash(),
        }
    }

    /// Round 2, broadcast: only once the receiver has the commitments of all it waits for.
    ///
    /// # Errors
    ///
    /// [`DkgError::Order`].
    pub fn reveal(&self, receiver: &Receiver) -> Result<&Reveal, DkgError> {
        match receiver.round {
            Round::Commit => Err(DkgError::Order),
            _ => Ok(&self.reveal),
        }
    }

    /// Round 3, in private: only once the receiver has the reveals of all it waits for.
    ///
    /// # Errors
    ///
    /// [`DkgError::Order`]; [`DkgError::OtherRun`] for an index that is not of a participant.
    pub fn share_for(&self, to: u8, receiver: &Receiver) -> Result<DealtShare, DkgError> {
        match receiver.round {
            Round::Commit | Round::Reveal => Err(DkgError::Order),
            _ if !self.setup.is_participant(to) => Err(DkgError::OtherRun),
            Round::Share => Ok(self.dealt(to)),
        }
    }

    fn dealt(&self, to: u8) -> DealtShare {
        DealtShare {
            session: self.setup.session,
            from: self.index,
            to,
            secret: self.polynomial.at(to),
        }
    }

    /// Round 5, broadcast: the share of who complained, for all to see. `None` for a complaint about somebody else.
    #[must_use]
    pub fn justify(&self, complaint: &Complaint) -> Option<DealtShare> {
        let mine = complaint.session == self.setup.session && complaint.against == self.index;
        (mine && self.setup.is_participant(complaint.by)).then(|| self.dealt(complaint.by))
    }
}

impl fmt::Debug for Dealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Dealer({}, {} commitments, …)",
            self.index,
            self.commitments.len()
        )
    }
}

/// What a run gives one participant.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its share.
    pub share: KeyShare,
    /// The public side, the same for all.
    pub key: SharedKey,
    /// Who was left out, and why; the same for all.
    pub excluded: BTreeMap<u8, Cheat>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Round {
    Commit,
    Reveal,
    Share,
}

/// What a participant has received. Its shares are wiped on drop.
#[derive(Clone, Debug)]
pub struct Receiver {
    setup: Setup,
    index: u8,
    round: Round,
    commits: BTreeMap<u8, [u8; 32]>,
    reveals: BTreeMap<u8, Vec<G2Affine>>,
    shares: BTreeMap<u8, Scalar>,
    /// Complaints that are not answered, as (against, by); and all there ever were.
    unanswered: BTreeSet<(u8, u8)>,
    complained: BTreeSet<(u8, u8)>,
    excluded: BTreeMap<u8, Cheat>,
}

impl Receiver {
    /// Begins to receive, one's own messages included. `None` for an index that is not of a participant.
    #[must_use]
    pub fn new(setup: Setup, index: u8) -> Option<Self> {
        setup.is_participant(index).then(|| Self {
            setup,
            index,
            round: Round::Commit,
            commits: BTreeMap::new(),
            reveals: BTreeMap::new(),
            shares: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            complained: BTreeSet::new(),
            excluded: BTreeMap::new(),
        })
    }

    fn sender(&self, session: &[u8; 32], from: u8) -> Result<(), DkgError> {
        if *session != self.setup.session || !self.setup.is_participant(from) {
            return Err(DkgError::OtherRun);
        }
        match self.excluded.get(&from) {
            Some(why) => Err(DkgError::Cheated { from, why: *why }),
            None => Ok(()),
        }
    }

    fn exclude(&mut self, from: u8, why: Cheat) -> DkgError {
        self.excluded.entry(from).or_insert(why);
        DkgError::Cheated { from, why }
    }

    /// Takes a commitment.
    ///
    /// # Errors
    ///
    /// Of another run, too late, or the sender is left out.
    pub fn commit(&mut self, commit: &Commit) -> Result<(), DkgError> {
        self.sender(&commit.session, commit.from)?;
        if self.round != Round::Commit {
            return Err(DkgError::Order);
        }
        match self.commits.insert(commit.from, commit.hash) {
            Some(other) if other != commit.hash => Err(self.exclude(commit.from, Cheat::Twice)),
            _ => Ok(()),
        }
    }

    /// Ends the round of commitments, and leaves out who sent none. With all commitments here the caller need not wait.
    pub fn end_commits(&mut self) {
        if self.round == Round::Commit {
            self.round = Round::Reveal;
            self.silent(|s, from| s.commits.contains_key(&from));
        }
    }

    /// Takes a reveal: checks it against its commitment, its degree, and its proof of possession.
    ///
    /// # Errors
    ///
    /// Of another run, out of order, or the sender is left out.
    pub fn reveal(&mut self, reveal: &Reveal) -> Result<(), DkgError> {
        let from = reveal.from;
        self.sender(&reveal.session, from)?;
        if self.round != Round::Reveal {
            return Err(DkgError::Order);
        }
        if self.commits.get(&from) != Some(&reveal.hash()) {
            return Err(self.exclude(from, Cheat::OtherReveal));
        }
        let terms = usize::from(self.setup.t - self.setup.from());
        let points = reveal.commitments.iter().map(G2Affine::from_bytes);
        let points: Result<Vec<G2Affine>, _> = points.collect();
        let Some(points) = points.ok().filter(|p| p.len() == terms) else {
            return Err(self.exclude(from, Cheat::Degree));
        };
        if !self.possesses(reveal, &points) {
            return Err(self.exclude(from, Cheat::Possession));
        }
        self.reveals.insert(from, points);
        Ok(())
    }

    fn possesses(&self, reveal: &Reveal, points: &[G2Affine]) -> bool {
        let (Some(proof), Kind::Fresh) = (reveal.proof, self.setup.kind) else {
            return reveal.proof.is_none() && self.setup.kind == Kind::Refresh;
        };
        let claim = || {
            let key = *points.first()?;
            Some(Claim {
                base: self.setup.possession(reveal.from, &key)?,
                signature: G1Affine::from_bytes(&proof).ok()?,
                key,
            })
        };
        claim().is_some_and(|c| c.holds())
    }

    /// Ends the round of reveals, and leaves out who did not reveal.
    pub fn end_reveals(&mut self) {
        if self.round == Round::Reveal {
            self.round = Round::Share;
            self.silent(|s, from| s.reveals.contains_key(&from));
        }
    }

    fn silent(&mut self, spoke: impl Fn(&Self, u8) -> bool) {
        for from in 1..=self.setup.n {
            if !spoke(self, from) {
                self.exclude(from, Cheat::Silent);
            }
        }
    }

    /// Takes a share that was dealt to this participant. Whether it is right shows in [`Receiver::complaints`].
    ///
    /// # Errors
    ///
    /// Of another run, for somebody else, or out of order.
    pub fn share(&mut self, dealt: &DealtShare) -> Result<(), DkgError> {
        self.sender(&dealt.session, dealt.from)?;
        if self.round != Round::Share {
            return Err(DkgError::Order);
        }
        if dealt.to != self.index {
            return Err(DkgError::OtherRun);
        }
        if self.fits(dealt) {
            self.shares.insert(dealt.from, dealt.secret.clone());
        }
        Ok(())
    }

    fn fits(&self, dealt: &DealtShare) -> bool {
        self.reveals.get(&dealt.from).is_some_and(|commitments| {
            let expected = committed_at(commitments, self.setup.from(), dealt.to);
            G2Projective::generator_times(&dealt.secret) == expected
        })
    }

    /// Round 4, broadcast: a complaint about each who dealt no right share.
    #[must_use]
    pub fn complaints(&self) -> Vec<Complaint> {
        let dealers = self
            .reveals
            .keys()
            .filter(|d| !self.excluded.contains_key(d));
        let missing = dealers.filter(|d| !self.shares.contains_key(d));
        missing
            .map(|against| Complaint {
                session: self.setup.session,
                by: self.index,
                against: *against,
            })
            .collect()
    }

    /// Takes a complaint, one's own included.
    ///
    /// # Errors
    ///
    /// Of another run, out of order, or about somebody who is left out anyway.
    pub fn complain(&mut self, complaint: &Complaint) -> Result<(), DkgError> {
        self.sender(&complaint.session, complaint.against)?;
        if !self.setup.is_participant(complaint.by) || self.round != Round::Share {
            return Err(DkgError::OtherRun);
        }
        let pair = (complaint.against, complaint.by);
        if self.complained.insert(pair) {
            self.unanswered.insert(pair);
        }
        let against = complaint.against;
        let count = self
            .complained
            .iter()
            .filter(|(a, _)| *a == against)
            .count();
        if count >= usize::from(self.setup.t) {
            return Err(self.exclude(against, Cheat::Complaints));
        }
        Ok(())
    }

    /// Takes the answer to a complaint: a right share mends it, and is the complainer's.
    ///
    /// # Errors
    ///
    /// Of another run, out of order, or a wrong share: then the sender is left out.
    pub fn justification(&mut self, dealt: &DealtShare) -> Result<(), DkgError> {
        self.sender(&dealt.session, dealt.from)?;
        if !self.unanswered.contains(&(dealt.from, dealt.to)) {
            return Err(DkgError::Order);
        }
        if !self.fits(dealt) {
            return Err(self.exclude(dealt.from, Cheat::Share));
        }
        self.unanswered.remove(&(dealt.from, dealt.to));
        if dealt.to == self.index {
            self.shares.insert(dealt.from, dealt.secret.clone());
        }
        Ok(())
    }

    /// Ends the run. A refresh takes the old share and the old public side; a fresh key takes none.
    ///
    /// # Errors
    ///
    /// Fewer than t kept to the rules, or the old share does not fit.
    pub fn finish(mut self, old: Option<(&KeyShare, &SharedKey)>) -> Result<Outcome, DkgError> {
        if self.round != Round::Share {
            return Err(DkgError::Order);
        }
        for (against, _) in core::mem::take(&mut self.unanswered) {
            self.exclude(against, Cheat::Share);
        }
        let excluded = core::mem::take(&mut self.excluded);
        self.reveals.retain(|from, _| !excluded.contains_key(from));
        if self.reveals.len() < usize::from(self.setup.t) {
            return Err(DkgError::TooFew);
        }
        let mut secret = Scalar::zero();
        let mut sums: Vec<G2Projective> = (0..=self.setup.n)
            .map(|_| G2Projective::identity())
            .collect();
        for (from, commitments) in &self.reveals {
            secret = &secret + self.shares.get(from).ok_or(DkgError::Order)?;
            for (x, sum) in (0..=self.setup.n).zip(&mut sums) {
                *sum = *sum + committed_at(commitments, self.setup.from(), x);
            }
        }
        match (old, self.setup.kind) {
            (None, Kind::Fresh) => {}
            (Some((share, key)), Kind::Refresh) => {
                let own = key.share(self.index).copied();
                let fits = share.index() == self.index
                    && share.denomination() == self.setup.denomination
                    && own.is_some()
                    && share.public() == own
                    && key.shares.len() == usize::from(self.setup.n);
                if !fits {
                    return Err(DkgError::OldShare);
                }
                secret = &secret + &share.secret;
                let before = [key.public].into_iter().chain(key.shares.iter().copied());
                for (sum, before) in sums.iter_mut().zip(before) {
                    *sum = *sum + before.into();
                }
            }
            _ => return Err(DkgError::OldShare),
        }
        let points: Option<Vec<G2Affine>> = sums.iter().map(G2Projective::to_affine).collect();
        let points = points.ok_or(DkgError::Identity)?;
        let (public, shares) = points.split_first().ok_or(DkgError::Identity)?;
        Ok(Outcome {
            share: KeyShare::new(self.index, self.setup.denomination, secret),
            key: SharedKey {
                public: *public,
                shares: shares.to_vec(),
            },
            excluded,
        })
    }
}

/// The record of refreshed shares of a keyset, which readers take by [`Keyset::refresh`]. It is published like the keyset.
#[must_use]
pub fn refreshed(keyset: &Keyset, generation: u64, keys: &[(Denomination, SharedKey)]) -> Vec<u8> {
    record::refreshed(&keyset.id(), generation, keys)
}
