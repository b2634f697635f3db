//! Finds the data that a client needs before it sends: the directory, the relays' keys, and the guard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use betanet_bar::{Headers, Method, Request, status};
use betanet_dial::{Network, Node, on_disk};
use betanet_htx::kind;
use betanet_keys::{Maintainers, Name, Peer};
use betanet_machine::Rng;
use betanet_mesh::Record;
use betanet_mix::{
    DIRECTORY_MAX, Directory, DirectoryError, Guard, MixKeys, Topology, epoch_at, epoch_start,
};
use betanet_relay::{Mesh, peer_of_seed};
use betanet_session::{Clock, SessionHandle, Substream, seed};
use betanet_store::{Kind, SharedFolder, Storage as _, load_or_move};
use betanet_wire::NodeId;
use tokio::time::timeout;

use super::super::PLACE;
use super::super::directories::{DirectoryProblem, check};
use crate::{Error, SeedFailure};

/// Time limit of one seed's answer.
const ASK: Duration = Duration::from_secs(6);
/// Number of seeds whose directories are compared.
const COMPARED: usize = 2;
/// Interval between two searches for relays' records.
const LOOK: Duration = Duration::from_millis(200);
/// Time after which the relays known so far are used.
const SETTLE: Duration = Duration::from_secs(4);

pub(in super::super) struct Finder {
    pub(in super::super) network: Network,
    pub(in super::super) mesh: Mesh,
    pub(in super::super) node: Arc<Node>,
    pub(in super::super) clock: Clock,
    pub(in super::super) patience: Duration,
}

/// The answer of a seed.
enum Answer {
    Directory(Vec<u8>),
    Equivocation,
    None(SeedFailure),
}

/// The relays of an epoch, and the directories from which they come.
pub(super) struct Chart {
    directory: Directory,
    earlier: Directory,
    pub(super) topology: Topology,
}

impl Chart {
    /// Returns the error of a directory without a relay that can be used.
    pub(super) fn rests(&self, network: &str, unix_ms: u64) -> Option<Error> {
        let epoch = self.directory.epoch;
        let left = epoch_start(epoch.saturating_add(1)).saturating_sub(unix_ms);
        self.topology.relays().is_empty().then(|| Error::MixRests {
            network: network.to_owned(),
            epoch,
            listed: self.directory.relays.len(),
            minutes: left.div_ceil(60_000),
        })
    }

    /// Takes keys that relays have published since. Returns whether there were any.
    ///
    /// If a relay's record is missing, nothing changes.
    pub(super) fn renew(&mut self, records: &[Record]) -> bool {
        let fresh = topology(&self.directory, &self.earlier, records);
        let newer = fresh != self.topology && fresh.relays() == self.topology.relays();
        if newer {
            self.topology = fresh;
        }
        newer
    }
}

/// Returns the valid relays of a directory, with the keys of their own records.
fn topology(directory: &Directory, earlier: &Directory, records: &[Record]) -> Topology {
    let keys = |r: &Record| {
        let claims = r.claims().ok()?;
        Some((r.node(), MixKeys::from_bytes(claims.mix).ok()?))
    };
    let keys: BTreeMap<NodeId, MixKeys> = records.iter().filter_map(keys).collect();
    directory.topology(earlier, |n| keys.get(&n).cloned())
}

impl Finder {
    /// Returns the current epoch.
    pub(in super::super) fn epoch(&self) -> u32 {
        epoch_at(self.clock.now().unix_ms)
    }

    async fn ask(&self, seed: &Peer, epoch: u32) -> Result<Answer, Error> {
        let session = self.node.session(seed).await?;
        let target = format!("{PLACE}{epoch}");
        let request = Request::new(Method::Get, &target, Headers::default());
        let mut answer = session.ask(request).await?;
        let body = answer.body.all(DIRECTORY_MAX).await?;
        Ok(match (answer.head.status, body) {
            (status::OK, Some(bytes)) => Answer::Directory(bytes),
            (status::OK, None) => Answer::None(SeedFailure::Long),
            (status::CONFLICT, _) => Answer::Equivocation,
            (status, _) => {
                let seed = seed.name();
                Answer::None(SeedFailure::Status { seed, status })
            }
        })
    }

    /// Returns the directory of an epoch. If two seeds are reached, both must have the same.
    pub(in super::super) async fn directory(&self, epoch: u32) -> Result<Directory, Error> {
        let mix = self.network.mix.as_ref();
        let mix = mix.ok_or_else(|| Error::NoMix {
            network: self.network.name.clone(),
        })?;
        let maintainers = Maintainers::new(&self.network.maintainers);
        let mut seeds: Vec<Peer> = self.network.seeds.iter().map(peer_of_seed).collect();
        let mut rng = Rng::new(&seed()?);
        let (mut found, mut agreed): (Option<(Vec<u8>, Directory)>, usize) = (None, 0);
        let mut why = SeedFailure::Unreached;
        let mut problem: Option<DirectoryProblem> = None;
        while !seeds.is_empty() && agreed < COMPARED {
            let at = usize::try_from(rng.below(seeds.len() as u64)).unwrap_or(0);
            let seed = seeds.swap_remove(at);
            let bytes = match timeout(ASK, self.ask(&seed, epoch)).await {
                Ok(Ok(Answer::Directory(bytes))) => bytes,
                Ok(Ok(Answer::Equivocation)) => {
                    return Err(DirectoryProblem::Equivocation(epoch).into());
                }
                Ok(Ok(Answer::None(said))) => {
                    why = said;
                    continue;
                }
                Ok(Err(error)) => {
                    why = SeedFailure::Failed(Box::new(error));
                    continue;
                }
                Err(_) => {
                    why = SeedFailure::Silent(seed.name());
                    continue;
                }
            };
            // Verifying a directory of many relays takes a second.
            let (list, key) = (maintainers.clone(), mix.beacon_key);
            let checking = move || check(&bytes, &list, &key);
            let Ok(checked) = tokio::task::spawn_blocking(checking).await else {
                continue;
            };
            let checked = checked.and_then(|(e, d)| {
                let stale = DirectoryError::Stale {
                    got: d.epoch,
                    want: epoch,
                };
                if d.epoch == epoch {
                    Ok((e, d))
                } else {
                    Err(stale.into())
                }
            });
            match checked {
                Err(error) => problem = Some(error),
                Ok((envelope, directory)) => match &found {
                    Some((record, _)) if record != envelope.record() => {
                        return Err(DirectoryProblem::Equivocation(epoch).into());
                    }
                    Some(_) => agreed += 1,
                    None => {
                        agreed += 1;
                        found = Some((envelope.record().to_vec(), directory));
                    }
                },
            }
        }
        match (found, problem) {
            (Some((_, directory)), _) => Ok(directory),
            (None, Some(problem)) => Err(problem.into()),
            (None, None) => Err(Error::NoDirectory { epoch, why }),
        }
    }

