use super::{Error, MAX_DEPTH};

/// The kinds of items.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// 0 and up.
    Unsigned,
    /// -1 and down.
    Negative,
    /// Byte string.
    Bytes,
    /// UTF-8 text.
    Text,
    /// Array.
    Array,
    /// Map.
    Map,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
}

impl Kind {
    /// The kind's name in error messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsigned => "an unsigned number",
            Self::Negative => "a negative number",
            Self::Bytes => "bytes",
            Self::Text => "text",
            Self::Array => "an array",
            Self::Map => "a map",
            Self::Bool => "true or false",
            Self::Null => "null",
        }
    }
}

/// Reads items from a slice, borrowing from it. Every call is strict.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
    depth: u8,
}

impl<'a> Reader<'a> {
    /// Creates a reader at the front of `buf`.
    #[must_use]
    pub const fn new(buf: &'a [u8]) -> Self {
        Self {
            buf,
            pos: 0,
            depth: 0,
        }
    }

    /// Offset of the next item.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.pos
    }

    pub(super) const fn rewind(&mut self, pos: usize) {
        self.pos = pos;
    }

    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.buf[start..self.pos]
    }

    #[inline]
    pub(super) fn eat(&mut self, prefix: &[u8]) -> bool {
        let hit = self.buf[self.pos..].starts_with(prefix);
        if hit {
            self.pos += prefix.len();
        }
        hit
    }

    /// Checks that no bytes follow.
    ///
    /// # Errors
    ///
    /// [`Error::Trailing`].
    pub const fn end(&self) -> Result<(), Error> {
        if self.pos == self.buf.len() {
            Ok(())
        } else {
            Err(Error::Trailing)
        }
    }

    /// The kind of the next item.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] at the end, or a head that the profile does not have.
    pub fn kind(&self) -> Result<Kind, Error> {
        let b = *self.buf.get(self.pos).ok_or(Error::Truncated)?;
        Ok(match b >> 5 {
            0 => Kind::Unsigned,
            1 => Kind::Negative,
            2 => Kind::Bytes,
            3 => Kind::Text,
            4 => Kind::Array,
            5 => Kind::Map,
            7 if b == 0xf4 || b == 0xf5 => Kind::Bool,
            7 if b == 0xf6 => Kind::Null,
            _ => return Err(Error::Unsupported(b)),
        })
    }

    #[cold]
    fn mismatch(&self, expected: &'static str) -> Error {
        match self.kind() {
            Ok(found) => Error::Type {
                expected,
                found: found.name(),
            },
            Err(e) => e,
        }
    }

    #[inline]
    fn head(&mut self, major: u8, expected: &'static str) -> Result<u64, Error> {
        let b = *self.buf.get(self.pos).ok_or(Error::Truncated)?;
        if b >> 5 != major {
            return Err(self.mismatch(expected));
        }
        let info = b & 0x1f;
        if info < 24 {
            self.pos += 1;
            return Ok(u64::from(info));
        }
        self.long_head(info, b)
    }

    fn long_head(&mut self, info: u8, b: u8) -> Result<u64, Error> {
        let tail = &self.buf[self.pos + 1..];
        let (n, width, least) = match info {
            24 => (tail.first().map(|x| u64::from(*x)), 1, 24),
            25 => (
                tail.first_chunk()
                    .map(|x| u64::from(u16::from_be_bytes(*x))),
                2,
                0x100,
            ),
            26 => (
                tail.first_chunk()
                    .map(|x| u64::from(u32::from_be_bytes(*x))),
                4,
                0x1_0000,
            ),
            27 => (
                tail.first_chunk().map(|x| u64::from_be_bytes(*x)),
                8,
                0x1_0000_0000,
            ),
            31 => return Err(Error::Indefinite),
            _ => return Err(Error::Unsupported(b)),
        };
        let n = n.ok_or(Error::Truncated)?;
        if n < least {
            return Err(Error::NotShortest);
        }
        self.pos += 1 + width;
        Ok(n)
    }

    /// Reads an unsigned number.
    ///
    /// # Errors
    ///
    /// The item is not an unsigned number.
    #[inline]
    pub fn unsigned(&mut self) -> Result<u64, Error> {
        self.head(0, Kind::Unsigned.name())
    }

    /// Reads a negative number `-1 - n` and returns `n`.
    ///
    /// # Errors
    ///
    /// The item is not a negative number.
    pub fn negative(&mut self) -> Result<u64, Error> {
        self.head(1, Kind::Negative.name())
    }

    #[inline]
    fn slice(&mut self, n: u64) -> Result<&'a [u8], Error> {
        let rest = &self.buf[self.pos..];
        let n = usize::try_from(n).map_err(|_| Error::Truncated)?;
        let out = rest.get(..n).ok_or(Error::Truncated)?;
        self.pos += n;
        Ok(out)
    }

    /// Reads a byte string, borrowed.
    ///
    /// # Errors
    ///
    /// The item is not a byte string.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let n = self.head(2, Kind::Bytes.name())?;
        self.slice(n)
    }

    /// Reads text, borrowed.
    ///
    /// # Errors
    ///
    /// The item is not text, or not UTF-8.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, Error> {
        let n = self.head(3, Kind::Text.name())?;
        core::str::from_utf8(self.slice(n)?).map_err(|_| Error::NotUtf8)
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    ///
    /// The item is not a boolean.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        let value = match self.buf.get(self.pos) {
            Some(0xf4) => false,
            Some(0xf5) => true,
            _ => return Err(self.mismatch(Kind::Bool.name())),
        };
        self.pos += 1;
        Ok(value)
    }

    /// Reads `null`.
    ///
    /// # Errors
    ///
    /// The item is not `null`.
    pub fn null(&mut self) -> Result<(), Error> {
        if self.buf.get(self.pos) != Some(&0xf6) {
            return Err(self.mismatch(Kind::Null.name()));
        }
        self.pos += 1;
        Ok(())
    }

    #[inline]
    fn enter(&mut self, items: u64, bytes_each: usize) -> Result<usize, Error> {
        let left = self.buf.len() - self.pos;
        let n = usize::try_from(items).map_err(|_| Error::Truncated)?;
        if n > left / bytes_each {
            return Err(Error::Truncated);
        }
        if self.depth >= MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.depth += 1;
        Ok(n)
    }

    /// Enters an array and returns the number of its items. Call [`Reader::leave`] after the last.
    ///
    /// # Errors
    ///
    /// The item is not an array, declares more items than bytes remain, or nests too deeply.
    #[inline]
    pub fn array(&mut self) -> Result<usize, Error> {
        let n = self.head(4, Kind::Array.name())?;
        self.enter(n, 1)
    }

    /// Enters a map and returns the number of its entries. The caller checks the key order, as [`super::MapReader`] does. Call
    /// [`Reader::leave`] after the last entry.
    ///
    /// # Errors
    ///
    /// The item is not a map, declares more entries than the remaining bytes allow, or nests too deeply.
    #[inline]
    pub fn map(&mut self) -> Result<usize, Error> {
        let n = self.head(5, Kind::Map.name())?;
        self.enter(n, 2)
    }

    /// Leaves an array or a map.
    pub const fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Checks one item of any kind and returns its exact bytes.
    ///
    /// # Errors
    ///
    /// The bytes are not DET-CBOR.
    pub fn skip(&mut self) -> Result<&'a [u8], Error> {
        let start = self.pos;
        match self.kind()? {
            Kind::Unsigned => drop(self.unsigned()?),
            Kind::Negative => drop(self.negative()?),
            Kind::Bytes => drop(self.bytes()?),
            Kind::Text => drop(self.text()?),
            Kind::Bool => drop(self.boolean()?),
            Kind::Null => self.null()?,
            Kind::Array => {
                for _ in 0..self.array()? {
                    self.skip()?;
                }
                self.leave();
            }
            Kind::Map => {
                let n = self.map()?;
                let mut last: Option<&[u8]> = None;
                for _ in 0..n {
                    let key = self.skip()?;
                    in_order(last, key)?;
                    last = Some(key);
                    self.skip()?;
                }
                self.leave();
            }
        }
        Ok(self.since(start))
    }
}

/// Refuses a key that is not above the one before it.
pub(super) fn in_order(last: Option<&[u8]>, key: &[u8]) -> Result<(), Error> {
    match last.map(|l| l.cmp(key)) {
        None | Some(core::cmp::Ordering::Less) => Ok(()),
        Some(core::cmp::Ordering::Equal) => Err(Error::DuplicateKey),
        Some(core::cmp::Ordering::Greater) => Err(Error::KeyOrder),
    }
}
