//! The bridge to vouchers, and the payment of relays by their counters.

use betanet_wire::NodeId;

use crate::account::{ISSUANCE, MICRO, RESERVE, address};
use crate::apply::Context;
use crate::code::{Code, Lowest};
use crate::math::narrow;
use crate::records::Forwarded;
use crate::rows::Once;
use crate::state::Economy;
use crate::{Asset, Hash, Id};

/// Number of the marks of settled counters.
const METERED: u8 = 3;
/// Number of the marks of the answers of redemption.
const ANSWERED: u8 = 4;
/// Bytes in a MiB, for which a price is.
const MIB: u128 = 1 << 20;

/// Key of the mark that an answer of redemption was paid out: with it, a proof of the state shows whether `redeem` happened.
#[must_use]
pub fn redeemed_mark(ans: &Hash) -> Hash {
    Economy::once_key(ANSWERED, &[ans])
}

/// Key of the mark of a day that was paid for.
#[must_use]
pub fn metered_mark(from: &NodeId, relay: &NodeId, period: u64) -> Hash {
    Economy::once_key(METERED, &[&from.0, &relay.0, &period.to_be_bytes()])
}

impl Economy {
    pub(crate) fn swap(&mut self, c: &Context<'_>, back: bool, vu: u64) -> Result<(), Code> {
        let fog = vu.saturating_mul(MICRO);
        if back {
            self.payer(&c.by, Asset::Units, u128::from(vu))?;
            self.shift(c.by, ISSUANCE, Asset::Units, vu);
            self.shift(RESERVE, c.by, Asset::Fog, fog);
        } else {
            self.payer(&c.by, Asset::Fog, u128::from(fog))?;
            self.shift(c.by, RESERVE, Asset::Fog, fog);
            self.shift(ISSUANCE, c.by, Asset::Units, vu);
        }
        Ok(())
    }

    pub(crate) fn buy(&mut self, c: &Context<'_>, keyset: &Hash, vu: u64) -> Result<(), Code> {
        let mut row = self.t.keysets.get(&(*keyset,)).cloned();
        let mut lowest = Lowest::default();
        lowest.when(row.is_none(), Code::Unknown);
        lowest.when(row.as_ref().is_some_and(|row| c.now >= row.exp), Code::Over);
        lowest.join(self.payer(&c.by, Asset::Units, u128::from(vu)));
        lowest.done()?;
        self.shift(c.by, RESERVE, Asset::Units, vu);
        if let Some(mut row) = row.take() {
            row.issued = row.issued.saturating_add(vu);
            self.t.keysets.set((*keyset,), row);
        }
        Ok(())
    }

    pub(crate) fn redeem(
        &mut self,
        c: &Context<'_>,
        ans: &Hash,
        keyset: &Hash,
        (to, vu): (NodeId, u64),
    ) -> Result<(), Code> {
        let mark = Self::once_key(ANSWERED, &[ans]);
        let mut lowest = Lowest::default();
        lowest.join(self.payee(&to));
        lowest.when(self.t.once.has(&(mark,)), Code::Once);
        let Some(mut row) = self.t.keysets.get(&(*keyset,)).cloned() else {
            lowest.add(Code::Unknown);
            return lowest.done();
        };
        lowest.when(row.spender != c.by, Code::NotAllowed);
        lowest.when(row.swept.0, Code::Over);
        let redeemed = row.redeemed.saturating_add(vu);
        lowest.when(redeemed > row.issued, Code::Exceeds);
        lowest.done()?;
        row.redeemed = redeemed;
        self.t.keysets.set((*keyset,), row);
        self.t.once.set((mark,), Once { one: 1 });
        self.shift(RESERVE, to, Asset::Units, vu);
        Ok(())
    }

    /// Ends a hold by a relay's counter, which payer (first) and payee signed.
    pub(crate) fn meter(
        &mut self,
        c: &Context<'_>,
        id: &Id,
        record: &[u8],
        [payer, payee]: [(&Hash, &[u8; 64]); 2],
    ) -> Result<(), Code> {
        let hold = self.find_hold(id)?;
        let mut lowest = Lowest::default();
        let is_payee = hold.to == c.by && hold.asset == Asset::Fog;
        lowest.when(!is_payee, Code::NotAllowed);
        lowest.when(self.is_frozen(&hold.from), Code::Frozen);
        let Some(counter) = Forwarded::from_bytes(record) else {
            lowest.add(Code::BadEvidence);
            return lowest.done();
        };
        let good = counter.from == hold.from
            && counter.relay == hold.to
            && address(payer.0) == hold.from
            && address(payee.0) == hold.to
            && Forwarded::is_signed(payer.0, record, payer.1)
            && Forwarded::is_signed(payee.0, record, payee.1);
        lowest.when(!good, Code::BadEvidence);
        let mark = metered_mark(&counter.from, &counter.relay, counter.period);
        lowest.when(self.t.once.has(&(mark,)), Code::Once);
        let price = u128::from(counter.bytes) * u128::from(hold.price) / MIB;
        let amt = hold.amt.min(narrow(price));
        lowest.when(amt == 0, Code::Bounds);
        lowest.done()?;
        self.t.once.set((mark,), Once { one: 1 });
        self.post(id, &hold, amt);
        Ok(())
    }
}
