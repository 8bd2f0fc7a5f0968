//! The format number of a root directory: a file named `format` in it.
//!
//! A database carries its number inside (see [`crate::Db::open`]); this is for roots that hold files.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use lighter_stdx::atomic::{self, Keep};

use crate::Error;

/// Makes the directory `root` if it is absent, and sees to it that its format is `known`: a new root gets the number, an older one is
/// brought up to date by `migrate` (given the number that was found), a newer one is refused with [`Error::Newer`].
pub fn check(
    root: &Path,
    known: u32,
    migrate: impl FnOnce(u32) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
) -> Result<(), Error> {
    let at = |operation, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File {
            operation,
            path,
            source,
        }
    };
    fs::create_dir_all(root).map_err(at("create directory", root))?;
    let path = root.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found == known => return Ok(()),
            Ok(found) if found > known => {
                return Err(Error::Newer {
                    path: root.to_owned(),
                    found,
                    known,
                });
            }
            Ok(from) => migrate(from).map_err(|source| Error::Migrate {
                path: root.to_owned(),
                from,
                source: source.into(),
            })?,
            Err(_) => return Err(Error::Format { path }),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(at("read", &path)(error)),
    }
    atomic::write(&path, format!("{known}\n").as_bytes(), 0o600, Keep::Power).map_err(at("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_numbered_migrated_and_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let never =
            |_| -> Result<(), Box<dyn std::error::Error + Send + Sync>> { panic!("no migration was due") };
        check(&root, 1, never).unwrap();
        check(&root, 1, never).unwrap();
        let mut from = 0;
        check(&root, 3, |found| {
            from = found;
            Ok(())
        })
        .unwrap();
        assert_eq!(from, 1);
        let refused = check(&root, 2, never).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Newer {
                    found: 3,
                    known: 2,
                    ..
                }
            ),
            "{refused}"
        );
    }
}
