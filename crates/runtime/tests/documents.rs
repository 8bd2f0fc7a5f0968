//! Documents that are not as they should be: mutations of good ones never make us panic, and never take long.
//!
//! `fuzz/` has the same functions as targets that follow coverage.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Host;
use lighter_runtime::documents::{Document, check};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end.max(1)
    }
}

fn odd(random: &mut Random) -> Value {
    let many = |value: Value, count| Value::Array(vec![value; count]);
    match random.below(16) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(u64::MAX),
        3 => json!(i64::MIN),
        4 => json!(1e300),
        5 => json!(""),
        6 => json!("\0"),
        7 => json!("../../../.."),
        8 => json!("x".repeat(100_000)),
        9 => json!([]),
        10 => json!({}),
        11 => json!(true),
        12 => many(json!({}), 1000),
        13 => json!("é\u{202e}\u{fffd}"),
        14 => json!("SCMP_ACT_NOTIFY"),
        _ => json!({"a": {"b": [1, "2", null]}}),
    }
}

/// Changes one place, chosen by a walk from the top.
fn mutate(value: &mut Value, random: &mut Random) {
    let here = random.below(6) == 0;
    match value {
        Value::Object(map) if !here && !map.is_empty() => {
            let key = map.keys().nth(random.below(map.len())).unwrap().clone();
            match random.below(8) {
                0 => drop(map.remove(&key)),
                _ => mutate(&mut map[&key], random),
            }
        }
        Value::Array(list) if !here && !list.is_empty() => {
            let at = random.below(list.len());
            match random.below(8) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                _ => mutate(&mut list[at], random),
            }
        }
        other => *other = odd(random),
    }
}

fn break_bytes(text: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(text.len());
        match random.below(4) {
            0 => text.truncate(at),
            1 => text.insert(at, random.next().to_le_bytes()[0]),
            2 => text[at..].fill(b'['),
            _ => {
                if let Some(byte) = text.get_mut(at) {
                    *byte = random.next().to_le_bytes()[0];
                }
            }
        }
    }
}

fn attack(document: Document, good: &Value) {
    check(document, good.to_string().as_bytes()).expect("the document to start from is good");
    let number = |name, default| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let seed = number("LIGHTER_SEED", 28_u64);
    let rounds = number("LIGHTER_ROUNDS", 3_u64) * 700;
    let mut refused = 0;
    for round in 0..rounds {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(round) | 1);
        let mut value = good.clone();
        for _ in 0..=random.below(4) {
            mutate(&mut value, &mut random);
        }
        let mut text = value.to_string().into_bytes();
        if random.below(3) == 0 {
            break_bytes(&mut text, &mut random);
        }
        let before = Instant::now();
        let answer = std::panic::catch_unwind(|| check(document, &text));
        let text = String::from_utf8_lossy(&text);
        let start: String = text.chars().take(4000).collect();
        let Ok(answer) = answer else {
            panic!("round {round} of seed {seed} panics: {start}");
        };
        // Far above what any takes; a quadratic parser would show.
        assert!(
            before.elapsed() < Duration::from_secs(5),
            "round {round} of seed {seed}: {start}"
        );
        if let Err(words) = answer {
            refused += 1;
            assert!(
                !words.is_empty() && !words.contains('\0'),
                "round {round} of seed {seed}: {words:?}"
            );
        }
    }
    // They are read: what is broken is told.
    assert!(refused > rounds / 10, "{refused} of {rounds} were refused");
}

fn config() -> Value {
    let mut config = Host::new().config(&["true"]);
    config["hooks"] =
        json!({"prestart": [{"path": "/bin/true", "args": ["a"], "env": ["A=b"], "timeout": 5}]});
    let linux = config["linux"].as_object_mut().unwrap();
    linux.insert("sysctl".into(), json!({"net.ipv4.ip_forward": "1"}));
    linux.insert(
        "devices".into(),
        json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}]),
    );
    linux.insert(
        "uidMappings".into(),
        json!([{"containerID": 0, "hostID": 1000, "size": 1}]),
    );
    linux.insert(
        "seccomp".into(),
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [
                {"names": ["read", "write", "execve"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]}]}),
    );
    config
}

#[test]
fn no_configuration_makes_us_panic() {
    attack(Document::Config, &config());
}

#[test]
fn no_process_document_makes_us_panic() {
    attack(Document::Process, &config()["process"]);
}

#[test]
fn no_resources_document_makes_us_panic() {
    let mut resources = config()["linux"]["resources"].clone();
    resources["cpu"] = json!({"shares": 2, "quota": -1, "period": 1000, "cpus": "0-1", "mems": "0"});
    resources["blockIO"] =
        json!({"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]});
    resources["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 0}]);
    resources["unified"] = json!({"memory.high": "1"});
    attack(Document::Resources, &resources);
}
