//! HCTR2 over the crates `aes` and `polyval`, which choose their instructions themselves.

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash as _;

const BLOCK: usize = 16;
/// Key-stream blocks computed together.
const STRIDE: usize = 32;

/// A key, and what is computed from it.
pub(crate) struct Cipher {
    aes: Aes256,
    /// State of the hash before its first block.
    hash: Polyval,
    l: u128,
}

impl Cipher {
    /// Creates a cipher with a key.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let aes = Aes256::new(key.into());
        let encrypted = |n: u128| {
            let mut block = n.to_le_bytes().into();
            aes.encrypt_block(&mut block);
            <[u8; BLOCK]>::from(block)
        };
        let hash = Polyval::new(&encrypted(0).into());
        let l = u128::from_le_bytes(encrypted(1));
        Self { aes, hash, l }
    }

    /// Hash of an empty tweak and a message's rest.
    fn hash(&self, rest: &[u8]) -> u128 {
        let mut hash = self.hash.clone();
        let (blocks, last) = rest.as_chunks::<BLOCK>();
        let kind: u128 = if last.is_empty() { 2 } else { 3 };
        hash.update(&[kind.to_le_bytes().into()]);
        hash.update(polyval::Block::cast_slice_from_core(blocks));
        if !last.is_empty() {
            let mut padded = [0; BLOCK];
            padded[..last.len()].copy_from_slice(last);
            padded[last.len()] = 1;
            hash.update(&[padded.into()]);
        }
        u128::from_le_bytes(hash.finalize().into())
    }

    /// XCTR: the key stream from a counter that starts at 1, combined with `s`.
    fn stream(&self, s: u128, rest: &mut [u8]) {
        let mut counter = 0_u128;
        for part in rest.chunks_mut(STRIDE * BLOCK) {
            let mut stream = [aes::Block::default(); STRIDE];
            let blocks = part.len().div_ceil(BLOCK);
            for block in &mut stream[..blocks] {
                counter += 1;
                *block = (s ^ counter).to_le_bytes().into();
            }
            self.aes.encrypt_blocks(&mut stream[..blocks]);
            let (whole, last) = part.as_chunks_mut::<BLOCK>();
            for (bytes, key) in whole.iter_mut().zip(&stream) {
                let word = u128::from_le_bytes(*bytes) ^ u128::from_le_bytes((*key).into());
                *bytes = word.to_le_bytes();
            }
            for (byte, key) in last.iter_mut().zip(&stream[blocks - 1]) {
                *byte ^= key;
            }
        }
    }

    /// Encrypts a message of 16 bytes or more in place; a shorter one stays unchanged.
    pub(crate) fn encrypt(&self, message: &mut [u8]) {
        let Some((first, rest)) = message.split_first_chunk_mut::<BLOCK>() else {
            return;
        };
        let mm = u128::from_le_bytes(*first) ^ self.hash(rest);
        let mut block = mm.to_le_bytes().into();
        self.aes.encrypt_block(&mut block);
        let uu = u128::from_le_bytes(block.into());
        self.stream(mm ^ uu ^ self.l, rest);
        *first = (uu ^ self.hash(rest)).to_le_bytes();
    }

    /// The inverse of [`Self::encrypt`].
    pub(crate) fn decrypt(&self, message: &mut [u8]) {
        let Some((first, rest)) = message.split_first_chunk_mut::<BLOCK>() else {
            return;
        };
        let uu = u128::from_le_bytes(*first) ^ self.hash(rest);
        let mut block = uu.to_le_bytes().into();
        self.aes.decrypt_block(&mut block);
        let mm = u128::from_le_bytes(block.into());
        self.stream(mm ^ uu ^ self.l, rest);
        *first = (mm ^ self.hash(rest)).to_le_bytes();
    }
}
