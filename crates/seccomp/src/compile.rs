//! A profile to a program.

use lighter_sys::seccomp::Instruction;

use crate::arch::{Numbering, X32_BIT, is_known};
use crate::profile::{Action, Argument, Operator, Profile};

/// What cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel takes 4096 instructions.
    #[error("{0} instructions are too many for one filter")]
    TooLong(usize),
    /// An argument index above 5.
    #[error("system call {name:?}: no argument {index}")]
    Index {
        /// Call.
        name: String,
        /// As given.
        index: u8,
    },
    /// A flag that we do not know.
    #[error("unknown seccomp flag {0:?}")]
    Flag(String),
    /// An architecture that no machine has.
    #[error("unknown seccomp architecture {0:?}")]
    Architecture(String),
    /// The listener cannot be asked about every call: the one that hands it over would wait for it.
    #[error("SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyAll,
    /// Nor about this one, for the same reason.
    #[error("SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyWrite,
    /// Notification without a socket to send the descriptor to.
    #[error("SCMP_ACT_NOTIFY: seccomp listenerPath is not set")]
    NoListener,
}

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for [`lighter_sys::seccomp::install`].
    pub flags: u32,
}

impl Filter {
    /// Whether installing it makes a descriptor that somebody must listen to.
    pub fn has_listener(&self) -> bool {
        self.flags & NEW_LISTENER != 0
    }

    /// The program as bytes, for [`Filter::from_bytes`] on the same machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.instructions.len() * 8);
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jump_true, instruction.jump_false]);
            bytes.extend(instruction.k.to_ne_bytes());
        }
        bytes
    }

    /// The filter whose program was written by [`Filter::to_bytes`].
    pub fn from_bytes(bytes: &[u8], flags: u32) -> Self {
        let instructions = bytes
            .chunks_exact(8)
            .map(|b| Instruction {
                code: u16::from_ne_bytes([b[0], b[1]]),
                jump_true: b[2],
                jump_false: b[3],
                k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            })
            .collect();
        Self { instructions, flags }
    }
}

/// Names of the flags that a profile may set.
pub const FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];
const FLAG_BITS: [u32; 4] = [1, 2, 4, 32];
const SPEC_ALLOW: u32 = 4;
const NEW_LISTENER: u32 = 8;
const WAIT_KILLABLE_RECV: u32 = 32;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
pub(crate) const KILL_THREAD: u32 = 0;
const ERRNO: u32 = 0x0005_0000;

/// What a filter returns for an action.
fn verdict(action: Action, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(EPERM) & 0xffff;
    match action {
        Action::Kill | Action::KillThread => KILL_THREAD,
        Action::KillProcess => 0x8000_0000,
        Action::Trap => 0x0003_0000,
        Action::Errno => ERRNO | data,
        Action::Trace => 0x7ff0_0000 | data,
        Action::Allow => 0x7fff_0000,
        Action::Log => 0x7ffc_0000,
        Action::Notify => 0x7fc0_0000,
    }
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Always(u32),
    /// The first whose comparisons all hold decides; none: the default.
    When(Vec<(Vec<Argument>, u32)>),
}

