use core::hash::{Hash, Hasher};

/// Bytes at each end of a long byte string that go into a fingerprint, beside its length.
const END: usize = 32;

/// Folds words into a [`crate::Machine::fingerprint`].
///
/// [`Fingerprint::word`] and [`Fingerprint::bytes`] are FNV-1a, whose numbers traces keep. As a [`Hasher`] it is faster, and
/// tells byte strings of more than 64 bytes apart by their lengths and ends only.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// Adds one word.
    #[must_use]
    pub fn word(self, word: u64) -> Self {
        self.bytes(&word.to_le_bytes())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// The digest so far.
    #[must_use]
    pub const fn finish(self) -> u64 {
        self.0
    }

    const fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn mix_all(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let mut le = [0; 8];
            le.copy_from_slice(word);
            self.mix(u64::from_le_bytes(le));
        }
        let rest = words.remainder();
        let mut le = [0; 8];
        le[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(le));
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.mix(bytes.len() as u64);
        if bytes.len() <= 2 * END {
            self.mix_all(bytes);
        } else {
            self.mix_all(&bytes[..END]);
            self.mix_all(&bytes[bytes.len() - END..]);
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// That somebody wants to hear when there is room again, registered by a refusal.
///
/// A refusal may register it: it is exempt from "an `Err` has changed nothing", so it adds nothing to a fingerprint. All that
/// may come of it is an event that says to try again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Interest(bool);

impl Interest {
    /// Somebody was refused.
    pub const fn register(&mut self) {
        self.0 = true;
    }

    /// Whether somebody waits.
    #[must_use]
    pub const fn is_registered(self) -> bool {
        self.0
    }

    /// Forgets it; whether somebody waited.
    pub const fn take(&mut self) -> bool {
        core::mem::replace(&mut self.0, false)
    }
}

impl Hash for Interest {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Hashes every field of a value: a field that is neither hashed nor exempt does not compile.
///
/// `machines` are fields that are layers themselves. An exempt field has a reason: statistics, secrets that change with
/// another field, and what is set once.
#[macro_export]
macro_rules! hash_fields {
    (
        $this:expr, $into:expr,
        $type:ident { $($field:ident),* $(,)? }
        $(machines { $($machine:ident),* $(,)? })?
        $(without { $($exempt:ident: $reason:literal),* $(,)? })?
    ) => {{
        let $type { $($field,)* $($($machine,)*)? $($($exempt: _,)*)? } = $this;
        let into = $into;
        $(::core::hash::Hash::hash($field, &mut *into);)*
        $($(::core::hash::Hasher::write_u64(
            &mut *into,
            $crate::Machine::fingerprint($machine),
        );)*)?
        $($(const _: &str = $reason;)*)?
    }};
}

/// The body of a [`crate::Machine::fingerprint`], over every field: see [`hash_fields!`].
///
/// ```
/// # use betanet_machine::{Queue, fingerprint};
/// struct Layer {
///     sent: u64,
///     out: Queue<u64>,
///     packets: u64,
/// }
///
/// impl Layer {
///     fn fingerprint(&self) -> u64 {
///         fingerprint!(self, Layer { sent, out } without { packets: "statistics" })
///     }
/// }
/// # let _ = Layer { sent: 0, out: Queue::new(1), packets: 0 }.fingerprint();
/// ```
///
/// ```compile_fail
/// # use betanet_machine::{Queue, fingerprint};
/// struct Layer {
///     sent: u64,
///     forgotten: u64,
/// }
///
/// impl Layer {
///     fn fingerprint(&self) -> u64 {
///         fingerprint!(self, Layer { sent })
///     }
/// }
/// ```
#[macro_export]
macro_rules! fingerprint {
    ($this:expr, $($fields:tt)*) => {{
        let mut fingerprint = $crate::Fingerprint::default();
        $crate::hash_fields!($this, &mut fingerprint, $($fields)*);
        fingerprint.finish()
    }};
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    fn of(value: impl Hash) -> u64 {
        let mut f = Fingerprint::default();
        value.hash(&mut f);
        f.finish()
    }

    #[test]
    fn values_lengths_and_ends_tell_byte_strings_apart() {
        let long = |n: usize, last: u8| -> Vec<u8> {
            let mut bytes = alloc::vec![7; n];
            bytes.push(last);
            bytes
        };
        assert_eq!(of(long(100, 1)), of(long(100, 1)));
        assert_ne!(of(long(100, 1)), of(long(100, 2)));
        assert_ne!(of(long(100, 1)), of(long(101, 1)));
        assert_ne!(of([1u8, 0]), of([1u8, 0, 0]));
        let map = |v: u64| BTreeMap::from([(1u64, (v, 2u64))]);
        assert_ne!(of(map(1)), of(map(2)));
    }

    #[test]
    fn registered_interest_adds_nothing() {
        let mut interest = Interest::default();
        let before = of((1u8, interest));
        interest.register();
        assert_eq!(of((1u8, interest)), before);
        assert!(interest.take() && !interest.is_registered());
    }

    #[test]
    fn words_are_fnv_as_traces_keep_them() {
        let f = Fingerprint::default().bytes(b"foobar");
        assert_eq!(f.finish(), 0x8594_4171_f739_67e8);
    }
}
