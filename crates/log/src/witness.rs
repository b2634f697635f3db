use alloc::boxed::Box;

use betanet_wire::cbor;

use crate::{Domain, Error, Hash, Proof, SignedHead, Signers, Split, verify_consistency};

/// The newest head that was seen, and whether all heads so far belong to one log.
///
/// Heads and proofs may come from anybody: a head counts by its signatures, and a proof by its hashes. A wrong proof shows only that
/// its sender is wrong. A split view needs [`Split`], which anybody can check.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Witness {
    newest: Option<SignedHead>,
    split: Option<Box<Split>>,
}

/// A connection between two heads, as somebody claims it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Link {
    /// Root that the newer head's log has at the older head's size.
    pub root: Hash,
    /// Consistency proof from there to the newer head.
    pub proof: Proof,
}

/// Relation of a head to the newest one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// The head extends the newest one, or is the first. It is the newest now.
    Extends,
    /// The newest head extends this one.
    Older,
    /// The head has the size and the root of the newest one.
    Same,
    /// A proof between these two sizes is needed, or the given one is wrong. Nothing changed.
    Unproven {
        /// Size of the smaller head.
        from: u64,
        /// Size of the larger head.
        to: u64,
    },
    /// The head and the newest one belong to different logs: [`Witness::split`] has both. No head is accepted any more.
    Split,
}

impl Witness {
    /// Resumes with a head that was accepted before.
    #[must_use]
    pub const fn resume(newest: Option<SignedHead>, split: Option<Box<Split>>) -> Self {
        Self { newest, split }
    }

    /// The newest head.
    #[must_use]
    pub const fn newest(&self) -> Option<&SignedHead> {
        self.newest.as_ref()
    }

    /// Evidence of a split view.
    #[must_use]
    pub fn split(&self) -> Option<&Split> {
        self.split.as_deref()
    }

    /// Compares a head with the newest one. `signers` is the set that signs the head.
    ///
    /// # Errors
    ///
    /// [`Error::Set`] or [`Error::TooFew`]: the head does not count. Nothing changed.
    pub fn offer(
        &mut self,
        domain: Domain<'_>,
        signers: &Signers,
        head: SignedHead,
        link: Option<Link>,
    ) -> Result<Verdict, Error> {
        head.check(domain, signers)?;
        if self.split.is_some() {
            return Ok(Verdict::Split);
        }
        let Some(newest) = &self.newest else {
            self.newest = Some(head);
            return Ok(Verdict::Extends);
        };
        let (known, new) = (newest.head(), head.head());
        if known.size == new.size {
            if known.root == new.root {
                return Ok(Verdict::Same);
            }
            let link = Link {
                root: new.root,
                proof: Proof::default(),
            };
            let (older, newer) = (newest.clone(), head);
            return Ok(self.contradict(older, newer, link));
        }
        let grows = new.size > known.size;
        let (older, newer) = if grows { (known, new) } else { (new, known) };
        let (from, to) = (older.size, newer.size);
        let unproven = Verdict::Unproven { from, to };
        // No log contradicts the empty one.
        let link = match link {
            None if from == 0 => Link {
                root: older.root,
                proof: Proof::default(),
            },
            None => return Ok(unproven),
            Some(link) => link,
        };
        if !verify_consistency(from, to, &link.root, &newer.root, &link.proof) {
            return Ok(unproven);
        }
        if link.root != older.root {
            let (older, newer) = match grows {
                true => (newest.clone(), head),
                false => (head, newest.clone()),
            };
            return Ok(self.contradict(older, newer, link));
        }
        if grows {
            self.newest = Some(head);
            return Ok(Verdict::Extends);
        }
        Ok(Verdict::Older)
    }

    /// Takes evidence that another node found. The sets are those that its heads name.
    ///
    /// # Errors
    ///
    /// [`Error::Set`] or [`Error::TooFew`]: it is none.
    pub fn accuse(
        &mut self,
        domain: Domain<'_>,
        old: &Signers,
        new: &Signers,
        split: Split,
    ) -> Result<(), Error> {
        split.check(domain, old, new)?;
        self.split.get_or_insert_with(|| Box::new(split));
        Ok(())
    }

    fn contradict(&mut self, older: SignedHead, newer: SignedHead, link: Link) -> Verdict {
        let (from, to) = (older.head().size, newer.head().size);
        match Split::new(older, newer, link.root, link.proof) {
            Ok(split) => {
                self.split = Some(Box::new(split));
                Verdict::Split
            }
            Err(_) => Verdict::Unproven { from, to },
        }
    }
}

impl cbor::Encode for Witness {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        match &self.newest {
            Some(head) => w.bytes(&head.to_bytes()),
            None => w.null(),
        }
        match &self.split {
            Some(split) => w.bytes(&split.to_bytes()),
            None => w.null(),
        }
    }
}
