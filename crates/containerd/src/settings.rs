//! The configuration file: containerd's TOML, versions 2 and 3, as far as its keys mean something here.
//!
//! A key that nothing here reads is no error, as with containerd; it is told by its path, so that nobody believes in it.
//! Source: containerd, docs/man/containerd-config.toml.5.md and docs/PLUGINS.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use toml::{Table, Value};

use crate::config::DEFAULT_SHIM;

/// Most bytes of a message, when nothing else is said.
pub const MESSAGE: usize = 16 << 20;

/// What a configuration file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `root`: what lasts.
    pub root: Option<PathBuf>,
    /// `state`: what goes with the machine.
    pub state: Option<PathBuf>,
    /// `grpc.address`: the socket of the API.
    pub address: Option<PathBuf>,
    /// `grpc.uid`: who owns the sockets.
    pub uid: u32,
    /// `grpc.gid`: which group may use them.
    pub gid: u32,
    /// `grpc.max_recv_message_size`, in bytes.
    pub receive: usize,
    /// `grpc.max_send_message_size`, in bytes.
    pub send: usize,
    /// `debug.level`.
    pub level: Option<String>,
    /// `plugins."io.containerd.runtime.v2.task".runc_shim`, a key of our own: the program that serves `io.containerd.runc.v2`.
    pub runc_shim: Option<String>,
    /// `proxy_plugins`, by name.
    pub proxies: BTreeMap<String, Proxy>,
}

