//! Chunked bodies; what must hold of them is in `properties`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::chunked_body(data));
