//! The lottery: drawing the relays of a packet's path.

use alloc::vec::Vec;

use betanet_wire::NodeId;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use chacha20::{ChaCha20, Key};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// Draws for one position that may miss.
const MISSES: usize = 64;

/// Prefix of a relay's address: its /16, or its /32 of IPv6.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Net {
    /// The first two bytes of an IPv4 address.
    V4([u8; 2]),
    /// The first four bytes of an IPv6 address.
    V6([u8; 4]),
}

/// The text is not a [`Net`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a net is written as 192.0.0.0/16 or 2001:db8::/32")]
pub struct NetError;

impl core::fmt::Display for Net {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::V4([a, b]) => write!(f, "{a}.{b}.0.0/16"),
            Self::V6([a, b, c, d]) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&[a, b, c, d]);
                write!(f, "{}/32", core::net::Ipv6Addr::from(octets))
            }
        }
    }
}

impl core::str::FromStr for Net {
    type Err = NetError;

    /// Accepts only one form of each prefix.
    fn from_str(text: &str) -> Result<Self, NetError> {
        let (ip, _) = text.split_once('/').ok_or(NetError)?;
        let net = Self::from(ip.parse::<core::net::IpAddr>().map_err(|_| NetError)?);
        if alloc::format!("{net}") == text {
            Ok(net)
        } else {
            Err(NetError)
        }
    }
}

impl From<core::net::IpAddr> for Net {
    fn from(ip: core::net::IpAddr) -> Self {
        match ip {
            core::net::IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                Self::V4([a, b])
            }
            core::net::IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// The fields of a relay that the lottery uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket<'a> {
    /// NodeID of the relay.
    pub node: NodeId,
    /// Layer of the relay.
    pub layer: u8,
    /// Weight in draws.
    pub weight: u16,
    /// Operator of the relay.
    pub org: &'a str,
    /// Network prefix of the relay.
    pub net: Net,
}

impl Ticket<'_> {
    fn meets(&self, other: &Self) -> bool {
        self.node == other.node || self.org == other.org || self.net == other.net
    }
}

/// No relay was found for a position: 64 draws missed, or its layer is empty.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[error("no relay was drawn for position {position}")]
pub struct NoRoute {
    /// Position on the path, from 0.
    pub position: usize,
}

/// The lottery's seed. `session_key` belongs to the session with the guard, `bucket` is the UNIX time in periods of five minutes,
/// and `client_random` is fresh for every draw.
#[must_use]
pub fn lottery_seed(session_key: &[u8; 32], bucket: u64, client_random: &[u8; 16]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(session_key);
    hash.update(bucket.to_be_bytes());
    hash.update(client_random);
    hash.finalize().into()
}

/// Draws a path and returns indices into `relays`, which are in ascending order of NodeID. `guard` has position 0. Equal inputs
/// give equal paths on every machine.
///
/// # Errors
///
/// [`NoRoute`]; the path is never shorter than requested.
pub fn draw(
    seed: &[u8; 32],
    relays: &[Ticket<'_>],
    layers: u8,
    hops: usize,
    guard: Option<usize>,
) -> Result<Vec<usize>, NoRoute> {
    let mut dice = Dice(ChaCha20::new(&Key::from(*seed), &[0; 12].into()));
    let mut path: Vec<usize> = Vec::with_capacity(hops);
    path.extend(guard.filter(|g| *g < relays.len()).into_iter().take(hops));
    for position in path.len()..hops {
        let layer = position % usize::from(layers.max(1));
        let drawn = draw_one(&mut dice, relays, layer, &path).ok_or(NoRoute { position })?;
        path.push(drawn);
    }
    Ok(path)
}

fn draw_one(dice: &mut Dice, relays: &[Ticket<'_>], layer: usize, path: &[usize]) -> Option<usize> {
    let here = || {
        let all = relays.iter().enumerate();
        all.filter(move |(_, r)| usize::from(r.layer) == layer)
    };
    let total: u64 = here().map(|(_, r)| u64::from(r.weight)).sum();
    if total == 0 {
        return None;
    }
    for _ in 0..MISSES {
        let mut ticket = dice.below(total);
        let (at, relay) = here().find(|(_, r)| {
            let weight = u64::from(r.weight);
            let found = ticket < weight;
            ticket = ticket.wrapping_sub(weight);
            found
        })?;
        if !path.iter().any(|p| relays[*p].meets(relay)) {
            return Some(at);
        }
    }
    None
}

/// Numbers from a stream of ChaCha20.
struct Dice(ChaCha20);

impl Dice {
    fn below(&mut self, total: u64) -> u64 {
        // Above the largest multiple a number would favour some: it is drawn again.
        let over = u64::MAX - (u64::MAX % total + 1) % total;
        loop {
            let mut bytes = [0; 8];
            self.0.apply_keystream(&mut bytes);
            let drawn = u64::from_be_bytes(bytes);
            bytes.zeroize();
            if drawn <= over {
                return drawn % total;
            }
        }
    }
}
