//! The program itself, so that the tests of this crate have it built beside them.
#![no_main]

#[expect(
    unused_attributes,
    reason = "`no_main` stands in the file, which is the program's root"
)]
#[path = "../../../bin/lighter-runc/src/main.rs"]
mod program;
