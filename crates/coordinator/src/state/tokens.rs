//! Join tokens, jobs and the days' secrets.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::{Digest, TaskId, Word};
use betanet_wire::NodeId;

use crate::codec::row;

/// Most join tokens that are remembered.
pub(crate) const TOKENS_MAX: usize = 1 << 18;

/// Most jobs, deleted ones included.
pub(crate) const JOBS_MAX: usize = 1 << 16;

/// Days whose secret is kept.
pub(super) const SEEDS: usize = 64;

/// A join token.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TokenRow {
    pub(crate) exp: u64,
    /// Hash of what was asked for; `None` if another coordinator's operator issued it.
    pub(crate) hash: Option<Digest>,
    pub(crate) used: Option<NodeId>,
    pub(crate) revoked: bool,
}
row!(TokenRow {
    exp,
    hash,
    used,
    revoked
});

/// The newest version of a job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct JobRow {
    pub(crate) owner: [u8; 32],
    pub(crate) ver: u64,
    /// The signed record; empty once the job is deleted.
    pub(crate) envelope: Box<[u8]>,
    pub(crate) tasks: Vec<TaskId>,
}
row!(JobRow {
    owner,
    ver,
    envelope,
    tasks
});

pub(crate) type Tokens = BTreeMap<[u8; 16], TokenRow>;
pub(crate) type Jobs = BTreeMap<(Word, Word), JobRow>;
pub(crate) type Seeds = BTreeMap<u64, [u8; 32]>;
