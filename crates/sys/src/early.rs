//! A program that moves itself onto a read-only mount of its own file before its C library begins.
//!
//! What the move is for stands in the runtime's `seal`. Done by the program proper it costs a whole start-up of the C library (which asks the
//! processor about itself, each time a trap into the hypervisor of a virtual machine), thrown away at once by the exec: a fifth of a
//! millisecond and twenty system calls a container. Here it is four calls. Linked with `-e lighter_start` this comes first; otherwise it is
//! not in the program, and the runtime does the same by itself. So does it after any failure here.
//!
//! Nothing is set up yet: no thread-local storage, no relocated functions, so none of the C library's either (`memcpy`, `strlen`). Memory is
//! read and written by volatile accesses, which the compiler never turns into calls of those.

use std::arch::{asm, global_asm};
use std::mem::MaybeUninit;
use std::ptr;

global_asm!(
    ".globl lighter_start",
    ".type lighter_start, @function",
    "lighter_start:",
    "xor ebp, ebp",
    // What the kernel says to `_start` beside the stack.
    "mov rbx, rdx",
    "mov rdi, rsp",
    "call {seal}",
    "mov rdx, rbx",
    "jmp _start",
    seal = sym seal,
);

/// The commands that have to do with a container's processes.
const COMMANDS: [&[u8]; 4] = [b"create\0", b"run\0", b"exec\0", b"restore\0"];
/// The runtime's own mark: says that the exec was done.
const MARK: &[u8] = b"_LIGHTER_RUNC_SEALED=1\0";
/// More variables than this are left to the program proper.
const MOST: usize = 500;

const AT_FDCWD: usize = -100_isize as usize;
const EMPTY_PATH: usize = 0x1000;
const CLONE_AND_CLOEXEC: usize = 1 | 0o2_000_000;
const RDONLY: u64 = 1;
/// Words of `struct statfs`, and which of them has the flags.
const STATFS: usize = 15;
const STATFS_FLAGS: usize = 10;

/// Executes the program anew when its command asks for it and it has not been done. Returns otherwise, and after every failure.
///
/// # Safety
/// `stack` is what the kernel gave the program: the number of arguments, the arguments, a null, the variables, a null.
unsafe extern "C" fn seal(stack: *const usize) {
    // SAFETY: the caller's promise; every string there ends in a zero byte.
    unsafe {
        let count = ptr::read_volatile(stack);
        let arguments = stack.add(1).cast::<*const u8>();
        let variables = arguments.add(count + 1);
        let mut wanted = false;
        let mut at = 1;
        while at < count {
            let word = ptr::read_volatile(arguments.add(at));
            let mut command = 0;
            while command < COMMANDS.len() {
                let known = COMMANDS.as_ptr().add(command).read();
                wanted |= begins_with(word, known.as_ptr(), known.len());
                command += 1;
            }
            at += 1;
        }
        if !wanted {
            return;
        }
        // The old variables, the mark, a null.
        let mut copy = MaybeUninit::<[*const u8; MOST + 2]>::uninit();
        let copy = copy.as_mut_ptr().cast::<*const u8>();
        let mut length = 0;
        loop {
            let variable = ptr::read_volatile(variables.add(length));
            if variable.is_null() {
                break;
            }
            // Without the value and the end.
            if length == MOST || begins_with(variable, MARK.as_ptr(), MARK.len() - 2) {
                return;
            }
            ptr::write_volatile(copy.add(length), variable);
            length += 1;
        }
        ptr::write_volatile(copy.add(length), MARK.as_ptr());
        ptr::write_volatile(copy.add(length + 1), ptr::null());
        execute(arguments, copy);
    }
}

/// # Safety
/// Both are null-terminated lists of C strings.
unsafe fn execute(arguments: *const *const u8, variables: *const *const u8) {
    // SAFETY: the pointers are of C strings, of the caller's lists, and of structures that live across the calls.
    unsafe {
        let tree = call(
            libc::SYS_open_tree,
            [
                AT_FDCWD,
                c"/proc/self/exe".as_ptr() as usize,
                CLONE_AND_CLOEXEC,
                0,
                0,
            ],
        );
        if tree < 0 {
            return;
        }
        let tree = tree as usize;
        let mut statfs = MaybeUninit::<[u64; STATFS]>::uninit();
        let statfs = statfs.as_mut_ptr().cast::<u64>();
        let looked = call(libc::SYS_fstatfs, [tree, statfs as usize, 0, 0, 0]);
        // On a read-only file system, or mount: nobody writes to it anyway.
        if looked == 0 && ptr::read_volatile(statfs.add(STATFS_FLAGS)) & RDONLY == 0 {
            let mut attributes = MaybeUninit::<[u64; 4]>::uninit();
            let attributes = attributes.as_mut_ptr().cast::<u64>();
            ptr::write_volatile(attributes, RDONLY);
            ptr::write_volatile(attributes.add(1), 0);
            ptr::write_volatile(attributes.add(2), 0);
            ptr::write_volatile(attributes.add(3), 0);
            let empty = c"".as_ptr() as usize;
            let set = call(
                libc::SYS_mount_setattr,
                [tree, empty, EMPTY_PATH, attributes as usize, 32],
            );
            if set == 0 {
                // Returns only when it failed.
                call(
                    libc::SYS_execveat,
                    [tree, empty, arguments as usize, variables as usize, EMPTY_PATH],
                );
            }
        }
        call(libc::SYS_close, [tree, 0, 0, 0, 0]);
    }
}

/// Whether the C string at `text` begins with the `length` bytes at `start`.
///
/// # Safety
/// `text` ends in a zero byte, `start` has `length` bytes.
unsafe fn begins_with(text: *const u8, start: *const u8, length: usize) -> bool {
    let mut at = 0;
    while at < length {
        // SAFETY: in `text` all bytes before are equal to those of `start`, of which only the last may be zero.
        if unsafe { ptr::read_volatile(text.add(at)) != ptr::read_volatile(start.add(at)) } {
            return false;
        }
        at += 1;
    }
    true
}

/// A system call; below zero: minus the error's number.
///
/// # Safety
/// The arguments are what the call wants.
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps all registers but these three.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}
