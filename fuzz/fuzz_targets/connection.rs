#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sordino_tests::fuzz_bodies::connection(data));