/// Compiles `profile` for this machine.
///
/// As runc has it: unknown call names are ignored, a rule with the default's own verdict says nothing, a rule without
/// arguments beats those with, and calls newer than every call that the profile names answer ENOSYS where the default is
/// another error, so that programs fall back to what they know instead of giving up.
pub fn compile(profile: &Profile) -> Result<Filter, Error> {
    if profile.default_action == Action::Notify {
        return Err(Error::NotifyAll);
    }
    let mut notifying = profile
        .syscalls
        .iter()
        .filter(|rule| rule.action == Action::Notify)
        .peekable();
    let notifies = notifying.peek().is_some();
    if notifying.any(|rule| rule.names.iter().any(|name| name == "write")) {
        return Err(Error::NotifyWrite);
    }
    if let Some(name) = profile.architectures.iter().find(|name| !is_known(name)) {
        return Err(Error::Architecture(name.clone()));
    }
    if notifies && profile.listener_path.is_empty() {
        return Err(Error::NoListener);
    }
    let mut flags = flags(profile)?;
    if notifies {
        flags |= NEW_LISTENER;
    } else {
        // Says how a listener is waited for; without one the kernel refuses it.
        flags &= !WAIT_KILLABLE_RECV;
    }

    let mut wanted = vec![Numbering::NATIVE];
    for numbering in profile
        .architectures
        .iter()
        .filter_map(|name| Numbering::named(name))
    {
        if !wanted.contains(&numbering) {
            wanted.push(numbering);
        }
    }
    let mut code = vec![load(DATA_ARCH)];
    let mut audits: Vec<u32> = wanted.iter().map(|numbering| numbering.audit()).collect();
    audits.dedup();
    audits.sort_unstable_by_key(|audit| *audit != Numbering::NATIVE.audit());
    audits.dedup();
    for audit in audits {
        let numberings: Vec<Numbering> = wanted
            .iter()
            .copied()
            .filter(|numbering| numbering.audit() == audit)
            .collect();
        let mut body = vec![load(DATA_NUMBER)];
        body.extend(tree(
            &ranges(profile, &numberings)?,
            numberings[0].is_wide(),
            default(profile),
        ));
        // Another architecture skips the body; that may be further than a conditional jump reaches.
        code.push(jump(JUMP_EQUAL, audit, 1, 0));
        code.push(Instruction {
            code: JUMP_ALWAYS,
            jump_true: 0,
            jump_false: 0,
            k: body.len() as u32,
        });
        code.append(&mut body);
    }
    // libseccomp's answer to an architecture that the profile does not list.
    code.push(answer(KILL_THREAD));
    if code.len() > 4096 {
        return Err(Error::TooLong(code.len()));
    }
    Ok(Filter {
        instructions: code,
        flags,
    })
}

fn flags(profile: &Profile) -> Result<u32, Error> {
    let Some(names) = &profile.flags else {
        return Ok(SPEC_ALLOW);
    };
    let mut flags = 0;
    for name in names {
        let index = FLAGS
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| Error::Flag(name.clone()))?;
        flags |= FLAG_BITS[index];
    }
    // Threads are not there yet when the filter is installed, and with a listener the kernel refuses it.
    Ok(flags & !1)
}

fn default(profile: &Profile) -> u32 {
    verdict(profile.default_action, profile.default_errno_ret)
}

/// Verdicts by call number: each holds from its number up to the next.
fn ranges(profile: &Profile, numberings: &[Numbering]) -> Result<Vec<(u32, Fate)>, Error> {
    let default = default(profile);
    let beyond = match profile.default_action {
        Action::Allow | Action::Log | Action::Trace | Action::Notify => default,
        _ => ERRNO | ENOSYS,
    };
    let mut starts: Vec<(u32, Fate)> = Vec::new();
    for numbering in numberings {
        let (fates, newest) = fates(profile, *numbering)?;
        let base = numbering.base();
        let mut next = base;
        for (number, fate) in (base..).zip(fates) {
            let Some(fate) = fate else { continue };
            if number > next {
                starts.push((next, Fate::Always(default)));
            }
            starts.push((number, fate));
            next = number + 1;
        }
        if let Some(newest) = newest {
            if newest + 1 > next {
                starts.push((next, Fate::Always(default)));
            }
            starts.push((newest + 1, Fate::Always(beyond)));
        } else {
            starts.push((base, Fate::Always(default)));
        }
    }
    if numberings.contains(&Numbering::NATIVE) && cfg!(target_arch = "x86_64") {
        if !numberings.iter().any(|numbering| numbering.is_x32()) {
            starts.push((X32_BIT, Fate::Always(KILL_THREAD)));
        }
        // What a tracer skipped.
        starts.push((u32::MAX, Fate::Always(default)));
    }
    starts.sort_by_key(|(number, _)| *number);
    starts.dedup_by(|later, earlier| later.1 == earlier.1);
    Ok(starts)
}

