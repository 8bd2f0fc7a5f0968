//! UDP: a socket towards the container per client, forgotten when nothing came for a while.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A client that is silent for so long, and is sent nothing, is a new one afterwards. As docker-proxy's.
const SILENCE: Duration = Duration::from_secs(90);
/// Clients at a time; further ones are dropped, as a full queue would drop them.
const CLIENTS: usize = 4096;
const DATAGRAM: usize = 65536;

type Flows = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// Carries datagrams for ever.
pub(super) async fn serve(socket: UdpSocket, to: SocketAddr) {
    let socket = Arc::new(socket);
    let flows = Flows::default();
    // Flows end with the port: they hold its socket.
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        while tasks.try_join_next().is_some() {}
        // Errors are those of earlier answers (no such port at the client): nothing to do.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let known = lock(&flows).get(&client).cloned();
        let flow = match known {
            Some(flow) => flow,
            None if tasks.len() >= CLIENTS => continue,
            None => match open(to).await {
                Ok(flow) => {
                    let flow = Arc::new(flow);
                    lock(&flows).insert(client, Arc::clone(&flow));
                    tasks.spawn(answers(
                        Arc::clone(&socket),
                        client,
                        Arc::clone(&flow),
                        Arc::clone(&flows),
                    ));
                    flow
                }
                Err(error) => {
                    tracing::debug!(%error, %to, "socket towards the container");
                    continue;
                }
            },
        };
        // What the container does not take is lost, as datagrams are.
        let _ = flow.send(&buffer[..length]).await;
    }
}

async fn open(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let any = if to.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

async fn answers(socket: Arc<UdpSocket>, client: SocketAddr, flow: Arc<UdpSocket>, flows: Flows) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(received) = timeout(SILENCE, flow.recv(&mut buffer)).await {
        // Refused: nobody listens in the container yet.
        let Ok(length) = received else { continue };
        let _ = socket.send_to(&buffer[..length], client).await;
    }
    lock(&flows).remove(&client);
}

fn lock(flows: &Flows) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<UdpSocket>>> {
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}
