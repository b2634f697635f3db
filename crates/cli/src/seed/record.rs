//! What a seed has made, in a state folder of its own: a second run goes on with it, and --remove takes it away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use betanet_keys::{Identity, hash};
use betanet_runtime::{seed, state_dir};
use betanet_store::{Kind, State, Storage};
use serde::{Deserialize, Serialize};

use crate::Fail;
use crate::fail::chain;

const SEED: Kind = Kind::new("seed", 1);
const NAME: &str = "seed";
/// Domain of the keys of simulated nodes.
const DOMAIN: &[u8] = b"betanet simulated node";

/// A simulated node: what it is called, and whether it is one of the kind mixnode.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Simulated {
    pub(super) kind: betanet_fog::Kind,
    pub(super) n: u32,
}

impl Simulated {
    /// Its name, such as `simulated-device-7`.
    pub(super) fn name(&self) -> String {
        let word = match self.kind {
            betanet_fog::Kind::Mixnode => "mixnode",
            _ => "device",
        };
        format!("simulated-{word}-{}", self.n)
    }

    /// The node of a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (word, n) = name.strip_prefix("simulated-")?.split_once('-')?;
        let kind = match word {
            "mixnode" => betanet_fog::Kind::Mixnode,
            "device" => betanet_fog::Kind::EdgeDevice,
            _ => return None,
        };
        let n = n.parse().ok()?;
        Some(Self { kind, n })
    }
}

/// The content of the state.
#[derive(Deserialize, Serialize)]
pub(super) struct Made {
    /// Origin of the panel.
    pub(super) api: String,
    /// Secret from which the keys of the nodes are derived.
    secret: [u8; 32],
    /// Join token of each node, by its name.
    pub(super) tokens: BTreeMap<String, String>,
    /// IDs of the tasks.
    pub(super) tasks: Vec<String>,
}

impl Drop for Made {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}

impl Made {
    /// The identity of a node.
    pub(super) fn identity(&self, node: &Simulated) -> Identity {
        Identity::from_seed(&hash(&[DOMAIN, &self.secret, node.name().as_bytes()]))
    }
}

/// The state folder, held by this process.
pub(super) struct Record {
    state: State,
}

impl Record {
    /// Opens the folder. Another process that runs the same devices has it.
    pub(super) fn open(folder: Option<&Path>) -> Result<Self, Fail> {
        let folder: PathBuf = folder.map_or_else(|| state_dir().join("seed"), Path::to_owned);
        let state = State::open(&folder);
        let state = state.map_err(|e| Fail::Local(chain(&e)))?;
        Ok(Self { state })
    }

    /// What was made at an earlier run, for the same panel.
    pub(super) fn load(&self, api: &str) -> Result<Option<Made>, Fail> {
        let loaded = self.state.load(SEED, NAME);
        let Some(loaded) = loaded.map_err(|e| Fail::Local(chain(&e)))? else {
            return Ok(None);
        };
        let made: Made = serde_json::from_slice(&loaded.bytes)
            .map_err(|_| Fail::Local(chain(&self.state.unreadable(NAME))))?;
        if made.api == api {
            return Ok(Some(made));
        }
        Err(Fail::Usage(format!(
            "{} belongs to a seed of {}: name another folder with --state",
            self.state.folder().display(),
            made.api
        )))
    }

    /// A record with a fresh secret.
    pub(super) fn fresh(&self, api: &str) -> Result<Made, Fail> {
        let random = seed().map_err(|e| Fail::Local(chain(&e)))?;
        let made = Made {
            api: api.to_owned(),
            secret: betanet_machine::Rng::new(&random).array(),
            tokens: BTreeMap::new(),
            tasks: Vec::new(),
        };
        self.save(&made)?;
        Ok(made)
    }

    /// Keeps it, before anything is done with it.
    pub(super) fn save(&self, made: &Made) -> Result<(), Fail> {
        let text = zeroize::Zeroizing::new(serde_json::to_vec(made).unwrap_or_default());
        let saved = self.state.replace(SEED, NAME, &text);
        saved.map_err(|e| Fail::Local(chain(&e)))
    }

    /// Forgets it.
    pub(super) fn forget(&self) -> Result<(), Fail> {
        let gone = self.state.remove(NAME);
        gone.map(drop).map_err(|e| Fail::Local(chain(&e)))
    }
}
