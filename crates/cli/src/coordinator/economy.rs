//! The economy of a coordinator: its flags, and its ledger as a service of the node.

use std::time::Duration;

use betanet_economy_service::{EconomyService, Settings};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Error, load_identity};
use betanet_store::disk;
use betanet_tokenomics::{GENESIS_MAX, Genesis};

use crate::Fail;
use crate::args::EconomyFlags;
use crate::fail::chain;

/// An economy that the flags ask for.
pub(super) struct Wanted(Settings);

/// Reads the flags and the files that they name.
pub(super) fn read(flags: &EconomyFlags) -> Result<Option<Wanted>, Fail> {
    let Some(file) = &flags.economy else {
        return Ok(None);
    };
    let genesis = disk::read_bounded(file, GENESIS_MAX as u64).map_err(Fail::file(file))?;
    // Told before anything is opened.
    let read = Genesis::from_bytes(&genesis);
    read.map_err(|e| Fail::Usage(format!("--economy {}: {e}", file.display())))?;
    let mut settings = Settings::new(genesis);
    if let Some(leader) = &flags.economy_leader {
        let peer = leader.parse::<Peer>();
        let peer = peer.map_err(|e| Fail::Usage(format!("--economy-leader {leader}: {e}")))?;
        settings.leader = Some(peer);
    }
    for file in &flags.economy_signer {
        settings
            .signers
            .push(load_identity(file).map_err(Error::from)?);
    }
    if let Some(seconds) = flags.economy_head {
        settings.head_every = Duration::from_secs(seconds);
    }
    Ok(Some(Wanted(settings)))
}

impl Wanted {
    /// The ledger's service on the node of this identity, which signs too if the ledger lists it.
    pub(super) fn service(mut self, identity: &Identity) -> Result<EconomyService, Fail> {
        self.0.signers.push(identity.clone());
        let service = EconomyService::new(identity.clone(), self.0);
        service.map_err(|e| Fail::Usage(format!("--economy: {}", chain(&e))))
    }
}
