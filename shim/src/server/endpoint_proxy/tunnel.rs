//! Connections to the other hosts that functions call: direct, or through the proxy of the server's own network.

use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::secret::Secret;

/// Maximum time for reaching a host, name resolution and the upstream proxy included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle time after which the kernel probes a host.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);

/// Error of a connection to a host. The texts contain no address.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The target is no address.
    #[error("the target is not host:port")]
    InvalidTarget(#[source] http::Error),
    /// The host cannot be reached.
    #[error("the host cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The host did not answer in [`CONNECT_TIMEOUT`].
    #[error("the host did not answer in {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
}

/// Proxy of the server's network. `Debug` hides the address, which may contain a password.
#[derive(Debug, Clone)]
pub struct UpstreamProxy {
    /// `http://host:port`, optionally with `user:password@`.
    pub address: Secret,
    /// Hosts that are reached without the proxy (curl's rules of `NO_PROXY`).
    pub exceptions: String,
}

/// Connector to hosts other than the API.
#[derive(Debug, Clone)]
pub(super) struct TunnelConnector {
    direct: HttpConnector,
    upstream: Option<std::sync::Arc<Matcher>>,
}

impl TunnelConnector {
    pub(super) fn new(upstream: Option<&UpstreamProxy>) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_keepalive(Some(KEEPALIVE_TIME));
        let matcher = |proxy: &UpstreamProxy| {
            Matcher::builder().https(proxy.address.expose()).no(proxy.exceptions.as_str()).build()
        };
        Self { direct, upstream: upstream.map(|proxy| std::sync::Arc::new(matcher(proxy))) }
    }

    /// Connects to `host:port`.
    pub(super) async fn connect(&self, target: Authority) -> Result<TcpStream, TunnelError> {
        let target = Uri::builder().scheme("https").authority(target).path_and_query("/").build();
        let target = target.map_err(TunnelError::InvalidTarget)?;
        let mut direct = self.direct.clone();
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, async move {
            match self.upstream.as_ref().and_then(|matcher| matcher.intercept(&target)) {
                Some(proxy) => tunnel(&proxy, direct).call(target).await.map_err(boxed),
                None => direct.call(target).await.map_err(boxed),
            }
        });
        let stream = stream.await.map_err(|_| TunnelError::TimedOut)?.map_err(TunnelError::Unreachable)?;
        Ok(TokioIo::into_inner(stream))
    }
}

fn tunnel(proxy: &Intercept, direct: HttpConnector) -> Tunnel<HttpConnector> {
    let tunnel = Tunnel::new(proxy.uri().clone(), direct);
    match proxy.basic_auth() {
        Some(credentials) => tunnel.with_auth(credentials.clone()),
        None => tunnel,
    }
}

fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(error)
}
