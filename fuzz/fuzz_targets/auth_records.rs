#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    betanet_auth::testkit::records(data);
});
