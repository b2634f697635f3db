//! A sender's half: packets, and reply blocks to come back over.

use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_x25519_batch::{BASE, Backend, Pair, multiply_unclamped};
use curve25519_dalek::{MontgomeryPoint, Scalar};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::hctr2::Hctr2;
use crate::hop::{Extract, HopKeys, STREAM, xor};
use crate::packet::{
    BETA, BODY, COMMAND, Command, HEADER, PACKET, PAYLOAD, Packet, SLOT, SLOTS, VERSION, ZEROS,
};

/// A node's public key, known to be of the group's prime order: only with such a key may scalars be multiplied modulo that order,
/// which makes building linear in the hops. The check is for once a directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RelayKey([u8; 32]);

impl RelayKey {
    /// A key that was checked; `None` for a point of small or mixed order, on the twist, or written in another way than the one.
    #[must_use]
    pub fn check(bytes: [u8; 32]) -> Option<Self> {
        let point = MontgomeryPoint(bytes).to_edwards(0)?;
        let canonical = point.to_montgomery().0 == bytes;
        let prime = point.is_torsion_free() && !point.is_small_order();
        (canonical && prime).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// One node that a packet meets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hop {
    /// Its key of the packet's epoch.
    pub key: RelayKey,
    /// What it is to do: all but the last forward.
    pub command: Command,
}

/// The way of a packet, and the dice that its header is made with.
#[derive(Clone)]
pub struct Way<'a> {
    /// The low byte of the epoch of all its hops' keys.
    pub epoch: u8,
    /// First to last, 1 to 8.
    pub hops: &'a [Hop],
    /// A fresh random secret.
    pub x: [u8; 32],
    /// Random bytes, of which the last hop finds as many as the path is shorter than eight.
    pub pad: [u8; BETA],
}

impl core::fmt::Debug for Way<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Way({} hops)", self.hops.len())
    }
}

impl Drop for Way<'_> {
    fn drop(&mut self) {
        self.x.zeroize();
    }
}

/// Why a packet cannot be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No hop, or more than eight.
    #[error("a packet has 1 to 8 hops")]
    Hops,
    /// A hop before the last does not forward, or the last one does, or not what the packet is for.
    #[error("every hop but the last forwards, and the last one does what the packet is for")]
    Commands,
}

/// A header, and the keys of its hops.
struct Header {
    bytes: [u8; HEADER],
    keys: Vec<HopKeys>,
}

/// A scalar as X25519 takes it, modulo the group's order.
fn clamped(bytes: &[u8; 32]) -> Scalar {
    Scalar::from_bytes_mod_order(curve25519_dalek::scalar::clamp_integer(*bytes))
}

