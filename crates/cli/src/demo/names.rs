//! The demo's part of names: an alias that two signers make final, and a file that is fetched by it.

use std::path::Path;

use betanet_bar::Request;
use betanet_keys::{Identity, Name, Peer, PublicKey};
use betanet_log::Signers;
use betanet_naming::signer::{Memory, Signer};
use betanet_naming::{Alias, AliasRecord, Finalized, Genesis, Ledger};
use betanet_naming_service::client::{self, Trust};
use betanet_naming_service::{ClientError, NameService, PREFIX, Running, Settings};
use betanet_runtime::{Clock, Gateway, GatewayConfig, Node, SessionHandle, new_identity};
use betanet_wire::Code;

use super::{Served, Steps, failed, fetch};
use crate::Fail;
use crate::fail::chain;

/// The alias that the demo claims.
const ALIAS: &str = "files.example";

/// Longest answer of a ledger node, in bytes.
const ANSWER_MAX: usize = 4 << 20;

fn wrong(error: &(dyn std::error::Error + 'static)) -> Fail {
    failed(chain(error))
}

struct LedgerNode {
    gateway: Gateway,
    running: Running,
}

/// Starts a ledger node for each signer, all of which know each other.
async fn ledgers(
    home: &Path,
    genesis: &Genesis,
    signers: &[Identity],
) -> Result<Vec<LedgerNode>, Fail> {
    let mut idle = Vec::new();
    for (n, signer) in signers.iter().enumerate() {
        let key = home.join(format!("ledger-{n}.pem"));
        let identity = new_identity(&key)?;
        let mut config = GatewayConfig::default();
        config.node.key = key;
        config.check().map_err(|p| Fail::Local(p.to_string()))?;
        let mut settings = Settings::new(genesis.clone());
        settings.signer = Some(signer.clone());
        let names = NameService::new(settings).map_err(|e| wrong(&e))?;
        let gateway = Gateway::builder(identity.clone(), &config)
            .service(PREFIX, names.service())
            .stream_type(NameService::STREAMS, names.streams())
            .start()
            .await?;
        idle.push((names, gateway, identity));
    }
    let known: Vec<(PublicKey, Peer)> = signers
        .iter()
        .zip(&idle)
        .map(|(signer, (_, gateway, _))| (*signer.public(), gateway.listening().peer()))
        .collect();
    let mut all = Vec::new();
    for (n, (mut names, gateway, identity)) in idle.into_iter().enumerate() {
        names.know(Vec::new(), known.clone());
        let name = format!("ledger-{n}");
        let journal = crate::journal::open(&home.join(&name), &name)?;
        let running = names.start(&identity, journal, |node| node).await;
        let running = running.map_err(|e| wrong(&e))?;
        running.leads().await;
        all.push(LedgerNode { gateway, running });
    }
    Ok(all)
}

async fn submit(session: &SessionHandle, record: &[u8]) -> Result<Result<u64, ClientError>, Fail> {
    let mut request = client::submit_request(record);
    request.body = record.to_vec();
    let bytes = ask(session, request).await?;
    Ok(bytes.and_then(|bytes| client::waits(&bytes)))
}

async fn ask(
    session: &SessionHandle,
    request: Request,
) -> Result<Result<Vec<u8>, ClientError>, Fail> {
    let answer = session.ask(request).await?;
    Ok(client::body(answer, ANSWER_MAX).await)
}

/// Runs the steps. The alias leads to the node with the key `owner`, which serves `file`. It is one of `peers`, whose addresses a client
/// knows: which of them it dials, the ledger tells.
pub(super) async fn run(
    home: &Path,
    steps: &mut Steps,
    (owner, peers): (&Identity, &[Peer]),
    file: &Served,
) -> Result<(), Fail> {
    let mut signers = Vec::new();
    for n in 0..3 {
        signers.push(new_identity(&home.join(format!("signer-{n}.pem")))?);
    }
    let keys: Vec<PublicKey> = signers.iter().map(|s| *s.public()).collect();
    let genesis = Genesis {
        signers: Signers::new(&keys).map_err(|e| wrong(&e))?,
        maintainers: Vec::new(),
    };
    let nodes = ledgers(home, &genesis, &signers).await?;
    steps.done("started three ledger nodes, each with a signer of the ledger's heads");

    let alias: Alias = ALIAS.parse().map_err(|e| wrong(&e))?;
    let empty = Ledger::new(&genesis).map_err(|e| wrong(&e))?;
    let now = Clock::start().now().unix_ms;
    let record = AliasRecord::bind(alias.clone(), owner, 1, now);
    let mut claim = Finalized::new(record, owner.public());
    for signer in signers.iter().take(2) {
        let mut signer = Signer::new(signer.clone(), Memory::default());
        let pending = signer
            .sign_record(now, &empty, &claim)
            .map_err(|e| wrong(&e))?;
        // The signer's memory is on disk before its signature leaves.
        let path = home.join(format!("{}.memory", Name::from(signer.public().node_id())));
        betanet_runtime::write_private(&path, pending.change())?;
        claim.add(pending.stored());
    }
    let node = Node::client()?;
    let [first, .., last] = nodes.as_slice() else {
        return Err(failed("there are three ledger nodes"));
    };
    let session = node.connect(&first.gateway.listening().peer()).await?;
    let taken = submit(&session, &claim.to_bytes()).await?;
    taken.map_err(|e| wrong(&e))?;
    for node in &nodes {
        node.running.reaches(1).await;
    }
    steps.done(&format!(
        "claimed {ALIAS}: two of three signers signed the record, and then the ledger's head that has it"
    ));

    let reader = node.connect(&last.gateway.listening().peer()).await?;
    let answer = ask(&reader, client::alias_request(&alias)).await?;
    let answer = answer.map_err(|e| wrong(&e))?;
    let mut trust = Trust::new(&genesis);
    let found = client::resolved(&answer, &alias, &mut trust, now).map_err(|e| wrong(&e))?;
    let mut known = peers.iter();
    let peer = known.find(|peer| found.node() == Some(peer.key.node_id()));
    let peer = peer.ok_or_else(|| failed("the alias leads to a node that is not there"))?;
    let server = node.connect(peer).await?;
    let bytes = fetch(&server, file, false).await?;
    server.close().await;
    steps.done(&format!(
        "resolved it at another ledger node with a proof that the signers' keys verify: it is {}; fetched {bytes} bytes of bar://{ALIAS}/{} there",
        peer.name(),
        file.name
    ));

    match submit(&session, &claim.to_bytes()).await? {
        Err(ClientError::Refused(refusal)) if refusal.code == Code::ALIAS_SEQ_REPLAY => {
            steps.done(&format!("refused: the same record again, {}", refusal.code));
        }
        Err(other) => return Err(wrong(&other)),
        Ok(_) => return Err(failed("a record was taken twice")),
    }
    for session in [session, reader] {
        session.close().await;
    }
    for LedgerNode { gateway, running } in nodes {
        running.stop().await;
        if !gateway.shutdown().await {
            return Err(failed("a node did not stop in time"));
        }
    }
    Ok(())
}
