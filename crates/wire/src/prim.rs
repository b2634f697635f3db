//! Big-endian primitives of the binary formats: u8 to u64, u24, `varstr`.

use alloc::vec::Vec;

/// The input ended before the field did.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the input ends inside a field")]
pub struct Short;

/// Reads fields from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

macro_rules! number {
    ($($(#[$doc:meta])* $get:ident $put:ident $t:ty;)*) => {
        impl Fields<'_> {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// [`Short`] when fewer bytes are left.
            pub fn $get(&mut self) -> Result<$t, Short> {
                self.array().map(<$t>::from_be_bytes)
            })*
        }
        $($(#[$doc])*
        pub fn $put(out: &mut Vec<u8>, n: $t) {
            out.extend_from_slice(&n.to_be_bytes());
        })*
    };
}

number! {
    /// One byte.
    u8 put_u8 u8;
    /// Two bytes.
    u16 put_u16 u16;
    /// Four bytes.
    u32 put_u32 u32;
    /// Eight bytes.
    u64 put_u64 u64;
}

impl<'a> Fields<'a> {
    /// Creates a reader at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    ///
    /// [`Short`] when fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Short> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Short)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    ///
    /// [`Short`] when fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*head)
    }

    /// A u16 length and that many bytes.
    ///
    /// # Errors
    ///
    /// [`Short`] when the length exceeds the remaining bytes.
    pub fn varstr(&mut self) -> Result<&'a [u8], Short> {
        let n = self.u16()?;
        self.take(usize::from(n))
    }

    /// The remaining bytes.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether no bytes remain.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a u16 length and the bytes, cut to 65 535.
pub fn put_varstr(out: &mut Vec<u8>, bytes: &[u8]) {
    let n = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    put_u16(out, n);
    out.extend_from_slice(&bytes[..usize::from(n)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_and_a_short_input_is_refused() {
        let mut out = Vec::new();
        put_u16(&mut out, 0x0102);
        put_varstr(&mut out, b"abc");
        put_u64(&mut out, 7);
        let mut f = Fields::new(&out);
        assert_eq!(f.u16(), Ok(0x0102));
        assert_eq!(f.varstr(), Ok(b"abc".as_slice()));
        assert_eq!((f.u64(), f.is_empty()), (Ok(7), true));
        assert_eq!(f.u8(), Err(Short));
        assert_eq!(Fields::new(&[0, 9, 1]).varstr(), Err(Short));
    }
}
