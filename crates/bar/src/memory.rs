use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::{Commit, Entry, Expect, Headers, Listing, Meta, Store, StoreError};

/// A store in memory with a quota of bytes; unfinished writes count.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    resources: BTreeMap<String, (Meta, Bytes)>,
    quota: usize,
    used: usize,
    version: u64,
}

impl MemoryStore {
    /// Creates an empty store for at most `quota` bytes.
    #[must_use]
    pub const fn new(quota: usize) -> Self {
        Self {
            resources: BTreeMap::new(),
            quota,
            used: 0,
            version: 0,
        }
    }

    /// Bytes in use.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }

    fn etag(&self, path: &str) -> Option<&str> {
        self.resources.get(path).map(|(m, _)| m.etag.as_str())
    }
}

impl Store for MemoryStore {
    type Reader = Bytes;
    type Writer = Vec<u8>;

    fn open(&mut self, path: &str) -> Result<Option<(Meta, Bytes)>, StoreError> {
        Ok(self.resources.get(path).cloned())
    }

    fn read(&mut self, bytes: &mut Bytes, offset: u64, max: usize) -> Result<Bytes, StoreError> {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let end = start.saturating_add(max).min(bytes.len());
        Ok(bytes.slice(start..end))
    }

    fn list(&mut self, path: &str, after: &str, max: usize) -> Result<Option<Listing>, StoreError> {
        let mut names = BTreeMap::new();
        let below = self.resources.range(path.to_owned()..);
        for (found, (meta, _)) in below.take_while(|(p, _)| p.starts_with(path)) {
            let rest = &found[path.len()..];
            let (name, len) = match rest.split_once('/') {
                Some((folder, _)) => (folder, None),
                None => (rest, Some(meta.len)),
            };
            if !name.is_empty() && !name.starts_with('.') {
                names.insert(name, len);
            }
        }
        if names.is_empty() && path != "/" {
            return Ok(None);
        }
        let mut behind = names.into_iter().filter(|(name, _)| *name > after);
        let entries = behind.by_ref().take(max).map(|(name, len)| Entry {
            name: name.to_owned(),
            len,
        });
        Ok(Some(Listing {
            entries: entries.collect(),
            more: behind.next().is_some(),
        }))
    }

    fn create(&mut self) -> Result<Vec<u8>, StoreError> {
        Ok(Vec::new())
    }

    fn write(&mut self, writer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), StoreError> {
        if self.used + writer.len() + bytes.len() > self.quota {
            return Err(StoreError::Quota);
        }
        writer.extend_from_slice(bytes);
        Ok(())
    }

    fn commit(
        &mut self,
        writer: Vec<u8>,
        path: &str,
        headers: &Headers,
        expect: &Expect,
    ) -> Result<Commit, StoreError> {
        if path.ends_with('/') {
            return Err(StoreError::Path);
        }
        if !expect.holds(self.etag(path)) {
            return Err(StoreError::Changed);
        }
        let old = self.resources.get(path).map_or(0, |(_, b)| b.len());
        if self.used - old + writer.len() > self.quota {
            return Err(StoreError::Quota);
        }
        self.used = self.used - old + writer.len();
        self.version += 1;
        let etag = format!("\"{}\"", self.version);
        let meta = Meta {
            len: writer.len() as u64,
            etag: etag.clone(),
            headers: headers.clone(),
        };
        let created = self
            .resources
            .insert(path.to_owned(), (meta, writer.into()))
            .is_none();
        Ok(Commit { created, etag })
    }

    fn remove(&mut self, path: &str, expect: &Expect) -> Result<bool, StoreError> {
        if !expect.holds(self.etag(path)) {
            return Err(StoreError::Changed);
        }
        let Some((_, bytes)) = self.resources.remove(path) else {
            return Ok(false);
        };
        self.used -= bytes.len();
        Ok(true)
    }
}
