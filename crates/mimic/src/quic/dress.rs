//! A client's first datagrams, split and padded as Chromium does it ("chaos protection"): the hello in shuffled pieces, with
//! PINGs and PADDING between them, in datagrams of 1 250 bytes.

use betanet_traffic::template::{InitialKeys, Opened};

use super::{INITIAL, draw, varint};

const PING: u8 = 1;
const CRYPTO: u64 = 6;
/// Maximum number of pieces of the hello's part in one packet.
const PIECES: usize = 9;
/// Maximum overhead of a piece in bytes: type, offset, length.
const PIECE_HEAD: usize = 1 + 4 + 2;
/// Maximum number of PINGs in one packet.
const PINGS: usize = 8;
/// Length of the AEAD tag.
const TAG: usize = 16;

/// Rewrites Initial packets to Chromium's form. Anybody can derive their keys.
///
/// Chromium numbers them from one: each packet leaves with its number plus one, and acknowledgements are mapped back. After a
/// Retry, whose connection ID changes the keys, all packets pass unchanged.
pub(super) struct Dress(Option<Keys>);

struct Keys {
    client: InitialKeys,
    server: InitialKeys,
}

/// Random numbers.
struct Dice(Vec<u8>);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        let (a, b) = (self.0.pop().unwrap_or(0), self.0.pop().unwrap_or(0));
        usize::from(u16::from_be_bytes([a, b])) % n.max(1)
    }
}

/// A packet's frames, by their treatment.
struct Frames<'a> {
    crypto: Vec<(u64, &'a [u8])>,
    /// All other frames, unchanged.
    others: Vec<&'a [u8]>,
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (now, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    let start = u64::from(first & 0x3f);
    Some(now[1..].iter().fold(start, |n, b| n << 8 | u64::from(*b)))
}

/// Length of the frame that begins here; `None` if it is incomplete, or does not belong in a handshake's first packets.
fn frame(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    match number(&mut rest)? {
        0 | 1 => {}
        kind @ (2 | 3) => {
            let (_, _, ranges) = (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
            // The first range, two numbers for each further range, and three counters with ECN.
            for _ in 0..1 + 2 * ranges + if kind == 3 { 3 } else { 0 } {
                number(&mut rest)?;
            }
        }
        CRYPTO => {
            number(&mut rest)?;
            let len = usize::try_from(number(&mut rest)?).ok()?;
            rest = rest.get(len..)?;
        }
        _ => return None,
    }
    Some(bytes.len() - rest.len())
}

impl<'a> Frames<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let mut frames = Self {
            crypto: Vec::new(),
            others: Vec::new(),
        };
        while !bytes.is_empty() {
            let (whole, rest) = bytes.split_at(frame(bytes)?);
            match u64::from(whole[0]) {
                0 | 1 => {}
                CRYPTO => {
                    let mut data = &whole[1..];
                    let offset = number(&mut data)?;
                    number(&mut data)?;
                    frames.crypto.push((offset, data));
                }
                _ => frames.others.push(whole),
            }
            bytes = rest;
        }
        Some(frames)
    }
}

impl Dress {
    pub(super) fn new(dcid: &[u8]) -> Self {
        let keys = InitialKeys::new(dcid).zip(InitialKeys::server(dcid));
        Self(keys.map(|(client, server)| Keys { client, server }))
    }

    /// Rewrites an outgoing datagram; one without Initial packets stays unchanged.
    pub(super) fn put_on(&self, datagram: &mut Vec<u8>) {
        let Some(Keys { client, .. }) = &self.0 else {
            return;
        };
        let Ok(Some(mut opened)) = client.open(datagram) else {
            return;
        };
        count_up(&mut opened.number);
        let sealed = if opened.rest.iter().all(|b| *b == 0) {
            dressed(client, &opened)
        } else {
            None
        };
        // Packets with other keys follow: only the datagram's length is adapted to a browser's.
        let plain = || {
            let packet = client.seal(&opened.head, &opened.number, &opened.frames);
            let mut whole = [packet.ok()?, opened.rest.clone()].concat();
            whole.resize(whole.len().max(INITIAL), 0);
            Some(whole)
        };
        if let Some(sealed) = sealed.or_else(plain) {
            *datagram = sealed;
        }
    }

    /// Rewrites an incoming datagram for the connection.
    pub(super) fn take_off(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let Keys { server, .. } = self.0.as_ref()?;
        let mut opened = server.open(datagram).ok()??;
        let counted = count_down(&mut opened.frames);
        // More Initial packets may follow.
        let rest = self.take_off(&opened.rest);
        if counted.is_none() && rest.is_none() {
            return None;
        }
        let packet = server.seal(&opened.head, &opened.number, &opened.frames);
        Some([packet.ok()?, rest.unwrap_or(opened.rest)].concat())
    }
}

/// Increments the packet number.
fn count_up(number: &mut [u8]) {
    for byte in number.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
}

/// Decrements the largest number of each acknowledgement; `None` if there is no acknowledgement.
fn count_down(frames: &mut [u8]) -> Option<()> {
    let (mut at, mut found) = (0, None);
    while let Some(len) = frame(&frames[at..]) {
        if matches!(frames[at], 2 | 3) {
            less(&mut frames[at + 1..])?;
            found = Some(());
        }
        at += len;
    }
    found
}

