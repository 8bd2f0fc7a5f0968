//! `restore`.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lighter_cgroups::Version;

use super::criu::{Criu, Kind, Notice, field};
use super::message::Writer;
use super::{CONFIG_ANNOTATION, DESCRIPTORS, EXTERNAL_NAMESPACES, Options, mounts};
use crate::config::{Linux, Namespace, Spec};
use crate::create::{self, Created, Made};
use crate::error::{Context, Error, Result};
use crate::state::{Home, Record, process_times};
use crate::{console, group};

const LOG: &str = "restore.log";

/// Brings back a container that [`super::checkpoint`] wrote. Its first process is our child. On failure nothing of it is
/// left, and the images are as they were.
pub(crate) fn restore(asked: &create::Options, spec: &Spec, options: &Options) -> Result<Created> {
    create::validate(spec, asked)?;
    if !options.images.is_dir() {
        return Err(Error::Usage(format!(
            "no checkpoint in {}: name its directory with --image-path",
            options.images.display()
        )));
    }
    let home = Home::new(&asked.root, &asked.id)?;
    home.create()?;
    let mut made = Made::new(&home);
    let (record, pidfd) = made.whole(|made| build(made, &home, asked, spec, options))?;
    Ok(Created {
        home,
        record,
        pidfd,
        waits: false,
    })
}

fn build(
    made: &mut Made<'_>,
    home: &Home,
    asked: &create::Options,
    spec: &Spec,
    options: &Options,
) -> Result<(Record, Rc<OwnedFd>)> {
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    let rootfs = create::rootfs_of(&asked.bundle, spec)?;
    let mut group = group::name(group::version()?, &asked.driver, linux, &asked.id)?;
    let mut record = made.record(asked, spec, linux, &rootfs);
    record.with_group(&group);
    if let Some(profile) = &linux.seccomp {
        // The processes bring their filters with them; this one is for those that `exec` adds.
        let filter = lighter_seccomp::compile(profile).map_err(Error::Seccomp)?;
        record.seccomp_flags = Some(filter.flags);
        made.save_filter(&filter)?;
    }
    home.save(&record)?;
    let console = asked
        .console_socket
        .as_deref()
        .map(console::connect)
        .transpose()?;

    mounts::points(spec, &asked.bundle, &rootfs)?;
    let bound = mounts::BoundRoot::new(&rootfs, home.dir.join("criu-root"))?;
    let mut request = Writer::default();
    let _directories = options.common(&mut request, LOG)?;
    request
        .bytes(field::ROOT, bound.path().as_os_str().as_encoded_bytes())
        .flag(field::EVASIVE_DEVICES, true)
        .flag(field::RESTORE_SIBLING, true);
    if let Some(config) = record.annotations.get(CONFIG_ANNOTATION) {
        request.bytes(field::CONFIG_FILE, config);
    }
    mounts::tell(&mut request, spec, &asked.bundle, &rootfs, &group, true)?;
    inherit_stdio(&mut request, &options.images)?;
    let namespaces = namespaces(&mut request, &linux.namespaces)?;
    let borrowed: Vec<BorrowedFd<'_>> = namespaces.iter().map(AsFd::as_fd).collect();

    let criu = Criu::start(&options.criu, &borrowed)?;
    made.make_group(asked, spec, linux, &mut group, criu.pid())?;
    group.add(criu.pid())?;
    if group.version() == Version::V1 {
        cgroup_roots(&mut request, criu.pid())?;
    }
    criu.ask(Kind::Restore, &request, &options.log(LOG), |notice| {
        told(&notice, spec, &mut record, console.as_ref())
    })?;
    drop(bound);
    let pidfd = Rc::new(lighter_sys::pidfd::open(record.pid).doing("open the restored process")?);
    made.child = Some((record.pid, Rc::clone(&pidfd)));
    record.started = process_times(record.pid)
        .doing("read the process's start time")?
        .1;
    if has_own_clock(record.pid)? && !record.namespaces.iter().any(|one| one.kind == "time") {
        record.namespaces.push(Namespace {
            kind: "time".into(),
            ..Namespace::default()
        });
    }
    home.save(&record)?;
    made.tell_pid(asked, record.pid)?;
    Ok((record, pidfd))
}

