//! The worker: carries connections and datagrams between sockets that it is given and containers. It has no capability, and
//! opens nothing but connections to containers.

mod tcp;
mod udp;

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use lighter_sys::caps;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

use crate::handover::{self, Closed, Order, Served};
use crate::state::Proto;
use crate::{Result, step};

/// Nobody.
const NOBODY: u32 = 65534;
/// Capabilities that a kernel may know: more than there are.
const CAPABILITIES: u32 = 64;

/// Runs until the keeper, at the other end of standard input, is gone.
pub fn run() -> Result<()> {
    let channel =
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(step("keeper's channel"))?;
    drop_privileges()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(step("runtime"))?;
    runtime.block_on(serve(channel))
}

async fn serve(channel: OwnedFd) -> Result<()> {
    rustix::io::ioctl_fionbio(&channel, true).map_err(step("keeper's channel"))?;
    // For its readiness only: messages are read whole, with their descriptors.
    let channel = UnixStream::from_std(channel.into()).map_err(step("keeper's channel"))?;
    let mut serving: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        let received = channel
            .async_io(Interest::READABLE, || handover::receive::<Order>(&channel))
            .await;
        match received.map_err(step("keeper's channel"))? {
            None => return Ok(()),
            Some((Order::Add(ports), sockets)) => {
                for (port, socket) in ports.into_iter().zip(sockets) {
                    let id = port.id.clone();
                    match start(port, socket) {
                        Ok(task) => drop(serving.insert(id, task)),
                        Err(error) => {
                            tracing::warn!(error = lighter_stdx::error::chain(&error), id, "port not served")
                        }
                    }
                }
            }
            Some((Order::Remove(ids), _)) => {
                for id in &ids {
                    if let Some(task) = serving.remove(id) {
                        task.abort();
                    }
                }
                // An aborted task drops its socket when it is next polled: before this one is, once it yields.
                tokio::task::yield_now().await;
                handover::send(&channel, &Closed { closed: ids.len() }, &[])
                    .map_err(step("keeper's channel"))?;
            }
        }
    }
}

fn start(port: Served, socket: OwnedFd) -> Result<AbortHandle> {
    let to = (port.container_ip, port.container_port).into();
    let task = match port.proto {
        Proto::Tcp => {
            let listener = tokio::net::TcpListener::from_std(socket.into()).map_err(step("listener"))?;
            tokio::spawn(tcp::serve(listener, to))
        }
        Proto::Udp => {
            let socket = tokio::net::UdpSocket::from_std(socket.into()).map_err(step("socket"))?;
            tokio::spawn(udp::serve(socket, to))
        }
    };
    Ok(task.abort_handle())
}

/// Nobody, with nothing, for good.
fn drop_privileges() -> Result<()> {
    for capability in 0..CAPABILITIES {
        // Numbers that the kernel does not know are refused, and so is everything when there is nothing to drop.
        let _ = caps::drop_bounding(capability);
    }
    let _ = caps::clear_ambient();
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(NOBODY),
        rustix::fs::Gid::from_raw(NOBODY),
    );
    // In a user namespace that has no nobody, root without capabilities must do.
    let _ = rustix::thread::set_thread_groups(&[]);
    let _ = rustix::thread::set_thread_res_gid(gid, gid, gid);
    let _ = rustix::thread::set_thread_res_uid(uid, uid, uid);
    caps::set(caps::Sets::default()).map_err(step("dropping capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(step("no_new_privs"))
}