/// Decrements the number that begins here and keeps its length.
fn less(bytes: &mut [u8]) -> Option<()> {
    let mut rest = &*bytes;
    let n = number(&mut rest)?.checked_sub(1)?.to_be_bytes();
    let len = bytes.len() - rest.len();
    let kind = bytes[0] & 0xc0;
    bytes[..len].copy_from_slice(&n[8 - len..]);
    bytes[0] |= kind;
    Some(())
}

fn dressed(keys: &InitialKeys, opened: &Opened) -> Option<Vec<u8>> {
    let frames = Frames::read(&opened.frames)?;
    // Header, length, number and tag enclose the frames.
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
    // The remaining room becomes PADDING, a share of it before each part, and the rest at the end.
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
    use betanet_traffic::template::Initials;
    use proptest::prelude::*;

    use super::*;

    /// A packet with these frames in a datagram of 1 200 bytes.
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
        // A TLS-over-TCP hello in one record, without its parameters: any hello does.
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
                    .ja4(betanet_traffic::template::Transport::Quic)
                    .starts_with('q')
            );
            let opened = InitialKeys::new(&dcid).unwrap().open(&first).unwrap();
            let opened = opened.unwrap();
            assert_eq!(opened.number, [1]);
            seen.insert(opened.frames);
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
        // A following packet with other keys stays, and the number is incremented all the same.
        let keys = InitialKeys::new(&dcid).unwrap();
        let head = [&[0xc1, 0, 0, 0, 1, 8][..], &dcid, &[0, 0]].concat();
        let first = keys.seal(&head, &[0, 255], &[1; 8]).unwrap();
        let mut both = [&first[..], &[0xe0; 50]].concat();
        dress.put_on(&mut both);
        assert_eq!(both.len(), INITIAL);
        let opened = keys.open(&both).unwrap().unwrap();
        assert_eq!(
            (&opened.number[..], &opened.frames[..]),
            (&[1, 0][..], &[1; 8][..])
        );
        assert_eq!(opened.rest[..50], [0xe0; 50]);
        let short = vec![0x41; 100];
        let mut other = short.clone();
        dress.put_on(&mut other);
        assert_eq!(other, short);
    }

    #[test]
    fn the_connection_is_told_of_its_own_numbers() {
        let dcid = [5; 8];
        let (dress, keys) = (Dress::new(&dcid), InitialKeys::server(&dcid).unwrap());
        let packet = |frames: &[u8]| {
            let head = [0xc0, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4, 0];
            keys.seal(&head, &[0], frames).unwrap()
        };
        let taken = |datagram: &[u8]| {
            let taken = dress.take_off(datagram)?;
            Some(keys.open(&taken).unwrap().unwrap())
        };
        // After a hello, in one byte and in two, with ranges and with ECN counters.
        for (came, seen) in [
            (
                vec![6, 0, 2, 7, 7, 2, 5, 0, 0, 0],
                vec![6, 0, 2, 7, 7, 2, 4, 0, 0, 0],
            ),
            (
                vec![2, 0x40, 64, 9, 1, 3, 1, 1, 1],
                vec![2, 0x40, 63, 9, 1, 3, 1, 1, 1],
            ),
            (
                vec![3, 1, 0, 0, 0, 8, 8, 8, 2, 2, 0, 0, 0],
                vec![3, 0, 0, 0, 0, 8, 8, 8, 2, 1, 0, 0, 0],
            ),
        ] {
            let rest = packet(&[2, 9, 0, 0, 0]);
            let opened = taken(&[packet(&came), rest.clone(), vec![0xe0; 9]].concat()).unwrap();
            assert_eq!(opened.frames, seen);
            let behind = keys.open(&opened.rest).unwrap().unwrap();
            assert_eq!(
                (&behind.frames[..], behind.rest.len()),
                (&[2, 8, 0, 0, 0][..], 9)
            );
        }
        // Nothing to rewrite: unsent numbers, truncated frames, another packet type.
        for other in [
            &[1, 1, 1, 1][..],
            &[2, 0, 0, 0, 0],
            &[2, 5, 0, 3, 0],
            &[6, 0, 50, 1],
        ] {
            assert!(taken(&packet(other)).is_none(), "{other:?}");
        }
        assert!(dress.take_off(&[0xe0; 40]).is_none());
    }

    proptest! {
        #[test]
        fn whatever_a_server_seals_is_taken_off_as_long_as_it_was(
            frames in proptest::collection::vec(prop_oneof![0_u8..4, Just(6), any::<u8>()], 4..200),
            rest in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let dcid = [3; 8];
            let (dress, keys) = (Dress::new(&dcid), InitialKeys::server(&dcid).unwrap());
            let head = [0xc0, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4, 0];
            let datagram = [keys.seal(&head, &[7], &frames).unwrap(), rest].concat();
            if let Some(taken) = dress.take_off(&datagram) {
                prop_assert_eq!(taken.len(), datagram.len());
                let opened = keys.open(&taken).unwrap().unwrap();
                prop_assert_eq!(opened.number, [7]);
                prop_assert!(opened.frames != frames);
            }
            prop_assert!(dress.take_off(&frames).is_none());
        }
    }
}
