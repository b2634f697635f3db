//! The first bytes of a FORWARD stream: the name of its path, and at the path's end message 1 of the session in it.

use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Now, Time};

use crate::control::PathId;

/// From a FORWARD stream's opening to its path id, and to message 1 at the exit.
pub const FIRST_BYTES: Duration = Duration::from_secs(10);

/// A message 1 has none of the lengths that there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("message 1 has a length that no message 1 has")]
pub struct WrongLength;

/// Bytes of a stream that were read before it is known where they go. The reader stops as soon as there are enough.
#[derive(Debug)]
pub struct First {
    held: Vec<u8>,
    until: Time,
}

impl First {
    /// The stream was opened.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            held: Vec::new(),
            until: now.mono + FIRST_BYTES,
        }
    }

    /// When the stream is given up that has not said enough.
    #[must_use]
    pub const fn until(&self) -> Time {
        self.until
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Takes the name of the path off, once it is there.
    pub fn path(&mut self) -> Option<PathId> {
        let path = *self.held.first_chunk()?;
        self.held.drain(..path.len());
        Some(path)
    }

    /// The path ends here: message 1 has as long to come as the path's name had.
    pub fn ends_here(&mut self, now: Now) {
        self.until = now.mono + FIRST_BYTES;
    }

    /// Takes message 1 off, once it is there, which has one of these lengths.
    ///
    /// # Errors
    ///
    /// It has another length.
    pub fn message(&mut self, lengths: &[usize]) -> Result<Option<Vec<u8>>, WrongLength> {
        let Some(len) = self.held.first_chunk() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*len));
        if !lengths.contains(&len) {
            return Err(WrongLength);
        }
        if self.held.len() < 2 + len {
            return Ok(None);
        }
        self.held.drain(..2);
        let rest = self.held.split_off(len);
        Ok(Some(core::mem::replace(&mut self.held, rest)))
    }

    /// The bytes after those that were taken off.
    #[must_use]
    pub fn into_rest(self) -> Vec<u8> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_and_message_1_come_off_however_the_bytes_are_cut() {
        let now = |ms: u64| Now::new(Time::from_micros(ms * 1000), 0);
        for cut in 1..16 {
            let mut first = First::new(now(0));
            let bytes = [b"\x01\x02\x03\x04\x05\x06\x07\x08\x00\x03abcdef"];
            let mut chunks = bytes[0].chunks(cut);
            let path = loop {
                match first.path() {
                    Some(path) => break path,
                    None => first.push(chunks.next().unwrap()),
                }
            };
            assert_eq!(path, [1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!(first.until(), now(10_000).mono);
            first.ends_here(now(9_000));
            assert_eq!(first.until(), now(19_000).mono);
            let message = loop {
                match first.message(&[3, 5]).unwrap() {
                    Some(message) => break message,
                    None => first.push(chunks.next().unwrap()),
                }
            };
            assert_eq!(message, b"abc");
            chunks.for_each(|more| first.push(more));
            assert_eq!(first.into_rest(), b"def");
        }
        let mut first = First::new(now(0));
        first.push(&[0, 4, 1, 1, 1, 1]);
        assert_eq!(first.message(&[3, 5]), Err(WrongLength));
    }
}
