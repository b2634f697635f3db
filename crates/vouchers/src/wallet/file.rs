//! The wallet's file: encrypted under a key that a password gives.

use alloc::vec::Vec;
use core::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use betanet_machine::Rng;
use betanet_wire::cbor;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use zeroize::Zeroizing;

use super::Wallet;

/// Longest file of a wallet that is read, in bytes. A full wallet fits.
pub const FILE_MAX: usize = 1 << 24;
const MAGIC: &[u8; 8] = b"BN-WALL\x01";
/// Magic, cost, salt, nonce.
const HEAD: usize = 8 + 12 + 16 + 24;
const TAG: usize = 16;

/// Reason why bytes are not a wallet's file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Not a wallet's file of a known version, or too short or long.
    #[error("not a wallet's file of version 1")]
    Format,
    /// A cost beyond what is accepted: the file could hold the machine up.
    #[error("the cost of the password is out of range")]
    Cost,
    /// The password is wrong, or the file is damaged.
    #[error("the password is wrong, or the file is damaged")]
    Password,
    /// The content is not a wallet's.
    #[error("the content: {0}")]
    Body(cbor::Error),
    /// More vouchers or operations than a wallet holds.
    #[error("more than a wallet holds")]
    TooMuch,
    /// A voucher that is none.
    #[error("a voucher is damaged")]
    Voucher,
    /// An operation that is none.
    #[error("an operation is damaged")]
    Operation,
}

/// Cost of a guess at the password, for Argon2id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cost {
    /// Memory in KiB: 8 to 262 144.
    pub memory: u32,
    /// Passes: 1 to 16.
    pub passes: u32,
}

impl Default for Cost {
    /// 64 MiB and three passes (RFC 9106, second recommendation).
    fn default() -> Self {
        Self {
            memory: 65_536,
            passes: 3,
        }
    }
}

/// Key of a wallet's file, with the cost and salt that gave it; wiped on drop. Keep it while the wallet is open: every write takes a
/// fresh nonce.
#[derive(Clone)]
pub struct WalletKey {
    key: Zeroizing<[u8; 32]>,
    cost: Cost,
    salt: [u8; 16],
}

impl WalletKey {
    /// Derives a key, with a fresh salt. Takes as long as the cost says.
    ///
    /// # Errors
    ///
    /// [`FileError::Cost`].
    pub fn new(password: &[u8], cost: Cost, rng: &mut Rng) -> Result<Self, FileError> {
        Self::derive(password, cost, rng.array())
    }

    fn derive(password: &[u8], cost: Cost, salt: [u8; 16]) -> Result<Self, FileError> {
        if !(8..=262_144).contains(&cost.memory) || !(1..=16).contains(&cost.passes) {
            return Err(FileError::Cost);
        }
        let params = Params::new(cost.memory, cost.passes, 1, Some(32));
        let params = params.map_err(|_| FileError::Cost)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, &salt, key.as_mut_slice())
            .map_err(|_| FileError::Cost)?;
        Ok(Self { key, cost, salt })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.key).into())
    }
}

impl fmt::Debug for WalletKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WalletKey(…)")
    }
}

/// A wallet's file, to be written: first under another name, then synced, then renamed, then the folder synced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealed {
    bytes: Vec<u8>,
    revision: u64,
}

impl Sealed {
    /// The file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The wallet's revision that it has, for [`Wallet::stored`] once it is on disk.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }
}

impl Wallet {
    /// Encrypts the wallet.
    ///
    /// # Errors
    ///
    /// [`FileError::TooMuch`], which no wallet within its bounds gives.
    pub fn to_bytes(&self, key: &WalletKey, rng: &mut Rng) -> Result<Sealed, FileError> {
        let mut bytes = Vec::with_capacity(HEAD + (self.coins.len() << 8));
        bytes.extend_from_slice(MAGIC);
        for n in [key.cost.memory, key.cost.passes, 1] {
            bytes.extend_from_slice(&n.to_be_bytes());
        }
        bytes.extend_from_slice(&key.salt);
        let nonce: [u8; 24] = rng.array();
        bytes.extend_from_slice(&nonce);
        let mut body = self.encode();
        let tag = key
            .cipher()
            .encrypt_inout_detached((&nonce).into(), &bytes, body.as_mut_slice().into())
            .map_err(|_| FileError::TooMuch)?;
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&tag);
        let revision = self.revision;
        match bytes.len() > FILE_MAX {
            true => Err(FileError::TooMuch),
            false => Ok(Sealed { bytes, revision }),
        }
    }

    /// Whether bytes begin as a wallet's file does.
    #[must_use]
    pub fn is_file(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Opens a wallet's file. Gives the key as well, for the next write.
    ///
    /// # Errors
    ///
    /// Not such a file, or not this password.
    pub fn from_bytes(bytes: &[u8], password: &[u8]) -> Result<(Self, WalletKey), FileError> {
        if bytes.len() > FILE_MAX || bytes.len() < HEAD + TAG || !bytes.starts_with(MAGIC) {
            return Err(FileError::Format);
        }
        let (head, rest) = bytes.split_at(HEAD);
        let number = |at: usize| {
            let mut out = [0; 4];
            out.copy_from_slice(&head[at..at + 4]);
            u32::from_be_bytes(out)
        };
        let (cost, lanes) = (
            Cost {
                memory: number(8),
                passes: number(12),
            },
            number(16),
        );
        if lanes != 1 {
            return Err(FileError::Cost);
        }
        let (mut salt, mut nonce) = ([0; 16], [0; 24]);
        salt.copy_from_slice(&head[20..36]);
        nonce.copy_from_slice(&head[36..]);
        let key = WalletKey::derive(password, cost, salt)?;
        let (body, tag) = rest.split_at(rest.len() - TAG);
        let mut array = [0; TAG];
        array.copy_from_slice(tag);
        let mut body = Zeroizing::new(body.to_vec());
        key.cipher()
            .decrypt_inout_detached(
                (&nonce).into(),
                head,
                body.as_mut_slice().into(),
                &Tag::from(array),
            )
            .map_err(|_| FileError::Password)?;
        Ok((Self::decode(&body)?, key))
    }
}
