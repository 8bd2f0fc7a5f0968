//! `-v`, `--mount`, `--tmpfs`.

use std::path::Path;

use lighter_engine_api::{BindOptions, ImageOptions, Mount, MountDriver, TmpfsOptions, VolumeOptions};

use crate::value;

/// `type=bind,source=/a,target=/b,readonly`.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount {
        kind: "volume".into(),
        ..Mount::default()
    };
    let mut fields = fields(text).into_iter();
    fields.try_for_each(|field| set(&mut mount, &field))?;
    if mount.kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.target.is_empty() {
        return Err("target is required".into());
    }
    for (options, given) in [
        ("volume", mount.volume_options.is_some()),
        ("bind", mount.bind_options.is_some()),
        ("tmpfs", mount.tmpfs_options.is_some()),
    ] {
        if given && mount.kind != options {
            return Err(format!(
                "cannot mix '{options}-*' options with mount type '{}'",
                mount.kind
            ));
        }
    }
    Ok(mount)
}

/// The fields between commas; quotes keep a comma in one, as in CSV.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        let last = fields.len() - 1;
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => fields[last].push(letter),
        }
    }
    fields
}

fn set(mount: &mut Mount, field: &str) -> Result<(), String> {
    let (key, value) = match field.split_once('=') {
        Some((key, value)) => (key.to_ascii_lowercase(), value),
        None => {
            let key = field.to_ascii_lowercase();
            match key.as_str() {
                "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" => (key, "true"),
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            }
        }
    };
    let switch = || value::switch(value).map_err(|_| format!("invalid value for {key}: {value}"));
    match key.as_str() {
        "type" => mount.kind = value.to_ascii_lowercase(),
        "source" | "src" => mount.source = value.to_owned(),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "readonly" | "ro" => mount.read_only = switch()?,
        "consistency" => mount.consistency = value.to_ascii_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_ascii_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = switch()?,
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            "readonly" => bind(mount).read_only_force_recursive = true,
            _ => {
                return Err(format!(
                    "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        },
        "volume-subpath" => volume(mount).subpath = value.to_owned(),
        "volume-nocopy" => volume(mount).no_copy = switch()?,
        "volume-label" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            let labels = volume(mount).labels.get_or_insert_default();
            labels.insert(name.to_owned(), value.to_owned());
        }
        "volume-driver" => driver(mount).name = value.to_owned(),
        "volume-opt" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            let options = driver(mount).options.get_or_insert_default();
            options.insert(name.to_owned(), value.to_owned());
        }
        "image-subpath" => {
            mount.image_options = Some(ImageOptions {
                subpath: value.to_owned(),
            });
        }
        "tmpfs-size" => {
            tmpfs(mount).size_bytes =
                value::bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-mode" => {
            tmpfs(mount).mode =
                u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    // Docker's client sends an empty driver with any option of a volume.
    mount.volume_options.get_or_insert_with(|| VolumeOptions {
        driver_config: Some(MountDriver::default()),
        ..VolumeOptions::default()
    })
}

fn driver(mount: &mut Mount) -> &mut MountDriver {
    volume(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

/// What `-v` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Volume {
    /// `/data`: an anonymous volume there.
    Anonymous(String),
    /// `SOURCE:TARGET[:MODE]`, a relative source made absolute.
    Bind(String),
}

/// Reads one `-v`. `directory` is where `./x` begins.
pub(super) fn volume_flag(text: &str, directory: &Path) -> Result<Volume, String> {
    let parts = text.split(':').count();
    let (source, rest) = match text.split_once(':') {
        None if text.is_empty() => return Err("invalid empty volume spec".into()),
        None => return Ok(Volume::Anonymous(text.to_owned())),
        Some((source, rest)) => (source, rest),
    };
    if source.is_empty() || rest.is_empty() || rest.starts_with(':') {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    if parts > 3 {
        return Err(format!("invalid spec: {text}: too many colons"));
    }
    if !source.starts_with('.') {
        return Ok(Volume::Bind(text.to_owned()));
    }
    let source = tidy(&directory.join(source));
    Ok(Volume::Bind(format!("{source}:{rest}")))
}

/// The path without `.` and `..`, by its text.
fn tidy(path: &Path) -> String {
    let mut tidy = std::path::PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => drop(tidy.pop()),
            part => tidy.push(part),
        }
    }
    tidy.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let bind = mount("type=bind,src=/q,dst=/w,ro,bind-propagation=rslave").unwrap();
        assert_eq!(
            (bind.kind.as_str(), bind.source.as_str(), bind.read_only),
            ("bind", "/q", true)
        );
        assert_eq!(bind.bind_options.unwrap().propagation, "rslave");
        let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770")
            .unwrap()
            .tmpfs_options
            .unwrap();
        assert_eq!((tmpfs.size_bytes, tmpfs.mode), (1 << 20, 0o1770));
        for (text, complaint) in [
            ("x", "invalid field 'x' must be a key=value pair"),
            ("type=bind,src=/a", "target is required"),
            ("type=bind,foo=/a", "unexpected key 'foo' in 'foo=/a'"),
            (
                "type=bind,dst=/a,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
        ] {
            assert_eq!(mount(text).unwrap_err(), complaint);
        }
    }

    #[test]
    fn volumes_are_read() {
        let read = |text| volume_flag(text, Path::new("/here/now"));
        assert_eq!(read("/a"), Ok(Volume::Anonymous("/a".into())));
        assert_eq!(read("../x/./y:/c:ro"), Ok(Volume::Bind("/here/x/y:/c:ro".into())));
        assert_eq!(read("name:/c"), Ok(Volume::Bind("name:/c".into())));
        assert!(read("a:b:c:d").is_err() && read(":b").is_err());
    }
}
