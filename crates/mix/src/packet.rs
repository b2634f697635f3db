//! The packet format.

use betanet_wire::NodeId;
use zeroize::Zeroize;

/// Length of a packet at every hop.
pub const PACKET: usize = HEADER + BODY;
/// Length of version, epoch, alpha, gamma and beta.
pub(crate) const HEADER: usize = 4 + 32 + 16 + BETA;
/// Length of the routing information: eight slots.
pub(crate) const BETA: usize = SLOTS * SLOT;
/// Most nodes on a packet's way: seven relays and the recipient.
pub const SLOTS: usize = 8;
/// Length of a slot, one hop's part of beta.
pub(crate) const SLOT: usize = 40;
/// Length of a slot without the next gamma.
pub(crate) const COMMAND: usize = 24;
/// Length of the encrypted body: 16 bytes that reveal a change, and the payload.
pub(crate) const BODY: usize = ZEROS + PAYLOAD;
pub(crate) const ZEROS: usize = 16;
/// Length of a payload.
pub const PAYLOAD: usize = 2048;
/// The packet format's version.
pub(crate) const VERSION: u8 = 1;

/// Range of a delay that a relay draws itself, in milliseconds.
pub const DELAY_RANGE_MS: core::ops::RangeInclusive<u16> = 30..=150;
/// Longest delay that a client may ask for, in milliseconds.
pub const DELAY_MAX_MS: u16 = 150;
const BY_RELAY: u16 = 1 << 15;

/// A packet. Batches are unwrapped in place.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Zeroize)]
#[repr(transparent)]
pub struct Packet(pub [u8; PACKET]);

impl Packet {
    /// The low byte of its mix epoch.
    #[must_use]
    pub const fn epoch(&self) -> u8 {
        self.0[1]
    }

    pub(crate) fn alpha(&self) -> [u8; 32] {
        part(&self.0, 4)
    }

    pub(crate) fn gamma(&self) -> [u8; 16] {
        part(&self.0, 36)
    }

    pub(crate) fn beta(&self) -> [u8; BETA] {
        part(&self.0, 52)
    }

    pub(crate) fn body_mut(&mut self) -> &mut [u8] {
        &mut self.0[HEADER..]
    }

    /// The payload, after delivery.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.0[HEADER + ZEROS..]
    }

    /// The encrypted body of a reply, for the [`crate::Opener`] of its SURB.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.0[HEADER..]
    }

    pub(crate) fn set_header(&mut self, alpha: &[u8; 32], gamma: &[u8], beta: &[u8]) {
        self.0[4..36].copy_from_slice(alpha);
        self.0[36..52].copy_from_slice(gamma);
        self.0[52..HEADER].copy_from_slice(beta);
    }
}

/// `N` bytes from offset `at`, which must lie inside.
pub(crate) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// Delay of a packet at a relay.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Delay {
    /// Milliseconds that the client chose, 0 to 150.
    Chosen(u16),
    /// A delay that the relay draws, from 30 to this many milliseconds; at most 150.
    Sampled(u16),
}

impl Delay {
    pub(crate) fn from_wire(word: u16) -> Option<Self> {
        let ms = word & !BY_RELAY;
        match word & BY_RELAY {
            0 => (ms <= DELAY_MAX_MS).then_some(Self::Chosen(ms)),
            _ => DELAY_RANGE_MS.contains(&ms).then_some(Self::Sampled(ms)),
        }
    }

    fn to_wire(self) -> u16 {
        match self {
            Self::Chosen(ms) => ms,
            Self::Sampled(ms) => ms | BY_RELAY,
        }
    }
}

/// Command for a hop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Delay the packet, then send it on.
    Forward {
        /// Delay before sending.
        delay: Delay,
        /// The next node.
        next: NodeId,
    },
    /// The payload is for this node.
    Deliver {
        /// The sender's ID of the packet.
        id: [u8; 16],
    },
    /// The body is a reply to this node.
    Reply {
        /// ID of the SURB.
        id: [u8; 16],
    },
    /// The packet is cover traffic; drop it.
    Drop {
        /// The sender's ID of the packet.
        id: [u8; 16],
    },
}

impl Command {
    /// Reads a slot.
    pub(crate) fn from_slot(slot: &[u8; SLOT]) -> Option<Self> {
        let word = u16::from_be_bytes([slot[2], slot[3]]);
        if slot[1] != 0 {
            return None;
        }
        if slot[0] == 0 {
            return Some(Self::Forward {
                delay: Delay::from_wire(word)?,
                next: NodeId(part(slot, 4)),
            });
        }
        if word != 0 || slot[20..].iter().any(|b| *b != 0) {
            return None;
        }
        let id = part(slot, 4);
        match slot[0] {
            1 => Some(Self::Deliver { id }),
            2 => Some(Self::Reply { id }),
            3 => Some(Self::Drop { id }),
            _ => None,
        }
    }

    /// Encodes a slot without the next gamma; a packet that ends here has none.
    pub(crate) fn to_slot(self) -> [u8; COMMAND] {
        let mut out = [0; COMMAND];
        match self {
            Self::Forward { delay, next } => {
                out[2..4].copy_from_slice(&delay.to_wire().to_be_bytes());
                out[4..].copy_from_slice(&next.0);
            }
            Self::Deliver { id } => (out[0], _) = (1, out[4..20].copy_from_slice(&id)),
            Self::Reply { id } => (out[0], _) = (2, out[4..20].copy_from_slice(&id)),
            Self::Drop { id } => (out[0], _) = (3, out[4..20].copy_from_slice(&id)),
        }
        out
    }
}
