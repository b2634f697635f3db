#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| betanet_carrier::http1::fuzz(data));
