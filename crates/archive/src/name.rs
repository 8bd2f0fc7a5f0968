//! Names of entries, made safe to use below a root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What a name in a layer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The root of the layer itself.
    Root,
    /// An ordinary entry.
    Entry(PathBuf),
    /// `.wh.NAME`: NAME is gone.
    Whiteout(PathBuf),
    /// `.wh..wh..opq`: all that lower layers have in this directory is gone.
    Opaque(PathBuf),
    /// Bookkeeping of AUFS, nothing to us.
    Ignored,
}

/// The path as components below the root. `Err` says why the name is refused.
pub(crate) fn clean(name: &OsStr) -> Result<PathBuf, &'static str> {
    if name.is_empty() {
        return Err("it has no name");
    }
    if name.as_bytes().contains(&0) {
        return Err("its name has a zero byte");
    }
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => {
                if !path.pop() {
                    return Err("its path leads out of the layer");
                }
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

/// What `name` means. Source: OCI image-spec, layer.md#whiteouts.
pub(crate) fn read(name: &OsStr) -> Result<Name, &'static str> {
    let path = clean(name)?;
    let Some(last) = path.file_name() else {
        return Ok(Name::Root);
    };
    let Some(hidden) = last.as_bytes().strip_prefix(b".wh.") else {
        return Ok(Name::Entry(path));
    };
    match hidden {
        b".wh..opq" => Ok(Name::Opaque(
            path.parent().map(Path::to_owned).unwrap_or_default(),
        )),
        _ if hidden.starts_with(b".wh.") => Ok(Name::Ignored),
        b"" | b"." | b".." => Err("it is a whiteout of nothing"),
        _ => Ok(Name::Whiteout(path.with_file_name(OsStr::from_bytes(hidden)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_told_apart() {
        let entry = |path: &str| Ok(Name::Entry(path.into()));
        for (name, expected) in [
            ("a", entry("a")),
            ("./a/b/", entry("a/b")),
            ("/etc//passwd", entry("etc/passwd")),
            ("a/../b", entry("b")),
            (".", Ok(Name::Root)),
            ("./", Ok(Name::Root)),
            ("/", Ok(Name::Root)),
            ("a/..", Ok(Name::Root)),
            ("..", Err("its path leads out of the layer")),
            ("../a", Err("its path leads out of the layer")),
            ("/../a", Err("its path leads out of the layer")),
            ("a/../../b", Err("its path leads out of the layer")),
            ("", Err("it has no name")),
            ("a\0b", Err("its name has a zero byte")),
            ("a/.wh.b", Ok(Name::Whiteout("a/b".into()))),
            (".wh.b", Ok(Name::Whiteout("b".into()))),
            (".wh..b", Ok(Name::Whiteout(".b".into()))),
            ("a/.wh..wh..opq", Ok(Name::Opaque("a".into()))),
            (".wh..wh..opq", Ok(Name::Opaque("".into()))),
            ("a/.wh..wh.plnk", Ok(Name::Ignored)),
            (".wh.", Err("it is a whiteout of nothing")),
            ("a/.wh..", Err("it is a whiteout of nothing")),
            ("a/.wh...", Err("it is a whiteout of nothing")),
        ] {
            assert_eq!(read(OsStr::new(name)), expected, "{name:?}");
        }
    }
}
