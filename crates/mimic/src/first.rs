//! The first request's frame as Chromium writes it: with a priority block, and `:authority` before `:scheme`.
//!
//! h2 writes neither. HPACK's dynamic table stays the same: `:scheme` has an entry in the static table.

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
/// The frame that acknowledges SETTINGS.
const ACKNOWLEDGED: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
/// Maximum length of a kept beginning: a longer one passes unchanged.
const MOST: usize = 16 << 10;

/// Output of a client until its first request is whole.
#[derive(Debug, Default)]
pub(crate) struct First {
    kept: Vec<u8>,
    over: bool,
    /// Minimum length of the request's frame, reached by padding.
    frame: usize,
}

impl First {
    /// Whether all further output passes unchanged.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// Pads the request's frame to this many bytes.
    pub(crate) const fn pad_to(&mut self, frame: usize) {
        self.frame = frame;
    }

    /// Takes the next output and returns the bytes to send now, in pieces that are records of their own: before the request,
    /// the request, and after it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.kept.extend_from_slice(bytes);
        let at = match request(&self.kept) {
            Found::More if self.kept.len() < MOST => return Vec::new(),
            Found::More => None,
            Found::At(at) => Some(at),
        };
        self.over = true;
        let mut before = std::mem::take(&mut self.kept);
        let mut pieces = Vec::new();
        if let Some(at) = at {
            let mut request = before.split_off(at);
            // A browser sends its request before it has read the server's SETTINGS.
            let acknowledged = take_acknowledgement(&mut before);
            let behind = request.len() - length_at(&request) + acknowledged.len();
            let len = rewrite(&mut request, self.frame.saturating_sub(behind));
            let behind = request.split_off(len);
            if self.frame > 0 {
                // With a length to reach, all is one record; the rest may be a frame's beginning.
                pieces.extend([before, [request, acknowledged, behind].concat()]);
            } else {
                pieces.extend([before, request, acknowledged, behind]);
            }
        } else {
            pieces.push(before);
        }
        pieces.retain(|p| !p.is_empty());
        pieces
    }
}

enum Found {
    /// The request has not come yet.
    More,
    /// The offset at which the complete request frame begins.
    At(usize),
}

fn length(header: &[u8; 9]) -> usize {
    u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize
}

/// Removes an acknowledgement of SETTINGS from the bytes before the first request.
fn take_acknowledgement(before: &mut Vec<u8>) -> Vec<u8> {
    let mut at = PREFACE;
    while let Some(header) = before.get(at..).and_then(<[u8]>::first_chunk::<9>) {
        if *header == ACKNOWLEDGED {
            return before.drain(at..at + 9).collect();
        }
        at += 9 + length(header);
    }
    Vec::new()
}

/// Length of the frame at the start of `bytes`, or their length if that is greater.
fn length_at(bytes: &[u8]) -> usize {
    let header = bytes.first_chunk::<9>();
    header.map_or(0, |h| 9 + length(h)).min(bytes.len())
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

/// Rewrites the complete frame at the start of `bytes`, and pads it to `least` bytes as far as a one-byte pad length allows.
/// Returns its length.
fn rewrite(bytes: &mut Vec<u8>, least: usize) -> usize {
    let Some((header, body)) = bytes.split_first_chunk::<9>() else {
        return bytes.len();
    };
    let len = length(header);
    let whole = 9 + len;
    if header[4] & (PADDED | PRIORITY) != 0 {
        return whole;
    }
    let Some(mut fields) = body.get(..len).map(<[u8]>::to_vec) else {
        return bytes.len();
    };
    // `:method` is one byte, an entry of the static table; then `:scheme` and `:authority` are swapped.
    if let Some(&[SCHEME, AUTHORITY, value, ..]) = fields.get(1..)
        && fields[0] & 0x80 != 0
        && value & 0x7f < 0x7f
        && let Some(both) = fields.get_mut(1..4 + usize::from(value & 0x7f))
    {
        both.rotate_left(1);
    }
    let mut head = header.to_vec();
    head[4] |= PRIORITY;
    let unpadded = whole + BLOCK.len();
    let padding = least.checked_sub(unpadded + 1);
    let padding = padding.map(|n| u8::try_from(n).unwrap_or(u8::MAX));
    if let Some(n) = padding {
        head[4] |= PADDED;
        head.push(n);
    }
    head.extend_from_slice(&BLOCK);
    head.extend_from_slice(&fields);
    head.resize(head.len() + usize::from(padding.unwrap_or(0)), 0);
    // Below 2^24, as h2 bounds its frames far lower.
    let longer = u32::try_from(head.len() - 9).unwrap_or(0).to_be_bytes();
    head[..3].copy_from_slice(&longer[1..]);
    let frame = head.len();
    bytes.splice(..whole, head);
    frame
}

#[cfg(test)]
mod tests {
    use betanet_traffic::template::Flight;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, body: &[u8]) -> Vec<u8> {
        let len = u8::try_from(body.len()).unwrap_or(0);
        [&[0, 0, len, kind, flags, 0, 0, 0, stream][..], body].concat()
    }

    /// First frame as h2 writes it: `:method`, `:scheme`, `:authority`, `:path`.
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
                    out.extend(first.take(part).concat());
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
    fn an_acknowledgement_follows_the_request() {
        let bytes = sent(b"localhost", &[0x84]);
        let at = 24 + 9 + 6 + 9 + 4;
        let early = [&bytes[..at], &ACKNOWLEDGED, &bytes[at..]].concat();
        let pieces = First::default().take(&early);
        assert_eq!(pieces[0], bytes[..at]);
        assert_eq!(pieces[2], ACKNOWLEDGED);
        assert!(pieces[3].ends_with(b"body"));
        assert_eq!(pieces.concat().len(), early.len() + BLOCK.len());
    }

    #[test]
    fn the_requests_record_is_as_long_as_wanted() {
        let bytes = sent(b"localhost", &[0x84]);
        let mut first = First::default();
        first.pad_to(200);
        let pieces = first.take(&bytes);
        // The following bytes belong to the same record.
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0], bytes[..pieces[0].len()]);
        assert_eq!(pieces[1].len(), 200);
        assert!(pieces[1].ends_with(&frame(0, 0, 1, b"body")));
        let flight = Flight::from_stream(&pieces.concat());
        assert!(
            matches!(&flight, Ok(Some(f)) if f.pseudo == "masp"),
            "{flight:?}"
        );
        // A longer frame keeps its length.
        let mut first = First::default();
        first.pad_to(20);
        assert_eq!(first.take(&bytes).concat().len(), bytes.len() + BLOCK.len());
    }

    #[test]
    fn what_is_not_as_expected_passes_as_it_is() {
        // An authority whose length takes more than a byte keeps its place.
        let long = sent(&[b'a'; 127], &[0x84]);
        let out = First::default().take(&long).concat();
        assert_eq!(out.len(), long.len() + BLOCK.len());
        // Nothing is kept for ever.
        let mut first = First::default();
        assert!(first.take(&long[..60]).is_empty());
        let much = vec![0; MOST];
        let endless = [&long[..24], &[0xff, 0xff, 0xff, 9, 0, 0, 0, 0, 0], &much].concat();
        assert_eq!(First::default().take(&endless).concat(), endless);
        // A frame that already has a priority block.
        let mut own = sent(b"localhost", &[0x84]);
        let at = own.windows(4).position(|w| w == [HEADERS, 4, 0, 0]);
        own[at.unwrap_or(0) + 1] |= PRIORITY;
        assert_eq!(First::default().take(&own).concat(), own);
    }
}
