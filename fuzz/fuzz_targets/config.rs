#![no_main]

use lighter_runtime::documents::{Document, check};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = check(Document::Config, text);
});
