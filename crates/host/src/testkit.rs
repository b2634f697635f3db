//! The parsers of the kernel's files, for the fuzz target.

use betanet_harvest::{Reading, Readings};

use crate::processor::{Process, Times};
use crate::{idle, machine, memory, told};

/// Reads arbitrary bytes as each of the files. Nothing panics, and no reading is out of its range.
#[allow(
    clippy::panic,
    reason = "a fuzz target says what it found by panicking"
)]
pub fn fuzz(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    if let Some(times) = Times::parse(text) {
        assert!(times.busy <= times.all);
    }
    let _ = Process::parse(text);
    let _ = idle::interrupts(text);
    let _ = machine::listed(text);
    let _ = memory::field(text, "MemTotal");
    assert!(memory::stalled(text).is_none_or(|n| n <= 1000));
    let mut readings = Readings::default();
    for reading in Reading::ALL {
        let put = told::put(&mut readings, *reading, text).is_some();
        assert_eq!(put, readings.has(*reading));
    }
    assert!(readings.battery.is_none_or(|n| n <= 100));
    assert!(readings.load.is_none_or(|n| n <= 1000));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Reads the committed inputs of the fuzz target.
    #[test]
    fn corpus() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fuzz/corpus/harvest_files"
        );
        let inputs = std::fs::read_dir(folder).unwrap();
        let read = inputs.map(|entry| super::fuzz(&std::fs::read(entry.unwrap().path()).unwrap()));
        assert!(read.count() >= 10);
    }

    proptest! {
        /// Lines like the kernel's, with anything in them.
        #[test]
        fn no_text_is_too_strange(text in "(cpu |some avg10=|MemTotal:|1 \\()?[0-9a-z .,:()%é-]{0,80}") {
            super::fuzz(text.as_bytes());
        }
    }
}
