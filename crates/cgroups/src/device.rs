//! Device control: lines for v1, a program for v2.

use lighter_sys::bpf::Instruction;

use crate::resources::DeviceRule;

// Our own bits; the kernel's are in `program`.
const READ: u8 = 4;
const WRITE: u8 = 2;
const MKNOD: u8 = 1;

/// A rule with its defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    /// `b'a'`, `b'b'` or `b'c'`.
    pub(crate) kind: u8,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    pub(crate) access: u8,
}

impl Rule {
    pub(crate) fn new(rule: &DeviceRule) -> Self {
        let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        let kind = match rule.kind.as_bytes().first() {
            Some(b'c' | b'u') => b'c',
            Some(b'b') => b'b',
            _ => b'a',
        };
        let mut access = 0;
        for letter in rule.access.bytes() {
            access |= match letter {
                b'r' => READ,
                b'w' => WRITE,
                b'm' => MKNOD,
                _ => 0,
            };
        }
        if access == 0 {
            access = READ | WRITE | MKNOD;
        }
        Self {
            allow: rule.allow,
            kind,
            major: number(rule.major),
            minor: number(rule.minor),
            access,
        }
    }

    /// Whether it is about the same devices.
    pub(crate) fn same_devices(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether some device and access is meant by both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        (self.kind == other.kind || self.kind == b'a' || other.kind == b'a')
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
            && self.access & other.access != 0
    }

    /// Its accesses, as `rwm`.
    pub(crate) fn letters(&self) -> String {
        [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .map(|(_, letter)| letter)
            .collect()
    }

    /// Whether it is about every device and access.
    pub(crate) fn is_total(&self) -> bool {
        self.kind == b'a'
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == READ | WRITE | MKNOD
    }

    /// Lines for `devices.allow` or `devices.deny`.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.is_total() {
            return vec!["a".into()];
        }
        let number = |value: Option<u32>| value.map_or("*".to_owned(), |value| value.to_string());
        let access = self.letters();
        let kinds: &[char] = match self.kind {
            b'c' => &['c'],
            b'b' => &['b'],
            // The kernel takes `a` for everything, whatever numbers follow.
            _ => &['b', 'c'],
        };
        kinds
            .iter()
            .map(|kind| format!("{kind} {}:{} {access}", number(self.major), number(self.minor)))
            .collect()
    }
}

/// The rules that matter: what comes before one that is about everything has no effect, and of equal ones the last is
/// enough.
pub(crate) fn effective(rules: &[DeviceRule]) -> Vec<Rule> {
    let rules: Vec<Rule> = rules.iter().map(Rule::new).collect();
    let start = rules.iter().rposition(Rule::is_total).unwrap_or(0);
    let rules = &rules[start..];
    let last = |(at, rule): &(usize, &Rule)| !rules[at + 1..].contains(rule);
    rules
        .iter()
        .enumerate()
        .filter(last)
        .map(|(_, rule)| *rule)
        .collect()
}

// eBPF opcodes: class | operation | source.
const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
const MOVE_REG: u8 = 0xbf;
const MOVE_IMM: u8 = 0xb7;
const AND_IMM: u8 = 0x57;
const SHIFT_RIGHT_IMM: u8 = 0x77;
const JUMP_NE_IMM: u8 = 0x55;
const JUMP_EQ_REG: u8 = 0x1d;
const JUMP_NE_REG: u8 = 0x5d;
const EXIT: u8 = 0x95;

fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: destination | (source << 4),
        offset,
        immediate,
    }
}

