//! Words of a command line into flags and arguments, by the rules of Docker's parser (pflag).

use crate::flag::Flag;
use crate::value;

/// What was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parsed {
    given: Vec<(&'static Flag, String)>,
    /// What is no flag.
    pub(crate) args: Vec<String>,
    /// Whether `--help` was among the flags.
    pub(crate) help: bool,
}

impl Parsed {
    /// Whether the flag was given.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.given.iter().any(|(flag, _)| flag.key == key)
    }

    /// Its last value; empty when not given.
    pub(crate) fn text(&self, key: &str) -> &str {
        let last = self.given.iter().rev().find(|(flag, _)| flag.key == key);
        last.map_or("", |(_, value)| value)
    }

    /// Its last value, when given.
    pub(crate) fn some(&self, key: &str) -> Option<&str> {
        self.has(key).then(|| self.text(key))
    }

    /// All its values, in order.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let all = self.given.iter().filter(|(flag, _)| flag.key == key);
        all.map(|(_, value)| value.clone()).collect()
    }

    /// Whether a switch is on; `false` when not given.
    pub(crate) fn is(&self, key: &str) -> bool {
        value::switch(self.text(key)).unwrap_or(false)
    }

    /// A number; 0 when not given.
    pub(crate) fn int(&self, key: &str) -> i64 {
        let number = value::whole(self.text(key));
        number.and_then(|number| i64::try_from(number).ok()).unwrap_or(0)
    }

    /// Bytes; 0 when not given.
    pub(crate) fn bytes(&self, key: &str) -> i64 {
        value::swap(self.text(key)).unwrap_or(0)
    }

    /// Nanoseconds; 0 when not given.
    pub(crate) fn duration(&self, key: &str) -> i64 {
        value::duration(self.text(key)).unwrap_or(0)
    }
}

/// Parses `words`. With `mixed`, flags may follow arguments. The complaint is Docker's.
pub(crate) fn parse(flags: &[&'static [Flag]], mixed: bool, words: &[String]) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let more = match word.as_str() {
            "--" => {
                parsed.args.extend(words.cloned());
                break;
            }
            long if long.starts_with("--") => parsed.long(flags, &long[2..], &mut words),
            short if short.starts_with('-') && short.len() > 1 => parsed.shorts(flags, short, &mut words),
            argument => {
                parsed.args.push(argument.to_owned());
                if !mixed {
                    parsed.args.extend(words.cloned());
                    break;
                }
                Ok(())
            }
        };
        more?;
        if parsed.help {
            break;
        }
    }
    Ok(parsed)
}

impl Parsed {
    fn long<'a>(
        &mut self,
        flags: &[&'static [Flag]],
        word: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(format!("bad flag syntax: --{word}"));
        }
        let found = flags
            .iter()
            .flat_map(|list| list.iter())
            .find(|flag| flag.long == name);
        let Some(flag) = found else {
            if name == "help" {
                return self.help_asked(inline);
            }
            return Err(format!("unknown flag: --{name}"));
        };
        let text = match inline {
            Some(text) => text.to_owned(),
            None if flag.is_switch() => "true".to_owned(),
            None => rest
                .next()
                .cloned()
                .ok_or_else(|| format!("flag needs an argument: --{name}"))?,
        };
        self.set(flag, text)
    }

    /// `-it`, `-p80:80`, `-p=80:80`, `-p 80:80`.
    fn shorts<'a>(
        &mut self,
        flags: &[&'static [Flag]],
        word: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let mut letters = &word[1..];
        while let Some(letter) = letters.chars().next() {
            let group = letters;
            letters = &letters[letter.len_utf8()..];
            let is = |flag: &&Flag| flag.short.chars().eq([letter]);
            let Some(flag) = flags.iter().flat_map(|list| list.iter()).find(is) else {
                if letter == 'h' {
                    return self.help_asked(None);
                }
                return Err(format!("unknown shorthand flag: '{letter}' in -{group}"));
            };
            if let Some(text) = letters.strip_prefix('=') {
                return self.set(flag, text.to_owned());
            }
            if flag.is_switch() {
                self.set(flag, "true".to_owned())?;
                continue;
            }
            let text = match letters {
                "" => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("flag needs an argument: '{letter}' in -{group}"))?,
                text => text.to_owned(),
            };
            return self.set(flag, text);
        }
        Ok(())
    }

    fn help_asked(&mut self, value: Option<&str>) -> Result<(), String> {
        let text = value.unwrap_or("true");
        self.help = value::switch(text)
            .map_err(|why| format!("invalid argument \"{text}\" for \"--help\" flag: {why}"))?;
        Ok(())
    }

    fn set(&mut self, flag: &'static Flag, text: String) -> Result<(), String> {
        flag.check(&text).map_err(|why| {
            format!(
                "invalid argument \"{text}\" for \"{}\" flag: {why}",
                flag.spelled()
            )
        })?;
        if flag.word == "strings" {
            self.given
                .extend(text.split(',').map(|part| (flag, part.to_owned())));
            return Ok(());
        }
        self.given.push((flag, text));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::{alias, switch, value};

    static FLAGS: &[Flag] = &[
        switch("interactive", "i", ""),
        switch("tty", "t", ""),
        value("publish", "p", "list", ""),
        value("name", "", "string", ""),
        value("memory", "m", "bytes", ""),
        alias("called", "string", "name"),
    ];

    fn parsed(words: &str, mixed: bool) -> Result<Parsed, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        parse(&[FLAGS], mixed, &words)
    }

    #[test]
    fn all_spellings() {
        let found = parsed("-itp80:80 -p=1:1 --publish 2:2 --called=x image -t", false).unwrap();
        assert!(found.is("tty") && found.is("interactive"));
        assert_eq!(found.list("publish"), ["80:80", "1:1", "2:2"]);
        assert_eq!(found.text("name"), "x");
        assert_eq!(found.args, ["image", "-t"]);
        let found = parsed("a -t=false b -- -i", true).unwrap();
        assert!(found.has("tty") && !found.is("tty"));
        assert_eq!(found.args, ["a", "b", "-i"]);
    }

    #[test]
    fn complaints_are_dockers() {
        for (words, complaint) in [
            ("--nope", "unknown flag: --nope"),
            ("-iZ", "unknown shorthand flag: 'Z' in -Z"),
            ("--name", "flag needs an argument: --name"),
            ("-ip", "flag needs an argument: 'p' in -p"),
            ("--=x", "bad flag syntax: --=x"),
            (
                "-m 3x",
                "invalid argument \"3x\" for \"-m, --memory\" flag: invalid suffix: 'x'",
            ),
            (
                "--tty=x",
                "invalid argument \"x\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(parsed(words, true).unwrap_err(), complaint);
        }
    }
}
