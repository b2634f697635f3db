#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| betanet_economy_service::fuzz(data));
