//! Receipts on disk, until a coordinator has taken them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use betanet_fog_client::node::{Receipts, StoreFailed};
use betanet_store::{Error, Kind, Storage};

use crate::archive::Archive;

pub(crate) const KIND: Kind = Kind::new("fog-receipts", 1);
/// The two journals: one is in use, the other is empty, or from before the last change.
pub(crate) const NAMES: [&str; 2] = ["receipts-a", "receipts-b"];
/// Length of the journal in use after which its rest goes to the other.
const TURN: usize = 4 << 20;
/// Receipts that are stored at a time: a node holds no more copies.
pub(crate) const RECEIPTS_MAX: usize = 4096;

/// First byte of a record.
const BEGIN: u8 = 0;
const PUT: u8 = 1;
/// The same as [`PUT`], of a secret task.
const PUT_SECRET: u8 = 2;

/// Fences of the secret tasks' copies that run, whose receipts are not listed among the files that the node keeps.
#[derive(Debug, Default)]
pub(crate) struct SecretFences(Mutex<BTreeSet<u64>>);

impl SecretFences {
    /// Notes a copy that begins. Copies that were stopped make no receipt: the oldest are forgotten.
    pub(crate) fn add(&self, fence: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(fence);
        while all.len() > RECEIPTS_MAX {
            all.pop_first();
        }
    }

    fn take(&self, fence: u64) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&fence)
    }
}

/// A receipt that no coordinator has taken.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Held {
    receipt: Vec<u8>,
    secret: bool,
}

/// Receipts in two journals of a state folder.
///
/// A receipt is synced before [`Receipts::put`] returns. A removal is noted with the next receipt: after a crash in between,
/// a receipt is sent again, which changes nothing.
pub struct StoredReceipts {
    storage: Arc<dyn Storage>,
    held: BTreeMap<u64, Held>,
    /// Fences that were removed and are not noted yet.
    removed: Vec<u64>,
    /// The journal in use, its turn and its length.
    at: usize,
    turn: u64,
    len: usize,
    archive: Option<Archive>,
    secret: Arc<SecretFences>,
}

impl std::fmt::Debug for StoredReceipts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredReceipts")
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

/// Splits a number off the front.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), rest))
}

/// The journal of one turn.
struct Read {
    turn: u64,
    records: Vec<Record>,
}

/// A receipt, and the fences that were removed before it.
#[derive(Debug, Eq, PartialEq)]
struct Record {
    removed: Vec<u64>,
    fence: u64,
    held: Held,
}

impl Record {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![if self.held.secret { PUT_SECRET } else { PUT }];
        out.extend_from_slice(&(self.removed.len() as u64).to_be_bytes());
        for fence in &self.removed {
            out.extend_from_slice(&fence.to_be_bytes());
        }
        out.extend_from_slice(&self.fence.to_be_bytes());
        out.extend_from_slice(&self.held.receipt);
        out
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let secret = match *kind {
            PUT => false,
            PUT_SECRET => true,
            _ => return None,
        };
        let (count, mut rest) = number(rest)?;
        if count > RECEIPTS_MAX as u64 {
            return None;
        }
        let mut removed = Vec::new();
        for _ in 0..count {
            let (fence, more) = number(rest)?;
            removed.push(fence);
            rest = more;
        }
        let (fence, receipt) = number(rest)?;
        Some(Self {
            removed,
            fence,
            held: Held {
                receipt: receipt.to_vec(),
                secret,
            },
        })
    }
}

fn begin(turn: u64) -> Vec<u8> {
    let mut out = vec![BEGIN];
    out.extend_from_slice(&turn.to_be_bytes());
    out
}

