//! Protection of Initial packets (RFC 9001 §5).

use alloc::vec::Vec;

use hkdf::Hkdf;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use sha2::Sha256;

use super::InitialError;

/// Maximum length of a connection ID in version 1 (RFC 9000 §17.2).
const CID_MAX: usize = 20;
const VERSION_1: u32 = 1;
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];

/// An Initial packet with its protection removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// The header up to the length.
    pub head: Vec<u8>,
    /// The packet number as sent, one to four bytes.
    pub number: Vec<u8>,
    /// The frames.
    pub frames: Vec<u8>,
    /// The rest of the datagram after the packet.
    pub rest: Vec<u8>,
}

/// One side's keys for its Initial packets, which anybody can derive.
pub struct InitialKeys {
    seal: LessSafeKey,
    iv: [u8; 12],
    header: quic::HeaderProtectionKey,
}

fn label<const N: usize>(secret: &Hkdf<Sha256>, name: &str) -> [u8; N] {
    let mut info = Vec::from([0, u8::try_from(N).unwrap_or(0)]);
    info.push(u8::try_from(6 + name.len()).unwrap_or(0));
    info.extend_from_slice(b"tls13 ");
    info.extend_from_slice(name.as_bytes());
    info.push(0);
    let mut out = [0; N];
    // Fails only for more than 255 blocks.
    let _ = secret.expand(&info, &mut out);
    out
}

impl InitialKeys {
    /// A client's keys, from the connection ID that it chose for the server.
    #[must_use]
    pub fn new(dcid: &[u8]) -> Option<Self> {
        Self::of("client in", dcid)
    }

    /// The server's keys, from the same connection ID.
    #[must_use]
    pub fn server(dcid: &[u8]) -> Option<Self> {
        Self::of("server in", dcid)
    }

    fn of(side: &str, dcid: &[u8]) -> Option<Self> {
        let initial = Hkdf::<Sha256>::new(Some(&SALT), dcid);
        let secret: [u8; 32] = label(&initial, side);
        let secret = Hkdf::<Sha256>::from_prk(&secret).ok()?;
        let key: [u8; 16] = label(&secret, "quic key");
        let header: [u8; 16] = label(&secret, "quic hp");
        Some(Self {
            seal: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?),
            iv: label(&secret, "quic iv"),
            header: quic::HeaderProtectionKey::new(&quic::AES_128, &header).ok()?,
        })
    }

    /// Header protection mask of a packet, from the sample after its packet number (RFC 9001 §5.4).
    fn mask(&self, packet: &[u8], before: usize) -> Result<[u8; 5], InitialError> {
        let sample = packet.get(before + 4..before + 20);
        let sample = sample.ok_or(InitialError::Length("a packet"))?;
        self.header
            .new_mask(sample)
            .map_err(|_| InitialError::Sealed)
    }

    fn nonce(&self, number: u32) -> Nonce {
        let mut nonce = self.iv;
        for (n, b) in nonce[8..].iter_mut().zip(number.to_be_bytes()) {
            *n ^= b;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Removes protection from the Initial packet at the start of a datagram; `None` if another packet stands there.
    ///
    /// # Errors
    ///
    /// The packet does not decrypt.
    pub fn open(&self, datagram: &[u8]) -> Result<Option<Opened>, InitialError> {
        match header(datagram) {
            Some(found) => self.open_packet(&found).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn open_packet(&self, found: &Header<'_>) -> Result<Opened, InitialError> {
        let mut packet = found.packet.to_vec();
        let at = found.before;
        let mask = self.mask(&packet, at)?;
        packet[0] ^= mask[0] & 0x0f;
        let len = usize::from(packet[0] & 3) + 1;
        let mut number: u32 = 0;
        for i in 0..len {
            packet[at + i] ^= mask[1 + i];
            number = number << 8 | u32::from(packet[at + i]);
        }
        let mut frames = packet.split_off(at + len);
        let aad = Aad::from(&packet);
        let opened = self
            .seal
            .open_in_place(self.nonce(number), aad, &mut frames);
        let len = opened.map_err(|_| InitialError::Sealed)?.len();
        frames.truncate(len);
        let number_at = packet.split_off(at);
        packet.truncate(at - found.length);
        Ok(Opened {
            head: packet,
            number: number_at,
            frames,
            rest: found.rest.to_vec(),
        })
    }

    /// Seals a packet from its header up to the length, its packet number as sent, and its frames.
    ///
    /// # Errors
    ///
    /// There are fewer than four bytes of frames, or more than a two-byte length can express.
    pub fn seal(&self, head: &[u8], number: &[u8], frames: &[u8]) -> Result<Vec<u8>, InitialError> {
        let long = InitialError::Length("a packet");
        let len = number.len() + frames.len() + AES_128_GCM.tag_len();
        let len = u16::try_from(len)
            .ok()
            .filter(|n| *n < 0x4000)
            .ok_or(long)?;
        let mut packet = head.to_vec();
        packet.extend_from_slice(&(0x4000 | len).to_be_bytes());
        let before = packet.len();
        packet.extend_from_slice(number);
        let mut sealed = frames.to_vec();
        let value = number.iter().fold(0, |n: u32, b| n << 8 | u32::from(*b));
        self.seal
            .seal_in_place_append_tag(self.nonce(value), Aad::from(&packet), &mut sealed)
            .map_err(|_| InitialError::Sealed)?;
        packet.append(&mut sealed);
        let mask = self.mask(&packet, before)?;
        packet[0] ^= mask[0] & 0x0f;
        for (b, m) in packet[before..]
            .iter_mut()
            .zip(&mask[1..])
            .take(number.len())
        {
            *b ^= m;
        }
        Ok(packet)
    }
}

pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (now, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(now)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    /// Reads a variable-length integer (RFC 9000 §16).
    pub(super) fn varint(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let bytes = self.take(1 << (first >> 6))?;
        let (first, rest) = bytes.split_first()?;
        let start = u64::from(first & 0x3f);
        Some(rest.iter().fold(start, |n, b| n << 8 | u64::from(*b)))
    }

    pub(super) fn length(&mut self) -> Option<usize> {
        self.varint()?.try_into().ok()
    }

    pub(super) fn vector(&mut self) -> Option<&'a [u8]> {
        let n = self.length()?;
        self.take(n)
    }
}

/// A long header of version 1, up to its packet number.
pub(super) struct Header<'a> {
    pub(super) dcid: &'a [u8],
    pub(super) scid: &'a [u8],
    /// Number of bytes before the packet number.
    before: usize,
    /// Number of those bytes that form the length field.
    length: usize,
    /// The whole packet.
    packet: &'a [u8],
    pub(super) rest: &'a [u8],
}

pub(super) fn header(bytes: &[u8]) -> Option<Header<'_>> {
    let mut c = Cursor(bytes);
    // Long header, fixed bit, type Initial.
    if c.byte()? & 0xf0 != 0xc0 || c.take(4)? != VERSION_1.to_be_bytes() {
        return None;
    }
    let n = usize::from(c.byte()?);
    let dcid = c.take(n).filter(|c| c.len() <= CID_MAX)?;
    let n = usize::from(c.byte()?);
    let scid = c.take(n).filter(|c| c.len() <= CID_MAX)?;
    c.vector()?;
    let left = c.0.len();
    let len = c.length()?;
    let length = left - c.0.len();
    let before = bytes.len() - c.0.len();
    let (packet, rest) = bytes.split_at_checked(before.checked_add(len)?)?;
    Some(Header {
        dcid,
        scid,
        before,
        length,
        packet,
        rest,
    })
}
