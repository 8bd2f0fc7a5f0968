//! `-v` and `-info`: what this shim is, and what its runtime can do.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd as _;
use std::path::Path;

use lighter_shim_api::info::{FEATURES, RuntimeInfo, RuntimeVersion};
use lighter_shim_api::{Any, Message, service};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};

use crate::child::{self, Program};
use crate::runtime::Runtime;
use crate::{Config, Error, options};

/// The name under which callers ask for this shim.
const NAME: &str = "io.containerd.lighter.v1";
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn version() -> String {
    format!("{NAME}:\n  Version:  {VERSION}\n")
}

/// The encoded [`RuntimeInfo`]; options come encoded on `input`, or nothing does. May block: nobody else is served.
pub(crate) fn info(config: &Config, input: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let _ = input.take(1 << 20).read_to_end(&mut bytes);
    let any = Any::decode(bytes.as_slice()).unwrap_or_default();
    let given = options::read(Some(&any)).unwrap_or_default();
    let own = config.program.as_deref();
    let runtime = Runtime::new(&given.binary_name, "", "", false, own, &config.environment);
    let path = runtime
        .path
        .clone()
        .ok_or_else(|| Error::NoRuntime(runtime.name.clone()))?;
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: Some(RuntimeVersion {
            version: VERSION.to_owned(),
            revision: String::new(),
        }),
        options: (!bytes.is_empty()).then(|| Any {
            type_url: service::RUNC_OPTIONS.to_owned(),
            value: given.encode_to_vec(),
        }),
        features: features(&runtime, &path),
    };
    Ok(info.encode_to_vec())
}

/// A runtime without the command has no features to tell.
fn features(runtime: &Runtime, path: &Path) -> Option<Any> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).ok()?;
    let words = [runtime.name.as_str(), "features"];
    let arguments: Result<Vec<CString>, _> = words.into_iter().map(CString::new).collect();
    let started = child::start(Program {
        path,
        arguments: arguments.ok()?,
        environment: runtime.environment.clone(),
        stdio: [None, Some(write.as_fd()), None],
        more: Vec::new(),
        mounts: &[],
        dir: None,
        bound: true,
    });
    drop(write);
    let pid = started.ok()?.pid;
    let mut value = Vec::new();
    let told = File::from(read).take(1 << 20).read_to_end(&mut value);
    let (_, end) = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty()).ok()??;
    let good = told.is_ok() && end.exit_status() == Some(0);
    good.then(|| Any {
        type_url: FEATURES.to_owned(),
        value,
    })
}
