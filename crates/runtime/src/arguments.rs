//! Command lines as runc takes them: `-name`, `--name`, `--name=value`, `--name value`.

use crate::error::{Error, Result};

/// An option a command knows: its names, and whether a value follows.
pub(crate) type Known = (&'static [&'static str], bool);

/// A parsed part of a command line.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    options: Vec<(&'static str, String)>,
    /// What is no option.
    pub(crate) rest: Vec<String>,
}

impl Parsed {
    /// Takes options from the front of `arguments`; the rest begins with the first that is none.
    pub(crate) fn new(known: &[Known], arguments: &[String]) -> Result<Self> {
        let mut result = Self::default();
        let mut left = arguments.iter();
        while let Some(argument) = left.next() {
            if argument == "--" {
                result.rest.extend(left.cloned());
                break;
            }
            if !argument.starts_with('-') || argument == "-" {
                result.rest.push(argument.clone());
                result.rest.extend(left.cloned());
                break;
            }
            let bare = argument.trim_start_matches('-');
            let (name, value) = bare
                .split_once('=')
                .map_or((bare, None), |(name, value)| (name, Some(value)));
            let Some((names, takes_value)) = known.iter().find(|(names, _)| names.contains(&name)) else {
                return Err(Error::Usage(format!("flag provided but not defined: -{name}")));
            };
            let value = match (takes_value, value) {
                (_, Some(value)) => value.to_owned(),
                (false, None) => "true".to_owned(),
                (true, None) => left
                    .next()
                    .cloned()
                    .ok_or_else(|| Error::Usage(format!("flag needs an argument: -{name}")))?,
            };
            result.options.push((names[0], value));
        }
        Ok(result)
    }

    /// The last value of the option.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values of the option, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.options
            .iter()
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
            .collect()
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.value(name)
            .is_some_and(|value| value != "false" && value != "0")
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

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[(&["force", "f"], false), (&["bundle", "b"], true)];

    fn parse(line: &str) -> Result<Parsed> {
        Parsed::new(KNOWN, &line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_come_before_the_rest() {
        let parsed = parse("-f --bundle=/x -b /y id -f").unwrap();
        assert!(parsed.is_set("force"));
        assert_eq!(parsed.value("bundle"), Some("/y"));
        assert_eq!(parsed.values("bundle"), ["/x", "/y"]);
        assert_eq!(parsed.rest, ["id", "-f"]);
        assert!(!parse("--force=false id").unwrap().is_set("force"));
        assert_eq!(parse("-- -f").unwrap().rest, ["-f"]);
        assert!(parse("--nope").is_err() && parse("--bundle").is_err());
    }
}