impl Numbering {
    /// The lowest number.
    fn base(self) -> u32 {
        if self.is_x32() { X32_BIT } else { 0 }
    }

    fn is_x32(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::X32 => true,
            _ => false,
        }
    }
}

/// What happens to the calls, by number from the architecture's first on, where rules speak of them; and the highest number that
/// the profile names at all.
fn fates(profile: &Profile, numbering: Numbering) -> Result<(Vec<Option<Fate>>, Option<u32>), Error> {
    let default = default(profile);
    let base = numbering.base();
    let mut fates: Vec<Option<Fate>> = Vec::with_capacity(512);
    let mut newest = None;
    for rule in &profile.syscalls {
        let result = verdict(rule.action, rule.errno_ret);
        let alternatives = alternatives(&rule.args);
        for name in &rule.names {
            if let Some(argument) = rule.args.iter().find(|argument| argument.index > 5) {
                return Err(Error::Index {
                    name: name.clone(),
                    index: argument.index,
                });
            }
            let Some(number) = numbering.number(name) else {
                continue;
            };
            newest = newest.max(Some(number));
            if result == default {
                continue;
            }
            // Every number of an architecture's is its first or above.
            let place = (number - base) as usize;
            if place >= fates.len() {
                fates.resize(place + 1, None);
            }
            let fate = &mut fates[place];
            if rule.args.is_empty() {
                if !matches!(fate, Some(Fate::Always(_))) {
                    *fate = Some(Fate::Always(result));
                }
            } else if let Fate::When(rules) = fate.get_or_insert(Fate::When(Vec::new())) {
                rules.extend(alternatives.iter().map(|arguments| (arguments.clone(), result)));
            }
        }
    }
    Ok((fates, newest))
}

/// Comparisons that must all hold. With two of the same index each is a rule of its own: nobody can want one argument to
/// have two values.
fn alternatives(arguments: &[Argument]) -> Vec<Vec<Argument>> {
    let repeated = arguments.iter().enumerate().any(|(at, argument)| {
        arguments[..at]
            .iter()
            .any(|earlier| earlier.index == argument.index)
    });
    if repeated {
        arguments.iter().map(|argument| vec![*argument]).collect()
    } else {
        vec![arguments.to_vec()]
    }
}

const DATA_NUMBER: u32 = 0;
const DATA_ARCH: u32 = 4;
const DATA_ARGUMENTS: u32 = 16;

pub(crate) const LOAD: u16 = 0x20; // LD | W | ABS
pub(crate) const AND: u16 = 0x54; // ALU | AND | K
pub(crate) const JUMP_ALWAYS: u16 = 0x05;
pub(crate) const JUMP_EQUAL: u16 = 0x15;
pub(crate) const JUMP_GREATER: u16 = 0x25;
pub(crate) const JUMP_GREATER_EQUAL: u16 = 0x35;
pub(crate) const RETURN: u16 = 0x06;

fn load(offset: u32) -> Instruction {
    Instruction {
        code: LOAD,
        jump_true: 0,
        jump_false: 0,
        k: offset,
    }
}

fn jump(code: u16, k: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        k,
    }
}

fn answer(verdict: u32) -> Instruction {
    Instruction {
        code: RETURN,
        jump_true: 0,
        jump_false: 0,
        k: verdict,
    }
}

