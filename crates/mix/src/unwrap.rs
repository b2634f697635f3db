//! Unwrapping batches of packets in place, on the relay's side.

use core::borrow::{Borrow, BorrowMut};

use betanet_hctr2::Hctr2;
use betanet_x25519_batch::{BASE, Backend, Pair, multiply_with};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::delay::own_delay;
use crate::hop::{Extract, HopKeys, xor};
use crate::packet::{Command, Delay, Packet, SLOT, VERSION, ZEROS, part};

/// Packets processed together: as many as fit in a core's nearest cache.
const TOGETHER: usize = 32;

/// Reason for dropping a packet. The relay never answers it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The version is unknown, or a field that must be zero is not.
    #[error("another version, or a reserved field that is not zero")]
    Version,
    /// The relay has no key for the epoch.
    #[error("no key for this epoch")]
    Epoch,
    /// Its alpha is a point of small order.
    #[error("a point of small order")]
    Point,
    /// The header was changed, or is for another node.
    #[error("the header's MAC does not hold")]
    Mac,
    /// The packet was seen before, or the replay memory is full.
    #[error("seen before")]
    Replay,
    /// The slot is invalid.
    #[error("a slot that says nothing valid")]
    Slot,
    /// The body was changed on the way.
    #[error("the body was changed on the way")]
    Body,
}

/// The public key of a relay's private key, for its peer record. Any 32 random bytes are a private key.
#[must_use]
pub fn public_key(private: &[u8; 32]) -> [u8; 32] {
    let mut pair = [Pair::new(*private, BASE)];
    multiply_with(Backend::Portable, &mut pair);
    pair[0].point
}

/// Most keys in memory.
const HELD_MAX: usize = 8;
/// Most keys of one epoch. With the keys of the epoch before and one of the next, this leaves a place for each epoch's first key.
const GENERATIONS_MAX: usize = 3;

/// ID of a relay's key. Each key has its own replay memory.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId {
    /// Low byte of the epoch.
    pub epoch: u8,
    /// Number of earlier keys of the epoch.
    pub generation: u8,
}

/// A relay's private keys, by the low byte of their epoch; wiped on drop.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct EpochKeys {
    held: [Option<Held>; HELD_MAX],
}

#[derive(Clone, Copy, Zeroize)]
struct Held {
    epoch: u8,
    key: [u8; 32],
    delays: [u8; 64],
}

impl core::fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("EpochKeys(…)")
    }
}

impl EpochKeys {
    /// Creates a set without keys.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            held: [None; HELD_MAX],
        }
    }

    /// Adds a key for an epoch, with the VRF output that seeds the relay's own delays. `false` if the epoch has three keys, or
    /// the set eight. A packet that fails under an epoch's newest key is tried with the one before it.
    #[must_use]
    pub fn add(&mut self, epoch: u8, key: [u8; 32], delays: [u8; 64]) -> bool {
        if self.of(epoch).count() >= GENERATIONS_MAX {
            return false;
        }
        let Some(free) = self.held.iter_mut().find(|k| k.is_none()) else {
            return false;
        };
        *free = Some(Held { epoch, key, delays });
        true
    }

    /// Destroys the keys of an epoch.
    pub fn remove(&mut self, epoch: u8) {
        for held in &mut self.held {
            if held.is_some_and(|h| h.epoch == epoch) {
                held.zeroize();
                *held = None;
            }
        }
        // The rest stay in the order that they came in.
        self.held.sort_by_key(Option::is_none);
    }

    /// IDs of the keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        let held = self.held.iter().flatten().enumerate();
        held.map(|(i, h)| {
            let before = self.held.iter().flatten().take(i);
            KeyId {
                epoch: h.epoch,
                generation: before.map(|b| u8::from(b.epoch == h.epoch)).sum(),
            }
        })
    }

    /// An epoch's keys, the oldest first.
    fn of(&self, epoch: u8) -> impl Iterator<Item = &Held> {
        self.held.iter().flatten().filter(move |h| h.epoch == epoch)
    }

    /// The epoch's key `back` places before its newest.
    fn get(&self, epoch: u8, back: usize) -> Option<(KeyId, &Held)> {
        let generation = self.of(epoch).count().checked_sub(back + 1)?;
        let id = KeyId {
            epoch,
            generation: u8::try_from(generation).ok()?,
        };
        Some((id, self.of(epoch).nth(generation)?))
    }

    /// Largest number of keys of one epoch.
    fn generations(&self) -> usize {
        let most = self.ids().map(|id| usize::from(id.generation) + 1).max();
        most.unwrap_or(1)
    }
}

/// An unwrapped packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unwrapped {
    /// Command for the packet.
    pub command: Command,
    /// Delay in milliseconds; 0 unless the packet is forwarded.
    pub wait_ms: u16,
}

/// Result for a packet: its command, or the reason for dropping it.
pub type Outcome = Result<Unwrapped, Refusal>;

/// Removes this hop's layer from each packet in place. Writes the outcomes in the packets' order, as many as both slices hold.
/// For each packet with a valid MAC, it calls `seen` once with the packet's index, the key's ID and the packet's tag. `seen`
/// notes the tag, and returns whether the replay memory had it. Nothing is allocated.
pub fn unwrap_batch(
    keys: &EpochKeys,
    packets: &mut [impl BorrowMut<Packet>],
    seen: impl FnMut(usize, KeyId, &[u8; 16]) -> bool,
    outcomes: &mut [Outcome],
) {
    unwrap_batch_with(Backend::best(), keys, packets, seen, outcomes);
}

