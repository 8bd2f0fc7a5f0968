//! What the kernel does with a program, for those who want to know before it does.

use lighter_sys::seccomp::Instruction;

use crate::arch::Numbering;
use crate::compile::{
    AND, Filter, JUMP_ALWAYS, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, KILL_THREAD, LOAD, RETURN,
};

impl Filter {
    /// Whether this machine's call `name` is let through whatever its arguments, as far as arguments of zero tell.
    pub fn allows(&self, name: &str) -> bool {
        const ALLOW: u32 = 0x7fff_0000;
        const LOG: u32 = 0x7ffc_0000;
        let native = Numbering::NATIVE;
        native.number(name).is_some_and(|number| {
            matches!(
                interpret(&self.instructions, number, native.audit(), [0; 6]),
                ALLOW | LOG
            )
        })
    }
}

/// The answer of `code` to a call. What the kernel would refuse to install answers as strictly as can be.
pub(crate) fn interpret(code: &[Instruction], number: u32, arch: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [0u8; 64];
    data[..4].copy_from_slice(&number.to_ne_bytes());
    data[4..8].copy_from_slice(&arch.to_ne_bytes());
    for (index, argument) in arguments.iter().enumerate() {
        data[16 + index * 8..24 + index * 8].copy_from_slice(&argument.to_ne_bytes());
    }
    let (mut at, mut accumulator) = (0, 0u32);
    while let Some(instruction) = code.get(at) {
        at += 1;
        let k = instruction.k;
        let branch = |taken: bool| {
            usize::from(if taken {
                instruction.jump_true
            } else {
                instruction.jump_false
            })
        };
        match instruction.code {
            LOAD => {
                let word = data.get(k as usize..).and_then(|rest| rest.first_chunk());
                accumulator = word.map_or(0, |word| u32::from_ne_bytes(*word));
            }
            AND => accumulator &= k,
            JUMP_ALWAYS => at += k as usize,
            JUMP_EQUAL => at += branch(accumulator == k),
            JUMP_GREATER => at += branch(accumulator > k),
            JUMP_GREATER_EQUAL => at += branch(accumulator >= k),
            RETURN => return k,
            _ => break,
        }
    }
    KILL_THREAD
}
