//! Sockets on which the API is served.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use lighter_engine::config::Listen;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::conn::{Conn, Stream};

/// Why a socket could not be served on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process serves there.
    #[error("can't create unix socket {path}: another process is listening on it")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The socket could not be made.
    #[error("can't create unix socket {path}")]
    Unix {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address could not be taken.
    #[error("failed to listen on {address}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix { listener: UnixListener, path: PathBuf },
    Tcp(TcpListener),
}

impl Listener {
    /// Takes the socket. One at a path is for root and `group`'s members, and replaces what a dead process left there.
    pub async fn bind(listen: &Listen, group: Option<u32>) -> Result<Self, Error> {
        let socket = match listen {
            Listen::Unix(path) => {
                let listener = bind_unix(path, group).await?;
                Socket::Unix {
                    listener,
                    path: path.clone(),
                }
            }
            Listen::Tcp(address) => {
                let bound = TcpListener::bind(address).await;
                Socket::Tcp(bound.map_err(|source| Error::Tcp {
                    address: *address,
                    source,
                })?)
            }
        };
        Ok(Self { socket })
    }

    /// The TCP address, when it is one: a port 0 has become a real one.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix { .. } => None,
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Conn> {
        Ok(Conn::new(match &self.socket {
            Socket::Unix { listener, .. } => Stream::Unix(listener.accept().await?.0),
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Terminals feel the difference. A failure costs only that.
                let _ = stream.set_nodelay(true);
                Stream::Tcp(stream)
            }
        }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix { path, .. } = &self.socket {
            // A left-over is replaced by the next start.
            let _ = fs::remove_file(path);
        }
    }
}

/// Binds beside the path, sets owner and mode, and renames: nobody ever meets a socket with the wrong mode, and what a dead
/// process left is replaced in one step.
async fn bind_unix(path: &Path, group: Option<u32>) -> Result<UnixListener, Error> {
    let failed = |source| Error::Unix {
        path: path.to_owned(),
        source,
    };
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "not the path of a socket");
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| failed(wrong()))?;
    fs::create_dir_all(parent).map_err(failed)?;
    // The directory's descriptor stands for its path, which may be longer than an address holds.
    let dir = File::open(parent).map_err(failed)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let place = short.join(name);
    match fs::symlink_metadata(&place) {
        Ok(found) if found.file_type().is_socket() => {
            if UnixStream::connect(&place).await.is_ok() {
                return Err(Error::InUse {
                    path: path.to_owned(),
                });
            }
        }
        Ok(_) => {
            return Err(failed(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file of another kind",
            )));
        }
        Err(_) => {}
    }
    let temporary = short.join(format!(".{}.{}", std::process::id(), name.len()));
    let _ = fs::remove_file(&temporary);
    let bound = (|| {
        let listener = UnixListener::bind(&temporary)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(&temporary, None, Some(group))?;
        }
        fs::set_permissions(&temporary, Permissions::from_mode(0o660))?;
        fs::rename(&temporary, &place)?;
        Ok(listener)
    })();
    bound.map_err(|source| {
        let _ = fs::remove_file(&temporary);
        failed(source)
    })
}

/// The number of the group `docker`, if `groups` (the text of `/etc/group`) knows it.
pub fn docker_group(groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some("docker"))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}
