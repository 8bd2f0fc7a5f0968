//! Documents that others write, judged without touching anything: what the fuzz targets call.

use std::path::Path;

use lighter_cgroups::Resources;

use crate::attributes::{Attributes, Inherited};
use crate::config::{Process, Spec};
use crate::create::{self, Options};
use crate::error::{Error, Result};
use crate::exec;
use crate::json;
use crate::namespaces;
use crate::options::Options as MountOptions;

/// Which document, and so which command would read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// `config.json` of a bundle.
    Config,
    /// `exec --process`.
    Process,
    /// `update --resources`.
    Resources,
}

/// Parses `text` and judges it as far as that needs no system call. The refusal is what a user would read.
pub fn check(document: Document, text: &[u8]) -> std::result::Result<(), String> {
    judge(document, text).map_err(|error| lighter_stdx::error::chain(&error))
}

fn judge(document: Document, text: &[u8]) -> Result<()> {
    let path = Path::new("document");
    match document {
        Document::Config => config(&json::parse(path, text)?),
        Document::Process => {
            let process: Process = json::parse(path, text)?;
            exec::validate(&process)?;
            Attributes::new(&process, &Inherited::default(), true).map(drop)
        }
        Document::Resources => json::parse::<Resources>(path, text).map(drop),
    }
}

fn config(spec: &Spec) -> Result<()> {
    let options = Options {
        foreground: true,
        ..Options::default()
    };
    create::validate(spec, &options)?;
    for mount in &spec.mounts {
        drop(MountOptions::parse(&mount.options));
    }
    let Some(linux) = &spec.linux else { return Ok(()) };
    for namespace in &linux.namespaces {
        namespaces::kind(&namespace.kind)?;
    }
    if let Some(profile) = &linux.seccomp {
        lighter_seccomp::compile(profile).map_err(Error::Seccomp)?;
    }
    Ok(())
}