/// CRIU gives what it restores a time namespace, so that its clocks do not jump: whom `exec` adds has to be in it.
fn has_own_clock(pid: i32) -> Result<bool> {
    let inode = |path: &str| {
        match rustix::fs::stat(path) {
            // A kernel without time namespaces.
            Err(rustix::io::Errno::NOENT) => Ok(0),
            result => result.map(|stat| stat.st_ino).on("look at", path),
        }
    };
    Ok(inode("/proc/self/ns/time")? != inode(&format!("/proc/{pid}/ns/time"))?)
}

/// What is done at the points that CRIU tells us of.
fn told(notice: &Notice<'_>, spec: &Spec, record: &mut Record, console: Option<&OwnedFd>) -> Result<()> {
    match notice.point {
        "setup-namespaces" => match &spec.hooks {
            Some(hooks) => create::run_hooks(
                hooks,
                &create::oci_state(record, "creating", notice.pid),
                &record.bundle,
            ),
            None => Ok(()),
        },
        "post-restore" => {
            record.pid = notice.pid;
            Ok(())
        }
        "orphan-pts-master" => {
            let (Some(master), Some(socket)) = (notice.fds.first(), console) else {
                return Err(Error::Config(
                    "the container has a terminal: --console-socket is needed to hand it over".into(),
                ));
            };
            let number = lighter_sys::pty::number(master.as_fd()).doing("name the terminal")?;
            let name = format!("/dev/pts/{number}");
            lighter_sys::fdpass::send(socket, name.as_bytes(), &[master.as_fd()])
                .map(drop)
                .doing("send the terminal")
        }
        _ => Ok(()),
    }
}

/// Pipes that were the container's stdio are replaced by ours.
fn inherit_stdio(request: &mut Writer, images: &Path) -> Result<()> {
    let path = images.join(DESCRIPTORS);
    let text = fs::read(&path).on("read", &path)?;
    let names: Vec<PathBuf> = crate::json::parse(&path, &text)?;
    for (fd, name) in (0..3).zip(names) {
        if let Some(name) = name.to_str().filter(|name| name.starts_with("pipe:")) {
            inherit(request, name, fd);
        }
    }
    Ok(())
}

fn inherit(request: &mut Writer, name: &str, fd: i32) {
    let mut message = Writer::default();
    message.bytes(1, name).number(2, i64::from(fd));
    request.bytes(field::INHERIT_FD, &message);
}

/// Namespaces to join: by descriptor those whose content is not saved, by path the others. The descriptors keep their
/// numbers in CRIU.
fn namespaces(request: &mut Writer, list: &[Namespace]) -> Result<Vec<File>> {
    let mut opened = Vec::new();
    for namespace in list.iter().filter(|one| !one.path.as_os_str().is_empty()) {
        if let Some((_, _, name)) = EXTERNAL_NAMESPACES
            .iter()
            .find(|(kind, ..)| *kind == namespace.kind)
        {
            let file = File::open(&namespace.path).on("open namespace", &namespace.path)?;
            inherit(request, name, file.as_raw_fd());
            opened.push(file);
        } else {
            let mut join = Writer::default();
            join.bytes(1, &namespace.kind)
                .bytes(2, namespace.path.as_os_str().as_encoded_bytes());
            request.bytes(field::JOIN_NS, &join);
        }
    }
    Ok(opened)
}

/// On v1 CRIU is told, for each controller, which group stands for the one that was dumped.
fn cgroup_roots(request: &mut Writer, pid: i32) -> Result<()> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).on("read", &path)?;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        for controller in controllers.split(',').filter(|name| !name.is_empty()) {
            let mut root = Writer::default();
            root.bytes(1, controller).bytes(2, group);
            request.bytes(field::CGROUP_ROOT, &root);
        }
    }
    Ok(())
}
