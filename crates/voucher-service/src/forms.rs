//! Bodies that service and client share.

use std::collections::BTreeMap;

use betanet_vouchers::{DENOMINATION_MAX, Denomination};
use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};
use betanet_wire::message;

/// Type of all bodies.
pub(crate) const CBOR: &str = "application/cbor";
/// Longest report that is read.
pub(crate) const REPORT_MAX: usize = 2_048;

message! {
    /// The body of a refusal.
    pub(crate) struct Refused {
        /// The wire code.
        req "code" code: u16,
    }
}

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
    struct Report {
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

/// Writes a report.
pub(crate) fn write(share: u8, signed: Signed) -> Vec<u8> {
    cbor::to_vec(&Report {
        share: share.into(),
        signed: Counts(signed),
    })
}

/// Reads a report: the index of the mint's share, and its counts.
pub(crate) fn read(bytes: &[u8]) -> Result<(u8, Signed), cbor::Error> {
    let wire: Report = cbor::from_slice(bytes)?;
    let share = u8::try_from(wire.share).ok().filter(|share| *share > 0);
    Ok((share.ok_or(cbor::Error::Range("a share"))?, wire.signed.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_sent_and_nothing_else() {
        let signed: Signed = (0..=DENOMINATION_MAX)
            .filter_map(Denomination::new)
            .map(|e| (e, u64::MAX))
            .collect();
        let sent = |share| {
            cbor::to_vec(&Report {
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
}
