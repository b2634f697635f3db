//! The keys that a reader trusts: a network's first signers and maintainers, and the signers that follow from them.

use std::collections::BTreeMap;

use betanet_keys::{Common, Envelope, Maintainers, PublicKey};
use betanet_log::{Hash, SignedHead, Signers, Split};
use betanet_naming::{
    ADVANCE, ADVANCE_AFTER_MS, Advance, Alias, DOMAIN, Entry, Finalized, Genesis, MAINTAINERS,
    Proof, new_maintainers,
};
use betanet_wire::cbor;
use bytes::Bytes;

use crate::fault::ClientError;

/// Most records that a reader follows.
const SETS_MAX: usize = 1024;

/// The sets of signers of a network, from the first on.
#[derive(Clone, Debug)]
pub struct Trust {
    rotations: Vec<Bytes>,
    chain: Chain,
    /// Size of the largest head that was seen of each set.
    seen: BTreeMap<Hash, u64>,
}

/// Signers and maintainers that follow from the first ones.
#[derive(Clone, Debug)]
struct Chain {
    sets: Vec<Signers>,
    /// Lists of maintainers, oldest first.
    lists: Vec<Vec<PublicKey>>,
    advances: Vec<Advanced>,
}

/// An emergency advance that put signers in force.
#[derive(Clone, Copy, Debug)]
struct Advanced {
    /// Its position in the chain.
    at: usize,
    /// Sets before it.
    sets: usize,
    /// Size of the head that it names.
    size: u64,
}