    /// Collects the data for the current epoch.
    pub(super) async fn chart(&self, relays: usize) -> Result<Chart, Error> {
        let mix = self.network.mix.as_ref();
        let mix = mix.ok_or_else(|| Error::NoMix {
            network: self.network.name.clone(),
        })?;
        let epoch = self.epoch();
        let directory = self.directory(epoch).await?;
        // Relays of the network's first directory count at once, others from the second epoch after their first.
        let before = mix.first_epoch.max(epoch.saturating_sub(2));
        let earlier = if before < epoch {
            self.directory(before).await?
        } else {
            directory.clone()
        };
        let began = Clock::start();
        let mut asked = false;
        loop {
            let records = self.mesh.records().await;
            let known: BTreeSet<NodeId> = records.iter().map(Record::node).collect();
            let missing: Vec<NodeId> = directory
                .relays
                .iter()
                .map(|r| r.node)
                .filter(|node| !known.contains(node))
                .collect();
            let topology = topology(&directory, &earlier, &records);
            let waited = began.elapsed();
            if missing.is_empty()
                || (waited >= SETTLE && topology.relays().len() >= relays)
                || waited >= self.patience
            {
                return Ok(Chart {
                    directory,
                    earlier,
                    topology,
                });
            }
            if !asked && waited >= SETTLE / 2 {
                // Ask for the records that gossip has not brought.
                asked = true;
                for node in missing {
                    let mesh = self.mesh.clone();
                    tokio::spawn(async move { mesh.record(node).await });
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Returns the stored guard, or draws a new one and stores it. An invalid stored guard is an error: otherwise an attacker who
    /// damages it could force a new draw.
    pub(super) fn guard(
        &self,
        topology: &Topology,
        state: Option<&SharedFolder>,
    ) -> Result<NodeId, Error> {
        let now = self.clock.now().unix_ms;
        match state {
            None => Ok(fresh_guard(now, topology)?.node),
            Some(folder) => on_disk(|| kept_guard(folder, &self.network.name, now, topology)),
        }
    }

    /// Opens a session with the guard, and a stream for packets on it.
    pub(super) async fn enter(
        &self,
        guard: NodeId,
    ) -> Result<(SessionHandle, Substream, Peer), Error> {
        let fail = |why: Error| Error::Guard {
            guard: guard.into(),
            why: Box::new(why),
        };
        let peer = self.mesh.find(guard).await;
        let peer = peer.ok_or_else(|| fail(betanet_relay::Error::Unknown(guard.into()).into()))?;
        let session = self.node.connect(&peer).await.map_err(|e| fail(e.into()))?;
        let stream = session.peer_session().open(kind::MIX).await;
        let stream = stream.map_err(|e| fail(e.into()))?;
        Ok((session, stream, peer))
    }
}

/// The guard of a network, stored by the network's name.
const GUARD: Kind = Kind::new("guard", 1);

fn fresh_guard(now: u64, topology: &Topology) -> Result<Guard, Error> {
    let drawn = Guard::draw(now, topology, &mut Rng::new(&seed()?));
    let too_few = betanet_mix::ClientError::TooFew { relays: 1, have: 0 };
    Ok(drawn.ok_or(too_few)?)
}

fn parse(bytes: &[u8]) -> Option<Guard> {
    let (name, since) = std::str::from_utf8(bytes).ok()?.trim().split_once(' ')?;
    Some(Guard {
        node: name.parse::<Name>().ok()?.node_id(),
        since_ms: since.parse().ok()?,
    })
}

/// Returns the guard of a state folder, which is held meanwhile: clients that start together share one guard.
fn kept_guard(
    folder: &SharedFolder,
    network: &str,
    now: u64,
    topology: &Topology,
) -> Result<NodeId, Error> {
    let name = format!("guard-{network}");
    folder.hold(|state| {
        // The file of an earlier version has the same name.
        let old = state.place(&name);
        let reads = |bytes: &[u8]| parse(bytes).map(|_| bytes.to_vec());
        if let Some(kept) = load_or_move(state, (GUARD, &name), &old, reads)? {
            let guard = parse(&kept.bytes).ok_or_else(|| state.unreadable(&name))?;
            if guard.stands(now, topology) {
                return Ok(guard.node);
            }
        }
        let guard = fresh_guard(now, topology)?;
        let line = format!("{} {}\n", Name::from(guard.node), guard.since_ms);
        state.replace(GUARD, &name, line.as_bytes())?;
        Ok(guard.node)
    })
}
