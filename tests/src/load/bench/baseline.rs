//! Baseline servers: minimal WebSocket servers that do the same work with the same libraries.
//!
//! Each follows its library's own examples, plus the settings that the comparison needs (4 KiB read buffers and
//! batched flushes for tungstenite). They have no limits, timeouts or events and are not meant for production.

mod broadcast;

use std::net::SocketAddr;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::Filter;
use warp::ws::{WebSocket, Ws};

/// Listen backlog: the maximum number of simultaneous handshakes of a connect benchmark.
const BACKLOG: u32 = 4_096;

/// Maximum number of messages answered before a flush.
const BATCH: usize = 256;

/// Baseline server to run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum BaselineKind {
    /// `warp::ws`, one send for each message
    WarpEcho,
    /// `warp::ws`, the stream forwarded into the sink
    WarpEchoForward,
    /// `warp::ws` that reads and never replies
    WarpAccept,
    /// tokio-tungstenite, answering all buffered messages before one flush
    TungsteniteEcho,
    /// tokio-tungstenite: messages from connections on /pub go to all connections on other paths
    TungsteniteBroadcast,
}

/// Listens with TCP_NODELAY, which accepted connections inherit on Linux.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` is cancelled, then drops open connections.
pub async fn run(kind: BaselineKind, listener: TcpListener, stop: CancellationToken) {
    match kind {
        BaselineKind::WarpEcho => serve_warp(listener, stop, warp_echo).await,
        BaselineKind::WarpEchoForward => serve_warp(listener, stop, warp_forward).await,
        BaselineKind::WarpAccept => serve_warp(listener, stop, warp_read).await,
        BaselineKind::TungsteniteEcho => accept(listener, stop, tungstenite_echo).await,
        BaselineKind::TungsteniteBroadcast => broadcast::serve(listener, stop).await,
    }
}

async fn serve_warp<H, F>(listener: TcpListener, stop: CancellationToken, handle: H)
where
    H: Fn(WebSocket) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let route = warp::ws().map(move |ws: Ws| ws.on_upgrade(handle.clone()));
    stop.run_until_cancelled(warp::serve(route).incoming(listener).run()).await;
}

async fn warp_echo(socket: WebSocket) {
    let (mut tx, mut rx) = socket.split();
    while let Some(Ok(message)) = rx.next().await {
        if tx.send(message).await.is_err() {
            return;
        }
    }
}

async fn warp_forward(socket: WebSocket) {
    let (tx, rx) = socket.split();
    let _ = rx.forward(tx).await;
}

async fn warp_read(mut socket: WebSocket) {
    while let Some(Ok(_)) = socket.next().await {}
}

/// Accepts connections of the tungstenite servers and spawns a task for each.
async fn accept<H, F>(listener: TcpListener, stop: CancellationToken, handle: H)
where
    H: Fn(TcpStream) -> F,
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let tasks = TaskTracker::new();
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        tasks.spawn(stop.clone().run_until_cancelled_owned(handle(stream)));
    }
    tasks.close();
    tasks.wait().await;
}

/// Returns small read buffers (the default of 128 KiB costs that much per connection) and buffered writes.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4 * 1024).write_buffer_size(64 * 1024)
}

async fn tungstenite_echo(stream: TcpStream) -> Result<(), Error> {
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config())).await?;
    while let Some(message) = socket.next().await {
        socket.feed(message?).await?;
        answer_buffered(&mut socket).await?;
        socket.flush().await?;
    }
    Ok(())
}

/// Answers buffered messages without waiting for more.
async fn answer_buffered(socket: &mut WebSocketStream<TcpStream>) -> Result<(), Error> {
    for _ in 1..BATCH {
        match socket.next().now_or_never() {
            Some(Some(message)) => socket.feed(message?).await?,
            Some(None) | None => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
