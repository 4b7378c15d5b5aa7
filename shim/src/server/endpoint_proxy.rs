//! Endpoint proxy: the loopback port through which function processes reach their API under its own names
//! (`docs/adr/0043-endpoints-of-functions.md`).
//!
//! ```text
//! CONNECT host:port, Proxy-Authorization ─┬─ name of the API, port 443: TLS ends here ── routes of the traffic port
//!                                         └─ other host: bytes are forwarded unchanged
//! TLS with the secret in ALPN ────────────── TLS ends here ── routes of the traffic port
//! ```
//! Both forms need a secret that the server draws at its start and gives to its function processes. HTTP clients send it
//! as the password of their proxy's URL. Java's own client sends no password, so it is identified by its user, as at the
//! Runtime API (ADR 30). The preload scripts of Node and Ruby replace the address of a connection before
//! it is opened; Node's adds the secret to the protocols that it offers, which needs no further round trip.

mod authority;
mod connect;
mod forward;
mod tunnel;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use data_encoding::HEXLOWER;
use futures_util::future::Either;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service as _;

pub use self::authority::{EndpointAuthority, EndpointAuthorityError};
pub use self::tunnel::UpstreamProxy;

use self::forward::RequestForwarder;
use self::tunnel::TunnelConnector;
use super::listener::{BoxedRoutes, ConnectionPermit, MAX_HEADER_LINES, MAX_REQUEST_HEAD_BYTES};
use super::request_policy::RequestPolicy;
use crate::access::ApiHosts;
use crate::secret::Secret;

/// Maximum open connections of all function processes; a tunnel needs two descriptors.
const MAX_CONNECTIONS: usize = 512;
/// Maximum time for a TLS handshake, and for the first byte of a connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for the head of a request, which includes the idle time before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// User name in the URL of the proxy. Only the password is checked.
const USER_NAME: &str = "functions";
/// Prefix of the secret in the list of application protocols (ALPN).
const PROTOCOL_PREFIX: &[u8] = b"twinway-";
/// First byte of a TLS record with a handshake message (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Error of opening the endpoint proxy.
#[derive(Debug, thiserror::Error)]
pub enum EndpointProxyError {
    /// No loopback port can be bound.
    #[error("no loopback port can be opened for the functions")]
    Listen(#[from] io::Error),
    /// The generator has no entropy.
    #[error("the secret of the functions cannot be drawn")]
    NoEntropy(#[from] aws_lc_rs::error::Unspecified),
}

/// A bound endpoint proxy. Connections wait in the kernel until [`Self::serve`].
#[derive(Debug)]
pub struct EndpointProxy {
    listener: std::net::TcpListener,
    state: ProxyState,
}

/// Settings that all connections share.
#[derive(Debug, Clone)]
struct ProxyState {
    secret: Secret,
    hosts: Arc<ApiHosts>,
    tls: Arc<ServerConfig>,
    tunnels: TunnelConnector,
    forwarder: RequestForwarder,
    address: SocketAddr,
    /// User of the function processes.
    uid: u32,
}

/// What a connection of a function process needs.
#[derive(Clone)]
struct ConnectionContext {
    state: ProxyState,
    routes: BoxedRoutes,
    peer: SocketAddr,
    permit: ConnectionPermit,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl EndpointProxy {
    /// Binds a free loopback port for function processes of the user `uid`. `upstream` is the proxy to hosts other than the API, if the network needs one.
    ///
    /// # Errors
    /// The port cannot be bound, or the secret cannot be drawn.
    pub fn bind(
        hosts: ApiHosts,
        authority: &EndpointAuthority,
        uid: u32,
        upstream: Option<&UpstreamProxy>,
    ) -> Result<Self, EndpointProxyError> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let mut random = [0; 24];
        aws_lc_rs::rand::fill(&mut random)?;
        let state = ProxyState {
            secret: Secret::new(&HEXLOWER.encode(&random)),
            hosts: Arc::new(hosts),
            tls: authority.tls.clone(),
            tunnels: TunnelConnector::new(upstream),
            forwarder: RequestForwarder::new(),
            address,
            uid,
        };
        Ok(Self { listener, state })
    }

    /// Returns the URL of the proxy with the secret, as function processes get it.
    #[must_use]
    pub fn url(&self) -> Secret {
        Secret::new(&format!("http://{USER_NAME}:{}@{}", self.state.secret.expose(), self.state.address))
    }

    /// Accepts connections of function processes until `stop`, which also ends those that are open.
    pub async fn serve(self, routes: BoxedRoutes, tasks: TaskTracker, stop: CancellationToken) {
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(error = %errors::chain(&error), "the endpoint proxy of the functions cannot be served");
                return;
            }
        };
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            // A connection beyond the limit is closed immediately; a failed `accept` concerns only the client.
            if let Ok((stream, peer)) = accepted
                && let Ok(permit) = permits.clone().try_acquire_owned()
            {
                let permit = ConnectionPermit::new(permit);
                let (state, routes) = (self.state.clone(), routes.clone());
                let (tasks, stop) = (tasks.clone(), stop.clone());
                ConnectionContext { state, routes, peer, permit, tasks, stop }.spawn(stream);
            }
        }
    }
}

