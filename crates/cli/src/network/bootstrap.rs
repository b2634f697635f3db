//! Bootstrap peers of the ledger of names, as its maintainers publish them.

use std::time::Duration;

use betanet_keys::{Envelope, Maintainers, Name, PublicKey};
use betanet_naming_service::client::{self, Trust};
use betanet_runtime::{
    Addr, BOOTSTRAP_TYPE, Bootstrap, Error, Network, SeedPeer, load_identity, multiaddr,
};
use betanet_store::disk;
use serde_json::json;
use tokio::time::Instant;

use crate::Fail;
use crate::args::BootstrapArgs;
use crate::fail::chain;
use crate::name::{Ledgers, genesis_of, nodes, now_ms, peer};

/// Longest record's file.
const FILE_MAX: u64 = 64 << 10;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);
const DAY: u64 = 86_400_000;

/// The record in a file, or a new one.
async fn record(args: &BootstrapArgs, list: &Maintainers) -> Result<Envelope, Fail> {
    let wrong = |why: String| Fail::Usage(format!("{}: {why}", args.file.display()));
    if args.file.exists() {
        if args.peer.is_some() {
            return Err(wrong("it is there already: sign it without --peer".into()));
        }
        let bytes = disk::read_bounded(&args.file, FILE_MAX).map_err(Fail::file(&args.file))?;
        return Envelope::from_bytes(&bytes).map_err(|e| wrong(e.to_string()));
    }
    let Some(text) = &args.peer else {
        return Err(wrong(
            "there is no such file yet: make it with --peer PEER".into(),
        ));
    };
    let peer = peer("--peer", text, &args.dial).await?;
    let addrs = peer.addrs.iter().map(|text| {
        let addr = multiaddr(text);
        addr.ok_or_else(|| Fail::Usage(format!("--peer: {text} is no address that nodes dial")))
    });
    let addrs: Vec<Addr> = match args.withdraw {
        true => Vec::new(),
        false => addrs.collect::<Result<_, _>>()?,
    };
    let now = now_ms();
    let bootstrap = Bootstrap {
        peer: SeedPeer {
            key: peer.key,
            addrs,
            pin: peer.pin,
        },
        seq: now,
        exp: now + u64::from(args.days) * DAY,
    };
    Envelope::new(bootstrap.record(list.hash())).map_err(|e| wrong(e.to_string()))
}

/// Makes a record, or signs one that is there; gives it to the ledger once enough maintainers signed it.
pub(super) async fn publish(args: &BootstrapArgs) -> Result<(), Fail> {
    let Some(file) = &args.dial.network else {
        let why = "the ledger of names needs the keys of its network: --network NETWORK.toml";
        return Err(Fail::Usage(why.to_owned()));
    };
    let network = Network::read(file).map_err(Error::from)?;
    let list = Maintainers::new(&network.maintainers);
    let mut envelope = record(args, &list).await?;
    let bootstrap = Bootstrap::from_record(envelope.record());
    let bootstrap =
        bootstrap.map_err(|e| Fail::Usage(format!("{}: {}", args.file.display(), chain(&e))))?;
    for path in &args.maintainer {
        let key = load_identity(path).map_err(Error::from)?;
        if !network.maintainers.contains(key.public()) {
            let why = format!("{}: the network does not list this key", path.display());
            return Err(Fail::Usage(why));
        }
        envelope.sign(&key);
    }
    let signed = envelope
        .clean(&list)
        .map_err(|e| Fail::Local(e.to_string()))?;
    let bytes = envelope.to_bytes();
    disk::write_shared(&args.file, &bytes).map_err(Fail::file(&args.file))?;
    let (name, needed) = (Name::from(bootstrap.peer.key.node_id()), list.threshold());
    let is_final = signed >= needed;
    if is_final {
        let genesis = genesis_of(&network, file)?;
        let nodes = nodes(&args.to, "--to", &args.dial).await?;
        let mut ledgers = Ledgers::new(nodes, Trust::new(&genesis), &args.dial, "--to")?;
        let key = bootstrap.peer.key;
        let given = give(&mut ledgers, &envelope, &key, args.wait).await;
        ledgers.close().await;
        given?;
    }
    if args.json {
        say!(
            "{}",
            json!({ "node": name.to_string(), "signed": signed, "needed": needed, "final": is_final })
        );
    } else if is_final {
        let what = if bootstrap.peer.addrs.is_empty() {
            "is withdrawn from the bootstrap peers"
        } else {
            "is a bootstrap peer of the network"
        };
        say!("{name} {what}");
    } else {
        say!("{name}: {signed} of {needed} maintainers signed the record");
        say!("give {} to others of them", args.file.display());
    }
    Ok(())
}

/// Gives a record to the nodes, and waits until it is final.
async fn give(
    ledgers: &mut Ledgers,
    envelope: &Envelope,
    key: &PublicKey,
    wait: u64,
) -> Result<(), Fail> {
    let record = envelope.to_bytes();
    let (mut taken, mut last) = (false, Fail::Peer("no ledger node answered".into()));
    for node in ledgers.nodes.clone() {
        let request = client::submit_request(&record);
        match ledgers.ask(&node, request, Some(record.clone())).await {
            Ok(Ok(_)) => taken = true,
            // It may be final already: the next question tells.
            Ok(Err(error)) => last = Fail::Peer(format!("{}: {}", node.0, chain(&error))),
            Err(fail) => last = fail,
        }
    }
    let deadline = Instant::now() + Duration::from_secs(wait);
    let subject = (BOOTSTRAP_TYPE, &key.as_bytes()[..]);
    loop {
        for node in ledgers.nodes.clone() {
            let request = client::registry_request(subject.0, subject.1);
            let Ok(bytes) = ledgers.get(&node, request).await else {
                continue;
            };
            let found = client::registered(&bytes, subject, &mut ledgers.trust);
            let found = found.map_err(|e| Fail::Peer(format!("{}: {}", node.0, chain(&e))))?;
            if found.is_some_and(|found| found.record() == envelope.record()) {
                return Ok(());
            }
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
