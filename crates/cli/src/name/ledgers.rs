//! Requests to ledger nodes, over the way that the flags describe.

use std::time::Duration;

use betanet_bar::Request;
use betanet_naming::Alias;
use betanet_naming_service::ClientError;
use betanet_naming_service::body::ANSWER_MAX;
use betanet_naming_service::client::{self, Resolved, Trust};
use betanet_runtime::{Error, Name, Network, Peer};
use bytes::Bytes;
use tokio::time::timeout;

use crate::Fail;
use crate::args::{DialArgs, LedgerArgs};
use crate::fail::chain;
use crate::opened::Opened;
use crate::target::Dialling;

/// Time limit of one request.
const LIMIT: Duration = Duration::from_secs(30);
/// The same over the mix, where a client first joins and looks for the node's key.
const LIMIT_OVER_MIX: Duration = Duration::from_secs(90);
/// Time for leaving.
const GOODBYE: Duration = Duration::from_secs(3);

/// A ledger node: its name, and its address if it is known.
pub(crate) type Node = (Name, Option<Peer>);

/// The ledger nodes of a command, and the keys that verify their answers.
pub(crate) struct Ledgers {
    pub(crate) nodes: Vec<Node>,
    pub(crate) trust: Trust,
    dialling: Dialling,
    open: Option<(Name, Opened)>,
}

/// Reads the nodes that were named, or else those of the network file. Aliases are resolved by those of the network file.
pub(crate) async fn nodes(
    named: &[String],
    flag: &str,
    dial: &DialArgs,
) -> Result<Vec<Node>, Fail> {
    let mut named = named.to_vec();
    // Without aliases this asks nobody; with them it asks the nodes of the network file.
    Box::pin(super::named(&mut named, dial)).await?;
    let read = |text: &String| match text.parse::<Name>() {
        Ok(name) => Ok((name, None)),
        Err(_) => match text.parse::<Peer>() {
            Ok(peer) => Ok((peer.name(), Some(peer))),
            Err(why) => Err(Fail::Usage(format!("{flag} {text}: {why}"))),
        },
    };
    if !named.is_empty() {
        return named.iter().map(read).collect();
    }
    let Some(file) = &dial.network else {
        return Ok(Vec::new());
    };
    let network = Network::read(file).map_err(Error::from)?;
    let peers = network.ledgers.into_iter().map(|ledger| ledger.peer);
    Ok(peers.map(|peer| (peer.name(), Some(peer))).collect())
}

impl Ledgers {
    /// Prepares for the nodes that the flags name.
    pub(crate) async fn open(args: &LedgerArgs) -> Result<Self, Fail> {
        let genesis = super::genesis(args.trust.signers.as_deref(), args.dial.network.as_deref())?;
        let nodes = nodes(&args.from, "--from", &args.dial).await?;
        Self::new(nodes, Trust::new(&genesis), &args.dial, "--from")
    }

    pub(crate) fn new(
        nodes: Vec<Node>,
        trust: Trust,
        dial: &DialArgs,
        flag: &str,
    ) -> Result<Self, Fail> {
        if nodes.is_empty() {
            let why = format!("the network file names no ledger node: name one, {flag} PEER");
            return Err(Fail::Usage(why));
        }
        // Questions about names show nobody a stored identity.
        let dialling = Dialling::to_any_of(&nodes, dial, None)?;
        Ok(Self {
            nodes,
            trust,
            dialling,
            open: None,
        })
    }

    async fn session(&mut self, node: &Node) -> Result<Opened, Fail> {
        if let Some((name, session)) = &self.open
            && *name == node.0
            && !session.is_closed()
        {
            return Ok(session.clone());
        }
        if let Some((_, session)) = self.open.take() {
            session.close().await;
        }
        self.dialling.turn_to(node.0, node.1.clone())?;
        let session = self.dialling.session().await?;
        self.dialling.reached();
        self.open = Some((node.0, session.clone()));
        Ok(session)
    }

    /// Sends a request, with a body where the request says so.
    pub(crate) async fn ask(
        &mut self,
        node: &Node,
        request: Request,
        body: Option<Vec<u8>>,
    ) -> Result<Result<Vec<u8>, ClientError>, Fail> {
        let limit = match self.dialling.is_mixed() {
            true => LIMIT_OVER_MIX,
            false => LIMIT,
        };
        let asked = async {
            let session = self.session(node).await?;
            let answer = match body {
                None => session.ask(request).await?,
                Some(body) => {
                    let upload = session.upload(request).await?;
                    // An answer before the end of the body is the answer.
                    let _ = upload.send(Bytes::from(body)).await;
                    upload.finish().await.map_err(Error::from)?
                }
            };
            Ok(client::body(answer, ANSWER_MAX).await)
        };
        match timeout(limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Fail::Peer(format!(
                "{}: no answer within {} s",
                node.0,
                limit.as_secs()
            ))),
        }
    }

    /// Sends a request without a body. A refusal is the node's fault.
    pub(crate) async fn get(&mut self, node: &Node, request: Request) -> Result<Vec<u8>, Fail> {
        let answer = self.ask(node, request, None).await?;
        answer.map_err(|error| of_node(node, &error))
    }

    /// Asks all nodes about an alias. The newest record counts; nodes that do not answer are told.
    pub(crate) async fn resolve(&mut self, alias: &Alias) -> Result<(Resolved, Name), Fail> {
        let mut all: Vec<(Resolved, Name)> = Vec::new();
        let mut last = Fail::Peer("no ledger node answered".into());
        for node in self.nodes.clone() {
            let found = match self.get(&node, client::alias_request(alias)).await {
                Ok(bytes) => client::resolved(&bytes, alias, &mut self.trust, super::now_ms())
                    .map_err(|error| of_node(&node, &error)),
                Err(fail) => Err(fail),
            };
            match found {
                Ok(found) => all.push((found, node.0)),
                Err(fail @ Fail::Peer(_)) => {
                    if self.nodes.len() > 1 {
                        note!("note: {}", fail.why());
                    }
                    last = fail;
                }
                Err(fail) => return Err(fail),
            }
        }
        // A later answer can show that the signers of an earlier one do not count.
        all.retain(|(found, _)| self.still_counts(found, alias));
        let mut best: Option<(Resolved, Name)> = None;
        for (found, name) in all {
            let stays = best.as_mut().is_some_and(|(known, _)| known.merge(&found));
            if !stays {
                best = Some((found, name));
            }
        }
        best.ok_or(last)
    }

    /// Whether the proofs of an answer still verify with the signers that are known now.
    pub(crate) fn still_counts(&self, found: &Resolved, alias: &Alias) -> bool {
        let mut proofs = found.latest.iter().chain(&found.rival);
        proofs.all(|(_, proof)| self.trust.verify(proof, Some(alias)).is_ok())
    }

    pub(crate) async fn close(mut self) {
        // Do not wait longer for a peer that does not respond.
        let _ = timeout(GOODBYE, async {
            if let Some((_, session)) = self.open.take() {
                session.close().await;
            }
            self.dialling.leave().await;
        })
        .await;
    }
}

pub(crate) fn of_node(node: &Node, error: &ClientError) -> Fail {
    Fail::Peer(format!("{}: {}", node.0, chain(error)))
}
