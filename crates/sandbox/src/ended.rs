//! How a run ends.

use std::{fmt, time::Duration};

/// Most bytes of a reason.
pub const REASON_MAX: usize = 1024;

/// Takes what a program writes to standard error, as it comes.
pub trait Sink: Send {
    /// Some bytes of it.
    fn log(&mut self, bytes: &[u8]);
}

impl<F: FnMut(&[u8]) + Send> Sink for F {
    fn log(&mut self, bytes: &[u8]) {
        self(bytes);
    }
}

/// Cause of a run's end. Up to `Module` it is a result, which every machine gets; the rest is a fault of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It returned, or exited with 0.
    Ok,
    /// It exited with another code.
    Exit(i32),
    /// It did what WebAssembly forbids.
    Trap,
    /// It burned all its fuel.
    Fuel,
    /// It asked for more memory than its limit.
    Memory,
    /// It wrote more bytes or files than its limit.
    Output,
    /// It is no program that can run here.
    Module,
    /// It ran longer than its limit.
    Time,
    /// An input is missing or unusable, or the program takes more to compile than there is for one here.
    Input,
    /// This machine failed.
    Internal,
}

impl Status {
    /// The word of receipts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Exit(_) => "exit",
            Self::Trap => "trap",
            Self::Fuel => "fuel",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Module => "module",
            Self::Time => "time",
            Self::Input => "input",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A file that a program left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutFile {
    /// Its path below the output folder.
    pub path: String,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// Its length.
    pub size: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// In a word.
    pub status: Status,
    /// In words, for people.
    pub reason: String,
    /// Fuel burned. After a fault: as far as it was heard of.
    pub fuel: u64,
    /// Time for which it ran, pauses excepted. It differs from run to run.
    pub ran: Duration,
    /// Files that the program left, ascending by path; after ok and exit only. `stdout` is always among them.
    pub files: Vec<OutFile>,
}

impl Ended {
    pub(crate) fn new(status: Status, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: short(reason.into()),
            fuel: 0,
            ran: Duration::ZERO,
            files: Vec::new(),
        }
    }
}

/// Cuts a reason to its bound, at a character. It is shown on terminals, so spaces stand for control characters.
pub(crate) fn short(reason: String) -> String {
    let mut reason = reason.replace(char::is_control, " ");
    if reason.len() > REASON_MAX {
        let cut = (0..=REASON_MAX)
            .rev()
            .find(|&at| reason.is_char_boundary(at))
            .unwrap_or(0);
        reason.truncate(cut);
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_moves_no_terminal_and_ends_at_a_character() {
        assert_eq!(short("a\x1b[2J\r\nb\u{9b}c".to_owned()), "a [2J  b c");
        let long = short("€".repeat(REASON_MAX));
        assert_eq!(long.len(), REASON_MAX / 3 * 3);
    }
}
