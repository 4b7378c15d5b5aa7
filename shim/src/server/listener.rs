//! Accept loop that serves HTTP/1.1 requests with a warp service.
//!
//! warp's own accept loop has no timeouts (`docs/adr/0002-sockets.md`); this one disconnects a client that does not
//! complete its request head within the header timeout. At most `max_connections` sockets are open; a client beyond
//! that gets a 503 immediately, and nothing is queued. HTTP/2 is left to the ingress: API Gateway's WebSocket endpoints
//! do not support it either (no RFC 8441).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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

/// Limits of a listener's sockets.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Maximum time for a request head, and maximum idle time of a keep-alive connection.
    pub header_timeout: Duration,
    /// Maximum open sockets, including upgraded ones.
    pub max_connections: usize,
}

/// Remote address of the socket, stored in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct RemoteAddress(pub SocketAddr);

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
                        RemoteAddress(peer),
                        permit,
                        routes.clone(),
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
    stream: TcpStream,
    peer: RemoteAddress,
    permit: ConnectionPermit,
    routes: BoxedRoutes,
    stop: CancellationToken,
) {
    let routes = warp::service(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(permit.clone());
        routes.clone().call(request)
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

async fn reject_overload(mut stream: TcpStream) {
    // Best effort: a client that does not read the response within 1 s is dropped.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(OVERLOADED_RESPONSE)).await;
}
