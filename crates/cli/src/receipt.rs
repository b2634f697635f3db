//! Receipts in files.

use std::path::Path;

use betanet_carrier::disk;
use betanet_fog::{Receipt, Received, Signed, json};
use betanet_wire::text;

use crate::Fail;

/// Reads a receipt, and checks its fields and its signature.
pub(crate) fn read(path: &Path) -> Result<Signed<Receipt>, Fail> {
    let bytes = disk::read_bounded(path, disk::TEXT_MAX).map_err(Fail::file(path))?;
    let wrong = |why: &str| Fail::Peer(format!("{}: {why}", path.display()));
    let bytes = match std::str::from_utf8(&bytes).map(str::trim) {
        Ok(json) if json.starts_with('{') => {
            let envelope: betanet_fog::Envelope =
                json::from_str(json).map_err(|e| wrong(&e.to_string()))?;
            betanet_fog::to_vec(&envelope)
        }
        Ok(hex) => text::unhex(hex).unwrap_or(bytes),
        Err(_) => bytes,
    };
    let received = Received::<Receipt>::read(&bytes);
    let received = received.map_err(|e| wrong(&format!("no receipt: {e}")))?;
    let authentic = received
        .verify()
        .map_err(|e| wrong(&format!("the signature is wrong: {e}")))?;
    authentic.check(0).map_err(|e| wrong(&e.to_string()))
}
