//! HCTR2 with AES-256 and an empty tweak: a cipher of whole messages, in which each output bit depends on each input bit.
//!
//! **Promises.** The same bytes on every machine. No branch and no index depends on a key or a message, where the processor has
//! instructions for AES or not. No allocation; keys are wiped on drop. Four blocks go through one instruction where the
//! processor has AVX-512, VAES and VPCLMULQDQ; this is found out at run time.
//!
//! **Below:** nothing of this workspace. **Above:** `mix`. **Source:** Crowley, Huckleberry and Biggers, "Length-preserving
//! encryption with HCTR2", 2021; POLYVAL from RFC 8452, section 3.
//!
//! ```
//! use betanet_hctr2::Hctr2;
//!
//! let cipher = Hctr2::new(&[7; 32]); // 32 random bytes
//! let mut message = *b"at least sixteen bytes";
//! cipher.encrypt(&mut message);
//! assert_ne!(&message, b"at least sixteen bytes");
//! cipher.decrypt(&mut message);
//! assert_eq!(&message, b"at least sixteen bytes");
//! ```
#![no_std]

mod portable;
#[cfg(target_arch = "x86_64")]
mod wide;

/// A wide-block cipher: every bit of the output depends on every bit of the input.
pub struct Hctr2(Inner);

#[allow(
    clippy::large_enum_variant,
    reason = "which one it is depends on the processor, not on the key"
)]
enum Inner {
    #[cfg(target_arch = "x86_64")]
    Wide(wide::Cipher),
    Portable(portable::Cipher),
}

impl core::fmt::Debug for Hctr2 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Hctr2(…)")
    }
}

impl Hctr2 {
    /// Creates a cipher with a key.
    #[must_use]
    #[inline]
    pub fn new(key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = wide::Cipher::new(key) {
            return Self(Inner::Wide(wide));
        }
        Self::portable(key)
    }

    /// Creates a cipher that uses no vectors of 512 bits, for tests and measurements. Its output is the same.
    #[must_use]
    pub fn portable(key: &[u8; 32]) -> Self {
        Self(Inner::Portable(portable::Cipher::new(key)))
    }

    /// Encrypts a message of 16 bytes or more in place; a shorter one stays unchanged.
    #[inline]
    pub fn encrypt(&self, message: &mut [u8]) {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Inner::Wide(cipher) => cipher.encrypt(message),
            Inner::Portable(cipher) => cipher.encrypt(message),
        }
    }

    /// The inverse of [`Self::encrypt`].
    #[inline]
    pub fn decrypt(&self, message: &mut [u8]) {
        match &self.0 {
            #[cfg(target_arch = "x86_64")]
            Inner::Wide(cipher) => cipher.decrypt(message),
            Inner::Portable(cipher) => cipher.decrypt(message),
        }
    }
}