impl Trust {
    /// A reader that knows a network's first keys.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        Self {
            rotations: Vec::new(),
            chain: Chain {
                sets: vec![genesis.signers.clone()],
                lists: vec![genesis.maintainers.clone()],
                advances: Vec::new(),
            },
            seen: BTreeMap::new(),
        }
    }

    /// Follows records that put other signers or maintainers in force. Each has to be signed as those before it ask.
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
        let chain = self.chain.anew(&rotations).ok_or(ClientError::Signers)?;
        if chain.refuted(&self.seen).is_some() {
            return Err(ClientError::Signers);
        }
        (self.chain, self.rotations) = (chain, rotations);
        Ok(())
    }

    /// Checks heads that a node shows. An advance that does not name the last head of its signers does not count, nor what follows it:
    /// a larger one is the evidence.
    ///
    /// # Errors
    ///
    /// [`ClientError::Signers`] or [`ClientError::Head`]. The heads before the one at fault were seen.
    pub fn see(&mut self, heads: &[SignedHead]) -> Result<(), ClientError> {
        for head in heads {
            self.check(head)?;
            let largest = self.seen.entry(head.head().set).or_default();
            *largest = head.head().size.max(*largest);
        }
        while let Some(at) = self.chain.refuted(&self.seen) {
            self.rotations.truncate(at);
            let chain = self.chain.anew(&self.rotations);
            self.chain = chain.ok_or(ClientError::Signers)?;
        }
        // The node's own heads may be those of signers who do not follow.
        heads.iter().try_for_each(|head| self.check(head))
    }

    /// The alias record of an emergency advance, which stands for the signers' signatures. Signers took it into the log, under whichever
    /// maintainers.
    fn advanced(&self, envelope: &Envelope) -> Option<Finalized> {
        let mut lists = self.chain.lists.iter();
        let (common, advance, _) =
            lists.find_map(|list| advance(&self.chain.sets, list, envelope))?;
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
        &self.chain.sets
    }

    /// Checks a head's signatures.
    ///
    /// # Errors
    ///
    /// [`ClientError::Signers`] or [`ClientError::Head`].
    pub fn check(&self, head: &SignedHead) -> Result<(), ClientError> {
        let set = self
            .chain
            .sets
            .iter()
            .find(|s| *s.hash() == head.head().set);
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

    /// Verifies a proof of a registry record of this type and key. Signers took it into the log, under the maintainers of its place.
    ///
    /// # Errors
    ///
    /// [`ClientError::Proof`] or [`ClientError::OtherRecord`].
    pub fn registered(
        &self,
        proof: &Proof,
        (ty, key): (&str, &[u8]),
    ) -> Result<Envelope, ClientError> {
        let envelope = self.registered_as(proof, ty)?;
        let common: Common<'_> = cbor::from_slice(envelope.record())?;
        match common.key == key {
            true => Ok(envelope),
            false => Err(ClientError::OtherRecord),
        }
    }

    /// The same of any key.
    ///
    /// # Errors
    ///
    /// [`ClientError::Proof`] or [`ClientError::OtherRecord`].
    pub fn registered_as(&self, proof: &Proof, ty: &str) -> Result<Envelope, ClientError> {
        let Entry::Registry(envelope) = proof.verify(&self.chain.sets)? else {
            return Err(ClientError::OtherRecord);
        };
        let common: Common<'_> = cbor::from_slice(envelope.record())?;
        let asked = common.ty == ty;
        let mut lists = self.chain.lists.iter();
        let signed = lists.any(|list| envelope.check(&Maintainers::new(list)).is_ok());
        match asked && signed {
            true => Ok(envelope),
            false => Err(ClientError::OtherRecord),
        }
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
        let finalized = match proof.verify(&self.chain.sets)? {
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

impl Chain {
    /// The chain of these records from the same first keys.
    fn anew(&self, records: &[Bytes]) -> Option<Self> {
        let mut chain = Self {
            sets: vec![self.sets.first()?.clone()],
            lists: vec![self.lists.first()?.clone()],
            advances: Vec::new(),
        };
        for (at, bytes) in records.iter().enumerate() {
            chain.next(at, &Entry::from_bytes(bytes).ok()?)?;
        }
        Some(chain)
    }

    fn next(&mut self, at: usize, entry: &Entry) -> Option<()> {
        let (last, list) = (self.sets.last()?, self.lists.last()?);
        match entry {
            Entry::Rotation(rotation) => {
                let signed = rotation.signed_by(last).ok()?;
                let counts = rotation.is_from(last) && signed.len() >= last.threshold();
                let next = rotation.signers().ok().filter(|_| counts)?;
                self.sets.push(next);
            }
            Entry::Registry(envelope) => {
                let common: Common<'_> = cbor::from_slice(envelope.record()).ok()?;
                if common.ty == MAINTAINERS {
                    envelope.check(&Maintainers::new(list)).ok()?;
                    self.lists.push(new_maintainers(envelope.record()).ok()?);
                    return Some(());
                }
                let (common, advance, size) = advance(&self.sets, list, envelope)?;
                let next = Signers::from_bytes(&advance.new?).ok()?;
                if common.key != last.hash() {
                    return None;
                }
                let sets = self.sets.len();
                self.advances.push(Advanced { at, sets, size });
                self.sets.push(next);
            }
            Entry::Alias(_) => return None,
        }
        Some(())
    }

    /// Position of the first advance whose signers made a larger head than the one that it names as their last.
    fn refuted(&self, seen: &BTreeMap<Hash, u64>) -> Option<usize> {
        let refuted = |advance: &&Advanced| {
            let (before, after) = self.sets.split_at(advance.sets.min(self.sets.len()));
            let larger = |set: &Signers| seen.get(set.hash()).is_some_and(|n| *n > advance.size);
            // Signers who came back later made later heads.
            let gone = |set: &&Signers| after.iter().all(|later| later.hash() != set.hash());
            before.iter().filter(gone).any(larger)
        };
        self.advances.iter().find(refuted).map(|advance| advance.at)
    }
}

/// An emergency advance that these maintainers signed, 14 days after a head of these signers, and the size of that head.
fn advance<'a>(
    sets: &[Signers],
    list: &[PublicKey],
    envelope: &'a Envelope,
) -> Option<(Common<'a>, Advance<'a>, u64)> {
    let common: Common<'_> = cbor::from_slice(envelope.record()).ok()?;
    let advance: Advance<'_> = cbor::from_slice(envelope.record()).ok()?;
    envelope.check(&Maintainers::new(list)).ok()?;
    let head = SignedHead::from_bytes(advance.head).ok()?;
    let set = sets.iter().find(|s| *s.hash() == head.head().set)?;
    head.check(DOMAIN, set).ok()?;
    let old = advance.ts >= head.head().ts.saturating_add(ADVANCE_AFTER_MS);
    (old && common.ty == ADVANCE).then_some((common, advance, head.head().size))
}

#[cfg(test)]
mod tests {
    use betanet_log::Head;
    use betanet_naming::testkit::{DAY, Network, T0, identity};
    use betanet_wire::cbor::Value;

    use super::*;

    fn keys(of: &Network) -> Vec<[u8; 32]> {
        let signers = of.signers.iter();
        signers.map(|i| *i.public().as_bytes()).collect()
    }

    /// Signers of other keys.
    fn successor() -> Network {
        Network {
            signers: (7..=9).map(identity).collect(),
            maintainers: Vec::new(),
        }
    }

    fn head(of: &Network, size: u64, ts: u64) -> SignedHead {
        let head = Head {
            ts,
            set: *of.genesis().signers.hash(),
            root: [1; 32],
            size,
            state: None,
        };
        of.sign(head, &[0, 1])
    }

    /// An advance by this network's maintainers from its signers to others.
    fn advance_of(network: &Network, last: &SignedHead, new: &Network) -> Bytes {
        let (key, last, new) = (
            *network.genesis().signers.hash(),
            last.to_bytes(),
            keys(new),
        );
        let new = new.iter().map(|k| Value::Bytes(k)).collect::<Vec<_>>();
        let body = |list: [u8; 32]| {
            let map = Value::Map(vec![
                (Value::Text("ts"), Value::Unsigned(T0)),
                (Value::Text("key"), Value::Bytes(&key)),
                (Value::Text("new"), Value::Array(new.clone())),
                (Value::Text("seq"), Value::Unsigned(1)),
                (Value::Text("head"), Value::Bytes(&last)),
                (Value::Text("list"), Value::Bytes(&list)),
                (Value::Text("type"), Value::Text(ADVANCE)),
            ]);
            map.to_vec().unwrap()
        };
        network.envelope(body, network.maintainers.len())
    }

    fn follows(trust: &mut Trust, records: &[&Bytes]) -> bool {
        let followed = trust.follow(records.iter().map(|r| r.as_ref()));
        followed.is_ok()
    }

    #[test]
    fn readers_follow_maintainers_and_refuse_those_that_were_replaced() {
        let network = Network::new(3, 5);
        let later = Network {
            maintainers: (601..=605).map(identity).collect(),
            ..Network::new(3, 0)
        };
        let new = later.maintainers.iter();
        let new: Vec<[u8; 32]> = new.map(|i| *i.public().as_bytes()).collect();
        let new: Vec<Value<'_>> = new.iter().map(|k| Value::Bytes(k)).collect();
        let body = |list: [u8; 32]| {
            let map = Value::Map(vec![
                (Value::Text("key"), Value::Bytes(b"m")),
                (Value::Text("new"), Value::Array(new.clone())),
                (Value::Text("seq"), Value::Unsigned(1)),
                (Value::Text("list"), Value::Bytes(&list)),
                (Value::Text("type"), Value::Text(MAINTAINERS)),
            ]);
            map.to_vec().unwrap()
        };
        let (replaces, few) = (network.envelope(body, 5), network.envelope(body, 2));
        let last = head(&network, 1, T0 - 15 * DAY);
        let ours = advance_of(&later, &last, &successor());
        let theirs = advance_of(&network, &last, &successor());
        let reader = || Trust::new(&network.genesis());
        let mut trust = reader();
        assert!(follows(&mut trust, &[&replaces, &ours]));
        assert_eq!(trust.sets().len(), 2);
        assert!(trust.check(&head(&successor(), 2, T0)).is_ok());
        assert!(!follows(&mut reader(), &[&ours]));
        assert!(!follows(&mut reader(), &[&replaces, &theirs]));
        assert!(!follows(&mut reader(), &[&few, &ours]));
        // Not 14 days after.
        let early = head(&network, 1, T0 - 13 * DAY);
        let early = advance_of(&network, &early, &successor());
        assert!(!follows(&mut reader(), &[&early]));
    }

    #[test]
    fn an_advance_past_a_larger_head_of_its_signers_counts_for_nothing() {
        let network = Network::new(3, 5);
        let (last, larger) = (head(&network, 1, T0 - 15 * DAY), head(&network, 2, T0));
        let forged = advance_of(&network, &last, &successor());
        let mut trust = Trust::new(&network.genesis());
        // One node's word, until another node shows a head.
        assert!(follows(&mut trust, &[&forged]));
        let theirs = head(&successor(), 2, T0);
        trust.see(&[last, theirs.clone()]).unwrap();
        trust.see(std::slice::from_ref(&larger)).unwrap();
        assert_eq!((trust.sets().len(), trust.rotations().len()), (1, 0));
        assert!(trust.check(&theirs).is_err());
        // And never again.
        assert!(!follows(&mut trust, &[&forged]));
        let old = head(&network, 2, T0 - 14 * DAY);
        let real = advance_of(&network, &old, &successor());
        assert!(follows(&mut trust, &[&real]));
        // A head that too few signed is no evidence.
        let mut few = SignedHead::new(*head(&network, 3, T0).head());
        few.add(few.signature(DOMAIN, &network.signers[0]));
        assert!(trust.see(&[few]).is_err());
        assert_eq!(trust.sets().len(), 2);
    }
}
