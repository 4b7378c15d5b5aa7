//! Accept loop that serves HTTP/1.1 requests with a warp service.
//!
//! warp's own accept loop has no timeouts (`docs/adr/0002-sockets.md`); this one disconnects a client that does not
//! complete its request head within the header timeout. At most `max_connections` sockets are open; a client beyond
//! that gets a 503 immediately, and nothing is queued. HTTP/2 is left to the ingress: API Gateway's WebSocket endpoints
//! do not support it either (no RFC 8441).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::proxy_protocol::read_proxied_address;
use super::request_policy::RequestPolicy;

/// Delay after a failed `accept`, so that a process without free file descriptors does not spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Maximum header lines of a request. Browsers send about 20.
const MAX_HEADER_LINES: usize = 100;
/// Maximum bytes of a request head. API Gateway accepts a URL of 4,096 characters and about 10 KiB of headers.
const MAX_REQUEST_HEAD_BYTES: usize = 16 * 1024;
/// Response to a client beyond `max_connections`. Clients reconnect with backoff.
const OVERLOADED_RESPONSE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n";

/// Type-erased routes that a listener serves.
pub type BoxedRoutes = BoxedFilter<(Response,)>;

/// Limits of a listener's sockets, and the checks of its requests.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Maximum time for a request head, and maximum idle time of a keep-alive connection.
    pub header_timeout: Duration,
    /// Maximum open sockets, including upgraded ones.
    pub max_connections: usize,
    /// Checks of each request; they store the client's address in its extensions.
    pub policy: Arc<RequestPolicy>,
}

/// One of the `max_connections` permits, stored in the extensions of each request so that an upgraded socket can hold
/// it.
#[derive(Debug, Clone)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "holding the permit is the point")] Arc<OwnedSemaphorePermit>);

/// Binds `address` with Nagle's algorithm off; accepted sockets inherit the option.
///
/// # Errors
/// The error of the operating system, for example that the port is in use.
pub fn bind_listener(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `[::]` accepts IPv4 as well, whatever `net.ipv6.bindv6only` is.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections until `stop` and serves their requests with `routes`. Open connections finish their current
/// request after `stop`; upgraded ones run until they close.
pub async fn accept_connections(
    listener: TcpListener,
    routes: BoxedRoutes,
    config: ListenerConfig,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(config.max_connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(config.header_timeout);
    http.max_headers(MAX_HEADER_LINES).max_buf_size(MAX_REQUEST_HEAD_BYTES);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => match permits.clone().try_acquire_owned() {
                Ok(permit) => {
                    let permit = ConnectionPermit(Arc::new(permit));
                    // Boxed, because spawning moves the future.
                    tasks.spawn(Box::pin(serve_connection(
                        http.clone(),
                        stream,
                        peer,
                        permit,
                        routes.clone(),
                        config.clone(),
                        stop.clone(),
                    )));
                }
                Err(_) => drop(tasks.spawn(reject_overload(stream))),
            },
            Err(error) => {
                tracing::warn!(error = %errors::chain(&error), "accept failed");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn serve_connection(
    http: http1::Builder,
    mut stream: TcpStream,
    peer: SocketAddr,
    permit: ConnectionPermit,
    routes: BoxedRoutes,
    config: ListenerConfig,
    stop: CancellationToken,
) {
    let Some(peer) = proxied_peer(&mut stream, peer, &config).await else { return };
    let (routes, policy) = (warp::service(routes), config.policy);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(permit.clone());
        match policy.admit(&mut request, peer) {
            Ok(()) => Either::Left(routes.clone().call(request)),
            Err(refusal) => Either::Right(std::future::ready(Ok(refusal))),
        }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    // Errors of a client's connection are not logged: no operator can act on them.
    let stopped = tokio::select! {
        _ = connection.as_mut() => false,
        () = stop.cancelled() => true,
    };
    if stopped {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// Returns the address of the client or of the last HTTP proxy: the peer, or the address in its PROXY header. Returns
/// `None` for a connection without a valid header where one is required.
async fn proxied_peer(stream: &mut TcpStream, peer: SocketAddr, config: &ListenerConfig) -> Option<IpAddr> {
    let direct = peer.ip().to_canonical();
    let proxies = &config.policy.proxies;
    if !proxies.requires_proxy_protocol {
        return Some(direct);
    }
    if !proxies.trusts_peer(direct) {
        tracing::warn!("connection closed: its peer is not in server.trusted_proxies");
        return None;
    }
    match tokio::time::timeout(config.header_timeout, read_proxied_address(stream, peer)).await {
        Ok(Ok(client)) => Some(client.ip().to_canonical()),
        Ok(Err(error)) => {
            tracing::warn!(error = %errors::chain(&error), "connection closed: no valid PROXY header");
            None
        }
        Err(_) => None,
    }
}

async fn reject_overload(mut stream: TcpStream) {
    // Best effort: a client that does not read the response within 1 s is dropped.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(OVERLOADED_RESPONSE)).await;
}
