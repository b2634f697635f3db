use core::fmt;

use betanet_keys::hash;
use betanet_wire::text;
use sha2::{Digest as _, Sha256};

/// The labels that every signature and hash of the chapter starts with.
pub mod label {
    /// A node's description of itself.
    pub const NODE: &str = "BN-FOG-NODE1";
    /// A task, and its ID.
    pub const TASK: &str = "BN-FOG-TASK1";
    /// A job.
    pub const JOB: &str = "BN-FOG-JOB1";
    /// A join token.
    pub const TOKEN: &str = "BN-FOG-JOIN1";
    /// An assignment.
    pub const ASSIGNMENT: &str = "BN-FOG-WORK1";
    /// A receipt.
    pub const RECEIPT: &str = "BN-FOG-DONE1";
    /// A commitment to an order.
    pub const COMMITMENT: &str = "BN-FOG-BID1";
    /// The authorization of a request over the mix.
    pub const CALL: &str = "BN-FOG-CALL1";
    /// A node's answer to a coordinator that asks over the mix.
    pub const REACH: &str = "BN-FOG-REACH1";
    /// Checksum of a join token's text.
    pub const CHECKSUM: &str = "BN-FOG-CHK1";
    /// Hash of an order.
    pub const ORDER: &str = "BN-FOG-LOT1";
    /// Order among equal prices.
    pub const TIE: &str = "BN-FOG-TIE1";
    /// ID of a reservation.
    pub const RESERVATION: &str = "BN-FOG-RSV1";
    /// Hash that publishes a day's secret before the secret itself.
    pub const SEED: &str = "BN-FOG-SEED1";
    /// Delay before a retry.
    pub const RETRY: &str = "BN-FOG-RETRY1";
    /// Interval between beats.
    pub const BEAT: &str = "BN-FOG-BEAT1";
    /// Node of a privacy-aware placement.
    pub const RELAY: &str = "BN-FOG-RELAY1";
    /// Whether a trusted node's result is compared all the same.
    pub const SPOT: &str = "BN-FOG-SPOT1";
}

/// SHA-256 of a module, an input, an output or another blob.
pub type Digest = [u8; 32];

/// A draw that everybody who knows its parts can repeat: the first 16 bytes of `H(label || parts…)` as a number, U in the chapter.
///
/// Numbers among the parts are eight bytes, big-endian.
#[must_use]
pub fn draw(label: &str, parts: &[&[u8]]) -> u128 {
    Draws::new(label, parts).draw(&[])
}

/// Draws whose first parts are the same: these are hashed once.
///
/// ```
/// use betanet_fog::{Draws, draw};
///
/// let draws = Draws::new("label", &[&[1; 90], &[2; 90]]);
/// assert_eq!(draws.draw(&[&[3]]), draw("label", &[&[1; 90], &[2; 90], &[3]]));
/// ```
#[derive(Clone, Debug)]
pub struct Draws(Sha256);

impl Draws {
    /// Hashes the label and the parts that all draws share.
    #[must_use]
    pub fn new(label: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new_with_prefix(label.as_bytes());
        for part in parts {
            hash.update(part);
        }
        Self(hash)
    }

    /// The draw with these parts besides.
    #[must_use]
    pub fn draw(&self, parts: &[&[u8]]) -> u128 {
        let mut hash = self.0.clone();
        for part in parts {
            hash.update(part);
        }
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        u128::from_be_bytes(first)
    }
}

/// The hash by which a day's secret is public from the day's start.
#[must_use]
pub fn seed_hash(secret: &[u8; 32]) -> Digest {
    hash(&[label::SEED.as_bytes(), secret])
}

/// Hash of a task's record: the same bytes are the same task.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TaskId(pub [u8; 32]);

impl TaskId {
    /// The ID of the task with this record.
    #[must_use]
    pub fn of(rec: &[u8]) -> Self {
        Self(hash(&[label::TASK.as_bytes(), rec]))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}
