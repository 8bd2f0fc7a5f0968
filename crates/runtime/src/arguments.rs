//! Command lines as runc takes them: `-name`, `--name`, `--name=value`, `--name value`, before and after the container's
//! name.
//!
//! Values may be paths, which are any bytes; what is no path must be UTF-8 and is refused otherwise, never changed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Result};
use crate::flags::{Flag, Takes};

/// A parsed part of a command line.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    options: Vec<(&'static str, OsString)>,
    /// What is no option.
    pub(crate) rest: Vec<String>,
}

impl Parsed {
    /// Takes the options of a command from its arguments. `anywhere`: also those after the first that is none, which
    /// runc has for all commands but those whose rest is a command line itself.
    pub(crate) fn command(flags: &[Flag], anywhere: bool, arguments: &[OsString]) -> Result<Self> {
        let find = |name: &str| {
            let flag = flags.iter().find(|flag| flag.names.contains(&name))?;
            Some((flag.names[0], flag.takes))
        };
        let (mut parsed, mut rest) = Self::front(&find, arguments)?;
        if !anywhere {
            parsed.rest = strings(behind_dashes(rest))?;
            return Ok(parsed);
        }
        while let [argument, left @ ..] = rest {
            rest = left;
            if argument == "--" {
                parsed.rest.extend(strings(rest)?);
                break;
            }
            // Behind the first argument what looks like an option but is none of ours is an argument too.
            match split(argument).filter(|(name, _)| find(name).is_some()) {
                Some((name, value)) => rest = parsed.option(&find, name, value, rest)?,
                None => parsed.rest.extend(strings(std::slice::from_ref(argument))?),
            }
        }
        Ok(parsed)
    }

    /// Takes the options from the front, and leaves the rest as it is.
    pub(crate) fn global<'a>(flags: &[Flag], arguments: &'a [OsString]) -> Result<(Self, &'a [OsString])> {
        let find = |name: &str| {
            let flag = flags.iter().find(|flag| flag.names.contains(&name))?;
            Some((flag.names[0], flag.takes))
        };
        let (parsed, rest) = Self::front(&find, arguments)?;
        Ok((parsed, behind_dashes(rest)))
    }

    fn front<'a>(find: &Find<'_>, arguments: &'a [OsString]) -> Result<(Self, &'a [OsString])> {
        let mut parsed = Self::default();
        let mut left = arguments;
        while let [argument, rest @ ..] = left {
            // Also `--`, which the caller looks at.
            let Some((name, value)) = split(argument) else {
                break;
            };
            left = parsed.option(find, name, value, rest)?;
        }
        Ok((parsed, left))
    }

    /// Notes one option, and answers what follows it.
    fn option<'a>(
        &mut self,
        find: &Find<'_>,
        name: &str,
        value: Option<&OsStr>,
        left: &'a [OsString],
    ) -> Result<&'a [OsString]> {
        let Some((known, takes)) = find(name) else {
            return Err(Error::Usage(format!("flag provided but not defined: -{name}")));
        };
        let (value, left) = match (takes, value) {
            (_, Some(value)) => (value.to_owned(), left),
            (Takes::Nothing, None) => (OsString::from("true"), left),
            (_, None) => match left {
                [value, left @ ..] => (value.clone(), left),
                [] => return Err(Error::Usage(format!("flag needs an argument: -{name}"))),
            },
        };
        let text = value.to_str();
        let wrong = |what: &str| {
            Err(Error::Usage(format!(
                "invalid {what} for flag -{name}: parse error"
            )))
        };
        match takes {
            Takes::Path => {}
            _ if text.is_none() => return wrong(&format!("value {value:?}")),
            Takes::Nothing if boolean(text.unwrap_or_default()).is_none() => {
                return Err(Error::Usage(format!(
                    "invalid boolean value {value:?} for -{name}: parse error"
                )));
            }
            Takes::Number if text.is_some_and(|text| text.parse::<i64>().is_err()) => {
                return wrong(&format!("value {value:?}"));
            }
            _ => {}
        }
        self.options.push((known, value));
        Ok(left)
    }

    /// The last value of the option, as a path or another string of any bytes.
    pub(crate) fn path(&self, name: &str) -> Option<&OsStr> {
        self.options
            .iter()
            .rev()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// The last value of the option.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.path(name).and_then(OsStr::to_str)
    }

    /// All values of the option, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.options
            .iter()
            .filter(|(known, _)| *known == name)
            .filter_map(|(_, value)| value.to_str().map(str::to_owned))
            .collect()
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.value(name).and_then(boolean).unwrap_or(false)
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.value(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Error::Usage(format!("invalid value {text:?} for flag -{name}: parse error"))
                })
            })
            .transpose()
    }
}

