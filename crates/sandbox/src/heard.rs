//! A parent's checks of its child's messages. The child is hostile: a guest may have taken it over.

use crate::{
    Limits, OutFile, Status,
    ended::short,
    guest::fs::{LOG_MAX, STDOUT},
    job::{FILES_MAX, Paths, plain},
    wire::{Broken, Frame, Frames},
};

/// Where the files that a child leaves go.
pub(crate) trait Keep {
    /// A file begins. Its path is plain and none before was the same, or a folder of it.
    fn file(&mut self, path: &str, size: u64);
    /// Bytes of it.
    fn data(&mut self, bytes: &[u8]);
}

/// A message that a child may not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lie {
    /// Bytes that are no frame.
    #[error("its child sent bytes that are no message")]
    Broken,
    /// A frame that does not belong there.
    #[error("its child said something out of turn")]
    Turn,
    /// More standard error than is passed on.
    #[error("its child sent more than {LOG_MAX} bytes of log")]
    Log,
    /// A path that is not plain, or is there twice.
    #[error("its child named a file that it may not")]
    Path,
    /// More bytes than the limit.
    #[error("its child sent more bytes than its limit")]
    Bytes,
    /// More files and folders than the limit.
    #[error("its child sent more files and folders than its limit")]
    Files,
    /// More fuel than the limit.
    #[error("its child burned more fuel than its limit")]
    Fuel,
}

impl From<Broken> for Lie {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// The end that a child told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// How the run ended.
    pub(crate) status: Status,
    /// Fuel burned.
    pub(crate) fuel: u64,
    /// For people.
    pub(crate) reason: String,
}

/// Listens to one run.
#[derive(Debug)]
pub(crate) struct Heard {
    frames: Frames,
    limits: Limits,
    /// Folders of the inputs, which the guest did not make.
    given: u64,
    logged: u64,
    fuel: u64,
    paths: Listed,
    bytes: u64,
    /// Bytes of the current file still to come.
    missing: u64,
    told: Option<Told>,
}

#[derive(Debug, Default)]
struct Listed {
    count: u64,
    paths: Paths,
    stdout: bool,
}

impl Heard {
    /// Listens within limits. The guest was given so many folders with its inputs.
    pub(crate) fn new(limits: Limits, given: u64) -> Self {
        let frames = Frames::default();
        Self {
            frames,
            limits,
            given,
            logged: 0,
            fuel: 0,
            paths: Listed::default(),
            bytes: 0,
            missing: 0,
            told: None,
        }
    }

    /// Fuel burned, as far as it was said.
    pub(crate) fn fuel(&self) -> u64 {
        self.fuel
    }

    /// Takes what was read. Some is the end; what came after it is left.
    ///
    /// # Errors
    /// The child said what it may not. It is to be ended, and what it left is not to be used.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        log: &mut impl FnMut(&[u8]),
        keep: &mut impl Keep,
    ) -> Result<Option<Told>, Lie> {
        self.frames.push(bytes);
        while let Some(frame) = self.frames.next_frame()? {
            self.frame(frame, log, keep)?;
            if let Some(told) = self.told.take() {
                return Ok(Some(told));
            }
        }
        Ok(None)
    }

    fn frame(
        &mut self,
        frame: Frame,
        log: &mut impl FnMut(&[u8]),
        keep: &mut impl Keep,
    ) -> Result<(), Lie> {
        match frame {
            Frame::Log(bytes) => {
                self.logged = self.logged.saturating_add(bytes.len() as u64);
                if self.logged > LOG_MAX {
                    return Err(Lie::Log);
                }
                log(&bytes);
            }
            Frame::Progress(fuel) => self.burned(fuel)?,
            Frame::File { size, path } => {
                if self.missing > 0 {
                    return Err(Lie::Turn);
                }
                self.add(&path)?;
                self.bytes = self
                    .bytes
                    .checked_add(size)
                    .filter(|&b| b <= self.limits.output)
                    .ok_or(Lie::Bytes)?;
                self.missing = size;
                keep.file(&path, size);
            }
            Frame::Data(bytes) => {
                self.missing = self
                    .missing
                    .checked_sub(bytes.len() as u64)
                    .ok_or(Lie::Turn)?;
                keep.data(&bytes);
            }
            Frame::End {
                status,
                fuel,
                reason,
            } => {
                self.burned(fuel)?;
                let result = matches!(status, Status::Ok | Status::Exit(_));
                // Only a program that ended by itself leaves something, and then its standard output at least.
                if self.missing > 0 || result != self.paths.stdout {
                    return Err(Lie::Turn);
                }
                self.told = Some(Told {
                    status,
                    fuel,
                    reason: short(reason),
                });
            }
            Frame::Pid(_) | Frame::Ready { .. } | Frame::Attempt { .. } => return Err(Lie::Turn),
        }
        Ok(())
    }

    fn burned(&mut self, fuel: u64) -> Result<(), Lie> {
        if fuel > self.limits.fuel || fuel < self.fuel {
            return Err(Lie::Fuel);
        }
        self.fuel = fuel;
        Ok(())
    }

    fn add(&mut self, path: &str) -> Result<(), Lie> {
        if !plain(path) || !self.paths.paths.add(path) {
            return Err(Lie::Path);
        }
        if path == STDOUT {
            self.paths.stdout = true;
            return Ok(());
        }
        self.paths.count += 1;
        let max = u64::from(self.limits.files.min(FILES_MAX));
        let both = self.paths.count + self.paths.paths.folders();
        if self.paths.count > max || both > max + self.given {
            Err(Lie::Files)
        } else {
            Ok(())
        }
    }
}

/// Lets a hostile child say these bytes, and panics if a bound does not hold.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    #[derive(Default)]
    struct Sum(u64, u64);
    impl Keep for Sum {
        fn file(&mut self, path: &str, _: u64) {
            assert!(plain(path), "{path:?}");
            self.0 += 1;
        }

        fn data(&mut self, bytes: &[u8]) {
            self.1 += bytes.len() as u64;
        }
    }
    let limits = Limits {
        fuel: 1 << 20,
        wall: std::time::Duration::ZERO,
        memory: 0,
        output: 4096,
        files: 8,
    };
    let (mut sum, mut heard, mut logged) = (Sum::default(), Heard::new(limits, 0), 0_u64);
    for part in bytes.chunks(61) {
        if !matches!(
            heard.push(part, &mut |log| logged += log.len() as u64, &mut sum),
            Ok(None)
        ) {
            break;
        }
    }
    assert!(
        sum.0 <= 9 && sum.1 <= 4096 && logged <= LOG_MAX && heard.fuel() <= 1 << 20,
        "a bound does not hold"
    );
}

/// Sorts what was kept.
pub(crate) fn sorted(mut files: Vec<OutFile>) -> Vec<OutFile> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[cfg(test)]
mod tests;
