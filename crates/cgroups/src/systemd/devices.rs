//! Device rules as systemd's allow list.

use super::wire::Value;
use crate::device::Rule;

/// `DeviceAllow` and `DevicePolicy` for `rules` (those in effect, in order); `None` when systemd has no words for them.
///
/// systemd knows only "all denied but these", by `/dev/char/MAJOR:MINOR`, `char-MAJOR` (since 240) and `char-*`.
pub(super) fn allow_list(rules: &[Rule]) -> Option<(Vec<Value>, &'static str)> {
    let mut rest = rules;
    if let Some((first, others)) = rules.split_first()
        && first.is_total()
    {
        if first.allow {
            return others.is_empty().then(|| (Vec::new(), "auto"));
        }
        rest = others;
    }
    let mut allowed: Vec<Rule> = Vec::new();
    for rule in rest {
        if rule.allow {
            allowed.push(*rule);
            continue;
        }
        for other in &mut allowed {
            if other.same_devices(rule) {
                other.access &= !rule.access;
            } else if other.overlaps(rule) {
                return None;
            }
        }
    }
    let mut entries = Vec::new();
    for rule in allowed.iter().filter(|rule| rule.access != 0) {
        for (kind, name) in [(b'b', "block"), (b'c', "char")] {
            if rule.kind != b'a' && rule.kind != kind {
                continue;
            }
            let path = match (rule.major, rule.minor) {
                (Some(major), Some(minor)) => format!("/dev/{name}/{major}:{minor}"),
                (Some(major), None) => format!("{name}-{major}"),
                (None, None) => format!("{name}-*"),
                (None, Some(_)) => return None,
            };
            entries.push(Value::Struct(vec![
                Value::Text(path),
                Value::Text(rule.letters()),
            ]));
        }
    }
    Some((entries, "strict"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceRule, device};

    fn check(rules: &[(bool, &str, i64, i64, &str)], expected: Option<(&[(&str, &str)], &str)>) {
        let rules: Vec<DeviceRule> = rules
            .iter()
            .map(|(allow, kind, major, minor, access)| DeviceRule {
                allow: *allow,
                kind: (*kind).into(),
                major: Some(*major),
                minor: Some(*minor),
                access: (*access).into(),
            })
            .collect();
        let found = allow_list(&device::effective(&rules));
        let expected = expected.map(|(entries, policy)| {
            let entry =
                |(path, access): &(&str, &str)| Value::Struct(vec![Value::text(path), Value::text(access)]);
            (entries.iter().map(entry).collect::<Vec<_>>(), policy)
        });
        assert_eq!(found, expected, "{rules:?}");
    }

    #[test]
    fn an_allow_list_is_what_the_rules_leave() {
        let none = (false, "a", -1, -1, "rwm");
        let null = (true, "c", 1, 3, "rwm");
        check(&[none], Some((&[], "strict")));
        check(&[(true, "a", -1, -1, "rwm")], Some((&[], "auto")));
        check(
            &[
                none,
                null,
                (true, "c", -1, -1, "m"),
                (true, "b", 8, -1, "r"),
                (true, "a", 7, 1, "w"),
            ],
            Some((
                &[
                    ("/dev/char/1:3", "rwm"),
                    ("char-*", "m"),
                    ("block-8", "r"),
                    ("/dev/block/7:1", "w"),
                    ("/dev/char/7:1", "w"),
                ],
                "strict",
            )),
        );
        check(
            &[none, null, (false, "c", 1, 3, "w")],
            Some((&[("/dev/char/1:3", "rm")], "strict")),
        );
        // Exceptions from what is allowed, and wild majors, have no words.
        check(&[(true, "a", -1, -1, "rwm"), (false, "c", 1, 3, "w")], None);
        check(&[none, (true, "c", 1, -1, "rwm"), (false, "c", 1, 3, "w")], None);
        check(&[none, (true, "c", -1, 3, "rwm")], None);
    }
}
