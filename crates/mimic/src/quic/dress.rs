//! A client's first datagrams, cut and padded as Chromium does it ("chaos protection"): the hello in pieces out of order, with PINGs
//! and PADDING between them, in datagrams of 1 250 bytes.

use betanet_htx::template::{InitialKeys, Opened};

use super::{INITIAL, draw, varint};

const PING: u8 = 1;
const CRYPTO: u64 = 6;
/// Pieces that the hello's part in one packet is cut into, at most.
const PIECES: usize = 9;
/// Bytes that a piece may add: type, offset, length.
const PIECE_HEAD: usize = 1 + 4 + 2;
/// PINGs of one packet, at most.
const PINGS: usize = 8;
/// Bytes of a seal.
const TAG: usize = 16;

/// Changes what looks different in a client's Initial packets. Their keys are no secret.
pub(super) struct Dress(Option<InitialKeys>);

/// Numbers that are drawn.
struct Dice(Vec<u8>);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        let (a, b) = (self.0.pop().unwrap_or(0), self.0.pop().unwrap_or(0));
        usize::from(u16::from_be_bytes([a, b])) % n.max(1)
    }
}

/// A packet's frames, by what becomes of them.
struct Frames<'a> {
    crypto: Vec<(u64, &'a [u8])>,
    /// Whatever else there is, whole.
    others: Vec<&'a [u8]>,
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (now, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    let start = u64::from(first & 0x3f);
    Some(now[1..].iter().fold(start, |n, b| n << 8 | u64::from(*b)))
}

impl<'a> Frames<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut frames = Self {
            crypto: Vec::new(),
            others: Vec::new(),
        };
        while let Some(kind) = bytes.first() {
            let whole = bytes;
            match u64::from(*kind) {
                0 | 1 => bytes = &bytes[1..],
                CRYPTO => {
                    bytes = &bytes[1..];
                    let offset = number(&mut bytes)?;
                    let len = usize::try_from(number(&mut bytes)?).ok()?;
                    let (data, rest) = bytes.split_at_checked(len)?;
                    frames.crypto.push((offset, data));
                    bytes = rest;
                }
                2 => {
                    bytes = &bytes[1..];
                    let (_, _, ranges, _) = (
                        number(&mut bytes)?,
                        number(&mut bytes)?,
                        number(&mut bytes)?,
                        number(&mut bytes)?,
                    );
                    for _ in 0..ranges * 2 {
                        number(&mut bytes)?;
                    }
                    frames.others.push(&whole[..whole.len() - bytes.len()]);
                }
                _ => return None,
            }
        }
        Some(frames)
    }
}

impl Dress {
    pub(super) fn new(dcid: &[u8]) -> Self {
        Self(InitialKeys::new(dcid))
    }

    /// The datagram as it leaves; one without Initial packets leaves as it is.
    pub(super) fn put_on(&self, datagram: &mut Vec<u8>) {
        let Some(keys) = &self.0 else {
            return;
        };
        match keys.open(datagram) {
            Ok(Some(opened)) if opened.rest.iter().all(|b| *b == 0) => {
                if let Some(dressed) = dressed(keys, &opened) {
                    *datagram = dressed;
                }
            }
            // Behind it stand packets of other keys: only its length is brought to what a browser's is.
            Ok(Some(_)) => datagram.resize(datagram.len().max(INITIAL), 0),
            _ => {}
        }
    }
}

