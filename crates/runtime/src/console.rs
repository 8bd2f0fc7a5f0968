//! The terminal of a container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lighter_safe_fs::Root;
use lighter_sys::{mount as m, pty};
use rustix::fs::{FileType, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::config::ConsoleSize;
use crate::error::{Context, Error, Result};

const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Connects to the socket on which the caller waits for the terminal.
pub(crate) fn connect(path: &Path) -> Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .doing("create socket")?;
    let name = path.as_os_str().as_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(path),
    };
    let address = match address {
        Ok(address) => address,
        // Longer than an address may be: by the directory's descriptor.
        Err(_) => {
            let dir = rustix::fs::open(
                path.parent().unwrap_or(Path::new("/")),
                OFlags::PATH | OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
            .on("open the directory of", path)?;
            let short = m::path_of(dir.as_fd()).to_string_lossy().into_owned();
            let short = Path::new(&short).join(path.file_name().unwrap_or_default());
            let address = SocketAddrUnix::new(&short).on("connect to", path)?;
            rustix::net::connect(&socket, &address).on("connect to", path)?;
            return Ok(socket);
        }
    };
    rustix::net::connect(&socket, &address).on("connect to", path)?;
    Ok(socket)
}

/// Opens a new terminal of the container's own devpts, sends its outer side over `socket`, makes its inner side the
/// stdio and controlling terminal of this session leader, and, when `bind`, mounts it on `/dev/console`.
///
/// The root is where we are (`/`) already. The inner side is opened through the outer one, not by a path that something
/// in the container could have replaced (CVE-2025-52565).
pub(crate) fn set_up(
    socket: BorrowedFd<'_>,
    size: Option<ConsoleSize>,
    owner: u32,
    bind: bool,
) -> Result<()> {
    let root = Root::open(Path::new("/"))?;
    let master = root.at(Path::new("dev/pts/ptmx"), OFlags::RDWR | OFlags::NOCTTY)?;
    let magic = rustix::fs::fstatfs(&master)
        .doing("look at /dev/pts/ptmx")?
        .f_type;
    if magic != DEVPTS_MAGIC {
        return Err(Error::Config("/dev/pts of the container is not a devpts".into()));
    }
    let slave = pty::open_peer(master.as_fd()).doing("open the terminal")?;
    if let Some(size) = size.filter(|size| (size.width, size.height) != (0, 0)) {
        pty::set_size(slave.as_fd(), size.height, size.width).doing("set the terminal's size")?;
    }
    if owner != 0 {
        rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(owner)), None)
            .doing("give the terminal away")?;
    }
    let name = format!(
        "/dev/pts/{}",
        pty::number(master.as_fd()).doing("name the terminal")?
    );
    if bind {
        let target = place(&root)?;
        let tree = m::clone_tree(slave.as_fd(), c"", false).doing("clone the terminal's mount")?;
        m::attach(tree.as_fd(), target.as_fd()).doing("mount the terminal on /dev/console")?;
    }
    lighter_sys::fdpass::send(socket, name.as_bytes(), &[master.as_fd()]).doing("send the terminal")?;
    pty::make_controlling(slave.as_fd()).doing("take the terminal")?;
    for number in 0..3 {
        lighter_sys::descriptors::duplicate_to(slave.as_fd(), number).doing("make the terminal stdio")?;
    }
    Ok(())
}

/// `/dev/console`, made when it is not there. A link would put the terminal over something else, by which masks were got
/// around (CVE-2025-52565).
fn place(root: &Root) -> Result<OwnedFd> {
    let path = Path::new("dev/console");
    match root.make_node(path, FileType::RegularFile, 0o666, 0) {
        Err(error) if error.errno() == Some(rustix::io::Errno::EXIST.raw_os_error()) => {}
        result => result?,
    }
    let found = root.plain(path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&found).on("stat", path)?.st_mode);
    if matches!(kind, FileType::RegularFile | FileType::CharacterDevice) {
        return Ok(found);
    }
    Err(Error::Config(
        "/dev/console of the container is neither a file nor a terminal".into(),
    ))
}
