//! Names, URLs and peers on the command line.

mod url;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use betanet_htx::Config;
use betanet_runtime::{
    Book, Cover, DialError, Error, Mesh, MixClient, MixOptions, MixSession, MixStats, Name,
    Network, Node, NodeId, Peer, RelayError, SessionHandle, load_identity,
};

use crate::Fail;
use crate::args::{DialArgs, PeerArgs};
use crate::id::default_key;
use crate::opened::Opened;
use crate::{progress, seeds, state};

pub(crate) use url::{Url, is_alias};

/// Time limit for finding a peer and relays in a network.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// A network that was joined as a client.
pub(crate) struct Joined {
    pub(crate) node: Arc<Node>,
    pub(crate) mesh: Mesh,
}

impl Joined {
    /// Joins the network of a file.
    pub(crate) fn join(file: &Path, node: Arc<Node>) -> Result<Self, Error> {
        let network = seeds::read(file)?;
        let mesh = Mesh::client(Arc::clone(&node), &network)?;
        Ok(Self { node, mesh })
    }
}

/// The peer's location, as known before dialling.
enum Where {
    /// The peer was given, or is in the address book.
    Known(Box<Peer>),
    /// The name is looked up in the network.
    Network(Name),
}

/// A node to dial with, and the peer to dial.
pub(crate) struct Dialling {
    node: Arc<Node>,
    /// The identity that the peer sees. `None` for a new identity, or over the mix.
    me: Option<Name>,
    to: Where,
    via: Vec<Peer>,
    network: Option<Joined>,
    /// File of the network, if one was given.
    file: Option<PathBuf>,
    /// Number of nodes of a path, including the peer.
    path: Option<usize>,
    /// Options of the mix and the network's file.
    mix: Option<(MixOptions, PathBuf)>,
    /// The node that dials the guard, until the client of the mix has it.
    entry: Option<Node>,
    mixing: Option<MixClient>,
    /// Paths that the network found and that were not tried yet.
    ready: VecDeque<Vec<Peer>>,
    /// Relays of failed paths.
    failed: Vec<NodeId>,
    /// Relays of the path in use.
    used: Vec<NodeId>,
    /// The peer of the last session.
    reached_peer: Option<Peer>,
    book: Book,
}

impl Dialling {
    /// Finds the peer of a URL: in the URL, in the address book, or later in the network.
    pub(crate) fn to_url(url: &Url, args: &PeerArgs) -> Result<Self, Fail> {
        Self::find(url.name, url.peer.clone(), args, args.dial.key.as_deref())
    }

    /// Like [`Dialling::to_url`], with the given identity or else the user's own, if there is one.
    pub(crate) fn as_oneself(url: &Url, args: &PeerArgs) -> Result<Self, Fail> {
        let own = default_key();
        let key = match &args.dial.key {
            Some(key) => Some(key.as_path()),
            None => Some(own.as_path()).filter(|p| p.exists()),
        };
        Self::find(url.name, url.peer.clone(), args, key)
    }

    /// Finds the peer of a name.
    pub(crate) fn to_name(name: Name, args: &PeerArgs) -> Result<Self, Fail> {
        Self::find(name, None, args, args.dial.key.as_deref())
    }

    fn find(
        name: Name,
        peer: Option<Peer>,
        args: &PeerArgs,
        key: Option<&Path>,
    ) -> Result<Self, Fail> {
        let dial = &args.dial;
        let book = open_book(dial)?;
        if let (Some(relays), Some(network)) = (dial.mix, &dial.network) {
            return Self::mixed(name, (relays, network), dial, book);
        }
        let known = match (&args.peer, peer) {
            (Some(text), _) => {
                let peer = read_peer("--peer", text)?;
                if peer.name() != name {
                    return Err(Fail::Usage(format!(
                        "{name} is not the name of the peer's key, which is {}",
                        peer.name()
                    )));
                }
                Some(peer)
            }
            (None, Some(peer)) => Some(peer),
            (None, None) => book.find(name),
        };
        let to = match known {
            Some(peer) if dial.path.is_none() => Where::Known(Box::new(peer)),
            _ if dial.network.is_some() => Where::Network(name),
            Some(peer) => Where::Known(Box::new(peer)),
            None => {
                return Err(Fail::Usage(format!(
                    "{name} is not in the address book: give its PEER string once (--peer, or --coordinator for the fog), or a --network that knows it"
                )));
            }
        };
        Self::new(to, dial, book, key)
    }

    /// Prepares for the peer of a name, which [`Dialling::turn_to`] gives, with an identity or a fresh one.
    pub(crate) fn to_any_of(
        names: &[(Name, Option<Peer>)],
        dial: &DialArgs,
        key: Option<&Path>,
    ) -> Result<Self, Fail> {
        let (first, peer) = names
            .first()
            .cloned()
            .ok_or_else(|| Fail::Usage("no peer is named".into()))?;
        let args = PeerArgs {
            peer: None,
            dial: dial.clone(),
        };
        Self::find(first, peer, &args, key)
    }

