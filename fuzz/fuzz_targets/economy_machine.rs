#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    betanet_tokenomics::testkit::fuzz_machine(data);
});
