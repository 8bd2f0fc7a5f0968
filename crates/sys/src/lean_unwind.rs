//! What a program that aborts on a panic links to walk its own stack, left out: a sixth of the shim.
//!
//! The standard library's panic message ends with a trace when `RUST_BACKTRACE` asks for one. The code that would read debug information
//! for it (DWARF, compression, names) hangs on one function, `_Unwind_Backtrace`. The small programs have no tables to walk by (see
//! `xtask/tiny.ld`), so that its traces were empty anyway; here they are empty from the start, and whole-program optimization
//! removes what nobody can reach any more. The message itself and its place stay. Programs that unwind keep the real functions.

/// See the module.
#[doc(hidden)]
#[macro_export]
macro_rules! lean_unwind {
    () => {
        // SAFETY: the unwinder's name and type (Itanium C++ ABI, "Exception Handling"); 5 is `_URC_END_OF_STACK`.
        #[cfg(panic = "abort")]
        #[unsafe(no_mangle)]
        extern "C" fn _Unwind_Backtrace(_each: *const u8, _argument: *mut u8) -> i32 {
            5
        }

        $crate::lean_unwind!(@never
            _Unwind_GetLanguageSpecificData _Unwind_GetIP _Unwind_GetIPInfo _Unwind_GetRegionStart
            _Unwind_GetTextRelBase _Unwind_GetDataRelBase _Unwind_GetCFA _Unwind_FindEnclosingFunction
            _Unwind_SetGR _Unwind_SetIP _Unwind_Resume __gcc_personality_v0
        );
    };
    (@never $($name:ident)*) => {
        $(
            // SAFETY: the unwinder's name. Only a walk over the stack calls it, and nothing in the program begins one; it does
            // not return, so that neither arguments nor a result are ever looked at.
            #[cfg(panic = "abort")]
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> ! {
                $crate::lean_libc::broken()
            }
        )*
    };
}
