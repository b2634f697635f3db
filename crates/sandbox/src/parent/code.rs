//! Bytes in memory that children map and nobody changes: a program, or its compiled code.

use std::{
    fs::File,
    io::Write as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
};

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

impl Sealed {
    /// A file of its own for one child: no other sees its position or flags, and reading it leaves no time behind.
    pub(crate) fn handle(&self) -> std::io::Result<OwnedFd> {
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NOATIME)
            .open(link)?;
        Ok(file.into())
    }
}

/// Code that children run.
pub(crate) struct Code {
    pub(crate) sealed: Sealed,
    pub(crate) component: bool,
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn children_share_neither_position_nor_time_of_the_code_that_they_read() {
        let mut memory = Memory::new().unwrap();
        memory.write(b"code").unwrap();
        let sealed = memory.seal().unwrap();
        let read = |file: &mut File| {
            let mut all = Vec::new();
            file.read_to_end(&mut all).unwrap();
            all
        };
        let time = || {
            let stat = rustix::fs::fstat(&sealed.file).unwrap();
            (stat.st_atime, stat.st_atime_nsec)
        };
        let before = time();
        let [mut one, mut two] = [(), ()].map(|()| File::from(sealed.handle().unwrap()));
        assert_eq!(read(&mut one), b"code");
        assert_eq!(read(&mut two), b"code");
        assert_eq!(time(), before);
        assert!(one.write_all(b"x").is_err());
    }
}
