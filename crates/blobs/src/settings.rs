/// Default floor of free space, in bytes.
pub const FLOOR: u64 = 256 << 20;

/// Settings of a store of blobs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Bytes of all blobs, uploads and damaged files together. Each is charged its stored length, rounded up to 4 KiB.
    pub quota: u64,
    /// Number of all blobs, uploads and damaged files together. The index takes about 200 bytes of memory for each.
    pub blobs: u64,
    /// Free space on the disk below which nothing is stored, in bytes. 0 stores until the disk is full.
    pub floor: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quota: 64 << 30,
            blobs: 1 << 20,
            floor: FLOOR,
        }
    }
}

/// Measures of a store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// Number of blobs.
    pub blobs: u64,
    /// Bytes charged for all files, without uploads.
    pub bytes: u64,
    /// Bytes reserved for uploads.
    pub reserved: u64,
    /// Bytes of the blobs that may be evicted: neither pinned nor being read.
    pub evictable: u64,
    /// Number of pins.
    pub pins: u64,
    /// Number of damaged files that were set aside.
    pub damaged: u64,
    /// Number of blobs evicted since the start.
    pub evicted: u64,
    /// Configured quota, in bytes.
    pub quota: u64,
    /// Free space on the disk, in bytes. `None` if it is not known.
    pub free: Option<u64>,
}
