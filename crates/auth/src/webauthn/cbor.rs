//! CBOR of authenticators: definite lengths and bounded nesting. Unlike DET-CBOR it takes keys in any order, because some browsers sort
//! them otherwise, and numbers that are not shortest.

use alloc::vec::Vec;

use crate::PasskeyFault;

/// Most entries of a map that is looked into.
const ENTRIES_MAX: u64 = 32;
/// Deepest nesting.
const DEPTH_MAX: u8 = 6;

/// A key or a value; arrays, maps, tags and floating point are passed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Item<'a> {
    Number(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    /// A map, and whether it is empty.
    Map(bool),
    Other,
}

/// Reads items from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

const BAD: PasskeyFault = PasskeyFault::Cbor;

impl<'a> Reader<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, n: u64) -> Result<&'a [u8], PasskeyFault> {
        let n = usize::try_from(n).map_err(|_| BAD)?;
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(BAD)?;
        self.rest = rest;
        Ok(taken)
    }

    fn head(&mut self) -> Result<(u8, u64), PasskeyFault> {
        let [first] = *self.take(1)? else {
            return Err(BAD);
        };
        let argument = match first & 0x1f {
            info @ 0..24 => u64::from(info),
            // 1, 2, 4 or 8 bytes.
            info @ 24..28 => {
                let bytes = self.take(1 << (info - 24))?;
                bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b))
            }
            // Reserved, or of indefinite length.
            _ => return Err(BAD),
        };
        Ok((first >> 5, argument))
    }

    /// Reads one item; those of more than one level are passed over.
    pub(super) fn item(&mut self) -> Result<Item<'a>, PasskeyFault> {
        self.item_within(DEPTH_MAX)
    }

    fn item_within(&mut self, depth: u8) -> Result<Item<'a>, PasskeyFault> {
        let (major, argument) = self.head()?;
        let inner = |depth: u8| depth.checked_sub(1).ok_or(BAD);
        match major {
            0 => Ok(i64::try_from(argument).map_or(Item::Other, Item::Number)),
            1 => Ok(i64::try_from(argument).map_or(Item::Other, |n| Item::Number(-1 - n))),
            2 => self.take(argument).map(Item::Bytes),
            3 => {
                let text = core::str::from_utf8(self.take(argument)?);
                text.map(Item::Text).map_err(|_| BAD)
            }
            4 => {
                // Each item takes a byte at least, so this ends with the input.
                for _ in 0..argument {
                    self.item_within(inner(depth)?)?;
                }
                Ok(Item::Other)
            }
            5 => {
                for _ in 0..argument {
                    self.item_within(inner(depth)?)?;
                    self.item_within(inner(depth)?)?;
                }
                Ok(Item::Map(argument == 0))
            }
            6 => {
                self.item_within(inner(depth)?)?;
                Ok(Item::Other)
            }
            _ => Ok(Item::Other),
        }
    }

    /// Reads a map of one level, each key once.
    pub(super) fn map(&mut self) -> Result<Vec<(Item<'a>, Item<'a>)>, PasskeyFault> {
        let (major, n) = self.head()?;
        if major != 5 || n > ENTRIES_MAX {
            return Err(BAD);
        }
        let mut out: Vec<(Item<'a>, Item<'a>)> = Vec::new();
        for _ in 0..n {
            let key = self.item()?;
            if !matches!(key, Item::Number(_) | Item::Text(_)) || out.iter().any(|(k, _)| *k == key)
            {
                return Err(BAD);
            }
            out.push((key, self.item()?));
        }
        Ok(out)
    }
}
