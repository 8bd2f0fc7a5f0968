//! Options of the runtime, in the two encodings that callers use.
//!
//! containerd knows `containerd.runc.v1.Options` for its own runtime's name. For any other it passes the table of its
//! configuration on as text, `runtimeoptions.v1.Options`: TOML in `config_body`, or in a file at `config_path`
//! (`ctr run --runtime-config-path`). The keys are the names of the fields.

use std::io::Read as _;

use lighter_shim_api::frame::{code, status};
use lighter_shim_api::runc_options::Options;
use lighter_shim_api::ttrpc::Status;
use lighter_shim_api::{Any, runtime_options, service};
use prost::Message;
use rustix::fs::{Mode, OFlags};

/// The most that is read of a file.
const MAX: u64 = 64 * 1024;

/// Reads the options of a request. Those of other shims mean nothing here.
pub(crate) fn read(any: Option<&Any>) -> Result<Options, Status> {
    let invalid = |text: String| status(code::INVALID_ARGUMENT, format!("runtime options: {text}"));
    let Some(any) = any else {
        return Ok(Options::default());
    };
    if service::is_type(&any.type_url, service::RUNC_OPTIONS) {
        return Options::decode(any.value.as_slice()).map_err(|error| invalid(error.to_string()));
    }
    if !service::is_type(&any.type_url, service::RUNTIME_OPTIONS) {
        return Ok(Options::default());
    }
    let generic =
        runtime_options::Options::decode(any.value.as_slice()).map_err(|error| invalid(error.to_string()))?;
    if !generic.config_body.is_empty() {
        return parse(&String::from_utf8_lossy(&generic.config_body)).map_err(invalid);
    }
    if generic.config_path.is_empty() {
        return Ok(Options::default());
    }
    let failed = |error: std::io::Error| invalid(format!("read {}: {error}", generic.config_path));
    // Nothing that is no file may block us.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(generic.config_path.as_str(), flags, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    let mut text = String::new();
    std::fs::File::from(fd)
        .take(MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    parse(&text).map_err(invalid)
}

/// The keys of the document's own table; tables below it are for others.
fn parse(text: &str) -> Result<Options, String> {
    let mut options = Options::default();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            break;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("{line:?} is no assignment"))?;
        let (key, value) = (key.trim().trim_matches(['"', '\'']), value.trim());
        match key {
            "NoPivotRoot" => options.no_pivot_root = boolean(key, value)?,
            "NoNewKeyring" => options.no_new_keyring = boolean(key, value)?,
            "ShimCgroup" => options.shim_cgroup = string(key, value)?,
            "IoUid" => options.io_uid = number(key, value)?,
            "IoGid" => options.io_gid = number(key, value)?,
            "BinaryName" => options.binary_name = string(key, value)?,
            "Root" => options.root = string(key, value)?,
            "SystemdCgroup" => options.systemd_cgroup = boolean(key, value)?,
            "CriuImagePath" => options.criu_image_path = string(key, value)?,
            "CriuWorkPath" => options.criu_work_path = string(key, value)?,
            "CriuPath" => options.criu_path = string(key, value)?,
            "TaskApiAddress" => options.task_api_address = string(key, value)?,
            "TaskApiVersion" => options.task_api_version = number(key, value)?,
            // Newer callers know more.
            _ => {}
        }
    }
    Ok(options)
}

fn bare(value: &str) -> &str {
    value.split('#').next().unwrap_or_default().trim()
}

fn boolean(key: &str, value: &str) -> Result<bool, String> {
    bare(value)
        .parse()
        .map_err(|_| format!("{key} is {value}, not true or false"))
}

fn number(key: &str, value: &str) -> Result<u32, String> {
    bare(value)
        .parse()
        .map_err(|_| format!("{key} is {value}, not a number of 32 bits"))
}

fn string(key: &str, value: &str) -> Result<String, String> {
    let wrong = || format!("{key} is {value}, not a string");
    match value.chars().next() {
        Some('\'') => {
            let (text, _) = value[1..].split_once('\'').ok_or_else(wrong)?;
            Ok(text.to_owned())
        }
        Some('"') => {
            // A basic string's escapes are those of JSON, but for two that no path needs.
            let mut end = 1;
            let bytes = value.as_bytes();
            while *bytes.get(end).ok_or_else(wrong)? != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            let raw = value.get(..=end).ok_or_else(wrong)?;
            crate::json::string(raw).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(options: &runtime_options::Options) -> Any {
        Any {
            type_url: service::RUNTIME_OPTIONS.to_owned(),
            value: options.encode_to_vec(),
        }
    }

    #[test]
    fn a_table_of_containerds_configuration_is_read() {
        let text = "# for the kubelet\nSystemdCgroup = true\nBinaryName = '/usr/bin/crun' # today's\nRoot = \"/run/x\\ty\"\n\
                    IoUid = 1000\nIoGid=1001\nNoPivotRoot = false\nFuture = [1, 2]\n[other]\nRoot = \"no\"\n";
        let any = generic(&runtime_options::Options {
            config_body: text.as_bytes().to_vec(),
            ..Default::default()
        });
        let options = read(Some(&any)).unwrap();
        assert!(options.systemd_cgroup && !options.no_pivot_root);
        assert_eq!(
            (options.binary_name.as_str(), options.root.as_str()),
            ("/usr/bin/crun", "/run/x\ty")
        );
        assert_eq!((options.io_uid, options.io_gid), (1000, 1001));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_name() {
        for (text, word) in [
            ("SystemdCgroup = yes", "SystemdCgroup"),
            ("IoUid = 4294967296", "IoUid"),
            ("Root = \"unended", "Root"),
            ("words", "words"),
            ("BinaryName = \"é\\", "BinaryName"),
        ] {
            let any = generic(&runtime_options::Options {
                config_body: text.as_bytes().to_vec(),
                ..Default::default()
            });
            let error = read(Some(&any)).unwrap_err();
            assert!(error.message.contains(word), "{}", error.message);
        }
        let any = generic(&runtime_options::Options {
            config_path: "/no/such/file".to_owned(),
            ..Default::default()
        });
        assert!(read(Some(&any)).unwrap_err().message.contains("/no/such/file"));
        // Somebody else's.
        let any = Any {
            type_url: "io.x.Options".to_owned(),
            value: vec![0xff],
        };
        assert_eq!(read(Some(&any)).unwrap(), Options::default());
    }
}