/// Builds headers together: the multiplications with the relays' keys are one batch a hop.
fn headers(ways: &[Way<'_>]) -> Vec<Result<Header, BuildError>> {
    let checked: Vec<Result<(), BuildError>> = ways.iter().map(check).collect();
    let good = || ways.iter().enumerate().filter(|(i, _)| checked[*i].is_ok());
    // Everything that was drawn so far, multiplied.
    let mut scalars: Vec<Zeroizing<Scalar>> = ways
        .iter()
        .map(|way| Zeroizing::new(clamped(&way.x)))
        .collect();
    let extract = Extract::new();
    let mut made: Vec<(Vec<[u8; 32]>, Vec<HopKeys>)> =
        ways.iter().map(|_| Default::default()).collect();
    for hop in 0..SLOTS {
        let here = || good().filter_map(|(i, way)| Some((i, way.hops.get(hop)?)));
        let with_key = |(i, at): (usize, &Hop)| {
            let scalar = scalars[i].to_bytes();
            Pair::new(scalar, *at.key.as_bytes())
        };
        let mut pairs: Vec<Pair> = here().map(with_key).collect();
        let count = pairs.len();
        // The base point's multiples from tables, but where eight lanes are faster still.
        let lanes = Backend::best() == Backend::Avx512Ifma;
        if lanes {
            pairs.extend(here().map(|(i, _)| Pair::new(scalars[i].to_bytes(), BASE)));
        }
        multiply_unclamped(&mut pairs);
        let all: Vec<usize> = here().map(|(i, _)| i).collect();
        for (n, i) in all.into_iter().enumerate() {
            let alpha = match pairs.get(count + n) {
                Some(pair) => pair.point,
                None => MontgomeryPoint::mul_base(&scalars[i]).0,
            };
            let keys = HopKeys::new(&extract, &pairs[n].point, &alpha);
            *scalars[i] *= clamped(keys.blind());
            made[i].0.push(alpha);
            made[i].1.push(keys);
        }
    }
    let all = ways.iter().zip(checked).zip(made);
    all.map(|((way, checked), (alphas, keys))| checked.map(|()| fill(way, &alphas, keys)))
        .collect()
}

fn check(way: &Way<'_>) -> Result<(), BuildError> {
    let forwards = |h: &Hop| matches!(h.command, Command::Forward { .. });
    match way.hops.split_last() {
        Some((last, before)) if before.len() < SLOTS => {
            if before.iter().all(forwards) && !forwards(last) {
                Ok(())
            } else {
                Err(BuildError::Commands)
            }
        }
        _ => Err(BuildError::Hops),
    }
}

/// Wraps the slots from the last to the first.
fn fill(way: &Way<'_>, alphas: &[[u8; 32]], keys: Vec<HopKeys>) -> Header {
    let hops = way.hops.len();
    let streams: Vec<Zeroizing<[u8; STREAM]>> =
        keys.iter().map(|k| Zeroizing::new(k.stream())).collect();
    // What the hops before the last will have moved up behind its beta.
    let mut filler = Vec::with_capacity(BETA);
    for stream in &streams[..hops - 1] {
        filler.extend_from_slice(&[0; SLOT]);
        let len = filler.len();
        xor(&mut filler, &stream[STREAM - len..]);
    }
    let first = [VERSION, way.epoch, 0, 0];
    let mut beta = [0; BETA];
    let mut gamma = [0; 16];
    for (i, hop) in way.hops.iter().enumerate().rev() {
        if i + 1 == hops {
            beta[..COMMAND].copy_from_slice(&hop.command.to_slot());
            let random = BETA - SLOT * hops;
            beta[SLOT..SLOT + random].copy_from_slice(&way.pad[..random]);
            let wrapped = BETA - filler.len();
            xor(&mut beta[..wrapped], &streams[i][..]);
            beta[wrapped..].copy_from_slice(&filler);
        } else {
            beta.copy_within(..BETA - SLOT, SLOT);
            beta[..COMMAND].copy_from_slice(&hop.command.to_slot());
            beta[COMMAND..SLOT].copy_from_slice(&gamma);
            xor(&mut beta, &streams[i][..]);
        }
        gamma = keys[i].gamma(&first, &alphas[i], &beta);
    }
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(&first);
    bytes[4..36].copy_from_slice(&alphas[0]);
    bytes[36..52].copy_from_slice(&gamma);
    bytes[52..].copy_from_slice(&beta);
    Header { bytes, keys }
}

/// A header and a payload, enciphered for the header's hops.
fn seal(header: &Header, payload: &[u8; PAYLOAD]) -> Packet {
    let mut packet = Packet([0; PACKET]);
    packet.0[..HEADER].copy_from_slice(&header.bytes);
    packet.0[HEADER + ZEROS..].copy_from_slice(&payload[..]);
    for keys in header.keys.iter().rev() {
        Hctr2::new(keys.payload()).encrypt(packet.body_mut());
    }
    packet
}

/// Builds packets together, each with its payload: several cost less than each by itself.
///
/// # Errors
///
/// Each packet's own.
pub fn build_batch(ways: &[(Way<'_>, &[u8; PAYLOAD])]) -> Vec<Result<Packet, BuildError>> {
    let only: Vec<Way<'_>> = ways.iter().map(|(way, _)| way.clone()).collect();
    let built = headers(&only).into_iter().zip(ways);
    built
        .map(|(header, (_, payload))| Ok(seal(&header?, payload)))
        .collect()
}

/// The same for one packet, with the tag that each of its hops knows it by: from these and the hops' delay proofs its builder
/// can tell how long each was to keep it.
///
/// # Errors
///
/// [`BuildError`].
pub fn build_tagged(
    way: &Way<'_>,
    payload: &[u8; PAYLOAD],
) -> Result<(Packet, Vec<[u8; 16]>), BuildError> {
    let mut made = headers(core::slice::from_ref(way));
    let header = made.pop().unwrap_or(Err(BuildError::Hops))?;
    let tags = header.keys.iter().map(HopKeys::tag).collect();
    Ok((seal(&header, payload), tags))
}

/// Builds one packet.
///
/// # Errors
///
/// [`BuildError`].
pub fn build(way: Way<'_>, payload: &[u8; PAYLOAD]) -> Result<Packet, BuildError> {
    let mut built = build_batch(&[(way, payload)]);
    built.pop().unwrap_or(Err(BuildError::Hops))
}

/// The length of a SURB on the wire.
pub const SURB: usize = 20 + HEADER + 32 + 16;

/// A single-use reply block, as the replier has it. Using it consumes it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Surb {
    bytes: [u8; SURB],
}

impl core::fmt::Debug for Surb {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Surb(…)")
    }
}

impl Surb {
    /// As it came.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SURB]) -> Self {
        Self { bytes }
    }

    /// For the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SURB] {
        &self.bytes
    }

    /// The reply's packet, and the node that it is sent to.
    #[must_use]
    pub fn reply(self, payload: &[u8; PAYLOAD]) -> (NodeId, Packet) {
        let first = NodeId(crate::packet::part(&self.bytes, 0));
        let key: Zeroizing<[u8; 32]> =
            Zeroizing::new(crate::packet::part(&self.bytes, 20 + HEADER));
        let mut packet = Packet([0; PACKET]);
        packet.0[..HEADER].copy_from_slice(&self.bytes[20..20 + HEADER]);
        packet.0[HEADER + ZEROS..].copy_from_slice(payload);
        Hctr2::new(&key).encrypt(packet.body_mut());
        (first, packet)
    }
}

