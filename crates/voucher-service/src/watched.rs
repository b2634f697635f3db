//! The mints that a service asks, and what they reported.

use betanet_keys::Peer;

use crate::client::VoucherClient;
use crate::forms::Signed;

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
