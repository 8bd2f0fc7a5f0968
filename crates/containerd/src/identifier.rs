//! Names of namespaces, containers and exec processes: they become file names.
//!
//! Source: containerd's identifier rule: up to 76 letters and digits, with single `.`, `_` or `-` between them.

use crate::{Error, Result};

const MOST: usize = 76;

/// Checks `value`; `what` names it in the error.
pub fn check(what: &'static str, value: &str) -> Result<()> {
    let why = if value.is_empty() {
        "it is empty"
    } else if value.len() > MOST {
        "it has more than 76 characters"
    } else if !value
        .split(['.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    {
        "it may have letters, digits, and single '.', '_' or '-' between them"
    } else {
        return Ok(());
    };
    Err(Error::invalid(what, value, why))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for good in ["a", "moby", "k8s.io", "a-b_c.d", &"x".repeat(76)] {
            assert!(check("container", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "-a",
            "a-",
            "a..b",
            "ä",
            "a b",
            &"x".repeat(77),
        ] {
            assert!(check("container", bad).is_err(), "{bad}");
        }
    }
}
