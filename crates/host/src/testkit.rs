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
