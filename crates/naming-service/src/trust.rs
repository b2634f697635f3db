//! The keys that a reader trusts: a network's first signers and maintainers, and the signers that follow from them.

use betanet_keys::{Common, Envelope, Maintainers, PublicKey};
use betanet_log::{SignedHead, Signers, Split};
use betanet_naming::{
    ADVANCE, ADVANCE_AFTER_MS, Advance, Alias, DOMAIN, Entry, Finalized, Genesis, Proof,
};
use betanet_wire::cbor;
use bytes::Bytes;

use crate::fault::ClientError;

/// Most sets of signers that a reader follows.
const SETS_MAX: usize = 1024;

/// The sets of signers of a network, from the first on.
#[derive(Clone, Debug)]
pub struct Trust {
    sets: Vec<Signers>,
    rotations: Vec<Bytes>,
    maintainers: Vec<PublicKey>,
}

impl Trust {
    /// A reader that knows a network's first keys.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        Self {
            sets: vec![genesis.signers.clone()],
            rotations: Vec::new(),
            maintainers: genesis.maintainers.clone(),
        }
    }

    /// Follows records that put other signers in force. Each has to be signed as the one before it asks.
    ///
    /// A shorter list than before changes nothing, if the last one begins with it.
    ///
    /// # Errors
    ///
    /// [`ClientError::Signers`].
    pub fn follow<'a>(
        &mut self,
        rotations: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), ClientError> {
        let rotations: Vec<Bytes> = rotations
            .take(SETS_MAX)
            .map(Bytes::copy_from_slice)
            .collect();
        if self.rotations.starts_with(&rotations) {
            return Ok(());
        }
        let first = self.sets.first().cloned().ok_or(ClientError::Signers)?;
        let mut sets = vec![first];
        for bytes in &rotations {
            let entry = Entry::from_bytes(bytes).map_err(|_| ClientError::Signers)?;
            let next = self.next(&sets, &entry).ok_or(ClientError::Signers)?;
            sets.push(next);
        }
        (self.sets, self.rotations) = (sets, rotations);
        Ok(())
    }

    fn next(&self, sets: &[Signers], entry: &Entry) -> Option<Signers> {
        let last = sets.last()?;
        match entry {
            Entry::Rotation(rotation) => {
                let signed = rotation.signed_by(last).ok()?;
                let counts = rotation.is_from(last) && signed.len() >= last.threshold();
                rotation.signers().ok().filter(|_| counts)
            }
            Entry::Registry(envelope) => {
                let (common, advance) = self.advance(sets, envelope)?;
                let new = Signers::from_bytes(&advance.new?).ok()?;
                (common.key == last.hash()).then_some(new)
            }
            Entry::Alias(_) => None,
        }
    }

    /// An emergency advance that the maintainers of the network file signed, 14 days after a head of these signers. Whether that head
    /// was the last one, only a ledger can tell.
    fn advance<'a>(
        &self,
        sets: &[Signers],
        envelope: &'a Envelope,
    ) -> Option<(Common<'a>, Advance<'a>)> {
        let common: Common<'_> = cbor::from_slice(envelope.record()).ok()?;
        let advance: Advance<'_> = cbor::from_slice(envelope.record()).ok()?;
        envelope.check(&Maintainers::new(&self.maintainers)).ok()?;
        let head = SignedHead::from_bytes(advance.head).ok()?;
        let set = sets.iter().find(|s| *s.hash() == head.head().set)?;
        head.check(DOMAIN, set).ok()?;
        let old = advance.ts >= head.head().ts.saturating_add(ADVANCE_AFTER_MS);
        (old && common.ty == ADVANCE).then_some((common, advance))
    }

    /// The alias record of an emergency advance, which stands for the signers' signatures.
    fn advanced(&self, envelope: &Envelope) -> Option<Finalized> {
        let (common, advance) = self.advance(&self.sets, envelope)?;
        let owner = PublicKey::from_bytes(&advance.owner?).ok()?;
        let finalized = Finalized::with_bytes(advance.rec?, &owner).ok()?;
        let counts = common.key == finalized.record().alias.as_str().as_bytes()
            && finalized.is_signed_by_its_nodes();
        counts.then_some(finalized)
    }

    /// The records that were followed.
    #[must_use]
    pub fn rotations(&self) -> &[Bytes] {
        &self.rotations
    }

    /// The sets of signers that are known, oldest first.
    #[must_use]
    pub fn sets(&self) -> &[Signers] {
        &self.sets
    }

    /// Checks a head's signatures.
    ///
    /// # Errors
    ///
    /// [`ClientError::Signers`] or [`ClientError::Head`].
    pub fn check(&self, head: &SignedHead) -> Result<(), ClientError> {
        let set = self.sets.iter().find(|s| *s.hash() == head.head().set);
        Ok(head.check(DOMAIN, set.ok_or(ClientError::Signers)?)?)
    }

    /// Checks evidence of two views.
    ///
    /// # Errors
    ///
    /// [`ClientError::Signers`] or [`ClientError::Head`].
    pub fn check_split(&self, split: &Split) -> Result<(), ClientError> {
        self.check(split.older())?;
        self.check(split.newer())
    }

    /// Verifies a proof of an alias record, which signers made final, or maintainers by an emergency advance.
    ///
    /// # Errors
    ///
    /// [`ClientError::Proof`] or [`ClientError::OtherAlias`].
    pub fn verify(
        &self,
        proof: &Proof,
        alias: Option<&Alias>,
    ) -> Result<Box<Finalized>, ClientError> {
        let finalized = match proof.verify(&self.sets)? {
            Entry::Alias(finalized) => finalized,
            Entry::Registry(envelope) => {
                let advanced = self.advanced(&envelope);
                Box::new(advanced.ok_or(ClientError::OtherAlias)?)
            }
            Entry::Rotation(_) => return Err(ClientError::OtherAlias),
        };
        match alias.is_none_or(|a| finalized.record().alias == *a) {
            true => Ok(finalized),
            false => Err(ClientError::OtherAlias),
        }
    }
}
