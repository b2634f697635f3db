//! Names, URLs and peers as the command line gives them.

use betanet_htx::Config;
use betanet_runtime::{Book, Error, Name, Node, Peer, SessionHandle, load_identity, state_dir};

use crate::Fail;
use crate::args::PeerArgs;

/// `bar://NAME/path`, read.
#[derive(Debug)]
pub(crate) struct Url {
    pub(crate) name: Name,
    pub(crate) target: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Fail> {
        let usage = |why: String| Fail::Usage(format!("{text}: {why}"));
        let rest = text
            .strip_prefix("bar://")
            .ok_or_else(|| usage("a URL is bar://NAME/path".into()))?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (name, path) = rest.split_at(slash);
        let name = name.parse().map_err(|e| usage(format!("{e}")))?;
        let target = if path.is_empty() { "/" } else { path };
        Ok(Self {
            name,
            target: target.to_owned(),
        })
    }
}

/// A node to dial with, and the peer to dial.
pub(crate) struct Dialling {
    pub(crate) node: Node,
    pub(crate) peer: Peer,
    via: Vec<Peer>,
    book: Book,
}

impl Dialling {
    /// Finds the peer of a name: as given, or in the address book.
    pub(crate) fn to_name(name: Name, args: &PeerArgs) -> Result<Self, Fail> {
        let book = open_book(args)?;
        let peer = match &args.peer {
            Some(text) => {
                let peer = read_peer("--peer", text)?;
                if peer.name() != name {
                    return Err(Fail::Usage(format!(
                        "{name} is not the name of the peer's key, which is {}",
                        peer.name()
                    )));
                }
                peer
            }
            None => book.find(name).ok_or_else(|| {
                Fail::Usage(format!(
                    "{name} is not in the address book: name its --peer once"
                ))
            })?,
        };
        Self::new(peer, args, book)
    }

    /// Finds the peer of a name in the address book, or takes the text as a peer.
    pub(crate) fn to_text(text: &str, args: &PeerArgs) -> Result<Self, Fail> {
        match text.parse::<Name>() {
            Ok(name) => Self::to_name(name, args),
            Err(_) => Self::new(read_peer("--peer", text)?, args, open_book(args)?),
        }
    }

    fn new(peer: Peer, args: &PeerArgs, book: Book) -> Result<Self, Fail> {
        let identity = match &args.key {
            Some(path) => Some(load_identity(path)?),
            None => None,
        };
        let relay = |text: &String| match text.parse::<Name>() {
            Ok(name) => book.find(name).ok_or_else(|| {
                Fail::Usage(format!(
                    "--via {name} is not in the address book: give its peer string"
                ))
            }),
            Err(_) => read_peer("--via", text),
        };
        Ok(Self {
            node: Node::new(identity, Config::default())?,
            peer,
            via: args.via.iter().map(relay).collect::<Result<_, _>>()?,
            book,
        })
    }

    /// The session with the peer, over the relays that were named.
    pub(crate) async fn session(&self) -> Result<SessionHandle, Error> {
        self.node.session_over(&self.via, &self.peer).await
    }

    /// Notes in the address book that the peer was reached.
    pub(crate) fn reached(&mut self) {
        if let Err(e) = self.book.note(&self.peer) {
            eprintln!("note: the address book was not written: {e}");
        }
    }
}

fn open_book(args: &PeerArgs) -> Result<Book, Fail> {
    let path = args
        .book
        .clone()
        .unwrap_or_else(|| state_dir().join("peers.toml"));
    Ok(Book::open(path)?)
}

fn read_peer(flag: &str, text: &str) -> Result<Peer, Fail> {
    text.parse()
        .map_err(|e| Fail::Usage(format!("{flag} {text}: {e}")))
}
