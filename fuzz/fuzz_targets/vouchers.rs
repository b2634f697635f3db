#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| betanet_vouchers::testkit::fuzz::parsers(data));
