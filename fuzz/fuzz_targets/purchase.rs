#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| betanet_voucher_service::bridge::fuzz(data));
