//! The port to the storage of receipts that no coordinator has taken yet.

use std::collections::BTreeMap;

/// A receipt cannot be stored or read. The storage has logged the reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the storage of receipts failed")]
pub struct StoreFailed;

/// Stores receipts by fence. A worker sends a receipt only after it is stored, so that it never signs two for one fence.
pub trait Receipts: Send + 'static {
    /// Stores a receipt durably.
    ///
    /// # Errors
    ///
    /// [`StoreFailed`]: the receipt must not be sent.
    fn put(&mut self, fence: u64, receipt: &[u8]) -> Result<(), StoreFailed>;

    /// Forgets a receipt that a coordinator has taken or refused for good.
    ///
    /// # Errors
    ///
    /// [`StoreFailed`]: it is sent again after a restart, which is harmless.
    fn remove(&mut self, fence: u64) -> Result<(), StoreFailed>;

    /// Returns all stored receipts, by fence.
    ///
    /// # Errors
    ///
    /// [`StoreFailed`].
    fn all(&mut self) -> Result<Vec<(u64, Vec<u8>)>, StoreFailed>;
}

/// Receipts in memory, for nodes without a disk and for tests. A restart loses them, and their copies run again elsewhere.
#[derive(Clone, Debug, Default)]
pub struct MemoryReceipts(BTreeMap<u64, Vec<u8>>);

impl Receipts for MemoryReceipts {
    fn put(&mut self, fence: u64, receipt: &[u8]) -> Result<(), StoreFailed> {
        self.0.insert(fence, receipt.to_vec());
        Ok(())
    }

    fn remove(&mut self, fence: u64) -> Result<(), StoreFailed> {
        self.0.remove(&fence);
        Ok(())
    }

    fn all(&mut self) -> Result<Vec<(u64, Vec<u8>)>, StoreFailed> {
        Ok(self.0.iter().map(|(f, r)| (*f, r.clone())).collect())
    }
}
