//! Bytes in memory that children map and nobody changes: a program, or its compiled code.

use std::{fs::File, io::Write as _, os::fd::OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

pub(crate) struct Memory(File);

impl Memory {
    pub(crate) fn new() -> std::io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(Self(File::from(memfd_create("betanet-sandbox", flags)?)))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// From here on nobody changes it, not even through another handle.
    pub(crate) fn seal(self) -> std::io::Result<Sealed> {
        fcntl_add_seals(
            &self.0,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        let size = self.0.metadata()?.len();
        Ok(Sealed {
            file: self.0.into(),
            size,
        })
    }
}

pub(crate) struct Sealed {
    pub(crate) file: OwnedFd,
    pub(crate) size: u64,
}

/// Code that children run.
pub(crate) struct Code {
    pub(crate) sealed: Sealed,
    pub(crate) component: bool,
}
