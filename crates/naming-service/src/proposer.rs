//! Whose proposals a signer looks at: nothing is verified or arranged for others.

use betanet_keys::{Common, Envelope, Maintainers, PublicKey};
use betanet_log::Signers;
use betanet_naming::{ADVANCE, Advance, Entry};
use betanet_wire::cbor;

use crate::body::Proposal;

/// Whether the proposer is one of these signers, or one of those that the proposal's records put in force. A record that should do so
/// and does not is the last that is looked at, so a stranger costs one verification of it.
pub(crate) fn may_propose(
    proposal: &Proposal,
    signers: Signers,
    maintainers: &[PublicKey],
) -> bool {
    let mut set = signers;
    for record in proposal.records() {
        if set.position(proposal.by()).is_some() {
            return true;
        }
        set = match Entry::from_bytes(record) {
            Ok(Entry::Rotation(rotation)) => {
                let signed = rotation.signed_by(&set).map_or(0, |signed| signed.len());
                match rotation.signers() {
                    Ok(next) if rotation.is_from(&set) && signed >= set.threshold() => next,
                    _ => return false,
                }
            }
            Ok(Entry::Registry(envelope)) => match advanced(&envelope, &set, maintainers) {
                Ok(Some(next)) => next,
                Ok(None) => set,
                Err(()) => return false,
            },
            Ok(Entry::Alias(_)) => set,
            Err(_) => return false,
        };
    }
    set.position(proposal.by()).is_some()
}

/// The signers of an emergency advance; `None` for another record.
fn advanced(
    envelope: &Envelope,
    set: &Signers,
    maintainers: &[PublicKey],
) -> Result<Option<Signers>, ()> {
    let common: Common<'_> = cbor::from_slice(envelope.record()).map_err(drop)?;
    if common.ty != ADVANCE {
        return Ok(None);
    }
    let advance: Advance<'_> = cbor::from_slice(envelope.record()).map_err(drop)?;
    let Some(new) = &advance.new else {
        return Ok(None);
    };
    let next = Signers::from_bytes(new).map_err(drop)?;
    if common.key != set.hash() {
        return Err(());
    }
    let checked = envelope.check(&Maintainers::new(maintainers));
    checked.map(|()| Some(next)).map_err(drop)
}

#[cfg(test)]
mod tests {
    use betanet_log::{Head, SignedHead};
    use betanet_naming::testkit::{Network, T0, identity, owner};
    use bytes::Bytes;

    use super::*;

    fn proposal(network: &Network, by: u16, records: Vec<Bytes>) -> Proposal {
        let head = Head {
            ts: T0,
            set: *network.genesis().signers.hash(),
            root: [1; 32],
            size: records.len() as u64,
            state: None,
        };
        Proposal::new(SignedHead::new(head), records, &identity(by))
    }

    #[test]
    fn a_proposer_is_a_signer_or_one_of_a_verified_rotation() {
        let network = Network::new(3, 5);
        let record = network.bound("a", &owner(1), 1, T0);
        let registered = network.registered("Test", b"k", 1);
        let turned = network.rotation(&[7, 8, 9], 1, &[0, 1]);
        let forged = network.rotation(&[7, 8, 9], 1, &[0]);
        let genesis = network.genesis();
        let may = |by, records: &[&Bytes]| {
            let records = records.iter().map(|r| (*r).clone()).collect();
            let proposal = proposal(&network, by, records);
            may_propose(&proposal, genesis.signers.clone(), &genesis.maintainers)
        };
        assert!(may(1, &[&record]) && may(1, &[&turned]));
        // A record that is no alias gives a stranger no right to be looked at.
        assert!(!may(7, &[&record]) && !may(7, &[&registered]));
        assert!(!may(7, &[&registered, &forged]) && !may(6, &[&registered, &turned]));
        assert!(may(7, &[&record, &registered, &turned]) && may(7, &[&turned, &record]));
        // After one that does not count, nothing is verified.
        assert!(!may(7, &[&forged, &turned]));
    }
}
