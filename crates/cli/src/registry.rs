//! Records of the ledger's registries: maintainers sign them in a file; then they are given to the ledger of names, and seen final there.

use std::path::Path;
use std::time::Duration;

use betanet_keys::{Envelope, Maintainers};
use betanet_naming_service::client::{self, Trust};
use betanet_runtime::{Error, Network, load_identity};
use betanet_store::disk;
use tokio::time::Instant;

use crate::Fail;
use crate::args::{DialArgs, RegistryArgs};
use crate::fail::chain;
use crate::name::{Ledgers, genesis_of, nodes};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// The network whose maintainers sign, and its file.
pub(crate) fn network(dial: &DialArgs) -> Result<(&Path, Network), Fail> {
    let Some(file) = &dial.network else {
        let why = "the ledger of names needs the keys of its network: --network NETWORK.toml";
        return Err(Fail::Usage(why.to_owned()));
    };
    Ok((file.as_path(), Network::read(file).map_err(Error::from)?))
}

/// Signs a record by the keys that were named, and writes its file. Returns the number of maintainers that have signed it.
pub(crate) fn sign(
    envelope: &mut Envelope,
    network: &Network,
    args: &RegistryArgs,
) -> Result<usize, Fail> {
    for path in &args.maintainer {
        let key = load_identity(path).map_err(Error::from)?;
        if !network.maintainers.contains(key.public()) {
            let why = format!("{}: the network does not list this key", path.display());
            return Err(Fail::Usage(why));
        }
        envelope.sign(&key);
    }
    let signed = envelope.clean(&Maintainers::new(&network.maintainers));
    let signed = signed.map_err(|e| Fail::Local(e.to_string()))?;
    disk::write_shared(&args.file, envelope.to_bytes()).map_err(Fail::file(&args.file))?;
    Ok(signed)
}

/// Gives a record to the nodes of the ledger, and waits until `read` finds it final.
pub(crate) async fn give<T>(
    envelope: &Envelope,
    subject: (&str, &[u8]),
    (file, network): (&Path, &Network),
    args: &RegistryArgs,
    mut read: impl FnMut(&Envelope) -> Result<Option<T>, String>,
) -> Result<(), Fail> {
    let genesis = genesis_of(network, file)?;
    let nodes = nodes(&args.to, "--to", &args.dial).await?;
    let mut ledgers = Ledgers::new(nodes, Trust::new(&genesis), &args.dial, "--to")?;
    let given = given(
        &mut ledgers,
        &envelope.to_bytes(),
        subject,
        args.wait,
        &mut read,
    )
    .await;
    ledgers.close().await;
    given
}

async fn given<T>(
    ledgers: &mut Ledgers,
    record: &[u8],
    subject: (&str, &[u8]),
    wait: u64,
    read: &mut impl FnMut(&Envelope) -> Result<Option<T>, String>,
) -> Result<(), Fail> {
    let (mut taken, mut last) = (false, Fail::Peer("no ledger node answered".into()));
    for node in ledgers.nodes.clone() {
        let request = client::submit_request(record);
        match ledgers.ask(&node, request, Some(record.to_vec())).await {
            Ok(Ok(_)) => taken = true,
            // It may be final already: the next question tells.
            Ok(Err(error)) => last = Fail::Peer(format!("{}: {}", node.0, chain(&error))),
            Err(fail) => last = fail,
        }
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    loop {
        if stands(ledgers, subject, read).await?.is_some() {
            return Ok(());
        }
        if !taken {
            return Err(last);
        }
        if Instant::now() >= deadline {
            let why = format!("the record waits for a head of the ledger since {wait} s");
            return Err(Fail::Peer(why));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What `read` finds in the record of this type and key that a node of the ledger proves; `None` if those that answer have none.
pub(crate) async fn stands<T>(
    ledgers: &mut Ledgers,
    subject: (&str, &[u8]),
    read: &mut impl FnMut(&Envelope) -> Result<Option<T>, String>,
) -> Result<Option<T>, Fail> {
    let (mut failed, mut answered) = (None, false);
    for node in ledgers.nodes.clone() {
        let request = client::registry_request(subject.0, subject.1);
        let found = match ledgers.get(&node, request).await {
            Ok(bytes) => client::registered(&bytes, subject, &mut ledgers.trust)
                .map_err(|e| chain(&e))
                .and_then(|found| found.as_ref().map_or(Ok(None), &mut *read))
                .map_err(|why| Fail::Peer(format!("{}: {why}", node.0))),
            Err(fail) => Err(fail),
        };
        match found {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => answered = true,
            Err(fail) => failed = Some(fail),
        }
    }
    match failed {
        Some(fail) if !answered => Err(fail),
        _ => Ok(None),
    }
}