    /// Dials another peer from now on, with the same identity and the same kind of way.
    pub(crate) fn turn_to(&mut self, name: Name, peer: Option<Peer>) -> Result<(), Error> {
        let known = peer.or_else(|| self.book.find(name));
        self.to = match (known, &self.file) {
            _ if self.mix.is_some() => Where::Network(name),
            (Some(peer), _) if self.path.is_none() => Where::Known(Box::new(peer)),
            (_, Some(file)) => {
                if self.network.is_none() {
                    self.network = Some(Joined::join(file, Arc::clone(&self.node))?);
                }
                Where::Network(name)
            }
            (Some(peer), None) => Where::Known(Box::new(peer)),
            (None, None) => return Err(RelayError::Unknown(name).into()),
        };
        self.ready.clear();
        (self.failed, self.used) = (Vec::new(), Vec::new());
        self.reached_peer = None;
        Ok(())
    }

    /// Finds the peer of a name, or parses the text as a peer.
    pub(crate) fn to_text(text: &str, args: &PeerArgs) -> Result<Self, Fail> {
        let dial = &args.dial;
        if dial.mix.is_some() {
            let why = "--mix: over the mix there is no session with the peer to look at; get, put, post and del go over it";
            return Err(Fail::Usage(why.into()));
        }
        match text.parse::<Name>() {
            Ok(name) => Self::to_name(name, args),
            Err(_) => {
                let peer = read_peer("--peer", text)?;
                let to = match (dial.path, &dial.network) {
                    (Some(_), Some(_)) => Where::Network(peer.name()),
                    _ => Where::Known(Box::new(peer)),
                };
                Self::new(to, dial, open_book(dial)?, dial.key.as_deref())
            }
        }
    }

    /// Uses the mix.
    fn mixed(
        name: Name,
        (relays, file): (u8, &Path),
        args: &DialArgs,
        book: Book,
    ) -> Result<Self, Fail> {
        // Report an invalid file before dialling.
        Network::read(file).map_err(Error::from)?;
        let options = MixOptions {
            relays: relays.into(),
            cover: Cover {
                loops: None,
                packets: args.mix_cover.map(std::time::Duration::from_millis),
            },
            state: Some(state::folder(args.state.as_deref())),
            loops_file: None,
            patience: PATIENCE,
        };
        Ok(Self {
            node: Arc::new(Node::client()?),
            me: None,
            to: Where::Network(name),
            via: Vec::new(),
            network: None,
            path: None,
            mix: Some((options, file.to_owned())),
            entry: Some(args.dialling(Node::client()?)?),
            mixing: None,
            file: args.network.clone(),
            ready: VecDeque::new(),
            failed: Vec::new(),
            used: Vec::new(),
            reached_peer: None,
            book,
        })
    }

    /// Opens a session through the mix. The first call creates the client.
    async fn mixed_session(
        &mut self,
        name: Name,
        options: &MixOptions,
        file: &Path,
    ) -> Result<MixSession, Error> {
        // The client stays here while it is asked: a call that is given up costs the next one nothing.
        if self.mixing.is_none() {
            let network = seeds::read(file)?;
            // A client that could not join is not made twice.
            let node = self.entry.take().ok_or(RelayError::Unknown(name))?;
            self.mixing = Some(MixClient::join(node, &network, options).await?);
        }
        let client = self.mixing.as_ref().ok_or(RelayError::Unknown(name))?;
        Ok(client.session(name).await?)
    }

    /// Returns the identity that the peer sees, if it is a stored one.
    pub(crate) const fn me(&self) -> Option<Name> {
        self.me
    }

    /// Returns whether requests are sent over the mix.
    pub(crate) const fn is_mixed(&self) -> bool {
        self.mix.is_some()
    }

    /// Returns the client of the mix, if it has joined.
    pub(crate) const fn mix_client(&self) -> Option<&MixClient> {
        self.mixing.as_ref()
    }

    /// Returns the counters of the mix client.
    pub(crate) fn mix_stats(&self) -> Option<MixStats> {
        self.mixing.as_ref().map(MixClient::stats)
    }

    fn new(to: Where, args: &DialArgs, book: Book, key: Option<&Path>) -> Result<Self, Fail> {
        let identity = match key {
            Some(path) => Some(load_identity(path)?),
            None => None,
        };
        let me = identity.as_ref().map(|i| Name::from(i.public().node_id()));
        let relay = |text: &String| match text.parse::<Name>() {
            Ok(name) => book.find(name).ok_or_else(|| {
                Fail::Usage(format!(
                    "--via {name} is not in the address book: give its peer string"
                ))
            }),
            Err(_) => read_peer("--via", text),
        };
        let via = args.via.iter().map(relay).collect::<Result<_, _>>()?;
        let node =
            Node::new(identity, Config::default())?.with_silence_hook(Arc::new(progress::silence));
        let node = Arc::new(args.dialling(node)?);
        let network = match (&to, &args.network) {
            (Where::Network(_), Some(file)) => Some(Joined::join(file, Arc::clone(&node))?),
            _ => None,
        };
        Ok(Self {
            node,
            me,
            to,
            via,
            network,
            path: args.path.map(usize::from),
            mix: None,
            entry: None,
            mixing: None,
            file: args.network.clone(),
            ready: VecDeque::new(),
            failed: Vec::new(),
            used: Vec::new(),
            reached_peer: None,
            book,
        })
    }

