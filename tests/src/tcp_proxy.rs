//! TCP proxy that can simulate a network partition between a client and a server on this host.
//!
//! ```text
//! forwarding:  bytes are forwarded in both directions
//! stalled:     connections stay open and are accepted, no byte is forwarded (a partition); delayed bytes arrive
//! later
//! cut:         open and new connections are reset (a restarting router)
//! ```
//! The proxy adds, drops and reorders no byte of a connection. It buffers at most 64 KiB per direction and
//! connection. It runs on a thread of its own, so that thousands of busy clients in the same process do not slow it
//! down, and stops with all its connections on drop.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Maximum number of bytes buffered per direction of a connection.
const BUFFER: usize = 64 * 1024;

/// Forwarding state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProxyState {
    Forwarding,
    Stalled,
    Cut,
}

/// Running proxy.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    state: watch::Sender<ProxyState>,
    _stop: DropGuard,
}

impl TcpProxy {
    /// Starts a forwarding proxy to `server`.
    ///
    /// # Errors
    /// No port can be bound, or the thread cannot be started.
    pub fn forward_to(server: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (state, state_changes) = watch::channel(ProxyState::Forwarding);
        let stop = CancellationToken::new();
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let serving = stop.clone().run_until_cancelled_owned(accept(listener, server, state_changes));
        std::thread::Builder::new().name("tcp-proxy".to_owned()).spawn(move || runtime.block_on(serving))?;
        Ok(Self { address, state, _stop: stop.drop_guard() })
    }

    /// Returns the address that clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops forwarding; connections stay open.
    pub fn stall(&self) {
        self.state.send_replace(ProxyState::Stalled);
    }

    /// Resets all connections, and every new one.
    pub fn disconnect(&self) {
        self.state.send_replace(ProxyState::Cut);
    }

    /// Forwards bytes in both directions again.
    pub fn restore(&self) {
        self.state.send_replace(ProxyState::Forwarding);
    }
}

async fn accept(listener: std::net::TcpListener, server: SocketAddr, state: watch::Receiver<ProxyState>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let connections = TaskTracker::new();
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    loop {
        // Out of descriptors, or a client that disconnected at once: accept the next one.
        let Ok((client, _)) = listener.accept().await else { continue };
        let forwarding = forward_connection(client, server, state.clone());
        connections.spawn(stop.clone().run_until_cancelled_owned(forwarding));
    }
}

/// Forwards one connection until it ends.
async fn forward_connection(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<ProxyState>) {
    let not_stalled = state.wait_for(|state| *state != ProxyState::Stalled).await.map(|now| *now);
    if !matches!(not_stalled, Ok(ProxyState::Forwarding)) {
        return reset(&client);
    }
    let Ok(mut upstream) = TcpStream::connect(server).await else { return reset(&client) };
    // `set_nodelay` works on open sockets; without it every command waits for an acknowledgement.
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = upstream.split();
    let both = async {
        tokio::join!(forward(from_client, to_server, state.clone()), forward(from_server, to_client, state.clone()))
    };
    let mut state_changes = state.clone();
    let is_cut = tokio::select! {
        _ = both => false,
        _ = state_changes.wait_for(|state| *state == ProxyState::Cut) => true,
    };
    if is_cut {
        reset(&client);
        reset(&upstream);
    }
}

/// Makes a socket send a reset when it is dropped.
fn reset(stream: &TcpStream) {
    // Fails only on a closed socket.
    let _ = stream.set_zero_linger();
}

/// Forwards bytes in one direction until either side ends.
async fn forward(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut state: watch::Receiver<ProxyState>) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read) = from.read(&mut buffer).await {
        let moving = state.wait_for(|state| *state != ProxyState::Stalled).await.is_ok();
        if read == 0 || !moving || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // Ends this direction only.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::eventually::with_timeout;

    /// Starts a TCP echo server.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut reader, mut writer) = stream.into_split();
                TaskTracker::new().spawn(async move { tokio::io::copy(&mut reader, &mut writer).await });
            }
        });
        address
    }

    async fn echo_byte(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_u8(7).await?;
        with_timeout("a byte", stream.read_u8()).await
    }

    #[tokio::test]
    async fn a_stalled_proxy_delivers_late() {
        let proxy = TcpProxy::forward_to(echo().await).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(echo_byte(&mut stream).await.unwrap(), 7);
        proxy.stall();
        let mut newcomer = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_u8(8).await.unwrap();
        let byte = stream.read_u8();
        tokio::pin!(byte);
        // Sufficient for a byte on loopback, had it been forwarded.
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut byte).await.is_err());
        proxy.restore();
        assert_eq!(with_timeout("the delayed byte", byte).await.unwrap(), 8);
        assert_eq!(echo_byte(&mut newcomer).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_cut_proxy_resets_connections_and_can_be_restored() {
        let proxy = TcpProxy::forward_to(echo().await).unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(echo_byte(&mut stream).await.unwrap(), 7);
        proxy.disconnect();
        assert!(with_timeout("the reset", stream.read_u8()).await.is_err());
        // The reset may arrive during or after the connect.
        let rejected = async { echo_byte(&mut TcpStream::connect(proxy.address()).await?).await };
        assert!(rejected.await.is_err());
        proxy.restore();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(echo_byte(&mut stream).await.unwrap(), 7);
    }
}