/// What the owner of a SURB keeps of it, to read the reply with.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Opener {
    id: [u8; 16],
    /// First hop to last.
    payload_keys: Vec<[u8; 32]>,
    key: [u8; 32],
}

impl core::fmt::Debug for Opener {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Opener(…)")
    }
}

impl Opener {
    /// Which reply it opens.
    #[must_use]
    pub const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// The payload of the reply that has arrived in a packet; `None` when it was changed on the way. Its only use.
    #[must_use]
    pub fn open(self, packet: &mut Packet) -> Option<&[u8]> {
        // The last hop, which is the owner, has taken its own layer off already: here it is put on again with the others.
        for key in self.payload_keys.iter().rev() {
            Hctr2::new(key).encrypt(packet.body_mut());
        }
        Hctr2::new(&self.key).decrypt(packet.body_mut());
        let intact = bool::from(packet.body()[..ZEROS].ct_eq(&[0; ZEROS]));
        intact.then(|| packet.payload())
    }
}

/// A way that a reply comes over, its last hop the owner with [`Command::Reply`].
#[derive(Clone, Debug)]
pub struct ReplyWay<'a> {
    /// The way.
    pub way: Way<'a>,
    /// Its first node.
    pub first: NodeId,
    /// A fresh random secret.
    pub key: Zeroizing<[u8; 32]>,
}

/// Makes reply blocks together, and what their owner reads the replies with.
///
/// # Errors
///
/// Each block's own.
pub fn surb_batch(ways: &[ReplyWay<'_>]) -> Vec<Result<(Surb, Opener), BuildError>> {
    let only: Vec<Way<'_>> = ways.iter().map(|w| w.way.clone()).collect();
    let made = headers(&only).into_iter().zip(ways);
    made.map(|(header, way)| block(&header?, way)).collect()
}

fn block(header: &Header, way: &ReplyWay<'_>) -> Result<(Surb, Opener), BuildError> {
    let Some(Command::Reply { id }) = way.way.hops.last().map(|h| h.command) else {
        return Err(BuildError::Commands);
    };
    let mut bytes = [0; SURB];
    bytes[..20].copy_from_slice(&way.first.0);
    bytes[20..20 + HEADER].copy_from_slice(&header.bytes);
    bytes[20 + HEADER..52 + HEADER].copy_from_slice(&way.key[..]);
    bytes[52 + HEADER..].copy_from_slice(&id);
    let opener = Opener {
        id,
        payload_keys: header.keys.iter().map(|k| *k.payload()).collect(),
        key: *way.key,
    };
    Ok((Surb { bytes }, opener))
}

/// Makes one reply block; `key` is a fresh random secret.
///
/// # Errors
///
/// [`BuildError`].
pub fn surb(way: &Way<'_>, first: NodeId, key: &[u8; 32]) -> Result<(Surb, Opener), BuildError> {
    let way = ReplyWay {
        way: way.clone(),
        first,
        key: Zeroizing::new(*key),
    };
    let mut made = surb_batch(&[way]);
    made.pop().unwrap_or(Err(BuildError::Hops))
}

const _: () = assert!(BODY == 2064 && SURB == 440 && PACKET == 2436);
