#![no_main]
use std::sync::LazyLock;

use betanet_vouchers::testkit::fuzz::Desk;

static DESK: LazyLock<Desk> = LazyLock::new(Desk::default);

libfuzzer_sys::fuzz_target!(|data: &[u8]| DESK.run(data));