/// The program for `BPF_PROG_TYPE_CGROUP_DEVICE`: the last rule that matches decides, so they are asked from last to
/// first; what none matches is denied.
///
/// Context (`struct bpf_cgroup_dev_ctx`): access << 16 | kind, major, minor.
pub(crate) fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD_WORD, 2, 1, 0, 0), // r2 = kind in the low half
        op(AND_IMM, 2, 0, 0, 0xffff),
        op(LOAD_WORD, 3, 1, 0, 0), // r3 = access
        op(SHIFT_RIGHT_IMM, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0), // r4 = major
        op(LOAD_WORD, 5, 1, 8, 0), // r5 = minor
    ];
    for rule in rules.iter().rev() {
        // Each test jumps to the end of this rule when it fails; filled in below.
        let mut tests = Vec::new();
        match rule.kind {
            b'b' => tests.push(op(JUMP_NE_IMM, 2, 0, 0, 1)), // BPF_DEVCG_DEV_BLOCK
            b'c' => tests.push(op(JUMP_NE_IMM, 2, 0, 0, 2)), // BPF_DEVCG_DEV_CHAR
            _ => {}
        }
        if rule.access != READ | WRITE | MKNOD {
            // The kernel's bits: mknod 1, read 2, write 4.
            let mask = i32::from(rule.access & MKNOD != 0)
                | i32::from(rule.access & READ != 0) << 1
                | i32::from(rule.access & WRITE != 0) << 2;
            tests.push(op(MOVE_REG, 1, 3, 0, 0));
            if rule.allow {
                // All that is asked for must be in the rule.
                tests.push(op(AND_IMM, 1, 0, 0, mask));
                tests.push(op(JUMP_NE_REG, 1, 3, 0, 0));
            } else {
                // One forbidden access is enough.
                tests.push(op(AND_IMM, 1, 0, 0, mask));
                tests.push(op(MOVE_IMM, 0, 0, 0, 0));
                tests.push(op(JUMP_EQ_REG, 1, 0, 0, 0));
            }
        }
        if let Some(major) = rule.major {
            tests.push(op(JUMP_NE_IMM, 4, 0, 0, major as i32));
        }
        if let Some(minor) = rule.minor {
            tests.push(op(JUMP_NE_IMM, 5, 0, 0, minor as i32));
        }
        tests.push(op(MOVE_IMM, 0, 0, 0, i32::from(rule.allow)));
        tests.push(op(EXIT, 0, 0, 0, 0));
        let end = tests.len();
        for (index, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, JUMP_NE_IMM | JUMP_NE_REG | JUMP_EQ_REG) {
                // A rule has at most ten instructions.
                test.offset = (end - index - 1) as i16;
            }
        }
        code.append(&mut tests);
        if rule.kind == b'a'
            && rule.major.is_none()
            && rule.minor.is_none()
            && rule.access == READ | WRITE | MKNOD
        {
            // Nothing can follow a rule about everything: the verifier refuses unreachable code.
            return code;
        }
    }
    code.push(op(MOVE_IMM, 0, 0, 0, 0));
    code.push(op(EXIT, 0, 0, 0, 0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind: kind.into(),
            major: Some(major),
            minor: Some(minor),
            access: access.into(),
        }
    }

    #[test]
    fn lines_are_what_the_v1_files_take() {
        for (given, expected) in [
            (rule(false, "", -1, -1, "rwm"), vec!["a"]),
            (rule(true, "c", 1, 3, "rw"), vec!["c 1:3 rw"]),
            (rule(true, "b", -1, -1, "m"), vec!["b *:* m"]),
            (rule(true, "a", 7, -1, "r"), vec!["b 7:* r", "c 7:* r"]),
        ] {
            assert_eq!(Rule::new(&given).lines(), expected);
        }
    }

    #[test]
    fn the_kernel_accepts_the_program() {
        let rules = [
            rule(false, "", -1, -1, "rwm"),
            rule(true, "c", -1, -1, "m"),
            rule(true, "c", 1, 3, "rwm"),
            rule(false, "b", 8, -1, "w"),
        ];
        let program = program(&effective(&rules));
        // Needs CAP_BPF; as an ordinary user the kernel refuses before it looks.
        match lighter_sys::bpf::load_device_program(&program) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}"),
        }
    }
}
