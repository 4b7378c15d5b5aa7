//! The accept loop: sockets in, HTTP/1.1 requests out to a warp service.
//!
//! It is our own because warp's has no deadlines (`docs/adr/0002-sockets.md`): a client that sends nothing, or its header
//! byte by byte, is cut after the header timeout. Invariant: at most `max_connections` sockets are open; beyond that a
//! client is answered 503 at once and nothing is queued. HTTP/2 is left to the ingress: API Gateway's WebSocket
//! endpoints do not speak it either (RFC 8441 is not offered).

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

/// How long the loop waits after the process has run out of file descriptors, so as not to spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Most header lines of a request. Browsers send about 20.
const MAX_HEADER_LINES: usize = 100;
/// Most bytes of a request's head: API Gateway takes a URL of 4,096 characters and about 10 KiB of headers.
const MAX_REQUEST_HEAD_BYTES: usize = 16 * 1024;
/// What a client beyond the bound is told. Clients reconnect with backoff.
const OVERLOADED_RESPONSE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n";

/// What every listener serves.
pub type BoxedRoutes = BoxedFilter<(Response,)>;

/// How a listener treats its sockets.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// How long a request's head may take, and how long a kept-alive connection may idle.
    pub header_timeout: Duration,
    /// Most sockets at a time, upgraded ones included.
    pub max_connections: usize,
}

/// The peer's address, put into every request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct RemoteAddress(pub SocketAddr);

/// A place among `max_connections`, carried in the request's extensions so that an upgraded socket can keep it.
#[derive(Debug, Clone)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "holding the permit is the point")] Arc<OwnedSemaphorePermit>);

/// Binds `address` with Nagle's algorithm off, as every accepted socket inherits it.
///
/// # Errors
/// The operating system's, for instance that the port is taken.
pub fn bind_listener(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Accepts until `stop`, answering every request with `routes`. Connections go on after that until they end by
/// themselves or `tasks` is abandoned.
pub async fn accept_connections(
    listener: TcpListener,
    routes: BoxedRoutes,
    config: ListenerConfig,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(config.max_connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(config.header_timeout);
    http.max_headers(MAX_HEADER_LINES).max_buf_size(MAX_REQUEST_HEAD_BYTES);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => match places.clone().try_acquire_owned() {
                Ok(permit) => {
                    let place = ConnectionPermit(Arc::new(permit));
                    // Boxed, because a task moves its future about.
                    tasks.spawn(Box::pin(serve_connection(
                        http.clone(),
                        stream,
                        RemoteAddress(peer),
                        place,
                        routes.clone(),
                        stop.clone(),
                    )));
                }
                Err(_) => drop(tasks.spawn(reject_overload(stream))),
            },
            Err(error) => {
                tracing::warn!(error = %errors::chain(&error), "accepting a connection failed");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn serve_connection(
    http: http1::Builder,
    stream: TcpStream,
    peer: RemoteAddress,
    place: ConnectionPermit,
    routes: BoxedRoutes,
    stop: CancellationToken,
) {
    let routes = warp::service(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(place.clone());
        routes.clone().call(request)
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    // A broken or slow client is its own affair: nobody has to act, so nothing is logged.
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
    // Best effort: a client that does not even read a refusal is simply dropped.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(OVERLOADED_RESPONSE)).await;
}
