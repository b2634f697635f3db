//! Verification of a whole journal, offline: every signature, every record, the log's root, the state's root and the sums.

use betanet_log::{Edge, Hash, SignedHead, Signers, leaf_hash};
use betanet_tokenomics::{Code, Economy, Error as MachineError, Imbalance, Role};

use crate::body::domain;

/// What is wrong with a journal, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// There is no record 0.
    #[error("the journal is empty")]
    Empty,
    /// Record 0 is of another ledger.
    #[error("record 0 has another genesis")]
    Genesis,
    /// A record does not count.
    #[error("at record {record}: {why}")]
    Record {
        /// Its number.
        record: u64,
        /// The reason.
        why: MachineError,
    },
    /// The sequence of records breaks off.
    #[error("record {0} does not read")]
    Cut(u64),
    /// A sum does not hold at the end.
    #[error("after record {record}: {why}")]
    Sum {
        /// The last record.
        record: u64,
        /// The sum.
        why: Imbalance,
    },
    /// The journal ends before a head.
    #[error("the head covers {head} records, and the journal ends after {records}")]
    Short {
        /// Size of the head.
        head: u64,
        /// Number of records.
        records: u64,
    },
    /// A head's signatures do not count.
    #[error("the head of {size} records: {why}")]
    Signatures {
        /// Size of the head.
        size: u64,
        /// The reason.
        why: betanet_log::Error,
    },
    /// A head carries a signature that does not count.
    #[error("the head of {0} records carries a signature that is not its signer's")]
    Carried(u64),
    /// The log has another root than a head.
    #[error("the head of {0} records has another root than the records")]
    Root(u64),
    /// The state has another root than a head, or another time.
    #[error("the head of {0} records has another state or time than the records give")]
    State(u64),
}

impl Finding {
    /// Number of the record at which it was found.
    #[must_use]
    pub const fn place(&self) -> u64 {
        match self {
            Self::Empty | Self::Genesis => 0,
            Self::Record { record, .. } | Self::Sum { record, .. } | Self::Cut(record) => *record,
            Self::Short { records, .. } => *records,
            Self::Signatures { size, .. }
            | Self::Carried(size)
            | Self::Root(size)
            | Self::State(size) => *size,
        }
    }
}

/// A journal that holds.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The machine after all records.
    pub economy: Economy,
    /// Root of the log.
    pub root: Hash,
    /// Root of the state.
    pub state: Hash,
    /// Number of records under the last of the heads.
    pub covered: u64,
}

/// Verifies a journal record by record.
#[derive(Debug)]
pub struct Verifier {
    economy: Economy,
    edge: Edge,
    /// Heads to come, those of fewer records first.
    heads: Vec<SignedHead>,
    /// Sets of signers that can have signed the next head: those that the ledger listed since the last one.
    sets: Vec<Signers>,
    covered: u64,
}

impl Verifier {
    /// Begins with record 0. `genesis` is the one that is expected; `heads` are those that the journal must give.
    ///
    /// # Errors
    ///
    /// Record 0 does not count.
    pub fn new(
        first: &[u8],
        genesis: Option<&[u8]>,
        mut heads: Vec<SignedHead>,
    ) -> Result<Self, Finding> {
        let economy = Economy::from_first(first);
        let economy = economy.map_err(|why| Finding::Record { record: 0, why })?;
        if genesis.is_some_and(|genesis| genesis != economy.genesis().as_bytes()) {
            return Err(Finding::Genesis);
        }
        heads.sort_by_key(|head| std::cmp::Reverse(head.head().size));
        let mut this = Self {
            edge: Edge::default(),
            heads,
            sets: Vec::new(),
            covered: 0,
            economy,
        };
        // The signers of the genesis sign its own head too.
        this.note_set();
        this.edge.append(leaf_hash(first));
        this.after()?;
        Ok(this)
    }