    /// Opens the session for requests: through the mix if requested, and otherwise like [`Dialling::direct_session`].
    pub(crate) async fn session(&mut self) -> Result<Opened, Error> {
        if let (Where::Network(name), Some((options, file))) = (&self.to, self.mix.clone()) {
            let session = self.mixed_session(*name, &options, &file).await?;
            return Ok(noted(Opened::Mix(session)));
        }
        Ok(noted(Opened::Direct(self.end_to_end().await?)))
    }

    /// Opens the session with a peer whose address is given, also while it rests after failures.
    pub(crate) async fn session_at_once(&mut self) -> Result<Opened, Error> {
        match &self.to {
            Where::Known(peer) if self.mix.is_none() => {
                let session = self.node.connect_over(&self.via, peer).await?;
                Ok(noted(Opened::Direct(session)))
            }
            _ => self.session().await,
        }
    }

    /// Opens the session with the peer: direct, over the given relays, or over a path that the network finds.
    pub(crate) async fn direct_session(&mut self) -> Result<SessionHandle, Error> {
        let session = self.end_to_end().await?;
        noted(Opened::Direct(session.clone()));
        Ok(session)
    }

    async fn end_to_end(&mut self) -> Result<SessionHandle, Error> {
        let (name, network) = match (&self.to, &self.network) {
            (Where::Network(name), Some(network)) => (*name, network),
            (Where::Known(peer), _) => return Ok(self.node.session_over(&self.via, peer).await?),
            (Where::Network(name), None) => return Err(RelayError::Unknown(*name).into()),
        };
        // Do not retry failed relays while there is another path.
        self.failed.append(&mut self.used);
        let nodes = self.path.unwrap_or(1);
        if self.ready.is_empty() {
            let mesh = &network.mesh;
            let ways = match mesh.ways_to(name, nodes, &self.failed, PATIENCE).await {
                Err(RelayError::NoRelays { .. }) if !self.failed.is_empty() => {
                    self.failed.clear();
                    mesh.ways_to(name, nodes, &[], PATIENCE).await?
                }
                ways => ways?,
            };
            self.ready.extend(ways);
        }
        let way = self.ready.pop_front().ok_or(DialError::NoAddress)?;
        let (peer, relays) = way.split_last().ok_or(DialError::NoAddress)?;
        // Relays that were named are used, whoever found the peer. With them no path of the network is asked for.
        let relays = match self.via.is_empty() {
            true => relays,
            false => &self.via,
        };
        self.used = relays.iter().map(|p| p.key.node_id()).collect();
        let opened = network.node.session_over(relays, peer).await;
        match &opened {
            Ok(_) => self.reached_peer = Some(peer.clone()),
            Err(error) => {
                let down = match error {
                    DialError::PathEnded { by, .. } => Some(by.node_id()),
                    _ => self.used.first().copied(),
                };
                if let Some(node) = down {
                    network.mesh.down(node).await;
                }
            }
        }
        Ok(opened?)
    }

    /// Records in the address book that the peer was reached.
    pub(crate) fn reached(&mut self) {
        let known = match &self.to {
            Where::Known(peer) => Some(&**peer),
            Where::Network(_) => self.reached_peer.as_ref(),
        };
        if let Some(peer) = known
            && let Err(e) = self.book.note(peer)
        {
            note!("note: the address book was not written: {e}");
        }
    }

    /// Leaves the network, if one was joined.
    pub(crate) async fn leave(&self) {
        if let Some(client) = &self.mixing {
            client.close().await;
        }
        self.node.close().await;
        if let Some(network) = &self.network {
            network.mesh.stop().await;
        }
    }
}

/// Reports that QUIC was tried first, and failed.
fn noted(session: Opened) -> Opened {
    if let Some(why) = &session.outer().instead {
        note!("over TCP: {why}");
    }
    session
}

pub(crate) fn open_book(args: &DialArgs) -> Result<Book, Fail> {
    Ok(match &args.book {
        Some(file) => Book::open(file.clone())?,
        None => Book::in_state(state::folder(args.state.as_deref()))?,
    })
}

pub(crate) fn read_peer(flag: &str, text: &str) -> Result<Peer, Fail> {
    text.parse()
        .map_err(|e| Fail::Usage(format!("{flag} {text}: {e}")))
}
