#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(betanet_auth::testkit::tokens(data)));
