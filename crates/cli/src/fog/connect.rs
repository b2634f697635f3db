//! The client of a command, over the way that its flags describe.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_fog_client::{Connect, Connecting, FogClient, Link, Patience};
use betanet_runtime::{DialError, Error, Name, Peer, load_identity};
use tokio::sync::Mutex;

use crate::Fail;
use crate::args::{DialArgs, FogArgs};
use crate::id::default_key;
use crate::opened::Opened;
use crate::target::Dialling;

/// Time between two attempts at coordinators that failed often. Other peers rest for ten minutes then, which is longer than leases last.
const AGAIN: Duration = Duration::from_secs(15);
/// Time for closing sessions.
const GOODBYE: Duration = Duration::from_secs(3);

/// Dials coordinators as the command line says.
#[derive(Clone)]
struct Dialler {
    dialling: Arc<Mutex<Dialling>>,
    coordinators: Vec<(Name, Option<Peer>)>,
    relays: usize,
    /// Held during such an attempt and for the time after it.
    again: Arc<Mutex<()>>,
}

/// Dials other nodes as coordinators are dialled, from a node of its own: one that does not answer holds up no coordinator.
pub(crate) struct Others(Dialler);

impl Others {
    /// Prepares for the nodes of these names and peer strings.
    pub(crate) fn open(
        key: &'static str,
        texts: &[String],
        dial: &DialArgs,
        me: &Path,
    ) -> Result<Self, Fail> {
        Ok(Self(Dialler::new(coordinators(key, texts)?, dial, me)?))
    }

    /// What opens the sessions.
    pub(crate) fn connect(&self) -> Arc<dyn Connect> {
        Arc::new(self.0.clone())
    }

    /// Closes the sessions.
    pub(crate) async fn close(self) {
        let leaving = async { self.0.dialling.lock().await.leave().await };
        let _ = tokio::time::timeout(GOODBYE, leaving).await;
    }
}

impl Dialler {
    fn new(
        coordinators: Vec<(Name, Option<Peer>)>,
        dial: &DialArgs,
        key: &Path,
    ) -> Result<Self, Fail> {
        let dialling = Dialling::to_any_of(&coordinators, dial, Some(key))?;
        Ok(Self {
            dialling: Arc::new(Mutex::new(dialling)),
            coordinators,
            relays: dial.mix.map_or(0, usize::from),
            again: Arc::default(),
        })
    }

    /// Opens the session, also while the coordinator rests after failures.
    async fn open(&self, dialling: &mut Dialling) -> Result<Opened, Error> {
        let resting = match dialling.session().await {
            Err(error @ Error::Dial(DialError::Resting(_))) => error,
            other => return other,
        };
        let Ok(turn) = Arc::clone(&self.again).try_lock_owned() else {
            return Err(resting);
        };
        let opened = dialling.session_at_once().await;
        if opened.is_err() {
            tokio::spawn(async move {
                tokio::time::sleep(AGAIN).await;
                drop(turn);
            });
        }
        opened
    }
}

impl Connect for Dialler {
    fn coordinators(&self) -> Vec<Name> {
        self.coordinators.iter().map(|(name, _)| *name).collect()
    }

    fn relays(&self) -> usize {
        self.relays
    }

    fn connect(&self, coordinator: Name) -> Connecting<'_> {
        Box::pin(async move {
            let mut known = self.coordinators.iter();
            let given = known.find(|(name, _)| *name == coordinator);
            let peer = given.and_then(|(_, peer)| peer.clone());
            let mut dialling = self.dialling.lock().await;
            dialling.turn_to(coordinator, peer)?;
            let session = self.open(&mut dialling).await?;
            dialling.reached();
            Ok(match session {
                Opened::Direct(session) => Link::Direct(session),
                Opened::Mix(session) => Link::Mix {
                    session,
                    relays: self.relays,
                },
            })
        })
    }
}

/// A client, and the node under it.
pub(crate) struct Session {
    client: FogClient,
    dialler: Dialler,
}

impl Session {
    /// Prepares a client. The session with a coordinator is opened by the first request.
    pub(crate) fn open(args: &FogArgs) -> Result<Self, Fail> {
        let coordinators = coordinators("--coordinator", &args.coordinator)?;
        let key = args.dial.key.clone().unwrap_or_else(default_key);
        if args.dial.key.is_none() && !key.exists() {
            return Err(Fail::Local(format!(
                "{}: no key is there, and the fog knows users by their keys: betanet id new makes one",
                key.display()
            )));
        }
        let me = load_identity(&key)?;
        let dialler = Dialler::new(coordinators, &args.dial, &key)?;
        let patience = Patience {
            repeat: Duration::from_secs(args.patience),
            ..Patience::default()
        };
        let client = FogClient::with_patience(me, dialler.clone(), patience);
        Ok(Self { client, dialler })
    }

    pub(crate) const fn client(&self) -> &FogClient {
        &self.client
    }

    /// Closes the session, and leaves the network.
    pub(crate) async fn close(self) {
        // Do not wait longer for a peer that does not respond.
        let _ = tokio::time::timeout(GOODBYE, async {
            self.client.close().await;
            self.dialler.dialling.lock().await.leave().await;
        })
        .await;
    }
}

/// Reads names and peer strings of coordinators.
fn coordinators(key: &str, texts: &[String]) -> Result<Vec<(Name, Option<Peer>)>, Fail> {
    let read = |text: &String| match text.trim().parse::<Name>() {
        Ok(name) => Ok((name, None)),
        Err(_) => {
            let peer: Result<Peer, _> = text.trim().parse();
            let peer = peer.map_err(|e| {
                Fail::Usage(format!(
                    "{key} {text}: {e}, or a name that starts with bn1:"
                ))
            })?;
            Ok((peer.name(), Some(peer)))
        }
    };
    texts.iter().map(read).collect()
}