fn read(storage: &dyn Storage, name: &str) -> Result<Option<Read>, Error> {
    let records = storage.records(KIND, name)?;
    let Some((first, rest)) = records.split_first() else {
        return Ok(None);
    };
    let turn = first.strip_prefix(&[BEGIN]).and_then(number);
    let (turn, _) = turn.ok_or_else(|| storage.unreadable(name))?;
    let records = rest.iter().map(|record| Record::read(record));
    let records = records.collect::<Option<Vec<_>>>();
    Ok(Some(Read {
        turn,
        records: records.ok_or_else(|| storage.unreadable(name))?,
    }))
}

impl StoredReceipts {
    /// Reads the receipts of earlier runs.
    ///
    /// # Errors
    ///
    /// A journal cannot be read.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self, Error> {
        let mut found = Vec::new();
        for (at, name) in NAMES.iter().enumerate() {
            found.extend(read(&*storage, name)?.map(|journal| (journal, at)));
        }
        found.sort_by_key(|(journal, _)| journal.turn);
        let turn = found.last().map_or(0, |(last, _)| last.turn);
        // Two journals are there if a turn was interrupted. The older one has all receipts.
        found.truncate(1);
        let at = found.first().map_or(1, |(_, at)| *at);
        let mut held = BTreeMap::new();
        for record in found.into_iter().flat_map(|(journal, _)| journal.records) {
            for fence in &record.removed {
                held.remove(fence);
            }
            held.insert(record.fence, record.held);
        }
        let mut receipts = Self {
            storage,
            held,
            removed: Vec::new(),
            at,
            turn,
            len: 0,
            archive: None,
            secret: Arc::default(),
        };
        receipts.turn()?;
        Ok(receipts)
    }

    /// Keeps receipts as files, once a coordinator has taken or refused them.
    pub(crate) fn with_archive(mut self, archive: Archive) -> Self {
        self.archive = Some(archive);
        self
    }

    /// Copies whose receipts are not kept as files.
    pub(crate) fn secret(&self) -> Arc<SecretFences> {
        Arc::clone(&self.secret)
    }

    /// Writes what is held to the other journal, and then removes this one.
    fn turn(&mut self) -> Result<(), Error> {
        let (old, new) = (self.at, 1 - self.at);
        // It is empty, or a crash has left a part of what follows.
        self.storage.remove(NAMES[new])?;
        let mut len = 0;
        if !self.held.is_empty() {
            self.storage
                .append(KIND, NAMES[new], &begin(self.turn.saturating_add(1)))?;
        }
        for (fence, held) in &self.held {
            let record = Record {
                removed: Vec::new(),
                fence: *fence,
                held: held.clone(),
            };
            let bytes = record.to_bytes();
            len += bytes.len();
            self.storage.append(KIND, NAMES[new], &bytes)?;
        }
        self.storage.remove(NAMES[old])?;
        (self.at, self.len) = (new, len);
        self.turn = self.turn.saturating_add(1);
        self.removed.clear();
        Ok(())
    }

    fn store(&mut self, fence: u64, held: Held) -> Result<(), Error> {
        if self.len > TURN || self.removed.len() >= RECEIPTS_MAX {
            self.turn()?;
        }
        if self.len == 0 {
            self.storage
                .append(KIND, NAMES[self.at], &begin(self.turn))?;
            // Not a second time, even if what follows fails.
            self.len = 1;
        }
        let record = Record {
            removed: self.removed.clone(),
            fence,
            held,
        };
        let bytes = record.to_bytes();
        self.storage.append(KIND, NAMES[self.at], &bytes)?;
        self.len += bytes.len();
        self.removed.clear();
        self.held.insert(fence, record.held);
        Ok(())
    }
}

fn failed(error: &Error) -> StoreFailed {
    tracing::error!(%error, "the receipts on disk cannot be used");
    StoreFailed
}

impl Receipts for StoredReceipts {
    fn put(&mut self, fence: u64, receipt: &[u8]) -> Result<(), StoreFailed> {
        if self.held.len() >= RECEIPTS_MAX {
            tracing::error!(fence, "{RECEIPTS_MAX} receipts wait for a coordinator");
            return Err(StoreFailed);
        }
        let held = Held {
            receipt: receipt.to_vec(),
            secret: self.secret.take(fence),
        };
        self.store(fence, held).map_err(|e| failed(&e))
    }

