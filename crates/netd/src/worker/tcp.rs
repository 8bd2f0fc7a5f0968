//! TCP: a task per connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// Bytes on their way, each way.
const BUFFER: usize = 64 * 1024;
/// After a failure to accept (out of descriptors), before the next try.
const PAUSE: Duration = Duration::from_millis(10);

/// Accepts for ever. Connections that are open outlive it.
pub(super) async fn serve(listener: TcpListener, to: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(carry(client, to))),
            Err(error) => {
                tracing::warn!(%error, %to, "accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Both ways until both ends have closed; one may close before the other.
async fn carry(mut client: TcpStream, to: SocketAddr) {
    let mut container = match TcpStream::connect(to).await {
        Ok(container) => container,
        Err(error) => return tracing::debug!(%error, %to, "connect"),
    };
    // Bytes are passed on as they come.
    let _ = client.set_nodelay(true);
    let _ = container.set_nodelay(true);
    if let Err(error) =
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut container, BUFFER, BUFFER).await
    {
        tracing::debug!(%error, %to, "connection");
    }
}
