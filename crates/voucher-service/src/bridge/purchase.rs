//! A purchase on the ledger as the proof of payment of an issue.

use betanet_tokenomics::Envelope;
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::request::Op;
use betanet_vouchers::Keyset;
use betanet_vouchers::message::{IssueRequest, blinded_hash, blinded_value};
use betanet_vouchers::mint::Paid;

use crate::payments::Payment;

/// The `pay` of an issue that a purchase pays for: the number of its record, 8 bytes, big-endian.
#[must_use]
pub const fn purchase_pay(record: u64) -> [u8; 8] {
    record.to_be_bytes()
}

/// Reads the number of a purchase's record. `None`: it is none. Record 0 is the genesis, and numbers are below 2^63.
#[must_use]
pub fn purchase_number(pay: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(pay.try_into().ok()?);
    (1..1 << 63).contains(&number).then_some(number)
}

/// What a record of the ledger pays for: only the issue of the same ID, keyset, points and value, and if it came before the keyset
/// expired. Whoever calls it has proven the record under a final head. A record in the journal was accepted. As it names the points, it
/// pays once.
#[must_use]
pub fn purchase(record: &Record, request: &IssueRequest, keyset: &Keyset) -> Option<Payment> {
    let bought = Envelope::from_bytes(&record.req)?.request;
    let Op::Buy { bh, keyset: of, vu } = bought.op else {
        return None;
    };
    let same = bought.id == request.id
        && of == request.keyset.0
        && of == keyset.id().0
        && bh == blinded_hash(&request.blinded)
        && blinded_value(&request.blinded) == Some(vu)
        && record.ts < keyset.exp();
    same.then_some(Payment {
        paid: Paid {
            amount: vu,
            at: record.ts,
        },
        // The points are named, so another request cannot use it.
        once: None,
        counted: false,
    })
}

/// Reads arbitrary bytes as a record beside an issue, split at the length that the first two bytes give: for a fuzz target.
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
#[allow(
    clippy::unwrap_used,
    reason = "a fuzz target stops where it is surprised"
)]
pub fn fuzz(bytes: &[u8]) {
    use std::sync::OnceLock;

    use betanet_vouchers::testkit::World;

    static WORLD: OnceLock<World> = OnceLock::new();
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let at = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    let (record, request) = rest.split_at(at);
    let (Some(record), Ok(request)) = (
        Record::from_bytes(record),
        IssueRequest::from_bytes(request),
    ) else {
        return;
    };
    if let Some(number) = purchase_number(&request.pay) {
        assert_eq!(purchase_pay(number)[..], request.pay[..]);
    }
    let world = WORLD.get_or_init(|| World::new(1, 1, 1, &[0, 1, 2]));
    if let Some(payment) = purchase(&record, &request, world.keyset()) {
        assert_eq!(Some(payment.paid.amount), blinded_value(&request.blinded));
        assert!(payment.paid.at < world.keyset().exp());
        // The record is read as it was written, so that nothing of it was overlooked.
        let envelope = Envelope::from_bytes(&record.req).unwrap();
        assert_eq!(envelope.to_bytes(), record.req);
    }
}

#[cfg(test)]
mod tests;
