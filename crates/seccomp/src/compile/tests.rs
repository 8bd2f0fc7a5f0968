use super::*;
use crate::interpret::interpret;
use crate::profile::Rule;
use proptest::prelude::*;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

/// What the profile says, read rule by rule.
fn oracle(profile: &Profile, number: u32, numbering: Numbering, arguments: [u64; 6]) -> u32 {
    let default = default(profile);
    let applies = |rule: &&Rule| {
        rule.names
            .iter()
            .any(|name| numbering.number(name) == Some(number))
    };
    let says = |rule: &&Rule| verdict(rule.action, rule.errno_ret) != default;
    let rules: Vec<&Rule> = profile.syscalls.iter().filter(applies).collect();
    if let Some(rule) = rules
        .iter()
        .copied()
        .filter(says)
        .find(|rule| rule.args.is_empty())
    {
        return verdict(rule.action, rule.errno_ret);
    }
    let holds = |argument: &Argument| {
        let (have, value) = (arguments[usize::from(argument.index)], argument.value);
        let (have, value, two) = if numbering.is_wide() {
            (have, value, argument.value_two)
        } else {
            (
                have & 0xffff_ffff,
                value & 0xffff_ffff,
                argument.value_two & 0xffff_ffff,
            )
        };
        match argument.op {
            Operator::NotEqual => have != value,
            Operator::LessThan => have < value,
            Operator::LessEqual => have <= value,
            Operator::EqualTo => have == value,
            Operator::GreaterEqual => have >= value,
            Operator::GreaterThan => have > value,
            Operator::MaskedEqual => have & value == two,
        }
    };
    for rule in rules.iter().copied().filter(says) {
        let mut indices: Vec<u8> = rule.args.iter().map(|argument| argument.index).collect();
        indices.sort_unstable();
        let repeated = indices.windows(2).any(|pair| pair[0] == pair[1]);
        if if repeated {
            rule.args.iter().any(holds)
        } else {
            rule.args.iter().all(holds)
        } {
            return verdict(rule.action, rule.errno_ret);
        }
    }
    let newest = profile
        .syscalls
        .iter()
        .flat_map(|rule| &rule.names)
        .filter_map(|name| numbering.number(name))
        .max();
    let lenient = matches!(
        profile.default_action,
        Action::Allow | Action::Log | Action::Trace | Action::Notify
    );
    if !lenient && newest.is_some_and(|newest| number > newest) {
        ERRNO | ENOSYS
    } else {
        default
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Allow),
        Just(Action::Errno),
        Just(Action::KillProcess),
        Just(Action::KillThread),
        Just(Action::Trap),
        Just(Action::Log),
        Just(Action::Trace),
    ]
}

/// Values around the borders of the halves of a word.
fn value() -> impl Strategy<Value = u64> {
    let border = prop_oneof![
        Just(0u64),
        Just(1),
        Just(0xffff_ffff),
        Just(1 << 32),
        Just(u64::MAX),
        Just(0x7e02_0000)
    ];
    prop_oneof![
        (border, 0..3u64).prop_map(|(border, offset)| border.wrapping_add(offset)),
        any::<u64>()
    ]
}