/// A plug-in that another program serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// `snapshot`, `content`, `diff`, `sandbox`.
    pub kind: String,
    /// Its unix socket.
    pub address: PathBuf,
    /// `known_as`, a key of our own: how its server calls it, if it is another name. Most do not care.
    pub known_as: Option<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no TOML.
    #[error("the configuration is no TOML")]
    Syntax(#[source] toml::de::Error),
    /// A layout that this program does not know.
    #[error("configuration version {0} is not supported: write it in version 3, or 2")]
    Version(i64),
    /// A value of another type than the key's.
    #[error("{path} must be {expected}")]
    Type {
        /// Of the key.
        path: String,
        /// What its value may be.
        expected: &'static str,
    },
    /// A proxy plug-in that cannot be.
    #[error("proxy_plugins.{name}: {why}")]
    Proxy {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            root: None,
            state: None,
            address: None,
            uid: 0,
            gid: 0,
            receive: MESSAGE,
            send: MESSAGE,
            level: None,
            runc_shim: None,
            proxies: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads a file's text; gives the paths of the keys in it that nothing reads, too.
    pub fn parse(text: &str) -> Result<(Settings, Vec<String>), Error> {
        let mut file = Reader {
            path: String::new(),
            table: text.parse().map_err(Error::Syntax)?,
            ignored: Vec::new(),
        };
        match file.integer("version")? {
            None | Some(2 | 3) => {}
            Some(other) => return Err(Error::Version(other)),
        }
        let mut settings = Settings {
            root: file.text("root")?.map(PathBuf::from),
            state: file.text("state")?.map(PathBuf::from),
            ..Settings::default()
        };
        if let Some(mut grpc) = file.table("grpc")? {
            settings.address = grpc.text("address")?.map(PathBuf::from);
            settings.uid = grpc.number("uid")?.unwrap_or(0);
            settings.gid = grpc.number("gid")?.unwrap_or(0);
            // As with containerd, nothing and less means the default.
            let size = |size: Option<i64>| {
                size.and_then(|size| usize::try_from(size).ok())
                    .filter(|size| *size > 0)
            };
            settings.receive = size(grpc.integer("max_recv_message_size")?).unwrap_or(MESSAGE);
            settings.send = size(grpc.integer("max_send_message_size")?).unwrap_or(MESSAGE);
            file.ignored.extend(grpc.rest());
        }
        if let Some(mut debug) = file.table("debug")? {
            settings.level = debug.text("level")?.filter(|level| !level.is_empty());
            file.ignored.extend(debug.rest());
        }
        if let Some(mut proxies) = file.table("proxy_plugins")? {
            for name in proxies.table.keys().cloned().collect::<Vec<_>>() {
                let Some(mut proxy) = proxies.table(&name)? else {
                    continue;
                };
                let read = proxy.proxy(&name)?;
                proxies.ignored.extend(proxy.rest());
                settings.proxies.insert(name, read);
            }
            file.ignored.extend(proxies.rest());
        }
        if let Some(mut plugins) = file.table("plugins")? {
            if let Some(mut task) = plugins.table("io.containerd.runtime.v2.task")? {
                settings.runc_shim = task.text("runc_shim")?;
                plugins.ignored.extend(task.rest());
            }
            file.ignored.extend(plugins.rest());
        }
        Ok((settings, file.rest()))
    }

    /// The text of a file that says the same, with the defaults in the place of what is not said.
    pub fn to_toml(&self, root: &str, state: &str, address: &str) -> String {
        let quote = |text: &str| Value::String(text.to_owned()).to_string();
        let mut text = format!(
            "version = 3\nroot = {}\nstate = {}\n\n[grpc]\n  address = {}\n  uid = {}\n  gid = {}\n  \
             max_recv_message_size = {}\n  max_send_message_size = {}\n\n[debug]\n  level = {}\n\n\
             [plugins]\n  [plugins.'io.containerd.runtime.v2.task']\n    runc_shim = {}\n",
            quote(root),
            quote(state),
            quote(address),
            self.uid,
            self.gid,
            self.receive,
            self.send,
            quote(self.level.as_deref().unwrap_or("info")),
            quote(self.runc_shim.as_deref().unwrap_or(DEFAULT_SHIM)),
        );
        text.push_str("\n[proxy_plugins]\n");
        for (name, proxy) in &self.proxies {
            // Writing into a text does not fail.
            let _ = write!(
                text,
                "  [proxy_plugins.{}]\n    type = {}\n    address = {}\n",
                quote(name),
                quote(&proxy.kind),
                quote(&proxy.address.to_string_lossy()),
            );
            if let Some(known_as) = &proxy.known_as {
                let _ = writeln!(text, "    known_as = {}", quote(known_as));
            }
        }
        text
    }
}

/// A table from which keys are taken; what is left in the end was not known.
struct Reader {
    path: String,
    table: Table,
    ignored: Vec<String>,
}

impl Reader {
    fn at(&self, key: &str) -> String {
        let plain = key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let key = if plain { key.to_owned() } else { format!("{key:?}") };
        match self.path.as_str() {
            "" => key,
            path => format!("{path}.{key}"),
        }
    }

    fn wrong<T>(&self, key: &str, expected: &'static str) -> Result<T, Error> {
        let path = self.at(key);
        Err(Error::Type { path, expected })
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.wrong(key, "a string"),
        }
    }

    fn integer(&mut self, key: &str) -> Result<Option<i64>, Error> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Integer(number)) => Ok(Some(number)),
            Some(_) => self.wrong(key, "a number"),
        }
    }

    /// A user's or group's number: one that does not fit is refused, never cut to another's.
    fn number(&mut self, key: &str) -> Result<Option<u32>, Error> {
        match self.integer(key)?.map(u32::try_from) {
            None => Ok(None),
            Some(Ok(number)) if number != u32::MAX => Ok(Some(number)),
            Some(_) => self.wrong(key, "between 0 and 4294967294"),
        }
    }

    fn table(&mut self, key: &str) -> Result<Option<Reader>, Error> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Reader {
                path: self.at(key),
                table,
                ignored: Vec::new(),
            })),
            Some(_) => self.wrong(key, "a table"),
        }
    }

    fn proxy(&mut self, name: &str) -> Result<Proxy, Error> {
        let bad = |why: String| Error::Proxy {
            name: name.to_owned(),
            why,
        };
        let kind = self.text("type")?.unwrap_or_default();
        let address = PathBuf::from(self.text("address")?.unwrap_or_default());
        if kind != "snapshot" {
            return Err(bad(format!(
                "the type {kind:?} is not supported: only \"snapshot\" is"
            )));
        }
        if !address.is_absolute() {
            return Err(bad(format!(
                "the address {} is no absolute path of a socket",
                address.display()
            )));
        }
        if name == "overlayfs" || crate::identifier::check("plug-in", name).is_err() {
            return Err(bad("the name is taken, or is none".to_owned()));
        }
        let known_as = self.text("known_as")?;
        Ok(Proxy {
            kind,
            address,
            known_as,
        })
    }

    /// The paths of what was not read.
    fn rest(self) -> Vec<String> {
        let left = self.table.keys().map(|key| self.at(key)).collect::<Vec<_>>();
        [self.ignored, left].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_containerd_is_read_and_what_means_nothing_here_is_told() {
        let text = r#"
            version = 2
            root = "/srv/containerd"
            oom_score = -999
            [grpc]
              address = "/run/c.sock"
              gid = 998
              max_recv_message_size = 1000
              tcp_address = ""
            [metrics]
              address = ""
            [proxy_plugins.stargz]
              type = "snapshot"
              address = "/run/stargz.sock"
            [plugins."io.containerd.grpc.v1.cri"]
              sandbox_image = "pause"
            [plugins."io.containerd.runtime.v2.task"]
              runc_shim = "containerd-shim-runc-v2"
              platforms = ["linux/amd64"]
        "#;
        let (settings, ignored) = Settings::parse(text).unwrap();
        assert_eq!(settings.root.as_deref(), Some("/srv/containerd".as_ref()));
        assert_eq!(
            (settings.uid, settings.gid, settings.receive, settings.send),
            (0, 998, 1000, MESSAGE)
        );
        assert_eq!(
            settings.proxies["stargz"].address,
            PathBuf::from("/run/stargz.sock")
        );
        assert_eq!(settings.runc_shim.as_deref(), Some("containerd-shim-runc-v2"));
        assert_eq!(
            ignored,
            [
                "grpc.tcp_address",
                "plugins.\"io.containerd.runtime.v2.task\".platforms",
                "plugins.\"io.containerd.grpc.v1.cri\"",
                "oom_score",
                "metrics",
            ]
        );
        let written = settings.to_toml("/srv/containerd", "/run/s", "/run/c.sock");
        let (again, ignored) = Settings::parse(&written).unwrap();
        assert!(ignored.is_empty(), "{ignored:?}");
        assert_eq!(again.proxies, settings.proxies);
        assert_eq!((again.gid, again.receive), (998, 1000));
    }

    #[test]
    fn what_can_never_be_right_is_refused_by_its_path() {
        for (text, words) in [
            ("version = 1", "version 1 is not supported"),
            ("root = 5", "root must be a string"),
            ("grpc = 5", "grpc must be a table"),
            ("[grpc]\nuid = -1", "grpc.uid must be between"),
            ("[grpc]\ngid = 4294967296", "grpc.gid must be between"),
            (
                "[proxy_plugins.x]\ntype = \"snapshot\"\naddress = \"x.sock\"",
                "proxy_plugins.x: the address x.sock",
            ),
            (
                "[proxy_plugins.x]\ntype = \"diff\"\naddress = \"/x.sock\"",
                "\"diff\" is not supported",
            ),
            (
                "[proxy_plugins.overlayfs]\ntype = \"snapshot\"\naddress = \"/x.sock\"",
                "the name is taken",
            ),
            ("root", "no TOML"),
        ] {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
