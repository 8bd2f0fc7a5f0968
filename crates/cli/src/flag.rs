//! Flags as data.

use crate::value;

/// One flag of one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    /// Without its dashes.
    pub(crate) long: &'static str,
    /// One letter, or nothing.
    pub(crate) short: &'static str,
    /// The flag whose value this one sets: itself, but for other spellings.
    pub(crate) key: &'static str,
    /// What help calls the value; nothing for a switch. It also says how the value is checked, and whether there may be
    /// several.
    pub(crate) word: &'static str,
    /// What holds when it is not given.
    pub(crate) default: &'static str,
    /// For help; nothing hides the flag there.
    pub(crate) about: &'static str,
}

/// A switch.
pub(crate) const fn switch(long: &'static str, short: &'static str, about: &'static str) -> Flag {
    Flag {
        long,
        short,
        key: long,
        word: "",
        default: "false",
        about,
    }
}

/// A flag with a value.
pub(crate) const fn value(
    long: &'static str,
    short: &'static str,
    word: &'static str,
    about: &'static str,
) -> Flag {
    Flag {
        long,
        short,
        key: long,
        word,
        default: "",
        about,
    }
}

/// Another spelling of `key`, not shown.
pub(crate) const fn alias(long: &'static str, word: &'static str, key: &'static str) -> Flag {
    Flag {
        long,
        short: "",
        key,
        word,
        default: "",
        about: "",
    }
}

impl Flag {
    /// The same with a default.
    pub(crate) const fn or(mut self, default: &'static str) -> Flag {
        self.default = default;
        self
    }

    pub(crate) fn is_switch(&self) -> bool {
        self.word.is_empty()
    }

    /// How messages name it: `-m, --memory`.
    pub(crate) fn spelled(&self) -> String {
        match self.short {
            "" => format!("--{}", self.long),
            short => format!("-{short}, --{}", self.long),
        }
    }

    /// Whether the value will do; the complaint is Docker's.
    pub(crate) fn check(&self, text: &str) -> Result<(), String> {
        match self.word {
            "" => value::switch(text).map(drop),
            "int" => value::int(text, "ParseInt", i64::MIN, i64::MAX.unsigned_abs()),
            "uint" => value::int(text, "ParseUint", 0, u64::MAX),
            "uint16" => value::int(text, "ParseUint", 0, u64::from(u16::MAX)),
            "bytes" if self.long == "memory-swap" => value::swap(text).map(drop),
            "bytes" => value::bytes(text).map(drop),
            "decimal" => value::nano_cpus(text).map(drop),
            "duration" => value::duration(text).map(drop),
            "filter" => match text {
                "" => Ok(()),
                text if text.contains('=') => Ok(()),
                _ => Err("bad format of filter (expected name=value)".into()),
            },
            _ => value::of_flag(self.long, text),
        }
    }
}
