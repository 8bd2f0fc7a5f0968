//! A connection to systemd: its private socket, or a message bus.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use super::wire::{self, Message, Method, Value};

/// Which systemd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// The machine's.
    System,
    /// That of a user, by the address of the session bus (`unix:path=/run/user/1000/bus`).
    User(String),
}

/// The manager's own socket: only for root, there also when no message bus runs, and two round trips shorter.
const PRIVATE: &str = "/run/systemd/private";
const SYSTEM: &str = "/run/dbus/system_bus_socket";
/// As long as runc waits for a job.
const PATIENCE: Duration = Duration::from_secs(30);

const MANAGER: Method<'_> = Method {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
};

/// A connection on which jobs are heard of.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Jobs that ended while an answer was awaited, by path, with their result; and units that are forgotten, by name.
    ended: Vec<(String, String)>,
}

impl Connection {
    pub(super) fn open(bus: &Bus) -> Result<Self, Error> {
        let (path, direct) = match bus {
            Bus::System => match UnixStream::connect(PRIVATE) {
                Ok(stream) => return Self::prepare(stream, true).map_err(|error| error.on(PRIVATE)),
                Err(_) => (SYSTEM.to_owned(), false),
            },
            Bus::User(address) => (socket_of(address)?, false),
        };
        let stream = UnixStream::connect(&path).map_err(|source| Error::Connect {
            socket: path.clone(),
            source,
        })?;
        Self::prepare(stream, direct).map_err(|error| error.on(&path))
    }

    fn prepare(stream: UnixStream, direct: bool) -> Result<Self, Error> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Self {
            stream,
            serial: 0,
            ended: Vec::new(),
        };
        connection.authenticate()?;
        if !direct {
            let bus = |member| Method {
                destination: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
                interface: "org.freedesktop.DBus",
                member,
            };
            connection.call(&bus("Hello"), &[])?;
            let rule = "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
            connection.call(&bus("AddMatch"), &[Value::text(rule)])?;
            connection.manager("Subscribe", &[])?;
        }
        Ok(connection)
    }

    /// SASL's EXTERNAL without a name: the kernel tells the other side who we are, in its own user namespace.
    ///
    /// All of it is sent at once. A first call sent right behind a BEGIN of its own may be read together with it, and then
    /// systemd, which waits for more to read, does not look at it.
    fn authenticate(&mut self) -> Result<(), Error> {
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut answer = self.line()?;
        if answer == "DATA" || answer.starts_with("DATA ") {
            answer = self.line()?;
        }
        if !answer.starts_with("OK") {
            return Err(Error::Authenticate(answer));
        }
        Ok(())
    }

    /// Byte by byte: a signal may follow the last line.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            io::Read::read_exact(&mut self.stream, &mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls a method of the manager.
    pub(super) fn manager(&mut self, member: &str, body: &[Value]) -> Result<Message, Error> {
        self.call(&Method { member, ..MANAGER }, body)
    }

    /// A property of the manager that is text.
    pub(super) fn manager_text(&mut self, property: &str) -> Result<String, Error> {
        let get = Method {
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            ..MANAGER
        };
        let answer = self.call(&get, &[Value::text(MANAGER.interface), Value::text(property)])?;
        let mut body = answer.body();
        body.signature()?;
        Ok(body.string()?)
    }

    fn call(&mut self, method: &Method<'_>, body: &[Value]) -> Result<Message, Error> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&wire::call(serial, method, body))?;
        loop {
            let message = self.hear()?;
            if message.reply_to != serial {
                continue;
            }
            match message.kind {
                wire::METHOD_RETURN => return Ok(message),
                wire::ERROR => {
                    return Err(Error::Refused {
                        text: message.body().string().unwrap_or_default(),
                        name: message.error,
                    });
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self) -> Result<Message, Error> {
        let message = Message::read(&mut self.stream)?;
        if message.kind == wire::SIGNAL {
            let mut body = message.body();
            match message.member.as_str() {
                "JobRemoved" => {
                    body.number()?;
                    let job = body.string()?;
                    body.string()?;
                    self.ended.push((job, body.string()?));
                }
                "UnitRemoved" => self.ended.push((body.string()?, "gone".to_owned())),
                _ => {}
            }
        }
        Ok(message)
    }

    /// Waits until the job that `answer` names has ended, and tells how (`done`, `failed`, ...).
    pub(super) fn job_result(&mut self, answer: &Message) -> Result<String, Error> {
        let job = answer.body().string()?;
        loop {
            if let Some(at) = self.ended.iter().position(|(ended, _)| *ended == job) {
                return Ok(self.ended.swap_remove(at).1);
            }
            self.hear()?;
        }
    }
}

impl Connection {
    /// Waits until the job of stopping `unit` has ended, or the unit is forgotten.
    pub(super) fn stopped(&mut self, unit: &str, answer: &Message) -> Result<(), Error> {
        let job = answer.body().string()?;
        while !self.ended.iter().any(|(ended, _)| *ended == job || ended == unit) {
            self.hear()?;
        }
        Ok(())
    }
}

/// The first socket path of an address list: `unix:path=/a%20b,guid=...;...`.
fn socket_of(address: &str) -> Result<String, Error> {
    let path = address.split(';').find_map(|one| {
        let keys = one.strip_prefix("unix:")?;
        keys.split(',').find_map(|key| key.strip_prefix("path="))
    });
    let path = path.ok_or_else(|| Error::Address(address.to_owned()))?;
    let mut result = Vec::new();
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                return Err(Error::Address(address.to_owned()));
            };
            result.push(u8::try_from(high * 16 + low).unwrap_or_default());
        } else {
            result.push(byte);
        }
    }
    String::from_utf8(result).map_err(|_| Error::Address(address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_address_is_a_socket() {
        for (address, expected) in [
            ("unix:path=/run/user/7/bus", Some("/run/user/7/bus")),
            ("tcp:host=x;unix:guid=1,path=/a%20b", Some("/a b")),
            ("unix:abstract=/x", None),
            ("unix:path=/a%2", None),
            ("", None),
        ] {
            assert_eq!(socket_of(address).ok().as_deref(), expected, "{address}");
        }
    }

    /// A real bus, where the machine has one to start; the manager itself is met in the guest that runs systemd.
    #[test]
    fn a_real_bus_lets_us_in() {
        let dir = std::env::temp_dir().join(format!("lt-bus-{}", std::process::id()));
        let Ok(mut daemon) = std::process::Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1"])
            .arg(format!("--address=unix:path={}", dir.display()))
            .stdout(std::process::Stdio::piped())
            .spawn()
        else {
            // No dbus here: then there is no bus, and that is told.
            assert!(matches!(
                Connection::open(&Bus::User("unix:path=/nope/bus".into())),
                Err(Error::Connect { .. })
            ));
            return;
        };
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(daemon.stdout.take().unwrap()), &mut line).unwrap();
        let error = Connection::open(&Bus::User(line.trim().to_owned())).map(drop);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let _ = std::fs::remove_file(dir);
        // Hello and AddMatch were taken; nobody there is systemd.
        let Err(Error::Refused { name, .. }) = error else {
            panic!("{error:?}");
        };
        assert!(
            name.contains("ServiceUnknown") || name.contains("Spawn"),
            "{name}"
        );
    }
}
