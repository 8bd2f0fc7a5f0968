//! Memory of this program that it can do without for a while.

use std::io;

use crate::check;

unsafe extern "C" {
    /// First byte of the program's image. Placed by the linker.
    static __executable_start: u8;
    /// First byte after its code. Placed by the linker.
    static etext: u8;
}

/// Takes the program's own code and constants out of this process's memory; what is used again comes back from the page
/// cache, piece by piece. For a program that has done much and will wait for long. `madvise(2)`, `MADV_DONTNEED`.
pub fn forget_program() -> io::Result<()> {
    const PAGE: usize = 4096;
    let (start, end) = (&raw const __executable_start as usize, &raw const etext as usize);
    let start = start.next_multiple_of(PAGE);
    let length = end.saturating_sub(start) / PAGE * PAGE;
    // SAFETY: from its start to the end of its code the image is a read-only mapping of the program file that is never
    // written (relocated data lies behind the code): dropping its pages changes no byte, the next access reads the same
    // file again. The running instructions are among them, and come back in the same way.
    check(libc::c_long::from(unsafe {
        libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED)
    }))
    .map(drop)
}

/// Lets the heap grow by a few large steps and never shrink: each step is a call, and a program that ends soon gives all back then. Only what
/// is used takes memory. Before anything is allocated. `mallopt(3)`.
pub fn short_life() {
    const STEP: libc::c_int = 1 << 19;
    // SAFETY: integers; the program has one thread yet.
    unsafe {
        libc::mallopt(libc::M_TOP_PAD, STEP);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}