    /// Number of records so far.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.edge.size()
    }

    /// The machine after the records so far.
    #[must_use]
    pub const fn economy(&self) -> &Economy {
        &self.economy
    }

    /// Takes the next record. Returns the codes of its transfers, if it has any.
    ///
    /// # Errors
    ///
    /// The record does not count, or a head contradicts the records so far.
    pub fn push(&mut self, record: &[u8]) -> Result<Vec<Code>, Finding> {
        let place = self.records();
        let replayed = self.economy.replay(record);
        let answer = replayed.map_err(|why| Finding::Record { record: place, why })?;
        self.edge.append(leaf_hash(record));
        self.after()?;
        Ok(answer.codes)
    }

    /// Compares heads of so many records, and notes the signers.
    fn after(&mut self) -> Result<(), Finding> {
        let size = self.edge.size();
        let mut is_final = false;
        while self.heads.last().is_some_and(|h| h.head().size <= size) {
            let Some(signed) = self.heads.pop() else {
                break;
            };
            let head = signed.head();
            if head.size < size {
                // Of no records: nothing is signed before the genesis.
                return Err(Finding::Root(head.size));
            }
            let set = self.sets.iter().find(|set| *set.hash() == head.set);
            let domain = domain(self.economy.genesis().id());
            let set = set.ok_or(Finding::Signatures {
                size,
                why: betanet_log::Error::Set,
            })?;
            let checked = signed.check(domain, set);
            checked.map_err(|why| Finding::Signatures { size, why })?;
            if signed.valid(domain, set).len() != signed.signatures().len() {
                return Err(Finding::Carried(size));
            }
            if head.root != self.edge.root() {
                return Err(Finding::Root(size));
            }
            if head.state != Some(self.economy.root()) || head.ts != self.economy.time() {
                return Err(Finding::State(size));
            }
            self.covered = size;
            is_final = true;
        }
        self.note_set();
        if is_final {
            // The next head is signed by those whom the state under this one lists.
            let older = self.sets.len().saturating_sub(1);
            self.sets.drain(..older);
        }
        Ok(())
    }

    /// Keeps the set that the state lists, if it is another than the last.
    fn note_set(&mut self) {
        let listed = self.economy.role(Role::Signers);
        let same = |set: &Signers| {
            let keys = set.keys().iter().map(|key| &key.as_bytes()[..]);
            keys.eq(listed.iter().map(|key| &key[..]))
        };
        if self.sets.last().is_some_and(same) {
            return;
        }
        let keys: Option<Vec<[u8; 32]>> = listed.iter().map(|k| k[..].try_into().ok()).collect();
        if let Some(Ok(set)) = keys.map(|keys| Signers::from_bytes(&keys)) {
            self.sets.push(set);
        }
    }

    /// Ends the journal, and checks its sums.
    ///
    /// # Errors
    ///
    /// A head covers more records, or a sum does not hold.
    pub fn finish(mut self) -> Result<Verified, Finding> {
        let records = self.records();
        if let Some(head) = self.heads.last() {
            let head = head.head().size;
            return Err(Finding::Short { head, records });
        }
        let audited = self.economy.audit();
        let audited = audited.and_then(|()| self.economy.audit_tallies());
        audited.map_err(|why| Finding::Sum {
            record: records.saturating_sub(1),
            why,
        })?;
        Ok(Verified {
            root: self.edge.root(),
            state: self.economy.root(),
            covered: self.covered,
            economy: self.economy,
        })
    }
}

/// Verifies the records of a sequence of DET-CBOR.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn verify(
    journal: &[u8],
    genesis: Option<&[u8]>,
    heads: Vec<SignedHead>,
) -> Result<Verified, Finding> {
    let (list, cut) = match crate::body::records(journal) {
        Ok(list) => (list, None),
        Err(cut) => {
            let at = cut.whole.len() as u64;
            (cut.whole, Some(at))
        }
    };
    let mut records = list.into_iter();
    let first = records.next().ok_or(match cut {
        Some(_) => Finding::Cut(0),
        None => Finding::Empty,
    })?;
    let mut verifier = Verifier::new(first, genesis, heads)?;
    for record in records {
        verifier.push(record)?;
    }
    match cut {
        Some(at) => Err(Finding::Cut(at)),
        None => verifier.finish(),
    }
}
