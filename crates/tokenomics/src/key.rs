//! Keys of tables.

use alloc::vec::Vec;

use betanet_wire::NodeId;

/// A key of a table. Its order is that of its bytes.
pub(crate) trait Key: Clone + Ord {
    /// Whether keys differ in their first two bytes as a rule.
    const SPREADS: bool = false;
    /// The first two bytes, if keys differ in them.
    fn lead(&self) -> [u8; 2] {
        [0; 2]
    }
    /// Appends the key's bytes.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads the key from all of these bytes.
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// One part of a joined key, of a fixed length.
pub(crate) trait Part: Copy + Ord {
    /// The first two bytes, where parts differ in them as a rule.
    const SPREADS: bool = false;
    fn lead(&self) -> [u8; 2] {
        [0; 2]
    }
    fn write(&self, out: &mut Vec<u8>);
    fn take(bytes: &mut &[u8]) -> Option<Self>;
}

impl<const N: usize> Part for [u8; N] {
    const SPREADS: bool = N >= 2;
    fn lead(&self) -> [u8; 2] {
        self.first_chunk().copied().unwrap_or_default()
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(*first)
    }
}

impl Part for NodeId {
    const SPREADS: bool = true;
    fn lead(&self) -> [u8; 2] {
        self.0.lead()
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        <[u8; 20]>::take(bytes).map(Self)
    }
}

macro_rules! number_parts {
    ($($t:ty),*) => {$(
        impl Part for $t {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn take(bytes: &mut &[u8]) -> Option<Self> {
                Part::take(bytes).map(Self::from_be_bytes)
            }
        }
    )*};
}
number_parts!(u8, u32, u64);

macro_rules! part_keys {
    ($(($first:ident $(, $p:ident)*)),*) => {$(
        impl<$first: Part, $($p: Part),*> Key for ($first, $($p,)*) {
            const SPREADS: bool = $first::SPREADS;
            fn lead(&self) -> [u8; 2] {
                self.0.lead()
            }
            #[allow(non_snake_case, reason = "a part is named as its type")]
            fn write(&self, out: &mut Vec<u8>) {
                let ($first, $($p,)*) = self;
                $first.write(out);
                $($p.write(out);)*
            }
            fn read(mut bytes: &[u8]) -> Option<Self> {
                let key = ($first::take(&mut bytes)?, $($p::take(&mut bytes)?,)*);
                bytes.is_empty().then_some(key)
            }
        }
    )*};
}
part_keys!((A), (A, B), (A, B, C));

impl Key for () {
    fn write(&self, _out: &mut Vec<u8>) {}
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl Key for alloc::string::String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        core::str::from_utf8(bytes).ok().map(Self::from)
    }
}