fn dressed(keys: &InitialKeys, opened: &Opened) -> Option<Vec<u8>> {
    let frames = Frames::read(&opened.frames)?;
    // Header, length, number and seal stand around the frames.
    let room = INITIAL.checked_sub(opened.head.len() + 2 + opened.number.len() + TAG)?;
    let mut dice = Dice(draw::<512>().ok()?.to_vec());
    let least: usize = frames.others.iter().map(|f| f.len()).sum();
    let data: usize = frames
        .crypto
        .iter()
        .map(|(_, d)| PIECE_HEAD + d.len())
        .sum();
    let mut spare = room.checked_sub(least + data)?;
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for (offset, data) in &frames.crypto {
        let pieces = (2 + dice.below(PIECES - 1)).min(1 + spare / (2 * PIECE_HEAD));
        let mut cuts: Vec<usize> = (1..pieces).map(|_| dice.below(data.len())).collect();
        cuts.extend([0, data.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        spare -= PIECE_HEAD * (cuts.len().saturating_sub(2));
        for pair in cuts.windows(2) {
            let mut part = Vec::new();
            varint(&mut part, CRYPTO);
            varint(&mut part, offset + pair[0] as u64);
            varint(&mut part, (pair[1] - pair[0]) as u64);
            part.extend_from_slice(&data[pair[0]..pair[1]]);
            parts.push(part);
        }
    }
    if !frames.crypto.is_empty() {
        let pings = dice.below(PINGS + 1).min(spare);
        parts.extend((0..pings).map(|_| vec![PING]));
    }
    for i in (1..parts.len()).rev() {
        let j = dice.below(i + 1);
        parts.swap(i, j);
    }
    // What was not spent of the room is PADDING, a share of it before each part, and the rest behind them.
    let used: usize = parts.iter().map(Vec::len).sum();
    let mut padding = room.checked_sub(least + used)?;
    let mut out = frames.others.concat();
    for part in &parts {
        let some = if dice.below(2) == 0 {
            dice.below(1 + padding.min(2 * padding / parts.len().max(1)))
        } else {
            0
        };
        padding -= some;
        out.resize(out.len() + some, 0);
        out.extend_from_slice(part);
    }
    out.resize(out.len() + padding, 0);
    keys.seal(&opened.head, &opened.number, &out).ok()
}

#[cfg(test)]
mod tests {
    use betanet_htx::template::Initials;

    use super::*;

    /// A packet with these frames, in a datagram of 1 200 bytes.
    fn datagram(dcid: &[u8; 8], frames: &[u8]) -> Vec<u8> {
        let keys = InitialKeys::new(dcid).unwrap();
        let head = [&[0xc0, 0, 0, 0, 1, 8][..], dcid, &[0, 0]].concat();
        let mut datagram = keys.seal(&head, &[0], frames).unwrap();
        datagram.resize(1200, 0);
        datagram
    }

    fn crypto(offset: u64, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, CRYPTO);
        varint(&mut out, offset);
        varint(&mut out, data.len() as u64);
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn the_same_hello_is_read_from_what_looks_another_way_each_time() {
        let captured: serde_json::Value =
            serde_json::from_str(betanet_carrier::CHROMIUM_156).unwrap();
        let hello = betanet_wire::text::unhex(captured["hellos"][0].as_str().unwrap()).unwrap();
        // A hello of TLS over TCP in one record, without its parameters: any hello does.
        let hello = &hello[5..];
        let (one, two) = hello.split_at(1100);
        let dcid = [7; 8];
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let (dress, mut initials) = (Dress::new(&dcid), Initials::default());
            let mut first = datagram(&dcid, &crypto(0, one));
            let mut second = datagram(&dcid, &crypto(1100, two));
            dress.put_on(&mut first);
            dress.put_on(&mut second);
            assert_eq!((first.len(), second.len()), (INITIAL, INITIAL));
            assert_eq!(initials.take(&first).unwrap(), None);
            let whole = initials.take(&second).unwrap().unwrap();
            assert!(
                whole
                    .hello
                    .ja4(betanet_htx::template::Transport::Quic)
                    .starts_with('q')
            );
            let keys = InitialKeys::new(&dcid).unwrap();
            seen.insert(keys.open(&first).unwrap().unwrap().frames);
        }
        assert!(seen.len() > 45, "{}", seen.len());
    }

    #[test]
    fn other_packets_leave_as_they_are_and_acknowledgements_stay() {
        let dcid = [9; 8];
        let dress = Dress::new(&dcid);
        let mut acked = datagram(&dcid, &[2, 0, 0, 0, 0, 0, 0, 0]);
        dress.put_on(&mut acked);
        assert_eq!(acked.len(), INITIAL);
        let opened = InitialKeys::new(&dcid).unwrap().open(&acked).unwrap();
        assert_eq!(opened.unwrap().frames[..5], [2, 0, 0, 0, 0]);
        let short = vec![0x41; 100];
        let mut other = short.clone();
        dress.put_on(&mut other);
        assert_eq!(other, short);
    }
}