/// Like [`unwrap_batch`], with a chosen backend.
pub fn unwrap_batch_with(
    backend: Backend,
    keys: &EpochKeys,
    packets: &mut [impl BorrowMut<Packet>],
    mut seen: impl FnMut(usize, KeyId, &[u8; 16]) -> bool,
    outcomes: &mut [Outcome],
) {
    let parts = packets.chunks_mut(TOGETHER);
    for (i, (packets, outcomes)) in parts.zip(outcomes.chunks_mut(TOGETHER)).enumerate() {
        let mut seen = |at, key, tag: &_| seen(i * TOGETHER + at, key, tag);
        for back in 0..keys.generations() {
            unwrap_some(backend, (keys, back), packets, &mut seen, outcomes);
        }
    }
}

/// A valid packet of a batch.
struct Intact {
    at: usize,
    keys: HopKeys,
}

fn unwrap_some(
    backend: Backend,
    (keys, back): (&EpochKeys, usize),
    packets: &mut [impl BorrowMut<Packet>],
    seen: &mut impl FnMut(usize, KeyId, &[u8; 16]) -> bool,
    outcomes: &mut [Outcome],
) {
    let mut pairs: [Pair; TOGETHER] = [const { Pair::new([0; 32], [0; 32]) }; TOGETHER];
    let mut places = [(0, None); TOGETHER];
    let mut n = 0;
    for (i, (packet, outcome)) in packets.iter().zip(outcomes.iter_mut()).enumerate() {
        let packet: &Packet = packet.borrow();
        if back > 0 && *outcome != Err(Refusal::Mac) {
            continue;
        }
        match private_key(keys, packet, back) {
            Ok((id, held)) => {
                pairs[n] = Pair::new(held.key, packet.alpha());
                places[n] = (i, Some((id, held)));
                n += 1;
            }
            // One whose epoch has no older key stays refused for its MAC.
            Err(_) if back > 0 => {}
            Err(refusal) => *outcome = Err(refusal),
        }
    }
    multiply_with(backend, &mut pairs[..n]);
    let extract = Extract::new();
    let mut standing: [Option<Intact>; TOGETHER] = [const { None }; TOGETHER];
    let mut onward = 0;
    for (pair, (at, under)) in pairs[..n].iter().zip(places) {
        // Each of the first n has one.
        let Some((id, held)) = under else { break };
        let packet = packets[at].borrow_mut();
        let opened = open(&extract, &pair.point, packet, |tag| seen(at, id, tag));
        outcomes[at] = opened.as_ref().map_err(|r| *r).map(|(command, keys)| {
            let wait_ms = match command {
                Command::Forward { delay, .. } => wait_of(*delay, held, keys),
                _ => 0,
            };
            let command = *command;
            Unwrapped { command, wait_ms }
        });
        if let Ok((Command::Forward { .. }, keys)) = opened {
            standing[onward] = Some(Intact { at, keys });
            onward += 1;
        }
    }
    for (pair, standing) in pairs.iter_mut().zip(standing.iter().flatten()) {
        *pair = Pair::new(
            *standing.keys.blind(),
            Borrow::<Packet>::borrow(&packets[standing.at]).alpha(),
        );
    }
    multiply_with(backend, &mut pairs[..onward]);
    for (pair, standing) in pairs.iter().zip(standing.iter().flatten()) {
        let packet: &mut Packet = packets[standing.at].borrow_mut();
        packet.0[4..36].copy_from_slice(&pair.point);
    }
}

fn wait_of(delay: Delay, held: &Held, keys: &HopKeys) -> u16 {
    match delay {
        Delay::Chosen(ms) => ms,
        Delay::Sampled(most) => own_delay(&held.delays, &keys.tag(), most),
    }
}

fn private_key<'k>(
    keys: &'k EpochKeys,
    packet: &Packet,
    back: usize,
) -> Result<(KeyId, &'k Held), Refusal> {
    let [version, epoch, zeros @ ..] = part::<4>(&packet.0, 0);
    if version != VERSION || zeros != [0; 2] {
        return Err(Refusal::Version);
    }
    keys.get(epoch, back).ok_or(Refusal::Epoch)
}

/// Decrypts a packet except for the next alpha.
fn open(
    extract: &Extract,
    shared: &[u8; 32],
    packet: &mut Packet,
    mut seen: impl FnMut(&[u8; 16]) -> bool,
) -> Result<(Command, HopKeys), Refusal> {
    if bool::from(shared.ct_eq(&[0; 32])) {
        return Err(Refusal::Point);
    }
    let (alpha, beta) = (packet.alpha(), packet.beta());
    let keys = HopKeys::new(extract, shared, &alpha);
    let gamma = keys.gamma(&packet.0[..4], &alpha, &beta);
    if !bool::from(gamma.ct_eq(&packet.gamma())) {
        return Err(Refusal::Mac);
    }
    if seen(&keys.tag()) {
        return Err(Refusal::Replay);
    }
    // The stream is one slot longer than beta: what is behind it decrypts zeros.
    let mut plain = keys.stream();
    xor(&mut plain, &beta);
    let slot: [u8; SLOT] = part(&plain, 0);
    let command = Command::from_slot(&slot).ok_or(Refusal::Slot)?;
    match command {
        Command::Forward { .. } => {
            Hctr2::new(keys.payload()).decrypt(packet.body_mut());
            packet.set_header(&alpha, &slot[SLOT - 16..], &plain[SLOT..]);
        }
        Command::Deliver { .. } => {
            Hctr2::new(keys.payload()).decrypt(packet.body_mut());
            if !bool::from(packet.body()[..ZEROS].ct_eq(&[0; ZEROS])) {
                return Err(Refusal::Body);
            }
        }
        Command::Reply { .. } => Hctr2::new(keys.payload()).decrypt(packet.body_mut()),
        Command::Drop { .. } => {}
    }
    Ok((command, keys))
}
