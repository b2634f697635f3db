//! 1.1's frames: `length u24 | type u8 | stream id varint, on STREAM and WINDOW_UPDATE | ciphertext | tag 16`. The length is the
//! ciphertext's without its tag, and nothing of the header is authenticated.

use alloc::vec::Vec;

/// Length of the AEAD tag.
pub const TAG: usize = 16;
/// Maximum length of a ciphertext without its tag: a STREAM frame cannot exceed a whole window.
pub const CIPHERTEXT_MAX: usize = 65_535;
/// Maximum length of the header before a ciphertext.
pub const HEAD_MAX: usize = 4 + 8;

/// Type and stream of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Head {
    /// Data of a stream.
    Stream(u64),
    /// A ping; the answer repeats its content.
    Ping,
    /// The end of the connection.
    Close,
    /// The sender's next frame uses the next key.
    KeyUpdate,
    /// Additional credit for a stream, as a u32.
    WindowUpdate(u64),
}

/// Why bytes do not begin a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The length exceeds [`CIPHERTEXT_MAX`].
    #[error("a ciphertext of {0} bytes; at most {CIPHERTEXT_MAX} are allowed")]
    Length(usize),
    /// The type is unknown.
    #[error("unknown frame type {0:#04x}")]
    Type(u8),
}

/// A frame's header, and the offsets of its ciphertext and its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Framed {
    /// Type and stream of the frame.
    pub head: Head,
    /// Offset of the ciphertext.
    pub at: usize,
    /// Length of the whole frame.
    pub end: usize,
}

impl Head {
    const fn number(self) -> u8 {
        match self {
            Self::Stream(_) => 0,
            Self::Ping => 1,
            Self::Close => 2,
            Self::KeyUpdate => 3,
            Self::WindowUpdate(_) => 4,
        }
    }

    /// Writes the header of a frame with `ciphertext` bytes of ciphertext, without the tag.
    pub fn write(self, ciphertext: usize, out: &mut Vec<u8>) {
        let len = u32::try_from(ciphertext).unwrap_or(u32::MAX);
        let [_, a, b, c] = len.to_be_bytes();
        out.extend_from_slice(&[a, b, c, self.number()]);
        if let Self::Stream(id) | Self::WindowUpdate(id) = self {
            put_varint(out, id);
        }
    }
}

/// Parses the header of the frame that begins here; `None` while it is incomplete.
///
/// # Errors
///
/// [`FrameError`], before any further byte of the frame is awaited.
pub fn read(buf: &[u8]) -> Result<Option<Framed>, FrameError> {
    let Some(&[a, b, c]) = buf.first_chunk() else {
        return Ok(None);
    };
    let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if len > CIPHERTEXT_MAX {
        return Err(FrameError::Length(len));
    }
    let Some(&number) = buf.get(3) else {
        return Ok(None);
    };
    let (head, at) = match number {
        0 | 4 => {
            let Some((id, n)) = varint(&buf[4..]) else {
                return Ok(None);
            };
            let head = if number == 0 {
                Head::Stream(id)
            } else {
                Head::WindowUpdate(id)
            };
            (head, 4 + n)
        }
        1 => (Head::Ping, 4),
        2 => (Head::Close, 4),
        3 => (Head::KeyUpdate, 4),
        other => return Err(FrameError::Type(other)),
    };
    let end = at + len + TAG;
    Ok(Some(Framed { head, at, end }))
}

/// Parses a variable-length integer (RFC 9000 §16).
fn varint(buf: &[u8]) -> Option<(u64, usize)> {
    let first = *buf.first()?;
    let len = 1_usize << (first >> 6);
    let rest = buf.get(1..len)?;
    let value = rest
        .iter()
        .fold(u64::from(first & 0x3f), |n, b| n << 8 | u64::from(*b));
    Some((value, len))
}

fn put_varint(out: &mut Vec<u8>, n: u64) {
    let bytes = n.to_be_bytes();
    let (len, mark) = match n {
        0..=0x3f => (1, 0),
        0x40..=0x3fff => (2, 0x40),
        0x4000..=0x3fff_ffff => (4, 0x80),
        _ => (8, 0xc0),
    };
    let at = out.len();
    out.extend_from_slice(&bytes[8 - len..]);
    out[at] |= mark;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_9000s_examples_of_numbers() {
        for (n, bytes) in [
            (
                151_288_809_941_952_652,
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
            ),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (15_293, &[0x7b, 0xbd]),
            (37, &[0x25]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, n);
            assert_eq!(out, bytes);
            assert_eq!(varint(bytes), Some((n, bytes.len())));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(
            varint(&[0x40, 0x25]),
            Some((37, 2)),
            "a longer form is read too"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(kind in 0_u8..5, id in 0_u64..1 << 62, len in 0..=CIPHERTEXT_MAX, more in 0_usize..40) {
            let head = match kind {
                0 => Head::Stream(id),
                1 => Head::Ping,
                2 => Head::Close,
                3 => Head::KeyUpdate,
                _ => Head::WindowUpdate(id),
            };
            let mut out = Vec::new();
            head.write(len, &mut out);
            let at = out.len();
            for cut in 0..at {
                prop_assert_eq!(read(&out[..cut]), Ok(None));
            }
            out.resize(at + more, 0);
            prop_assert_eq!(read(&out), Ok(Some(Framed { head, at, end: at + len + TAG })));
        }
    }

    #[test]
    fn a_length_is_bounded_before_anything_else() {
        assert_eq!(read(&[1, 0, 0]), Err(FrameError::Length(65_536)));
        assert_eq!(read(&[0, 0, 1, 5]), Err(FrameError::Type(5)));
    }
}