impl ProxyState {
    fn is_secret(&self, presented: &[u8]) -> bool {
        verify_slices_are_equal(self.secret.expose().as_bytes(), presented).is_ok()
    }
}

impl ConnectionContext {
    fn spawn(self, stream: TcpStream) {
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        // Boxed, because spawning moves the future.
        tasks.spawn(Box::pin(stop.run_until_cancelled_owned(self.serve_stream(stream))));
    }

    async fn serve_stream(self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut first = [0];
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => {
                let Some(handshake) = read_client_hello(stream).await else { return };
                if self.offers_secret(&handshake) {
                    self.serve_tls(handshake).await;
                } else {
                    tracing::warn!("endpoint proxy: TLS connection of a process that is no function rejected");
                }
            }
            Ok(Ok(1)) => self.serve_proxy_requests(stream).await,
            _ => {}
        }
    }

    fn offers_secret(&self, handshake: &StartHandshake<TcpStream>) -> bool {
        let hello = handshake.client_hello();
        let mut protocols = hello.alpn().into_iter().flatten();
        protocols.any(|name| name.strip_prefix(PROTOCOL_PREFIX).is_some_and(|name| self.state.is_secret(name)))
    }

    /// Ends the TLS of an authorized caller and serves its requests.
    async fn serve_tls(self, handshake: StartHandshake<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>) {
        let tls = handshake.into_stream(self.state.tls.clone());
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls).await {
            Ok(Ok(stream)) => self.serve_api(stream).await,
            Ok(Err(error)) => tracing::debug!(error = %errors::chain(&error), "endpoint proxy: TLS handshake failed"),
            Err(_) => {}
        }
    }

    /// Serves the routes of the traffic port. Errors of a connection are not logged, as there.
    async fn serve_api(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let (routes, permit, peer) = (warp::service(self.routes), self.permit, self.peer.ip().to_canonical());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(permit.clone());
            match RequestPolicy::syntax_only().admit(&mut request, peer) {
                Ok(()) => Either::Left(routes.clone().call(request)),
                Err(rejection) => Either::Right(std::future::ready(Ok(rejection))),
            }
        });
        let _ = http_server().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    }
}

/// Reads the first message of a TLS client.
async fn read_client_hello<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Option<StartHandshake<S>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    tokio::time::timeout(HANDSHAKE_TIMEOUT, hello).await.ok()?.ok()
}

/// Returns the settings of HTTP connections of function processes.
fn http_server() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.max_headers(MAX_HEADER_LINES).max_buf_size(MAX_REQUEST_HEAD_BYTES);
    http
}
