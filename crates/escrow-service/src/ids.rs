//! IDs of reservations, and the requests that make them.

use betanet_fog::Digest;
use betanet_fog_service::{Claim, Purpose};
use betanet_keys::hash;
use betanet_tokenomics::Id;
use betanet_tokenomics::request::{HOLD_MAX_S, Op};

/// Validity of a request of this process, in ms.
pub(crate) const VALID_MS: u64 = 3_600_000;
/// Attempts of a request whose nonces are used meanwhile.
pub(crate) const TRIES: usize = 4;
/// Slack of a hold beyond what is asked for, in seconds: clocks differ, and a head takes its time.
const SLACK_S: u64 = 3_600;

/// ID of the request that reserves for a task or a bid. It follows from these, so that a repeat reserves nothing twice, and so that no
/// other reservation stands in for it: none of the same hash in another round or tier, and none that the client makes besides.
#[must_use]
pub fn reservation_id(client: &[u8; 32], purpose: Purpose, of: &Digest) -> Id {
    let number = kind(purpose).to_be_bytes();
    match purpose {
        Purpose::Task => first(&[b"BN-FOG-HOLD", client, &number, of]),
        Purpose::Bid { round, tier } => {
            let (round, tier) = (round.to_be_bytes(), tier.as_str().as_bytes());
            first(&[b"BN-FOG-HOLD", client, &number, of, &round, tier])
        }
    }
}

/// ID of the reservation that a claim needs.
pub(crate) fn id_of(claim: &Claim) -> Id {
    reservation_id(&claim.owner, claim.purpose, &claim.of)
}

/// The first 16 bytes of a hash.
pub(crate) fn first(parts: &[&[u8]]) -> Id {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(parts)[..16]);
    id
}

/// What the ledger calls a purpose.
pub(crate) const fn kind(purpose: Purpose) -> u64 {
    match purpose {
        Purpose::Task => 0,
        Purpose::Bid { .. } => 1,
    }
}

/// The operation that reserves what a claim asks for. `None`: it would have to last longer than the ledger allows.
#[must_use]
pub fn reserve(claim: &Claim, now_ms: u64) -> Option<Op> {
    let ttl = claim.until_ms.saturating_sub(now_ms).div_ceil(1_000);
    let ttl = ttl.saturating_add(SLACK_S);
    (ttl <= HOLD_MAX_S && claim.amount > 0).then_some(Op::Reserve {
        amt: claim.amount,
        credit: 0,
        of: claim.of,
        kind: kind(claim.purpose),
        ttl,
    })
}

#[cfg(test)]
mod tests {
    use betanet_fog::Tier;

    use super::*;

    #[test]
    fn each_client_purpose_round_and_tier_has_its_own_reservation() {
        let bid = |round, tier| Purpose::Bid { round, tier };
        let purposes = [
            Purpose::Task,
            bid(7, Tier::Bronze),
            bid(7, Tier::Gold),
            bid(8, Tier::Bronze),
        ];
        let mut all = Vec::new();
        for client in [[1; 32], [2; 32]] {
            for purpose in purposes {
                for of in [[3; 32], [4; 32]] {
                    all.push(reservation_id(&client, purpose, &of));
                }
            }
        }
        let each = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), each), (16, 16));
    }
}
