//! Test programs of other packages, run unchanged.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A test program that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The name of its source without `.rs`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The test programs of the package in `dir` (below the workspace's root), from the build directory that the calling
/// test came from. Programs are linked statically: a guest can run them.
///
/// # Panics
/// When one was not built: `cargo nextest run --workspace` builds all, `--package` only its own.
pub fn programs(dir: &str) -> Vec<Program> {
    let own = std::env::current_exe().expect("this program's path");
    let deps = own.parent().expect("a program is in a directory");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(dir)
        .join("tests");
    let mut names: Vec<String> = files(&tests)
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            Some(name.strip_suffix(".rs")?.to_owned())
        })
        .collect();
    names.sort();
    let built: Vec<PathBuf> = files(deps).collect();
    names
        .into_iter()
        .map(|name| {
            let source = format!("{dir}/tests/{name}.rs:");
            let path = newest(&built, &name, &source).unwrap_or_else(|| {
                panic!("{dir}/tests/{name}.rs is not built: `cargo test --no-run --workspace`")
            });
            Program { name, path }
        })
        .collect()
}

/// The youngest of the programs that were made from `source`: others are of another set of features or of the past.
fn newest(built: &[PathBuf], name: &str, source: &str) -> Option<PathBuf> {
    built
        .iter()
        .filter(|path| {
            let of_name = path
                .file_name()
                .and_then(|file| {
                    file.to_str()?
                        .strip_prefix(name)?
                        .strip_prefix('-')?
                        .strip_suffix(".d")
                })
                .is_some();
            // What cargo notes beside the program tells other packages' tests of that name apart.
            of_name
                && fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line.ends_with(source)))
        })
        .map(|path| path.with_extension(""))
        .filter(|path| path.is_file())
        .max_by_key(|path| {
            fs::metadata(path)
                .and_then(|data| data.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        })
}

fn files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    entries.flatten().map(|entry| entry.path())
}

/// What the test harness of Rust said about one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The test's name.
    pub test: String,
    /// Whether it passed.
    pub passed: bool,
}

/// The verdicts in what a test program wrote.
pub fn verdicts(output: &str) -> Vec<Verdict> {
    output
        .lines()
        .filter_map(|line| {
            let (test, word) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
            let passed = match word {
                "ok" => true,
                "FAILED" => false,
                _ => return None,
            };
            Some(Verdict {
                test: test.to_owned(),
                passed,
            })
        })
        .collect()
}
