//! The chunked coding of a request body, with the imitated server's rules.

use bytes::{Buf as _, Bytes};

/// The chunked body is malformed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadChunk;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    #[default]
    Start,
    Size,
    Extension,
    ExtensionAlmostDone,
    Data,
    AfterData,
    AfterDataAlmostDone,
    LastExtension,
    LastExtensionAlmostDone,
    Trailer,
    TrailerAlmostDone,
    TrailerField,
    TrailerFieldAlmostDone,
    Done,
}

/// Decoder of a chunked body.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    at: At,
    size: u64,
}

impl Chunked {
    /// Whether the last chunk and its trailers have arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Takes the next bytes of the decoded body from `bytes`; the rest after the end does not belong to the body.
    pub(crate) fn take(&mut self, bytes: &mut Bytes) -> Result<Option<Bytes>, BadChunk> {
        while !self.is_done() && !bytes.is_empty() {
            if self.at == At::Data && self.size > 0 {
                let n = usize::try_from(self.size)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.size -= n as u64;
                return Ok(Some(bytes.split_to(n)));
            }
            if self.at == At::Data {
                self.at = At::AfterData;
            }
            self.feed(bytes.get_u8())?;
        }
        Ok(None)
    }

    fn feed(&mut self, b: u8) -> Result<(), BadChunk> {
        let digit = char::from(b).to_digit(16).map(u64::from);
        self.at = match (self.at, b) {
            (At::Start, _) => {
                self.size = digit.ok_or(BadChunk)?;
                At::Size
            }
            (At::Size, _) if self.size > i64::MAX as u64 / 16 => return Err(BadChunk),
            (At::Size, _) if digit.is_some() => {
                self.size = self.size * 16 + digit.unwrap_or_default();
                At::Size
            }
            (At::Size, b'\r') if self.size == 0 => At::LastExtensionAlmostDone,
            (At::Size, b'\n') if self.size == 0 => At::Trailer,
            (At::Size, b';' | b' ' | b'\t') if self.size == 0 => At::LastExtension,
            (At::Size, b'\r') | (At::Extension, b'\r') => At::ExtensionAlmostDone,
            (At::Size | At::Extension | At::ExtensionAlmostDone, b'\n') => At::Data,
            (At::Size, b';' | b' ' | b'\t') | (At::Extension, _) => At::Extension,
            (At::AfterData, b'\r') => At::AfterDataAlmostDone,
            (At::AfterData | At::AfterDataAlmostDone, b'\n') => At::Start,
            (At::LastExtension, b'\r') => At::LastExtensionAlmostDone,
            (At::LastExtension | At::LastExtensionAlmostDone, b'\n') => At::Trailer,
            (At::LastExtension, _) => At::LastExtension,
            (At::Trailer, b'\r') => At::TrailerAlmostDone,
            (At::Trailer | At::TrailerAlmostDone, b'\n') => At::Done,
            (At::TrailerField, b'\r') => At::TrailerFieldAlmostDone,
            (At::TrailerField | At::TrailerFieldAlmostDone, b'\n') => At::Trailer,
            (At::Trailer | At::TrailerField, _) => At::TrailerField,
            _ => return Err(BadChunk),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The decoded body, the number of bytes left after it, and whether it ended.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), BadChunk> {
        let mut chunked = Chunked::default();
        let (mut body, mut left) = (Vec::new(), 0);
        for piece in pieces {
            let mut bytes = Bytes::copy_from_slice(piece);
            while let Some(part) = chunked.take(&mut bytes)? {
                body.extend_from_slice(&part);
            }
            left = bytes.len();
        }
        Ok((body, left, chunked.is_done()))
    }

    #[test]
    fn bodies_are_taken_as_nginx_takes_them() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
            (b"3\nabc\n0\n\n", b"abc"),
            (b"3;x=y\r\nabc\r\n00 \t\r\na: b\r\n\r\n", b"abc"),
            (b"A \r\n0123456789\r\n0;\r\n\r\n", b"0123456789"),
            (b"0\r\n\r\n", b""),
            (b"1\r\na\r\n1\r\nb\r\n0\r\nx\n\n", b"ab"),
        ];
        for (text, want) in cases {
            assert_eq!(read(&[text]), Ok((want.to_vec(), 0, true)));
            let single: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(read(&single), Ok((want.to_vec(), 0, true)));
        }
        assert_eq!(read(&[b"0\r\n\r\nGET /"]), Ok((vec![], 5, true)));
        for text in [
            &b"x\r\n"[..],
            b"\r\n",
            b"3\r\nabcd",
            b"3\rx",
            b"1\r\na\rx",
            b"0\rx",
            b"fffffffffffffffff\r\n",
            b"-1\r\n",
            b" 3\r\n",
        ] {
            assert_eq!(read(&[text]), Err(BadChunk), "{text:?}");
        }
        assert_eq!(read(&[b"3\r\nab"]), Ok((b"ab".to_vec(), 0, false)));
    }

    proptest! {
        #[test]
        fn no_bytes_hurt(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = read(&pieces);
        }

        #[test]
        fn what_is_sent_in_chunks_comes_back(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6), cut in 1usize..7) {
            let mut text = Vec::new();
            for part in &parts {
                text.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                text.extend_from_slice(part);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let pieces: Vec<&[u8]> = text.chunks(cut).collect();
            prop_assert_eq!(read(&pieces), Ok((parts.concat(), 0, true)));
        }
    }
}
