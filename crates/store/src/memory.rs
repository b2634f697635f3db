use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::state::checked;
use crate::{Error, Kind, Loaded, Storage};

enum Entry {
    Value(Kind, Zeroizing<Vec<u8>>),
    Journal(Kind, Vec<Zeroizing<Vec<u8>>>),
}

/// State that lasts as long as the process, for tests and for nodes that must leave nothing behind.
#[derive(Default)]
pub struct MemoryStorage {
    entries: Mutex<BTreeMap<String, Entry>>,
}

impl std::fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStorage").finish_non_exhaustive()
    }
}

fn wrong(name: &str, kind: Kind) -> Error {
    Error::WrongKind {
        path: PathBuf::from(name),
        wanted: kind.name,
    }
}

impl MemoryStorage {
    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Entry>) -> T) -> T {
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for MemoryStorage {
    fn place(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    fn load(&self, kind: Kind, name: &str) -> Result<Option<Loaded>, Error> {
        checked(name)?;
        self.with(|all| match all.get(name) {
            None => Ok(None),
            Some(Entry::Value(of, bytes)) if of.name == kind.name => Ok(Some(Loaded {
                version: of.version,
                bytes: bytes.clone(),
            })),
            Some(_) => Err(wrong(name, kind)),
        })
    }

    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        checked(name)?;
        let entry = Entry::Value(kind, Zeroizing::new(bytes.to_vec()));
        self.with(|all| all.insert(name.to_owned(), entry));
        Ok(())
    }

    fn append(&self, kind: Kind, name: &str, record: &[u8]) -> Result<(), Error> {
        checked(name)?;
        let empty = || Entry::Journal(kind, Vec::new());
        self.with(
            |all| match all.entry(name.to_owned()).or_insert_with(empty) {
                Entry::Journal(of, records) if of.name == kind.name => {
                    records.push(Zeroizing::new(record.to_vec()));
                    Ok(())
                }
                _ => Err(wrong(name, kind)),
            },
        )
    }

    fn records(&self, kind: Kind, name: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Error> {
        checked(name)?;
        self.with(|all| match all.get(name) {
            None => Ok(Vec::new()),
            Some(Entry::Journal(of, records)) if of.name == kind.name => Ok(records.clone()),
            Some(_) => Err(wrong(name, kind)),
        })
    }

    fn remove(&self, name: &str) -> Result<bool, Error> {
        checked(name)?;
        Ok(self.with(|all| all.remove(name).is_some()))
    }
}
