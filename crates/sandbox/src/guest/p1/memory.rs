//! The guest's memory: every address and length is the guest's, so each is checked.

use crate::guest::stop::{Answer, Errno};

/// Most buffers of one call.
const BUFFERS_MAX: i32 = 1024;

pub(in crate::guest) struct Mem<'a> {
    bytes: &'a mut [u8],
    moved: u64,
}

impl<'a> Mem<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, moved: 0 }
    }

    /// Bytes that were read or written, for the fuel.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    pub(super) fn get(&mut self, at: i32, len: i32) -> Answer<&[u8]> {
        let bytes = self.bytes.get(range(at, len)?).ok_or(Errno::Fault)?;
        self.moved = self.moved.saturating_add(bytes.len() as u64);
        Ok(bytes)
    }

    pub(super) fn get_mut(&mut self, at: i32, len: i32) -> Answer<&mut [u8]> {
        let bytes = self.bytes.get_mut(range(at, len)?).ok_or(Errno::Fault)?;
        self.moved = self.moved.saturating_add(bytes.len() as u64);
        Ok(bytes)
    }

    pub(super) fn text(&mut self, at: i32, len: i32) -> Answer<String> {
        if len.cast_unsigned() as usize > 4 * crate::job::PATH_MAX {
            return Err(Errno::NameTooLong.into());
        }
        let bytes = self.get(at, len)?;
        Ok(std::str::from_utf8(bytes)
            .map_err(|_| Errno::Ilseq)?
            .to_owned())
    }

    pub(super) fn put(&mut self, at: i32, bytes: &[u8]) -> Answer<()> {
        let len = i32::try_from(bytes.len()).map_err(|_| Errno::Overflow)?;
        self.get_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put_u32(&mut self, at: i32, value: u32) -> Answer<()> {
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn put_u64(&mut self, at: i32, value: u64) -> Answer<()> {
        self.put(at, &value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, at: i32) -> Answer<u32> {
        let bytes = self.get(at, 4)?;
        Ok(bytes
            .try_into()
            .map(u32::from_le_bytes)
            .map_err(|_| Errno::Fault)?)
    }

    /// The buffers of a vector of them.
    pub(super) fn buffers(&mut self, list: i32, count: i32) -> Answer<Vec<(i32, i32)>> {
        if !(0..=BUFFERS_MAX).contains(&count) {
            return Err(Errno::Inval.into());
        }
        let mut total = 0_u32;
        let mut buffers = Vec::new();
        for i in 0..count {
            let at = list.wrapping_add(8 * i);
            let (at, len) = (self.u32(at)?, self.u32(at.wrapping_add(4))?);
            // A sum beyond 32 bits could not be answered.
            total = total.checked_add(len).ok_or(Errno::Inval)?;
            buffers.push((at.cast_signed(), len.cast_signed()));
        }
        Ok(buffers)
    }
}

fn range(at: i32, len: i32) -> Answer<std::ops::Range<usize>> {
    let (at, len) = (at.cast_unsigned() as usize, len.cast_unsigned() as usize);
    Ok(at..at.checked_add(len).ok_or(Errno::Fault)?)
}
