//! Strict reading of typed maps and lists.

use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_wire::cbor::{Error, Reader};

use crate::account::NUMBER_END;

/// Most keys of a map that is read here.
const KEYS_MAX: usize = 32;

/// Entries of a map with text keys, each value unread.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    entries: Vec<(&'a str, &'a [u8])>,
    taken: usize,
}

const fn refused() -> Error {
    Error::Range("a field")
}

impl<'a> Fields<'a> {
    /// Reads one item of DET-CBOR that must be a map.
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let n = r.map()?;
        if n > KEYS_MAX {
            return Err(refused());
        }
        let mut entries: Vec<(&str, &[u8])> = Vec::with_capacity(n);
        for _ in 0..n {
            let key = r.text()?;
            // Encoded keys ascend: a shorter one comes first.
            if let Some((last, _)) = entries.last()
                && (last.len(), *last) >= (key.len(), key)
            {
                return Err(refused());
            }
            // Checks the nesting and order of all that is in the value.
            entries.push((key, r.skip()?));
        }
        r.leave();
        r.end()?;
        Ok(Self { entries, taken: 0 })
    }

    /// The value under a key that must be there.
    pub(crate) fn raw(&mut self, key: &'static str) -> Result<&'a [u8], Error> {
        let entry = self.entries.iter().find(|(k, _)| *k == key);
        let (_, raw) = entry.ok_or(Error::Missing(key))?;
        self.taken += 1;
        Ok(raw)
    }

    pub(crate) fn get<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut r = Reader::new(self.raw(key)?);
        read(&mut r)
    }

    /// A number below 2^63.
    pub(crate) fn u(&mut self, key: &'static str) -> Result<u64, Error> {
        self.get(key, number)
    }

    /// A number below 2^63, not 0.
    pub(crate) fn p(&mut self, key: &'static str) -> Result<u64, Error> {
        self.get(key, positive)
    }

    /// A number of at most `most`.
    pub(crate) fn up_to(&mut self, key: &'static str, most: u64) -> Result<u64, Error> {
        self.get(key, |r| at_most(r, most))
    }

    /// So many bytes.
    pub(crate) fn array<const N: usize>(&mut self, key: &'static str) -> Result<[u8; N], Error> {
        self.get(key, array)
    }

    /// An account.
    pub(crate) fn account(&mut self, key: &'static str) -> Result<NodeId, Error> {
        self.array(key).map(NodeId)
    }

    /// Up to so many bytes.
    pub(crate) fn bytes(&mut self, key: &'static str, most: usize) -> Result<&'a [u8], Error> {
        self.get(key, |r| bytes(r, most))
    }

    /// Items of a list of `least` to `most`.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        (least, most): (usize, usize),
        item: impl FnMut(&mut Reader<'a>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.get(key, |r| list(r, (least, most), item))
    }

    /// Refuses keys that were not asked for.
    pub(crate) fn end(self) -> Result<(), Error> {
        match self.taken == self.entries.len() {
            true => Ok(()),
            false => Err(refused()),
        }
    }
}

pub(crate) fn number(r: &mut Reader<'_>) -> Result<u64, Error> {
    at_most(r, NUMBER_END - 1)
}

pub(crate) fn positive(r: &mut Reader<'_>) -> Result<u64, Error> {
    match number(r)? {
        0 => Err(refused()),
        n => Ok(n),
    }
}

pub(crate) fn at_most(r: &mut Reader<'_>, most: u64) -> Result<u64, Error> {
    let n = r.unsigned()?;
    if n > most {
        return Err(refused());
    }
    Ok(n)
}

pub(crate) fn array<const N: usize>(r: &mut Reader<'_>) -> Result<[u8; N], Error> {
    r.bytes()?.try_into().map_err(|_| refused())
}

pub(crate) fn account(r: &mut Reader<'_>) -> Result<NodeId, Error> {
    array(r).map(NodeId)
}

pub(crate) fn bytes<'a>(r: &mut Reader<'a>, most: usize) -> Result<&'a [u8], Error> {
    let bytes = r.bytes()?;
    if bytes.len() > most {
        return Err(refused());
    }
    Ok(bytes)
}

/// Enters a list of exactly `n` items.
pub(crate) fn tuple(r: &mut Reader<'_>, n: usize) -> Result<(), Error> {
    match r.array()? == n {
        true => Ok(()),
        false => Err(refused()),
    }
}

pub(crate) fn list<'a, T>(
    r: &mut Reader<'a>,
    (least, most): (usize, usize),
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let n = r.array()?;
    if n < least || n > most {
        return Err(refused());
    }
    let mut items = Vec::with_capacity(n);
    for _ in 0..n {
        items.push(item(r)?);
    }
    r.leave();
    Ok(items)
}

/// Refuses what a check does not accept.
pub(crate) fn ensure(good: bool) -> Result<(), Error> {
    match good {
        true => Ok(()),
        false => Err(refused()),
    }
}