    fn remove(&mut self, fence: u64) -> Result<(), StoreFailed> {
        if let Some(held) = self.held.remove(&fence) {
            self.removed.push(fence);
            if let Some(archive) = self.archive.as_mut().filter(|_| !held.secret) {
                archive.keep(&held.receipt);
            }
        }
        Ok(())
    }

    fn all(&mut self) -> Result<Vec<(u64, Vec<u8>)>, StoreFailed> {
        let all = self.held.iter();
        Ok(all.map(|(f, held)| (*f, held.receipt.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use betanet_store::{MemoryStorage, State};
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;

    fn held(storage: &Arc<dyn Storage>) -> BTreeMap<u64, Vec<u8>> {
        let mut again = StoredReceipts::open(Arc::clone(storage)).unwrap();
        again.all().unwrap().into_iter().collect()
    }

    #[test]
    fn a_receipt_outlasts_its_process_and_is_forgotten_once_it_was_taken() {
        let home = tempfile::tempdir().unwrap();
        let state = State::open(&home.path().join("state")).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(state);
        let mut receipts = StoredReceipts::open(Arc::clone(&storage)).unwrap();
        for fence in 0..10 {
            receipts.put(fence, &[7; 300]).unwrap();
        }
        receipts.remove(3).unwrap();
        receipts.put(10, b"ten").unwrap();
        drop(receipts);
        let all = held(&storage);
        assert_eq!(all.len(), 10);
        assert!(!all.contains_key(&3));
        assert_eq!(all[&10], b"ten");
    }

    #[test]
    fn no_more_are_held_than_the_bound_and_the_journal_stays_short() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let mut receipts = StoredReceipts::open(Arc::clone(&storage)).unwrap();
        for fence in 0..RECEIPTS_MAX as u64 {
            receipts.put(fence, b"r").unwrap();
        }
        assert_eq!(receipts.put(1 << 40, b"r"), Err(StoreFailed));
        receipts.remove(0).unwrap();
        receipts.put(1 << 40, b"r").unwrap();
        for fence in 1 << 41..(1 << 41) + 100 {
            receipts.remove(1 << 40).unwrap();
            receipts.remove(fence - 1).unwrap();
            receipts.put(fence, &[1; 200_000]).unwrap();
            assert!(receipts.len <= TURN + 300_000);
        }
        assert_eq!(held(&storage).len(), RECEIPTS_MAX);
    }

    #[test]
    fn receipts_of_secret_tasks_are_in_no_folder_after_a_restart_either() {
        use betanet_fog::{Outcome, Receipt, Signed, TaskId};
        use betanet_keys::Identity;

        let home = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let open = || {
            let archive = Archive::open(home.path()).unwrap();
            let receipts = StoredReceipts::open(Arc::clone(&storage)).unwrap();
            receipts.with_archive(archive)
        };
        let me = Identity::from_seed(&[4; 32]);
        let receipt = |fence| {
            let receipt = Receipt {
                inputs: [1; 32],
                end: 2,
                key: *me.public().as_bytes(),
                out: None,
                copy: 0,
                fuel: 70,
                task: TaskId([5; 32]),
                epoch: 1,
                fence,
                start: 1,
                engine: "test".parse().unwrap(),
                module: [3; 32],
                status: Outcome::Trap,
            };
            Signed::sign(receipt, &me).unwrap().to_bytes()
        };
        let mut receipts = open();
        for fence in [2, 4] {
            receipts.secret().add(fence);
        }
        for fence in 1..=4 {
            receipts.put(fence, &receipt(fence)).unwrap();
        }
        for fence in 1..=2 {
            receipts.remove(fence).unwrap();
        }
        // The removals are noted with the next receipt.
        receipts.put(5, &receipt(5)).unwrap();
        receipts = open();
        for fence in 3..=5 {
            receipts.remove(fence).unwrap();
        }
        let files = std::fs::read_dir(home.path()).unwrap();
        let mut files: Vec<_> = files.map(|f| f.unwrap().file_name()).collect();
        files.sort();
        let wanted = [1, 3, 5].map(|fence| format!("{}-{fence}.receipt", TaskId([5; 32])));
        assert_eq!(files, wanted.map(std::ffi::OsString::from));
        for fence in 0..=RECEIPTS_MAX as u64 {
            receipts.secret().add(fence);
        }
        assert!(!receipts.secret().take(0) && receipts.secret().take(1));
    }

    /// Storage that takes a number of appends, and then fails.
    struct Fails {
        under: Arc<dyn Storage>,
        left: std::sync::atomic::AtomicUsize,
    }

    impl Storage for Fails {
        fn load(&self, kind: Kind, name: &str) -> Result<Option<betanet_store::Loaded>, Error> {
            self.under.load(kind, name)
        }
        fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
            self.under.replace(kind, name, bytes)
        }
        fn append(&self, kind: Kind, name: &str, record: &[u8]) -> Result<(), Error> {
            use std::sync::atomic::Ordering;
            let left = &self.left;
            let taken =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            match taken {
                Ok(_) => self.under.append(kind, name, record),
                Err(_) => Err(self.unreadable(name)),
            }
        }
        fn records(&self, kind: Kind, name: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Error> {
            self.under.records(kind, name)
        }
        fn remove(&self, name: &str) -> Result<bool, Error> {
            self.under.remove(name)
        }
        fn place(&self, name: &str) -> std::path::PathBuf {
            self.under.place(name)
        }
    }

    #[test]
    fn a_turn_that_is_interrupted_again_and_again_loses_nothing() {
        for appends in 0..12 {
            let under: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
            let mut receipts = StoredReceipts::open(Arc::clone(&under)).unwrap();
            for fence in 0..5 {
                receipts.put(fence, b"r").unwrap();
            }
            drop(receipts);
            for _ in 0..3 {
                let fails = Fails {
                    under: Arc::clone(&under),
                    left: appends.into(),
                };
                drop(StoredReceipts::open(Arc::new(fails)));
            }
            let all: Vec<u64> = held(&under).into_keys().collect();
            assert_eq!(all, [0, 1, 2, 3, 4], "{appends} appends");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_again_is_what_was_held_or_was_just_taken(
            steps in prop::collection::vec((0_u64..8, any::<bool>(), any::<bool>()), 0..60),
        ) {
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
            let mut receipts = StoredReceipts::open(Arc::clone(&storage)).unwrap();
            let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            let mut loose: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            for (fence, put, crash) in steps {
                if put {
                    receipts.put(fence, &[u8::try_from(fence).unwrap()]).unwrap();
                    model.insert(fence, vec![u8::try_from(fence).unwrap()]);
                    loose.clear();
                } else {
                    receipts.remove(fence).unwrap();
                    loose.extend(model.remove_entry(&fence));
                }
                if crash {
                    receipts = StoredReceipts::open(Arc::clone(&storage)).unwrap();
                    let read: BTreeMap<_, _> = receipts.all().unwrap().into_iter().collect();
                    let mut most = model.clone();
                    most.extend(loose.clone());
                    prop_assert!(model.iter().all(|(f, r)| read.get(f) == Some(r)));
                    prop_assert!(read.iter().all(|(f, r)| most.get(f) == Some(r)));
                    (model, loose) = (read, BTreeMap::new());
                }
            }
        }

        #[test]
        fn no_record_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(record) = Record::read(&bytes) {
                prop_assert_eq!(record.to_bytes(), bytes);
            }
        }
    }
}
