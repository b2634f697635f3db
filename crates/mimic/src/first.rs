//! The first request's frame as Chromium writes it: with a priority block, and `:authority` before `:scheme`.
//!
//! h2 writes neither. What stands in HPACK's dynamic table does not change by this: `:scheme` has an entry of the static table.

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Exclusive, on stream 0, weight 256.
const BLOCK: [u8; 5] = [0x80, 0, 0, 0, 255];
/// `:scheme: https` in HPACK's static table (RFC 7541, Appendix A).
const SCHEME: u8 = 0x87;
/// The name `:authority`, with a literal value that is indexed.
const AUTHORITY: u8 = 0x41;
/// Longest beginning that is kept: whoever sends more before its first request is left as it is.
const MOST: usize = 16 << 10;

/// What a client sends until its first request is whole.
#[derive(Debug, Default)]
pub(crate) struct First {
    kept: Vec<u8>,
    over: bool,
}

impl First {
    /// Whether everything passes unchanged from now on.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// Takes what is sent next; what leaves now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.kept.extend_from_slice(bytes);
        let at = match request(&self.kept) {
            Found::More if self.kept.len() < MOST => return Vec::new(),
            Found::More => None,
            Found::At(at) => Some(at),
        };
        self.over = true;
        let mut kept = std::mem::take(&mut self.kept);
        if let Some(at) = at {
            rewrite(&mut kept, at);
        }
        kept
    }
}

enum Found {
    /// It has not come yet.
    More,
    /// Its frame begins there, and is whole.
    At(usize),
}

fn length(header: &[u8; 9]) -> usize {
    u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize
}

fn request(bytes: &[u8]) -> Found {
    let mut at = PREFACE;
    while let Some((header, rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<9>) {
        let len = length(header);
        if rest.len() < len {
            break;
        }
        if header[3] == HEADERS {
            return Found::At(at);
        }
        at += 9 + len;
    }
    Found::More
}

/// Changes the frame at `at`, which is whole.
fn rewrite(bytes: &mut Vec<u8>, at: usize) {
    let Some((header, body)) = bytes[at..].split_first_chunk::<9>() else {
        return;
    };
    let len = length(header);
    if header[4] & (PADDED | PRIORITY) != 0 {
        return;
    }
    let Some(mut fields) = body.get(..len).map(<[u8]>::to_vec) else {
        return;
    };
    // `:method` is one byte, an entry of the static table; then `:scheme` and `:authority` change places.
    if let Some(&[SCHEME, AUTHORITY, value, ..]) = fields.get(1..)
        && fields[0] & 0x80 != 0
        && value & 0x7f < 0x7f
        && let Some(both) = fields.get_mut(1..4 + usize::from(value & 0x7f))
    {
        both.rotate_left(1);
    }
    let mut frame = header.to_vec();
    // Below 2^24, as h2 bounds its frames far lower.
    let longer = u32::try_from(len + BLOCK.len()).unwrap_or(0).to_be_bytes();
    frame[..3].copy_from_slice(&longer[1..]);
    frame[4] |= PRIORITY;
    frame.extend_from_slice(&BLOCK);
    frame.extend_from_slice(&fields);
    bytes.splice(at..at + 9 + len, frame);
}

#[cfg(test)]
mod tests {
    use betanet_htx::template::Flight;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, body: &[u8]) -> Vec<u8> {
        let len = u8::try_from(body.len()).unwrap_or(0);
        [&[0, 0, len, kind, flags, 0, 0, 0, stream][..], body].concat()
    }

    /// As h2 begins: `:method`, `:scheme`, `:authority`, `:path`.
    fn sent(host: &[u8], path: &[u8]) -> Vec<u8> {
        let len = u8::try_from(host.len()).unwrap_or(0);
        let fields = [&[0x83, SCHEME, AUTHORITY, len][..], host, path].concat();
        [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(4, 0, 0, &[0, 1, 0, 1, 0, 0]),
            &frame(8, 0, 0, &[0, 1, 0, 0]),
            &frame(HEADERS, 4, 1, &fields),
            &frame(0, 0, 1, b"body"),
        ]
        .concat()
    }

    #[test]
    fn the_first_request_is_written_as_chromium_writes_it_whatever_pieces_it_comes_in() {
        let bytes = sent(b"localhost", &[0x84]);
        let before = Flight::from_stream(&bytes);
        assert!(matches!(&before, Ok(Some(f)) if f.pseudo == "msap" && f.priority.is_none()));
        for size in [1, 7, 24, 60, bytes.len()] {
            let (mut first, mut out) = (First::default(), Vec::new());
            for part in bytes.chunks(size) {
                if first.is_over() {
                    out.extend_from_slice(part);
                } else {
                    out.extend(first.take(part));
                }
            }
            assert!(first.is_over());
            let flight = Flight::from_stream(&out);
            let Ok(Some(flight)) = flight else {
                unreachable!("{flight:?}")
            };
            assert_eq!(flight.pseudo, "masp");
            assert_eq!(flight.priority, Some((true, 0, 255)));
            assert_eq!(out.len(), bytes.len() + BLOCK.len());
            assert!(out.ends_with(&frame(0, 0, 1, b"body")));
        }
    }

    #[test]
    fn what_is_not_as_expected_passes_as_it_is() {
        // An authority whose length takes more than a byte keeps its place.
        let long = sent(&[b'a'; 127], &[0x84]);
        let out = First::default().take(&long);
        assert_eq!(out.len(), long.len() + BLOCK.len());
        // Nothing is kept for ever.
        let mut first = First::default();
        assert!(first.take(&long[..60]).is_empty());
        let much = vec![0; MOST];
        let endless = [&long[..24], &[0xff, 0xff, 0xff, 9, 0, 0, 0, 0, 0], &much].concat();
        assert_eq!(First::default().take(&endless), endless);
        // One that has a block already.
        let mut own = sent(b"localhost", &[0x84]);
        let at = own.windows(4).position(|w| w == [HEADERS, 4, 0, 0]);
        own[at.unwrap_or(0) + 1] |= PRIORITY;
        assert_eq!(First::default().take(&own), own);
    }
}
