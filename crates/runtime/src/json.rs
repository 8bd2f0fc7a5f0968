//! Documents of others: parsed plainly, and when that fails, the path of the field that was wrong.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use lighter_sys::descriptors::close_later;
use rustix::fs::FileType;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::strict::Strict;

/// Reads a whole document. A file says how long it is: one read then tells all, and that it was all.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    /// For what has no length: a pipe, a file of procfs.
    const STEP: usize = 16 << 10;
    let mut file = File::open(path)?;
    let stat = rustix::fs::fstat(&file)?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let known = usize::try_from(stat.st_size)
        .ok()
        .filter(|size| is_file && *size > 0);
    let mut text = vec![0; known.map_or(STEP, |size| size.saturating_add(1))];
    let mut length = 0;
    loop {
        match file.read(&mut text[length..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => match result? {
                0 => break,
                more => length += more,
            },
        }
        if known == Some(length) {
            break;
        }
        if length == text.len() {
            text.resize(length + STEP, 0);
        }
    }
    text.truncate(length);
    close_later(file.into());
    Ok(text)
}

/// Parses `text`, which was read from `path`.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T> {
    let mut from = serde_json::Deserializer::from_slice(text);
    let parsed = T::deserialize(Strict(&mut from)).and_then(|parsed| from.end().map(|()| parsed));
    parsed.map_err(|source| {
        let field = if source.is_data() {
            field(text, offset(text, source.line(), source.column()))
        } else {
            String::new()
        };
        Error::Parse {
            path: path.to_owned(),
            field,
            source,
        }
    })
}

/// Bytes before the end of `line` and `column`, both from 1.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.by_ref().take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column).min(text.len())
}

/// One open object or array.
enum Level {
    /// The name that came last, and whether a value follows it.
    Object(String, bool),
    /// The index of the element.
    Array(usize),
}

/// Where in the document `end` is: `linux.namespaces[2].type`. The text up to there is known to be JSON.
fn field(text: &[u8], end: usize) -> String {
    let mut levels: Vec<Level> = Vec::new();
    let mut at = 0;
    while at < end {
        match text[at] {
            b'{' => levels.push(Level::Object(String::new(), false)),
            b'[' => levels.push(Level::Array(0)),
            // What closes last is what was wrong: as a whole, or for a field that it lacks.
            b'}' | b']' if at + 1 < end => drop(levels.pop()),
            b'}' | b']' => {
                if let Some(Level::Object(name, value)) = levels.last_mut() {
                    name.clear();
                    *value = false;
                }
            }
            b':' => {
                if let Some(Level::Object(_, value)) = levels.last_mut() {
                    *value = true;
                }
            }
            b',' => match levels.last_mut() {
                Some(Level::Array(index)) => *index += 1,
                Some(Level::Object(_, value)) => *value = false,
                None => {}
            },
            b'"' => {
                let start = at + 1;
                at = start;
                while at < end && text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                if let Some(Level::Object(name, false)) = levels.last_mut() {
                    *name = String::from_utf8_lossy(&text[start..at.min(end)]).into_owned();
                }
            }
            _ => {}
        }
        at += 1;
    }
    let mut path = String::new();
    for level in &levels {
        match level {
            Level::Object(name, _) => {
                if !path.is_empty() && !name.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
            Level::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let error = parse::<crate::config::Spec>(Path::new("c.json"), text.as_bytes()).unwrap_err();
        lighter_stdx::error::chain(&error)
    }

    #[test]
    fn the_wrong_field_is_named() {
        assert_eq!(
            wrong(r#"{"linux":{"resources":{"memory":{"limit":"x"}}}}"#),
            "parse c.json: linux.resources.memory.limit: invalid type: string \"x\", expected i64 at line 1 column 44"
        );
        for (text, field) in [
            (r#"{"process": 5}"#, "process: invalid type: integer"),
            (
                "{\n \"process\":\n  {\"args\": [\"a\", \"b,{\", {}]}}",
                "process.args[2]: invalid type: map",
            ),
            (
                r#"{"mounts": [{"a\"b": [1]}, {"type": []}]}"#,
                "mounts[1].type: invalid type: sequence",
            ),
            (
                r#"{"linux": {"uidMappings": [{"hostID": -1}]}}"#,
                "linux.uidMappings[0].hostID: invalid value",
            ),
            (
                r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"args": [{"index": 1}]}]}}}"#,
                "linux.seccomp.syscalls[0].args[0]: missing field `value`",
            ),
            (
                r#"{"process": {"user": [5, 6]}}"#,
                "process.user: invalid type: sequence, expected struct User",
            ),
            (
                r#"{"mounts": [["/proc", "proc", "proc", []]]}"#,
                "mounts[0]: invalid type: sequence",
            ),
            (
                r#"{"linux": {"resources": []}}"#,
                "linux.resources: invalid type: sequence",
            ),
            (
                r#"{"hooks": {"prestart": [["/bin/x"]]}}"#,
                "hooks.prestart[0]: invalid type: sequence",
            ),
            (
                r#"{"hostname": true, "ociVersion": 1}"#,
                "hostname: invalid type: boolean",
            ),
        ] {
            let words = wrong(text);
            assert!(words.starts_with(&format!("parse c.json: {field}")), "{words}");
        }
        assert!(wrong(r#"{"hostname": "x""#).starts_with("parse c.json: EOF while parsing"));
        assert!(wrong("[]x").starts_with("parse c.json: "));
    }
}