/// Without the `--` that ends the options.
fn behind_dashes(arguments: &[OsString]) -> &[OsString] {
    match arguments {
        [first, rest @ ..] if first == "--" => rest,
        _ => arguments,
    }
}

type Find<'a> = dyn Fn(&str) -> Option<(&'static str, Takes)> + 'a;

/// Name and attached value of what looks like an option.
fn split(argument: &OsStr) -> Option<(&str, Option<&OsStr>)> {
    let bytes = argument.as_bytes();
    if bytes.len() < 2 || bytes[0] != b'-' || bytes == b"--" {
        return None;
    }
    let bare = &bytes[if bytes[1] == b'-' { 2 } else { 1 }..];
    let (name, value) = match bare.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bare[..at], Some(OsStr::from_bytes(&bare[at + 1..]))),
        None => (bare, None),
    };
    // No option of ours has such a name: this one is never found.
    Some((std::str::from_utf8(name).unwrap_or("\u{fffd}"), value))
}

/// As Go's `strconv.ParseBool`.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn strings(arguments: &[OsString]) -> Result<Vec<String>> {
    let text = |argument: &OsString| {
        let text = argument.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::Usage(format!("argument {argument:?} is not valid UTF-8")))
    };
    arguments.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        Flag::switch(&["force", "f"], ""),
        Flag::path(&["bundle", "b"], ""),
        Flag::number(&["count"], ""),
    ];

    fn parse(anywhere: bool, line: &str) -> Result<Parsed> {
        Parsed::command(
            FLAGS,
            anywhere,
            &line.split(' ').map(OsString::from).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn options_come_before_the_rest() {
        let parsed = parse(false, "-f --bundle=/x -b /y id -f").unwrap();
        assert!(parsed.is_set("force"));
        assert_eq!(parsed.value("bundle"), Some("/y"));
        assert_eq!(parsed.values("bundle"), ["/x", "/y"]);
        assert_eq!(parsed.rest, ["id", "-f"]);
        assert!(!parse(false, "--force=false id").unwrap().is_set("force"));
        assert_eq!(parse(false, "-- -f").unwrap().rest, ["-f"]);
    }

    #[test]
    fn options_may_follow_the_name() {
        let parsed = parse(true, "id --force -9 --bundle /x --count -1 -- -f").unwrap();
        assert!(parsed.is_set("force"));
        assert_eq!(parsed.value("bundle"), Some("/x"));
        assert_eq!(parsed.value("count"), Some("-1"));
        assert_eq!(parsed.rest, ["id", "-9", "-f"]);
        assert!(!parse(true, "-- -f").unwrap().is_set("force"));
    }

    #[test]
    fn what_is_wrong_is_told_as_go_does() {
        for (line, text) in [
            ("--nope", "flag provided but not defined: -nope"),
            ("--nope=1 id", "flag provided but not defined: -nope"),
            ("id -b", "flag needs an argument: -b"),
            (
                "--force=maybe",
                "invalid boolean value \"maybe\" for -force: parse error",
            ),
            ("--count x", "invalid value \"x\" for flag -count: parse error"),
        ] {
            assert_eq!(parse(true, line).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn bytes_are_kept_in_paths_and_refused_elsewhere() {
        let bad = OsStr::from_bytes(b"/x\xff").to_owned();
        let parsed = Parsed::command(FLAGS, true, &["-b".into(), bad.clone(), "id".into()]).unwrap();
        assert_eq!(parsed.path("bundle"), Some(bad.as_os_str()));
        assert!(Parsed::command(FLAGS, true, &[bad]).is_err());
        assert!(Parsed::command(FLAGS, true, &[OsStr::from_bytes(b"--\xff").to_owned()]).is_err());
    }
}