/// Code that finds the range of the number in the accumulator, and answers. Every way through it ends in an answer.
fn tree(ranges: &[(u32, Fate)], wide: bool, default: u32) -> Vec<Instruction> {
    if let [(_, fate)] = ranges {
        return match fate {
            Fate::Always(verdict) => vec![answer(*verdict)],
            Fate::When(rules) => conditions(rules, wide, default),
        };
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let pivot = high.first().map_or(0, |(number, _)| *number);
    let low = tree(low, wide, default);
    let mut code = match u8::try_from(low.len()) {
        Ok(length) => vec![jump(JUMP_GREATER_EQUAL, pivot, length, 0)],
        Err(_) => vec![
            jump(JUMP_GREATER_EQUAL, pivot, 0, 1),
            Instruction {
                code: JUMP_ALWAYS,
                jump_true: 0,
                jump_false: 0,
                k: low.len() as u32,
            },
        ],
    };
    code.extend(low);
    code.extend(tree(high, wide, default));
    code
}

/// Placeholders of jumps: to the next comparison of the rule, and to the next rule.
const PASS: u8 = 254;
const FAIL: u8 = 255;

fn conditions(rules: &[(Vec<Argument>, u32)], wide: bool, default: u32) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (arguments, verdict) in rules {
        let mut rule = Vec::new();
        for argument in arguments {
            let mut test = compare(argument, wide);
            let length = test.len();
            for (at, instruction) in test.iter_mut().enumerate() {
                resolve(instruction, PASS, length - at - 1);
            }
            rule.extend(test);
        }
        rule.push(answer(*verdict));
        let length = rule.len();
        for (at, instruction) in rule.iter_mut().enumerate() {
            resolve(instruction, FAIL, length - at - 1);
        }
        code.extend(rule);
    }
    code.push(answer(default));
    code
}

/// A rule has at most six comparisons of six instructions, so no distance is mistaken for a placeholder.
fn resolve(instruction: &mut Instruction, placeholder: u8, distance: usize) {
    if !matches!(instruction.code, JUMP_EQUAL | JUMP_GREATER | JUMP_GREATER_EQUAL) {
        return;
    }
    for target in [&mut instruction.jump_true, &mut instruction.jump_false] {
        if *target == placeholder {
            *target = distance as u8;
        }
    }
}

fn compare(argument: &Argument, wide: bool) -> Vec<Instruction> {
    use Operator as Op;
    let offset = DATA_ARGUMENTS + u32::from(argument.index) * 8;
    let (low_at, high_at) = if cfg!(target_endian = "little") {
        (offset, offset + 4)
    } else {
        (offset + 4, offset)
    };
    let split = |value: u64| (value as u32, (value >> 32) as u32);
    let (low, high) = split(argument.value);
    let (wanted_low, wanted_high) = split(argument.value_two);
    let mask = |k| Instruction {
        code: AND,
        jump_true: 0,
        jump_false: 0,
        k,
    };

    let mut code = Vec::new();
    if wide {
        code.push(load(high_at));
        match argument.op {
            Op::EqualTo => code.push(jump(JUMP_EQUAL, high, 0, FAIL)),
            Op::NotEqual => code.push(jump(JUMP_EQUAL, high, 0, PASS)),
            Op::GreaterThan | Op::GreaterEqual => {
                code.push(jump(JUMP_GREATER, high, PASS, 0));
                code.push(jump(JUMP_EQUAL, high, 0, FAIL));
            }
            Op::LessThan | Op::LessEqual => {
                code.push(jump(JUMP_GREATER, high, FAIL, 0));
                code.push(jump(JUMP_EQUAL, high, 0, PASS));
            }
            Op::MaskedEqual => {
                code.push(mask(high));
                code.push(jump(JUMP_EQUAL, wanted_high, 0, FAIL));
            }
        }
    }
    code.push(load(low_at));
    match argument.op {
        Op::EqualTo => code.push(jump(JUMP_EQUAL, low, 0, FAIL)),
        Op::NotEqual => code.push(jump(JUMP_EQUAL, low, FAIL, 0)),
        Op::GreaterThan => code.push(jump(JUMP_GREATER, low, 0, FAIL)),
        Op::GreaterEqual => code.push(jump(JUMP_GREATER_EQUAL, low, 0, FAIL)),
        Op::LessThan => code.push(jump(JUMP_GREATER_EQUAL, low, FAIL, 0)),
        Op::LessEqual => code.push(jump(JUMP_GREATER, low, FAIL, 0)),
        Op::MaskedEqual => {
            code.push(mask(low));
            code.push(jump(JUMP_EQUAL, wanted_low, 0, FAIL));
        }
    }
    code
}

#[cfg(test)]
mod tests;
