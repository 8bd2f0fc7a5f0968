//! `-v` and `-info`: what this shim is, and what its runtime can do.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use lighter_shim_api::info::{FEATURES, RuntimeInfo, RuntimeVersion};
use lighter_shim_api::{Any, Message, service};

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
    let path = runtime.path.ok_or(Error::NoRuntime(runtime.name))?;
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
        features: features(&path),
    };
    Ok(info.encode_to_vec())
}

/// A runtime without the command has no features to tell.
fn features(runtime: &Path) -> Option<Any> {
    let output = Command::new(runtime)
        .arg("features")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| Any {
        type_url: FEATURES.to_owned(),
        value: output.stdout,
    })
}
