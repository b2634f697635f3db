//! What the `pay` of an issue is worth.

use betanet_keys::PublicKey;
use betanet_vouchers::Keyset;
use betanet_vouchers::message::{IssueRequest, swap_pays};
use betanet_vouchers::mint::Paid;

use crate::coupon::SignedCoupon;

/// A payment that was verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Payment {
    /// Its value in units, and the time of the purchase.
    pub paid: Paid,
    /// Set if it may be used by one request only.
    pub once: Option<Once>,
    /// Whether the redemption service counted the points as issued when it committed the payment.
    pub counted: bool,
}

/// The number of a payment that is used once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Once {
    /// The number.
    pub id: [u8; 16],
    /// Time from which it pays for nothing new, in ms. The number is forgotten then.
    pub exp: u64,
}

/// Reads proofs of payment. Called on a thread for arithmetic.
pub trait Payments: Send + Sync + 'static {
    /// Returns what the proof of a request pays for; `None` for nothing.
    fn worth(&self, unix_ms: u64, request: &IssueRequest, keyset: &Keyset) -> Option<Payment>;
}

/// Takes answers of swaps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swaps;

impl Payments for Swaps {
    fn worth(&self, _: u64, request: &IssueRequest, keyset: &Keyset) -> Option<Payment> {
        let (amount, at) = swap_pays(request, keyset).ok()?;
        Some(Payment {
            paid: Paid { amount, at },
            // Its number is the request's: the mint uses each once.
            once: None,
            counted: true,
        })
    }
}

/// Takes coupons of these issuers, each for its keyset.
#[derive(Clone, Debug, Default)]
pub struct Coupons(Vec<(betanet_vouchers::KeysetId, PublicKey)>);

impl Coupons {
    /// Takes coupons that this issuer signed for this keyset.
    #[must_use]
    pub fn with(mut self, keyset: betanet_vouchers::KeysetId, issuer: PublicKey) -> Self {
        self.0.push((keyset, issuer));
        self
    }
}

impl Payments for Coupons {
    fn worth(&self, unix_ms: u64, request: &IssueRequest, keyset: &Keyset) -> Option<Payment> {
        let signed = SignedCoupon::from_bytes(&request.pay).ok()?;
        let mut issuers = self.0.iter().filter(|(of, _)| *of == keyset.id());
        let coupon = issuers.find_map(|(_, issuer)| signed.verify(issuer).ok())?;
        if coupon.keyset != keyset.id() {
            return None;
        }
        Some(Payment {
            paid: Paid {
                amount: coupon.value,
                // Issuers sign coupons of keysets that have not expired.
                at: unix_ms.min(keyset.exp().saturating_sub(1)),
            },
            once: Some(Once {
                id: coupon.id,
                exp: coupon.exp,
            }),
            counted: false,
        })
    }
}

/// Takes what either of two takes; the first is asked first.
#[derive(Clone, Debug, Default)]
pub struct Either<A, B>(pub A, pub B);

impl<A: Payments, B: Payments> Payments for Either<A, B> {
    fn worth(&self, unix_ms: u64, request: &IssueRequest, keyset: &Keyset) -> Option<Payment> {
        let first = self.0.worth(unix_ms, request, keyset);
        first.or_else(|| self.1.worth(unix_ms, request, keyset))
    }
}
