//! Building packets and reply blocks, on the sender's side.

use alloc::vec::Vec;

use betanet_hctr2::Hctr2;
use betanet_wire::NodeId;
use betanet_x25519_batch::{BASE, Backend, Pair, multiply_unclamped};
use curve25519_dalek::{MontgomeryPoint, Scalar};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::hop::{Extract, HopKeys, STREAM, xor};
use crate::packet::{
    BETA, BODY, COMMAND, Command, HEADER, PACKET, PAYLOAD, Packet, SLOT, SLOTS, VERSION, ZEROS,
};

/// A node's public key with the group's prime order. Only with such keys may scalars be multiplied modulo the order, which makes
/// building linear in the hops. Check a key once for each directory.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RelayKey([u8; 32]);

impl RelayKey {
    /// Checks a key; `None` for a point of small or mixed order, a point on the twist, or a non-canonical encoding.
    #[must_use]
    pub fn check(bytes: [u8; 32]) -> Option<Self> {
        let point = MontgomeryPoint(bytes).to_edwards(0)?;
        let canonical = point.to_montgomery().0 == bytes;
        let prime = point.is_torsion_free() && !point.is_small_order();
        (canonical && prime).then_some(Self(bytes))
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// One node on a packet's way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hop {
    /// The node's key for the packet's epoch.
    pub key: RelayKey,
    /// Command for the node; all but the last forward.
    pub command: Command,
}

/// The hops of a packet, and the random values of its header.
#[derive(Clone)]
pub struct Way<'a> {
    /// Low byte of the epoch of all hops' keys.
    pub epoch: u8,
    /// The hops in order, 1 to 8.
    pub hops: &'a [Hop],
    /// A fresh random secret.
    pub x: [u8; 32],
    /// Random bytes; the last hop finds them in the slots that a path of fewer than eight hops leaves.
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

/// Reason why a packet cannot be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The way has no hop, or more than eight.
    #[error("a packet has 1 to 8 hops")]
    Hops,
    /// A hop before the last does not forward, the last one does, or the last command does not fit the packet.
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

/// Builds several packets with their payloads; a batch costs less than single packets.
///
/// # Errors
///
/// The error of each packet.
pub fn build_batch(ways: &[(Way<'_>, &[u8; PAYLOAD])]) -> Vec<Result<Packet, BuildError>> {
    let only: Vec<Way<'_>> = ways.iter().map(|(way, _)| way.clone()).collect();
    let built = headers(&only).into_iter().zip(ways);
    built
        .map(|(header, (_, payload))| Ok(seal(&header?, payload)))
        .collect()
}

/// Builds one packet, and returns the tag by which each hop knows it. With the tags and the hops' delay proofs, the builder can
/// check each hop's delay.
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

/// Length of a SURB on the wire.
pub const SURB: usize = 20 + HEADER + 32 + 16;

/// A single-use reply block, on the replier's side. Using it consumes it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Surb {
    bytes: [u8; SURB],
}

impl core::hash::Hash for Surb {
    /// Where it goes first, and the start of its header: it is used or dropped as a whole.
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.bytes[..52].hash(state);
    }
}

impl core::fmt::Debug for Surb {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Surb(…)")
    }
}

impl Surb {
    /// Reads a received reply block.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SURB]) -> Self {
        Self { bytes }
    }

    /// The bytes for the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SURB] {
        &self.bytes
    }

    /// Builds the reply's packet, and returns the node to send it to.
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

/// Keys with which the owner of a SURB reads the reply.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Opener {
    id: [u8; 16],
    /// From the first hop to the last.
    payload_keys: Vec<[u8; 32]>,
    key: [u8; 32],
}

impl core::hash::Hash for Opener {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        betanet_machine::hash_fields!(self, state, Opener { id } without {
            payload_keys: "secrets, as fixed as the ID",
            key: "a secret, as fixed as the ID",
        });
    }
}

impl core::fmt::Debug for Opener {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Opener(…)")
    }
}

impl Opener {
    /// ID of the reply.
    #[must_use]
    pub const fn id(&self) -> &[u8; 16] {
        &self.id
    }

    /// Decrypts a reply packet that arrived; `None` if it was changed on the way. Consumes the keys.
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

/// Way of a reply; its last hop is the owner, with [`Command::Reply`].
#[derive(Clone, Debug)]
pub struct ReplyWay<'a> {
    /// The way.
    pub way: Way<'a>,
    /// The first node.
    pub first: NodeId,
    /// A fresh random secret.
    pub key: Zeroizing<[u8; 32]>,
}

/// Builds several reply blocks, and the keys to read the replies.
///
/// # Errors
///
/// The error of each block.
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

/// Builds one reply block; `key` is a fresh random secret.
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
