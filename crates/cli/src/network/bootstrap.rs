//! Bootstrap peers of the ledger of names, as its maintainers publish them.

use betanet_keys::{Envelope, Maintainers, Name};
use betanet_runtime::{Addr, BOOTSTRAP_TYPE, Bootstrap, SeedPeer, multiaddr};
use betanet_store::disk;
use serde_json::json;

use crate::args::BootstrapArgs;
use crate::fail::chain;
use crate::name::{now_ms, peer};
use crate::{Fail, registry};

/// Longest record's file.
const FILE_MAX: u64 = 64 << 10;
const DAY: u64 = 86_400_000;

/// The record in a file, or a new one.
async fn record(args: &BootstrapArgs, list: &Maintainers) -> Result<Envelope, Fail> {
    let wrong = |why: String| Fail::Usage(format!("{}: {why}", args.record.file.display()));
    if args.record.file.exists() {
        if args.peer.is_some() {
            return Err(wrong("it is there already: sign it without --peer".into()));
        }
        let bytes = disk::read_bounded(&args.record.file, FILE_MAX)
            .map_err(Fail::file(&args.record.file))?;
        return Envelope::from_bytes(&bytes).map_err(|e| wrong(e.to_string()));
    }
    let Some(text) = &args.peer else {
        return Err(wrong(
            "there is no such file yet: make it with --peer PEER".into(),
        ));
    };
    let peer = peer("--peer", text, &args.record.dial).await?;
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
    let (file, network) = registry::network(&args.record.dial)?;
    let list = Maintainers::new(&network.maintainers);
    let mut envelope = record(args, &list).await?;
    let bootstrap = Bootstrap::from_record(envelope.record());
    let bootstrap = bootstrap
        .map_err(|e| Fail::Usage(format!("{}: {}", args.record.file.display(), chain(&e))))?;
    let signed = registry::sign(&mut envelope, &network, &args.record)?;
    let (name, needed) = (Name::from(bootstrap.peer.key.node_id()), list.threshold());
    let is_final = signed >= needed;
    if is_final {
        let subject = (BOOTSTRAP_TYPE, &bootstrap.peer.key.as_bytes()[..]);
        let is_it = |found: &Envelope| Ok((found.record() == envelope.record()).then_some(()));
        registry::give(&envelope, subject, (file, &network), &args.record, is_it).await?;
    }
    if args.record.json {
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
        say!("give {} to others of them", args.record.file.display());
    }
    Ok(())
}
