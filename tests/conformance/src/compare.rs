//! Where two views differ.

use crate::differences::EXPECTED;
use crate::generate::Case;
use crate::host::Seen;

/// A difference that nobody expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What was looked at.
    pub what: String,
    /// By each runtime: ours, runc, crun.
    pub values: [String; 3],
}

/// What is known about a case when a difference is judged.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The case.
    pub case: &'a Case,
    /// The values of ours, runc and crun.
    pub values: [&'a str; 3],
}

/// All unexpected differences between ours and runc.
pub fn compare(case: &Case, seen: &[Seen; 3]) -> Vec<Difference> {
    let mut found = Vec::new();
    let [ours, runc, crun] = seen;
    let mut check = |what: &str, values: [&str; 3]| {
        let context = Context { case, values };
        let expected = || {
            EXPECTED
                .iter()
                .any(|expected| matches(expected.what, what) && (expected.when)(&context))
        };
        if values[0] != values[1] && !expected() {
            found.push(Difference {
                what: what.into(),
                values: values.map(str::to_owned),
            });
        }
    };
    let outcomes = seen.each_ref().map(|seen| match &seen.refused {
        Some((command, words)) => format!("refused by {command}: {words}"),
        None => "ran".to_owned(),
    });
    let refused = [ours, runc, crun].map(|seen| seen.refused.is_some());
    if refused[0] != refused[1] {
        check("outcome", outcomes.each_ref().map(String::as_str));
    } else if refused[0] && ours.refused.as_ref().is_some_and(|(_, words)| words.is_empty()) {
        check("outcome", ["refused without a word", "", ""]);
    }
    let left = ours.left.join(", ");
    check("left", [&left, "", ""]);
    if !refused[0] && !refused[1] {
        let mut names: Vec<&String> = ours.view.keys().chain(runc.view.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let values = seen
                .each_ref()
                .map(|seen| seen.view.get(name).map_or("absent", String::as_str));
            check(name, values);
        }
    }
    found
}

/// `*` at the end matches the rest.
fn matches(pattern: &str, what: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => what.starts_with(start),
        None => what == pattern,
    }
}
