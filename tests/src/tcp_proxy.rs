//! A network cable between a client and a server on this machine: a TCP proxy that can be cut.
//!
//! ```text
//! whole:    bytes go both ways
//! stalled:  connections stay open and are accepted, nothing moves (a partition); what waited arrives late afterwards
//! cut:      open connections are reset, new ones too (a router that restarts)
//! ```
//! Invariant: it adds, drops and reorders no byte of a connection. Bounded by [`BUFFER`] per direction and connection. It has
//! a thread of its own, so that thousands of busy clients beside it are no slow network, and ends, with everything it
//! carries, when it is dropped.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Most bytes that a direction of a connection holds.
const BUFFER: usize = 64 * 1024;

/// What a cable does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProxyState {
    Whole,
    Stalled,
    Cut,
}

/// The proxy.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    condition: watch::Sender<ProxyState>,
    _stop: DropGuard,
}

impl TcpProxy {
    /// A whole cable to `server`.
    ///
    /// # Errors
    /// When no port can be bound, or there is no thread.
    pub fn forward_to(server: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (condition, watched) = watch::channel(ProxyState::Whole);
        let stop = CancellationToken::new();
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let carrying = stop.clone().run_until_cancelled_owned(accept(listener, server, watched));
        std::thread::Builder::new().name("cable".to_owned()).spawn(move || runtime.block_on(carrying))?;
        Ok(Self { address, condition, _stop: stop.drop_guard() })
    }

    /// Where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing moves.
    pub fn stall(&self) {
        self.condition.send_replace(ProxyState::Stalled);
    }

    /// Resets all connections, and every new one.
    pub fn disconnect(&self) {
        self.condition.send_replace(ProxyState::Cut);
    }

    /// From now on bytes go both ways again.
    pub fn restore(&self) {
        self.condition.send_replace(ProxyState::Whole);
    }
}

async fn accept(listener: std::net::TcpListener, server: SocketAddr, condition: watch::Receiver<ProxyState>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let connections = TaskTracker::new();
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    loop {
        // Out of descriptors, or a client that left at once: the next one is another matter.
        let Ok((client, _)) = listener.accept().await else { continue };
        let carried = carry(client, server, condition.clone());
        connections.spawn(stop.clone().run_until_cancelled_owned(carried));
    }
}

/// Carries one connection to its end.
async fn carry(mut client: TcpStream, server: SocketAddr, mut condition: watch::Receiver<ProxyState>) {
    let until_whole = condition.wait_for(|condition| *condition != ProxyState::Stalled).await.map(|now| *now);
    if !matches!(until_whole, Ok(ProxyState::Whole)) {
        return reset(&client);
    }
    let Ok(mut upstream) = TcpStream::connect(server).await else { return reset(&client) };
    // Open sockets take the option; without it every command waits for an acknowledgement.
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = upstream.split();
    let both = async {
        tokio::join!(
            forward(from_client, to_server, condition.clone()),
            forward(from_server, to_client, condition.clone())
        )
    };
    let mut watched = condition.clone();
    let is_cut = tokio::select! {
        _ = both => false,
        _ = watched.wait_for(|condition| *condition == ProxyState::Cut) => true,
    };
    if is_cut {
        reset(&client);
        reset(&upstream);
    }
}

/// Has a socket end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    // A socket that is gone already needs no reset.
    let _ = stream.set_zero_linger();
}

/// Moves bytes one way until the end of either side.
async fn forward(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut condition: watch::Receiver<ProxyState>) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read) = from.read(&mut buffer).await {
        let moving = condition.wait_for(|condition| *condition != ProxyState::Stalled).await.is_ok();
        if read == 0 || !moving || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // The other direction ends when that side has nothing more to say.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::eventually::with_timeout;

    /// Something that answers every byte with the same.
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

    async fn answers(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_u8(7).await?;
        with_timeout("an answer", stream.read_u8()).await
    }

    #[tokio::test]
    async fn a_stalled_cable_delivers_late() {
        let cable = TcpProxy::forward_to(echo().await).unwrap();
        let mut stream = TcpStream::connect(cable.address()).await.unwrap();
        assert_eq!(answers(&mut stream).await.unwrap(), 7);
        cable.stall();
        let mut newcomer = TcpStream::connect(cable.address()).await.unwrap();
        stream.write_u8(8).await.unwrap();
        let answer = stream.read_u8();
        tokio::pin!(answer);
        // Ample for a byte on loopback, had it been sent on.
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut answer).await.is_err());
        cable.restore();
        assert_eq!(with_timeout("what was late", answer).await.unwrap(), 8);
        assert_eq!(answers(&mut newcomer).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_cut_cable_resets_and_is_mended() {
        let cable = TcpProxy::forward_to(echo().await).unwrap();
        let mut stream = TcpStream::connect(cable.address()).await.unwrap();
        assert_eq!(answers(&mut stream).await.unwrap(), 7);
        cable.disconnect();
        assert!(with_timeout("the reset", stream.read_u8()).await.is_err());
        // The reset may come before the connection is known to be made, or behind it.
        let refused = async { answers(&mut TcpStream::connect(cable.address()).await?).await };
        assert!(refused.await.is_err());
        cable.restore();
        let mut stream = TcpStream::connect(cable.address()).await.unwrap();
        assert_eq!(answers(&mut stream).await.unwrap(), 7);
    }
}
