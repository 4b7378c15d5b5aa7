//! Accept loop that serves HTTP/1.1 requests with a warp service.
//!
//! warp's own accept loop has no timeouts (`docs/adr/0002-sockets.md`); here every phase of a connection has a deadline
//! ([`http_connection`]). At most `max_connections` sockets are open; a client beyond that gets a 503 immediately, and
//! nothing is queued. HTTP/2 is left to the ingress: API Gateway's WebSocket endpoints do not support it either (no RFC
//! 8441).

mod http_connection;
mod monitored_stream;

use std::io;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use self::http_connection::HttpConnection;
pub use self::monitored_stream::MonitoredStream;
use super::descriptors::{SpareDescriptor, is_out_of_descriptors};
use super::request_policy::RequestPolicy;

/// Delay after a failed `accept`, so that a process without free file descriptors does not spin.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Keep-alive probes without an answer after which the kernel closes a connection.
const KEEPALIVE_PROBES: u32 = 3;
/// Maximum header lines of a request. Browsers send about 20.
pub(super) const MAX_HEADER_LINES: usize = 100;
/// Maximum bytes of a request head. API Gateway accepts a URL of 4,096 characters and about 10 KiB of headers.
pub(super) const MAX_REQUEST_HEAD_BYTES: usize = 16 * 1024;
/// Response to a client beyond `max_connections`. Clients reconnect with backoff.
const OVERLOADED_RESPONSE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n";

/// Type-erased routes that a listener serves.
pub type BoxedRoutes = BoxedFilter<(Response,)>;

/// Limits of a listener's sockets, and the checks of its requests.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// Maximum time for the head of the first request.
    pub header_timeout: Duration,
    /// Maximum time between the end of a response and the end of the next request's head. While connections are scarce,
    /// idle ones are closed after the header timeout.
    pub keep_alive_timeout: Duration,
    /// Time in which a client must read at least 16 KiB of a response that does not fit into the socket's buffers.
    pub write_timeout: Duration,
    /// Maximum open sockets, including upgraded ones.
    pub max_connections: usize,
    /// Whether to keep a descriptor in reserve, with which a request is served when no other is left.
    pub spare_descriptor: bool,
    /// Checks of each request; they store the client's address in its extensions.
    pub policy: Arc<RequestPolicy>,
}

/// One of the `max_connections` permits, stored in the extensions of each request so that an upgraded socket can hold
/// it.
#[derive(Debug, Clone)]
pub struct ConnectionPermit(#[expect(dead_code, reason = "holding the permit is the point")] Arc<OwnedSemaphorePermit>);

impl ConnectionPermit {
    /// Wraps a permit of another listener's limit.
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(permit))
    }
}

/// The permits of a listener's `max_connections`.
#[derive(Debug, Clone)]
struct ConnectionPermits {
    free: Arc<Semaphore>,
    maximum: usize,
}

impl ConnectionPermits {
    fn new(maximum: usize) -> Self {
        let maximum = maximum.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(maximum)), maximum }
    }

    fn try_acquire(&self) -> Option<ConnectionPermit> {
        self.free.clone().try_acquire_owned().ok().map(ConnectionPermit::new)
    }

    /// Returns whether less than an eighth of the permits is free.
    fn are_scarce(&self) -> bool {
        self.free.available_permits() < self.maximum.div_ceil(8)
    }
}

/// Binds `address` with Nagle's algorithm off. The kernel closes a connection whose peer acknowledges nothing for
/// `peer_timeout`, whether data are waiting for an acknowledgement (`TCP_USER_TIMEOUT`) or not (keep-alive probes).
/// Accepted sockets inherit the options, so they cost no system call per connection.
///
/// # Errors
/// The error of the operating system, for example that the port is in use.
pub fn bind_listener(address: SocketAddr, backlog: u32, peer_timeout: Option<Duration>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(peer_timeout) = peer_timeout {
        set_peer_timeout(&socket, peer_timeout)?;
    }
    socket.set_nonblocking(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `[::]` accepts IPv4 as well, whatever `net.ipv6.bindv6only` is.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Sets the keep-alive probes and the timeout of unacknowledged data (`tcp(7)`). The probes start after two fifths of
/// `peer_timeout` and end with it. The kernel counts keep-alive times in whole seconds.
fn set_peer_timeout(socket: &Socket, peer_timeout: Duration) -> io::Result<()> {
    let whole_seconds = |duration: Duration| Duration::from_secs(duration.as_secs().max(1));
    let keepalive = TcpKeepalive::new()
        .with_time(whole_seconds(peer_timeout * 2 / 5))
        .with_interval(whole_seconds(peer_timeout / 5))
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(peer_timeout))?;
    Ok(())
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
    let permits = ConnectionPermits::new(config.max_connections);
    let config = Arc::new(config);
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_headers(MAX_HEADER_LINES).max_buf_size(MAX_REQUEST_HEAD_BYTES);
    let spare = config.spare_descriptor.then(SpareDescriptor::open_spare);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(permit) = permits.try_acquire() else {
                    reject_overload(stream);
                    continue;
                };
                let (permits, routes) = (permits.clone(), routes.clone());
                let connection = HttpConnection { stream, peer, permit, permits, routes, config: config.clone() };
                // Boxed, because spawning moves the future.
                tasks.spawn(Box::pin(serve_accepted(connection, http.clone(), spare.clone(), stop.clone())));
            }
            Err(error)
                if is_out_of_descriptors(&error) && spare.as_ref().is_some_and(SpareDescriptor::release_file) => {}
            Err(error) => {
                tracing::warn!(error = %errors::chain(&error), "accept failed");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Serves a connection. One that uses the descriptor in reserve serves one request and returns it.
async fn serve_accepted(
    connection: HttpConnection,
    mut http: http1::Builder,
    spare: Option<SpareDescriptor>,
    stop: CancellationToken,
) {
    let spare = spare.filter(|spare| !spare.is_held());
    http.keep_alive(spare.is_none());
    connection.serve_requests(http, stop).await;
    if let Some(spare) = spare {
        spare.refill_file();
    }
}

/// Sends the response if it fits into the socket's buffer, as it does on a new socket, and closes. No task waits for
/// the client, so that rejected clients hold no descriptors.
fn reject_overload(stream: TcpStream) {
    // The socket is in non-blocking mode.
    let _ = stream.into_std().and_then(|mut stream| stream.write_all(OVERLOADED_RESPONSE));
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use socket2::SockRef;

    use super::*;

    async fn accept_one(peer_timeout: Option<Duration>) -> (TcpStream, TcpStream) {
        let address = "127.0.0.1:0".parse().expect("an address");
        let listener = bind_listener(address, 16, peer_timeout).expect("a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let client = TcpStream::connect(address).await.expect("the listener accepts");
        (listener.accept().await.expect("a client has connected").0, client)
    }

    #[tokio::test]
    async fn accepted_sockets_close_when_the_peer_acknowledges_nothing() {
        let (accepted, _client) = accept_one(Some(Duration::from_secs(50))).await;
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(20));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(50)));
    }

    #[tokio::test]
    async fn without_a_timeout_the_settings_of_the_kernel_apply() {
        let (accepted, _client) = accept_one(None).await;
        let socket = SockRef::from(&accepted);
        assert!(!socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
}
