//! What a static program links of glibc whether or not it uses it, left out: translated messages, conversion of character sets, and, for the
//! latter's modules, the dynamic loader; and C's own printing of floating-point numbers.
//!
//! The linker takes a member of `libc.a` only for a name that nobody defined before. Programs that use [`entry!`](crate::entry!) define
//! these few, with what they mean where nobody calls `setlocale`, `iconv_open` or `dlopen`, and nothing of ours does: the C locale's own
//! conversions are tables that stay. Names are glibc's from 2.2 to 2.36 and on; one that went is a function too many, one that
//! came is a larger program or a duplicate that the linker refuses.

use std::cell::UnsafeCell;

/// Room for a lock of glibc's, unlocked.
#[doc(hidden)]
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Lock(UnsafeCell<[u8; 64]>);

// SAFETY: Rust never looks inside; glibc does, by its own locking.
unsafe impl Sync for Lock {}

impl Lock {
    /// An unlocked one: zeros, for mutexes and locks of readers and writers.
    pub const fn new() -> Lock {
        Lock(UnsafeCell::new([0; 64]))
    }
}

impl Default for Lock {
    fn default() -> Lock {
        Lock::new()
    }
}

/// The end of a program whose C library found itself broken.
#[doc(hidden)]
pub fn broken() -> ! {
    // Nobody is left to hear that this failed.
    let _ = rustix::io::write(rustix::stdio::stderr(), b"glibc: assertion failed\n");
    std::process::abort()
}

/// See the module.
#[doc(hidden)]
#[macro_export]
macro_rules! lean_libc {
    () => {
        // SAFETY: glibc's name and type; a message's translation is itself.
        #[unsafe(no_mangle)]
        extern "C" fn __dcgettext(_domain: *const u8, message: *const u8, _category: i32) -> *const u8 {
            message
        }

        // SAFETY: glibc's name and type; it does not return. The source line would need glibc's printing.
        #[unsafe(no_mangle)]
        extern "C" fn __assert_fail(_what: *const u8, _file: *const u8, _line: u32, _in: *const u8) -> ! {
            $crate::lean_libc::broken()
        }

        // SAFETY: glibc's name and type; 1 is `__GCONV_NOCONV`: there is no such conversion, and nothing was stored.
        #[unsafe(no_mangle)]
        extern "C" fn __gconv_find_transform(
            _to: *const u8,
            _from: *const u8,
            _steps: *mut *mut u8,
            _count: *mut usize,
            _flags: i32,
        ) -> i32 {
            1
        }

        // SAFETY: glibc's name and type; 0 is `__GCONV_OK`. No steps were ever handed out.
        #[unsafe(no_mangle)]
        extern "C" fn __gconv_close_transform(_steps: *mut u8, _count: usize) -> i32 {
            0
        }

        // SAFETY: glibc's name and type; no step was ever handed out.
        #[unsafe(no_mangle)]
        extern "C" fn __gconv_release_step(_step: *mut u8) {}

        // SAFETY: glibc's name and type: it says whether it knows the names, and there are none.
        #[unsafe(no_mangle)]
        extern "C" fn __gconv_compare_alias(_one: *const u8, _other: *const u8, _result: *mut i32) -> i32 {
            -1
        }

        // SAFETY: glibc's name and type; -1 is the failure of the printing. Floating-point numbers are printed by Rust alone.
        #[unsafe(no_mangle)]
        extern "C" fn __printf_fp(_file: *mut u8, _info: *const u8, _arguments: *const *const u8) -> i32 {
            -1
        }

        // SAFETY: as for `__printf_fp`; this one prints them in hexadecimal.
        #[unsafe(no_mangle)]
        extern "C" fn __printf_fphex(_file: *mut u8, _info: *const u8, _arguments: *const *const u8) -> i32 {
            -1
        }

        // SAFETY: glibc's name; larger than its lock, and unlocked.
        #[unsafe(no_mangle)]
        static __gconv_lock: $crate::lean_libc::Lock = $crate::lean_libc::Lock::new();
    };
}
