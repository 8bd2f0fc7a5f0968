#![no_main]
//! The filters of list requests, and what they are asked.

use lighter_meta::filter::Filters;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(filters) = Filters::parse(&[text.to_owned()]) {
        let _ = filters.matches(&|_| Some("a.b"));
        let _ = filters.matches(&|_| None);
    }
});
