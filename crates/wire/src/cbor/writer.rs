use alloc::vec::Vec;

/// Appends DET-CBOR with shortest heads.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Creates a writer with room for `n` bytes.
    #[must_use]
    pub fn with_capacity(n: usize) -> Self {
        Self {
            out: Vec::with_capacity(n),
        }
    }

    /// The written bytes.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.out
    }

    #[inline]
    fn head(&mut self, major: u8, n: u64) {
        let m = major << 5;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "each arm's range is the width that it casts to"
        )]
        match n {
            0..=23 => self.out.push(m | n as u8),
            24..=0xff => self.out.extend_from_slice(&[m | 24, n as u8]),
            0x100..=0xffff => {
                let [a, b] = (n as u16).to_be_bytes();
                self.out.extend_from_slice(&[m | 25, a, b]);
            }
            0x1_0000..=0xffff_ffff => {
                let [a, b, c, d] = (n as u32).to_be_bytes();
                self.out.extend_from_slice(&[m | 26, a, b, c, d]);
            }
            _ => {
                let [a, b, c, d, e, f, g, h] = n.to_be_bytes();
                self.out
                    .extend_from_slice(&[m | 27, a, b, c, d, e, f, g, h]);
            }
        }
    }

    /// Appends an unsigned number.
    #[inline]
    pub fn unsigned(&mut self, n: u64) {
        self.head(0, n);
    }

    /// Appends the negative number `-1 - n`.
    pub fn negative(&mut self, n: u64) {
        self.head(1, n);
    }

    /// Appends a byte string.
    #[inline]
    pub fn bytes(&mut self, b: &[u8]) {
        self.head(2, b.len() as u64);
        self.out.extend_from_slice(b);
    }

    /// Appends text.
    #[inline]
    pub fn text(&mut self, t: &str) {
        self.head(3, t.len() as u64);
        self.out.extend_from_slice(t.as_bytes());
    }

    /// Appends the head of an array; `n` items must follow.
    #[inline]
    pub fn array(&mut self, n: usize) {
        self.head(4, n as u64);
    }

    /// Appends the head of a map; `n` entries must follow, with ascending keys.
    #[inline]
    pub fn map(&mut self, n: usize) {
        self.head(5, n as u64);
    }

    /// Appends `true` or `false`.
    pub fn boolean(&mut self, b: bool) {
        self.out.push(0xf4 + u8::from(b));
    }

    /// Appends `null`.
    pub fn null(&mut self) {
        self.out.push(0xf6);
    }

    /// Appends bytes that are already encoded.
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) {
        self.out.extend_from_slice(encoded);
    }
}
