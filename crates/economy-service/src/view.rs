//! The state as a reader in this process sees it.

use betanet_log::SignedHead;
use betanet_tokenomics::Economy;

/// The state as a reader sees it.
#[derive(Debug)]
pub struct View<'a> {
    /// After all records. Readers leave it as it is.
    pub latest: &'a mut Economy,
    /// After the records under the final head, if there is one. These are never dropped.
    pub covered: Option<&'a Economy>,
    /// The final head.
    pub head: Option<&'a SignedHead>,
    /// All records, as the log has them.
    pub records: &'a [Vec<u8>],
    /// Records that no final head covers.
    pub ahead: &'a [Vec<u8>],
}
