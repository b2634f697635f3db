//! `betanet name`: aliases, from an owner's claim to a verified answer.

mod audit;
mod claim;
mod find;
mod ledgers;
mod memory;
mod show;

use std::path::Path;

use betanet_keys::PublicKey;
use betanet_log::Signers;
use betanet_naming::{Alias, Genesis};
use betanet_runtime::{Error, Network};
use betanet_wire::text::unhex_array;

use crate::Fail;
use crate::args::{NameArgs, NameCommand};
use crate::fail::interruptible;

pub(crate) use find::{dialling, is_named, is_place, named, peer, relays, url};
pub(crate) use ledgers::{Ledgers, nodes};

pub(crate) async fn name(args: NameArgs) -> Result<(), Fail> {
    match args.command {
        NameCommand::Claim(args) => interruptible(claim::claim(&args)).await,
        NameCommand::Sign(args) => claim::sign(&args),
        NameCommand::Publish(args) => interruptible(claim::publish(&args)).await,
        NameCommand::Resolve(args) => interruptible(show::resolve(&args)).await,
        NameCommand::History(args) => interruptible(show::history(&args)).await,
        NameCommand::Prove(args) => interruptible(show::prove(&args)).await,
        NameCommand::Verify(args) => show::verify(&args),
        NameCommand::Audit(args) => interruptible(audit::audit(&args)).await,
    }
}

/// The first keys of a network.
pub(crate) fn genesis_of(network: &Network, file: &Path) -> Result<Genesis, Fail> {
    if network.signers.is_empty() {
        let why = "it names no signers, so its network has no ledger of names";
        return Err(Fail::Usage(format!("{}: {why}", file.display())));
    }
    let signers = Signers::new(&network.signers);
    Ok(Genesis {
        signers: signers.map_err(|e| Fail::Usage(format!("{}: {e}", file.display())))?,
        maintainers: network.maintainers.clone(),
    })
}

/// The first keys: of a list of signers, or of a network file.
fn genesis(signers: Option<&Path>, network: Option<&Path>) -> Result<Genesis, Fail> {
    match (signers, network) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).map_err(Fail::file(file))?;
            let lines = text.lines().map(str::trim);
            let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            let key = |line: &str| {
                let bytes = unhex_array::<32>(line);
                let key = bytes.and_then(|b| PublicKey::from_bytes(&b).ok());
                key.ok_or_else(|| Fail::Usage(format!("{}: {line:?} is no key", file.display())))
            };
            let keys: Vec<PublicKey> = lines.map(key).collect::<Result<_, _>>()?;
            let signers = Signers::new(&keys);
            Ok(Genesis {
                signers: signers.map_err(|e| Fail::Usage(format!("{}: {e}", file.display())))?,
                maintainers: Vec::new(),
            })
        }
        (None, Some(file)) => genesis_of(&Network::read(file).map_err(Error::from)?, file),
        (None, None) => {
            let why =
                "name the signers whose word counts: --network NETWORK.toml, or --signers FILE";
            Err(Fail::Usage(why.into()))
        }
    }
}

/// Reads an alias as a person wrote it.
fn alias(text: &str) -> Result<Alias, Fail> {
    text.parse()
        .map_err(|why| Fail::Usage(format!("{text}: {why}")))
}

pub(crate) fn now_ms() -> u64 {
    betanet_runtime::Clock::start().now().unix_ms
}
