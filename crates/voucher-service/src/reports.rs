//! Reports of mints: how many points each has signed, beside what was redeemed.
//!
//! Each voucher needs the signatures of t mints. So t times the vouchers are at most the signatures of all mints, and where s mints
//! are silent, (t − s) times the vouchers are at most the signatures of the others. What was redeemed before the mints were asked
//! is compared with that: a voucher that is redeemed in between raises no alarm.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use betanet_vouchers::{Denomination, Keyset, KeysetId, Phase};
use betanet_wire::{Code, cbor};
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::desk::{Asker, Desk, Refusal};
use crate::forms::{self, Asked, Signed};
use crate::state::{KeysetView, View};
use crate::watched::Reported;

/// Most mints that are asked at once.
const AT_ONCE: usize = 8;

/// The most vouchers that the reports allow.
fn most(keyset: &Keyset, of: &BTreeMap<u8, Signed>) -> Option<Signed> {
    let heard = u8::try_from(of.len()).ok()?;
    let silent = keyset.shares().checked_sub(heard)?;
    let each = u64::from(keyset.threshold().checked_sub(silent)?);
    let sum = |e: &Denomination| {
        let counts = of.values().filter_map(|signed| signed.get(e));
        counts.fold(0_u64, |sum, n| sum.saturating_add(*n))
    };
    let bound = |e: Denomination| Some((e, sum(&e).checked_div(each)?));
    keyset.denominations().map(bound).collect()
}

/// Whether more was redeemed than there can be.
fn exceeds(redeemed: &KeysetView, most: &Signed) -> bool {
    let more = |c: &crate::Counts| most.get(&c.denomination).is_some_and(|n| c.redeemed > *n);
    redeemed.counts.iter().any(more)
}

impl Desk {
    /// A mint's report, for the keyset's spender only.
    pub(crate) async fn report(&self, by: Asker, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.charge(by, 0)?;
        let asked: Asked = cbor::from_slice(body).map_err(|_| Refusal::malformed())?;
        let id = KeysetId(asked.keyset);
        let (Some(keyset), Some(share)) = (self.keysets.get(&id), self.mints.get(&id)) else {
            return Err(Refusal::no_share());
        };
        if by.node != Some(keyset.spender().node_id()) {
            return Err(Refusal::refused(Code::POLICY_REJECTED));
        }
        let view = self.view().await?;
        let signed = signed(&view, &id);
        Ok(forms::write(*share, signed))
    }

    /// Asks the mints, and compares what they signed with what was redeemed here before.
    pub(crate) async fn compare(&self) -> Result<(), Refusal> {
        let Some(watched) = self.watched.get() else {
            return Ok(());
        };
        let before = self.view().await?;
        let now_ms = self.clock.now().unix_ms;
        let spent_here = |k: &&Keyset| {
            let is_other = k.shares() > 1 || !self.mints.contains_key(&k.id());
            k.spender() == self.identity.public() && is_other && k.phase(now_ms) != Phase::Expired
        };
        for keyset in self.keysets.iter().filter(spent_here) {
            let id = keyset.id();
            let mut reports: BTreeMap<u8, Signed> = BTreeMap::new();
            let asked = watched.mints.iter();
            let asked: Vec<_> = asked
                .map(|mint| watched.client.signed_points(mint, &id))
                .collect();
            let mut asked = stream::iter(asked).buffer_unordered(AT_ONCE);
            while let Some(report) = asked.next().await {
                if let Ok((share, signed)) = report
                    && share <= keyset.shares()
                {
                    // Of two nodes with one share, the one that signed more counts. A mint that names too many hides a theft as far as
                    // its share goes, and one that names too few raises a false alarm.
                    let known = reports.entry(share).or_default();
                    for (e, n) in signed {
                        let known = known.entry(e).or_default();
                        *known = n.max(*known);
                    }
                }
            }
            drop(asked);
            if let Some(share) = self.mints.get(&id) {
                reports.insert(*share, signed(&self.view().await?, &id));
            }
            let most = most(keyset, &reports);
            let redeemed = before.keysets.iter().find(|k| k.id == id);
            let alarm = match (&most, redeemed) {
                (Some(most), Some(redeemed)) => exceeds(redeemed, most),
                _ => false,
            };
            let shares = reports.into_keys().collect();
            let mut all = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = all.entry(id).or_default();
            // A thief that silences a mint afterwards does not end the alarm. It lasts until the node is started again.
            let alarm = alarm || kept.alarm;
            *kept = Reported {
                shares,
                most,
                alarm,
            };
        }
        Ok(())
    }
}

impl Desk {
    fn of_reported<T>(&self, of: impl Fn(&Keyset, &Reported) -> Option<T>) -> Vec<T> {
        let all = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.keysets.iter();
        let known = known.filter_map(|k| of(k, all.get(&k.id())?));
        known.collect()
    }

    /// Mints that did not report.
    pub(crate) fn silent(&self) -> u64 {
        let of = self.of_reported(|keyset, reported| {
            let heard = reported.shares.len() as u64;
            Some(u64::from(keyset.shares()).saturating_sub(heard))
        });
        of.iter().sum()
    }

    /// Keysets of which too many mints are silent, and what follows from it.
    pub(crate) fn unheard(&self) -> Vec<(KeysetId, String)> {
        self.of_reported(|keyset, reported| {
            let (heard, all) = (reported.shares.len(), keyset.shares());
            let why = format!(
                "{heard} of {all} mints report what they signed; too few to see whether more is redeemed than issued"
            );
            reported.most.is_none().then(|| (keyset.id(), why))
        })
    }
}

fn signed(view: &View, id: &KeysetId) -> Signed {
    let of = view.keysets.iter().filter(|k| k.id == *id);
    let counts = of.flat_map(|k| &k.counts);
    counts.map(|c| (c.denomination, c.signed)).collect()
}

#[cfg(test)]
mod tests {
    use betanet_vouchers::testkit::World;

    use super::*;

    fn report(n: u64) -> Signed {
        [(Denomination::LEAST, n)].into()
    }

    #[test]
    fn silent_mints_widen_the_bound_until_there_is_none() {
        let world = World::new(7, 3, 5, &[0]);
        let of = |shares: &[u8], n: u64| {
            let reports = shares.iter().map(|share| (*share, report(n))).collect();
            most(world.keyset(), &reports).map(|m| m[&Denomination::LEAST])
        };
        // Ten signatures of each of five mints are 16 vouchers of three, and some are left over.
        assert_eq!(of(&[1, 2, 3, 4, 5], 10), Some(16));
        // Each voucher may have a signature of the silent one.
        assert_eq!(of(&[1, 2, 3, 4], 10), Some(20));
        assert_eq!(of(&[1, 2, 3], 10), Some(30));
        assert_eq!(of(&[1, 2], 10), None);
        assert_eq!(of(&[], 10), None);
        assert_eq!(of(&[1, 2, 3, 4, 5], u64::MAX), Some(u64::MAX / 3));
    }
}
