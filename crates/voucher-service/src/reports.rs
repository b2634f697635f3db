//! Reports of mints: how many points each has signed, beside what was redeemed.
//!
//! Each voucher needs the signatures of t mints. So t times the vouchers are at most the signatures of all mints, and where s mints
//! are silent, (t − s) times the vouchers are at most the signatures of the others. What was redeemed before the mints were asked
//! is compared with that: a voucher that is redeemed in between raises no alarm.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use betanet_keys::Peer;
use betanet_vouchers::{DENOMINATION_MAX, Denomination, Keyset, KeysetId, Phase};
use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};
use betanet_wire::{Code, message};
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::client::VoucherClient;
use crate::desk::{Asker, Desk, Refusal};
use crate::state::{KeysetView, View};

/// Longest report that is read.
pub(crate) const REPORT_MAX: usize = 2_048;
/// Most mints that are asked at once.
const AT_ONCE: usize = 8;

/// Signed points of each denomination, by one mint.
pub type Signed = BTreeMap<Denomination, u64>;

message! {
    /// The body of `POST /vouchers/signed`.
    pub(crate) struct Asked {
        /// The keyset.
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    struct Wire {
        req "share" share: u16,
        req "signed" signed: Counts,
    }
}

/// The counts as they are sent: `[[e, n]…]`, each denomination once.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Counts(Signed);

impl Encode for Counts {
    fn encode(&self, w: &mut Writer) {
        w.array(self.0.len());
        for (e, n) in &self.0 {
            w.array(2);
            w.unsigned(e.exponent().into());
            w.unsigned(*n);
        }
    }
}

impl<'a> Decode<'a> for Counts {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        let n = r.array()?;
        if n > usize::from(DENOMINATION_MAX) + 1 {
            return Err(cbor::Error::Range("41 denominations"));
        }
        let mut out = Signed::new();
        for _ in 0..n {
            if r.array()? != 2 {
                return Err(cbor::Error::Range("two numbers"));
            }
            let e = u8::try_from(u16::decode(r)?).ok();
            let e = e
                .and_then(Denomination::new)
                .ok_or(cbor::Error::Range("a denomination"))?;
            if out.insert(e, u64::decode(r)?).is_some() {
                return Err(cbor::Error::Range("each denomination once"));
            }
            r.leave();
        }
        r.leave();
        Ok(Self(out))
    }
}

/// Reads a report: the index of the mint's share, and its counts.
pub(crate) fn read(bytes: &[u8]) -> Result<(u8, Signed), cbor::Error> {
    let wire: Wire = cbor::from_slice(bytes)?;
    let share = u8::try_from(wire.share).ok().filter(|share| *share > 0);
    Ok((share.ok_or(cbor::Error::Range("a share"))?, wire.signed.0))
}

/// What the mints of a keyset reported last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reported {
    /// Shares of the mints that reported.
    pub shares: Vec<u8>,
    /// Most vouchers of each denomination that there can be; `None` if as many mints as the threshold are silent.
    pub most: Option<Signed>,
    /// Whether more was redeemed of one of them, now or in an earlier round.
    pub alarm: bool,
}

/// The mints that a service asks.
pub(crate) struct Watched {
    pub(crate) client: VoucherClient,
    pub(crate) mints: Vec<Peer>,
}

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
        let share = u16::from(*share);
        Ok(cbor::to_vec(&Wire {
            share,
            signed: Counts(signed),
        }))
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
                    // Of two nodes with one share, the one that signed more counts: a mint that lies can only raise the bound.
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
            // Counts never shrink: what was proven once stays true while the node runs.
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
    fn a_report_is_read_as_it_was_sent_and_nothing_else() {
        let signed: Signed = (0..=DENOMINATION_MAX)
            .filter_map(Denomination::new)
            .map(|e| (e, u64::MAX))
            .collect();
        let sent = |share| {
            cbor::to_vec(&Wire {
                share,
                signed: Counts(signed.clone()),
            })
        };
        assert!(sent(255).len() <= REPORT_MAX);
        assert_eq!(read(&sent(255)), Ok((255, signed.clone())));
        for share in [0, 256] {
            assert!(read(&sent(share)).is_err());
        }
        for text in [
            &b"\xa2\x65share\x01\x66signed\x98\x2a"[..],
            b"\xa2\x65share\x01\x66signed\x81\x81\x00",
            b"\xa2\x65share\x01\x66signed\x81\x82\x18\x29\x00",
            b"\xa2\x65share\x01\x66signed\x82\x82\x00\x00\x82\x00\x01",
        ] {
            assert!(read(text).is_err(), "{text:x?}");
        }
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