fn argument() -> impl Strategy<Value = Argument> {
    let op = prop_oneof![
        Just(Operator::NotEqual),
        Just(Operator::LessThan),
        Just(Operator::LessEqual),
        Just(Operator::EqualTo),
        Just(Operator::GreaterEqual),
        Just(Operator::GreaterThan),
        Just(Operator::MaskedEqual),
    ];
    (0..6u8, value(), value(), op).prop_map(|(index, value, value_two, op)| Argument {
        index,
        value,
        value_two,
        op,
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let names = prop::collection::vec(prop::sample::select(crate::table::x86_64::NAMES), 1..60);
    let args = prop::collection::vec(argument(), 0..4);
    (names, action(), prop::option::of(0..200u32), args).prop_map(|(names, action, errno_ret, args)| {
        // Each call with conditions has its own copy of them, and a filter its limit.
        let most = if args.is_empty() { 60 } else { 6 };
        let names = names.into_iter().take(most).map(|(name, _)| (*name).to_owned());
        Rule {
            names: names.chain(["no_such_call".to_owned()]).collect(),
            action,
            errno_ret,
            args,
        }
    })
}

fn profile() -> impl Strategy<Value = Profile> {
    (
        action(),
        prop::option::of(0..200u32),
        prop::collection::vec(rule(), 0..8),
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(default_action, default_errno_ret, syscalls, [x86, x32])| Profile {
                default_action,
                default_errno_ret,
                architectures: [(x86, "SCMP_ARCH_X86"), (x32, "SCMP_ARCH_X32")]
                    .into_iter()
                    .filter(|(wanted, _)| *wanted)
                    .map(|(_, name)| name.to_owned())
                    .collect(),
                syscalls,
                ..Profile::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_program_says_what_the_profile_says(profile in profile(), arguments in prop::array::uniform6(value())) {
        let filter = compile(&profile).unwrap();
        let has = |name: &str| profile.architectures.iter().any(|arch| arch == name);
        for number in 0..600 {
            // Also the values that the rules themselves compare with.
            let mut tries = vec![arguments];
            for rule in profile.syscalls.iter().filter(|rule| rule.names.iter().any(|name| Numbering::X86_64.number(name) == Some(number))) {
                for argument in &rule.args {
                    for value in [argument.value, argument.value_two, argument.value.wrapping_add(1), argument.value.wrapping_sub(1)] {
                        let mut changed = arguments;
                        changed[usize::from(argument.index)] = value;
                        tries.push(changed);
                    }
                }
            }
            for arguments in tries {
                let got = interpret(&filter.instructions, number, X86_64, arguments);
                prop_assert_eq!(got, oracle(&profile, number, Numbering::X86_64, arguments), "x86_64 {}", number);
                let x32 = interpret(&filter.instructions, number | X32_BIT, X86_64, arguments);
                let expected = if has("SCMP_ARCH_X32") { oracle(&profile, number | X32_BIT, Numbering::X32, arguments) } else { KILL_THREAD };
                prop_assert_eq!(x32, expected, "x32 {}", number);
                let x86 = interpret(&filter.instructions, number, X86, arguments);
                let expected = if has("SCMP_ARCH_X86") { oracle(&profile, number, Numbering::X86, arguments) } else { KILL_THREAD };
                prop_assert_eq!(x86, expected, "x86 {}", number);
            }
        }
        prop_assert_eq!(interpret(&filter.instructions, 1, 0xc000_00b7, arguments), KILL_THREAD);
        prop_assert_eq!(Filter::from_bytes(&filter.to_bytes(), filter.flags), filter);
    }
}

fn parse(json: &str) -> Profile {
    serde_json::from_str(json).unwrap()
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let check =
        |json: &str, expected: &str| assert_eq!(compile(&parse(json)).unwrap_err().to_string(), expected);
    check(
        r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
        "SCMP_ACT_NOTIFY cannot be used as default action",
    );
    check(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}"#,
        "unknown seccomp flag \"X\"",
    );
    check(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
        "system call \"read\": no argument 6",
    );
    check(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}"#,
        "SCMP_ACT_NOTIFY: seccomp listenerPath is not set",
    );
    check(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}"#,
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
    );
    check(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ARM", "ARM"]}"#,
        "unknown seccomp architecture \"ARM\"",
    );
}

/// What nobody said is not guessed.
#[test]
fn a_missing_action_is_refused() {
    for text in [
        "{}",
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}"#,
    ] {
        let error = serde_json::from_str::<Profile>(text).unwrap_err().to_string();
        assert!(error.starts_with("missing field `"), "{error}");
    }
}

#[test]
fn null_is_absent_as_go_writes_it() {
    let profile = parse(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": null, "flags": null, "syscalls": null}"#,
    );
    assert_eq!(compile(&profile).unwrap().flags, SPEC_ALLOW);
}

/// A tree is shallow: what a call costs.
#[test]
fn few_comparisons_decide() {
    let names: Vec<String> = crate::table::x86_64::NAMES
        .iter()
        .step_by(2)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let rule = Rule {
        names,
        action: Action::Allow,
        ..Rule::default()
    };
    let profile = Profile {
        default_action: Action::Errno,
        syscalls: vec![rule],
        ..Profile::default()
    };
    let code = compile(&profile).unwrap().instructions;
    for number in 0..470 {
        let (mut at, mut steps) = (0, 0);
        // The longest way: count instructions until an answer for this number.
        let mut accumulator = 0;
        loop {
            let instruction = code[at];
            at += 1;
            steps += 1;
            match instruction.code {
                LOAD => {
                    accumulator = if instruction.k == DATA_ARCH {
                        X86_64
                    } else {
                        number
                    }
                }
                JUMP_ALWAYS => at += instruction.k as usize,
                JUMP_EQUAL => {
                    at += usize::from(if accumulator == instruction.k {
                        instruction.jump_true
                    } else {
                        instruction.jump_false
                    })
                }
                JUMP_GREATER_EQUAL => {
                    at += usize::from(if accumulator >= instruction.k {
                        instruction.jump_true
                    } else {
                        instruction.jump_false
                    })
                }
                _ => break,
            }
        }
        assert!(steps < 20, "{number}: {steps}");
    }
}
