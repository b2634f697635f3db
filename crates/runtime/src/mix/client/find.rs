//! What a client has to know before it sends: directory, relays' keys, guard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use betanet_bar::{Headers, Method, Request, status};
use betanet_htx::kind;
use betanet_keys::{Maintainers, Name, Peer};
use betanet_machine::Rng;
use betanet_mesh::Record;
use betanet_mix::{DIRECTORY_MAX, Directory, DirectoryError, Guard, MixKeys, Topology, epoch_at};
use betanet_session::Substream;
use betanet_store::{Kind, SharedFolder, Storage as _, load_or_move};
use betanet_wire::NodeId;
use tokio::time::timeout;

use super::super::PLACE;
use super::super::directories::{DirectoryProblem, check};
use crate::files::on_disk;
use crate::mesh::peer_of_seed;
use crate::{Clock, Error, Mesh, Network, Node, SeedFailure, SessionHandle, seed};

/// One seed's answer takes no longer.
const ASK: Duration = Duration::from_secs(6);
/// Seeds whose directories are compared.
const COMPARED: usize = 2;
/// Between two looks for relays' records.
const LOOK: Duration = Duration::from_millis(200);
/// After this the relays that are known make do.
const SETTLE: Duration = Duration::from_secs(4);

pub(in super::super) struct Finder {
    pub(in super::super) network: Network,
    pub(in super::super) mesh: Mesh,
    pub(in super::super) node: Arc<Node>,
    pub(in super::super) clock: Clock,
    pub(in super::super) patience: Duration,
}

/// What a seed answered.
enum Answer {
    Directory(Vec<u8>),
    Equivocation,
    None(SeedFailure),
}

/// The directories that an epoch's relays come from, and the relays.
pub(super) struct Chart {
    directory: Directory,
    earlier: Directory,
    pub(super) topology: Topology,
}

impl Chart {
    /// Takes up keys that relays published since; whether there were any. What is no longer known of a relay changes nothing.
    pub(super) fn renew(&mut self, records: &[Record]) -> bool {
        let fresh = topology(&self.directory, &self.earlier, records);
        let newer = fresh != self.topology && fresh.relays() == self.topology.relays();
        if newer {
            self.topology = fresh;
        }
        newer
    }
}

/// The relays of a directory that count, with the keys of their own records.
fn topology(directory: &Directory, earlier: &Directory, records: &[Record]) -> Topology {
    let keys = |r: &Record| {
        let claims = r.claims().ok()?;
        Some((r.node(), MixKeys::from_bytes(claims.mix).ok()?))
    };
    let keys: BTreeMap<NodeId, MixKeys> = records.iter().filter_map(keys).collect();
    directory.topology(earlier, |n| keys.get(&n).cloned())
}

impl Finder {
    /// The epoch of now.
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

    /// The directory of an epoch, the same from two seeds where two are reached.
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
            // A directory of many relays is a second's arithmetic.
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

    /// What is to be known of the epoch of now.
    pub(super) async fn chart(&self, relays: usize) -> Result<Chart, Error> {
        let mix = self.network.mix.as_ref();
        let mix = mix.ok_or_else(|| Error::NoMix {
            network: self.network.name.clone(),
        })?;
        let epoch = self.epoch();
        let directory = self.directory(epoch).await?;
        // Relays of the network's first directory count at once, others from the second epoch after theirs.
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
                // Those that gossip has not brought.
                asked = true;
                for node in missing {
                    let mesh = self.mesh.clone();
                    tokio::spawn(async move { mesh.record(node).await });
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The guard that is kept, or a fresh one, which is noted. One that is noted and does not read is an error: whoever could damage
    /// it would have another one drawn.
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

    /// A session with the guard, and a stream for packets on it.
    pub(super) async fn enter(
        &self,
        guard: NodeId,
    ) -> Result<(SessionHandle, Substream, Peer), Error> {
        let fail = |why: Error| Error::Guard {
            guard: guard.into(),
            why: Box::new(why),
        };
        let peer = self.mesh.find(guard).await;
        let peer = peer.ok_or_else(|| fail(Error::Unknown(guard.into())))?;
        let session = self.node.connect(&peer).await.map_err(fail)?;
        let stream = session.peer_session().open(kind::MIX).await;
        let stream = stream.map_err(|e| fail(e.into()))?;
        Ok((session, stream, peer))
    }
}

/// A network's guard, by its name.
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

/// The guard of a state folder, which is held meanwhile: clients that begin at once have the same one.
fn kept_guard(
    folder: &SharedFolder,
    network: &str,
    now: u64,
    topology: &Topology,
) -> Result<NodeId, Error> {
    let name = format!("guard-{network}");
    folder.hold(|state| {
        // An earlier version's file had the same name.
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
