//! Proxy requests of function processes: `CONNECT` to the API or to another host (RFC 9110 section 9.3.6), and requests for
//! `http` URLs.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, USER_AGENT};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use runtime_api::connection_uid;
use tokio::net::TcpStream;

use super::forward::is_absolute;
use super::tunnel::TunnelError;
use super::{ConnectionContext, http_server, read_client_hello};

/// Port of the API's names.
const HTTPS_PORT: u16 = 443;

/// User agent of the requests of Java's own client, `HttpURLConnection`, to a proxy. It sends credentials only in programs
/// with an `Authenticator`.
const JAVA_USER_AGENT: &str = "Java/";

/// Response of the proxy: its own text, or the body of the host.
type ProxyResponse = Response<Either<Full<Bytes>, Incoming>>;

/// Error response of the proxy: status and text for the program that sent the request.
type ProxyError = (StatusCode, &'static str);

impl ConnectionContext {
    /// Serves proxy requests until one of them opens a tunnel.
    pub(super) async fn serve_proxy_requests(self, stream: TcpStream) {
        let service = service_fn(move |request: Request<Incoming>| {
            let context = self.clone();
            async move { Ok::<_, std::convert::Infallible>(context.answer(request).await) }
        });
        let _ = http_server().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    }

    async fn answer(self, mut request: Request<Incoming>) -> ProxyResponse {
        if !self.is_function(&request) {
            let text = "only functions of this server may use this proxy";
            return error_response((StatusCode::PROXY_AUTHENTICATION_REQUIRED, text));
        }
        if is_absolute(request.uri()) {
            return match self.state.forwarder.forward(request).await {
                Ok(response) => response.map(Either::Right),
                Err(_) => error_response((StatusCode::BAD_GATEWAY, "the host cannot be reached")),
            };
        }
        let upgrade = hyper::upgrade::on(&mut request);
        match self.open_tunnel(&request, upgrade).await {
            Ok(()) => Response::new(Either::Left(Full::default())),
            Err(error) => error_response(error),
        }
    }

    /// Returns whether a function process sent the request: it has the secret or, from a client that may not send it, the
    /// user of the functions.
    fn is_function(&self, request: &Request<Incoming>) -> bool {
        if let Some(credentials) = request.headers().get(PROXY_AUTHORIZATION) {
            return password(credentials).is_some_and(|password| self.state.is_secret(&password));
        }
        let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let may_omit_secret = is_absolute(request.uri()) || agent.starts_with(JAVA_USER_AGENT);
        may_omit_secret && connection_uid(self.peer, self.state.address) == Some(self.state.uid)
    }

    /// Connects to the target of the request, whose bytes are forwarded once the client has the response.
    async fn open_tunnel(self, request: &Request<Incoming>, upgrade: OnUpgrade) -> Result<(), ProxyError> {
        let target = connect_target(request)?;
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        if self.state.hosts.contains(target.host()) && target.port_u16() == Some(HTTPS_PORT) {
            tasks.spawn(Box::pin(stop.run_until_cancelled_owned(self.serve_upgraded(upgrade))));
            return Ok(());
        }
        if self.state.hosts.is_of_other_region(target.host()) {
            tracing::warn!("a function called its API in another region than api.region; the call was rejected");
            return Err((StatusCode::BAD_GATEWAY, "the API is in another region: set api.region to it"));
        }
        let host = self.state.tunnels.connect(target).await.map_err(|error| tunnel_error(&error))?;
        let permit = self.permit;
        tasks.spawn(stop.run_until_cancelled_owned(async move {
            forward_bytes(upgrade, host).await;
            drop(permit);
        }));
        Ok(())
    }

    async fn serve_upgraded(self, upgrade: OnUpgrade) {
        let Ok(upgraded) = upgrade.await else { return };
        let Some(handshake) = read_client_hello(TokioIo::<Upgraded>::new(upgraded)).await else { return };
        self.serve_tls(handshake).await;
    }
}

/// Returns the target of a `CONNECT` request: host and port.
fn connect_target(request: &Request<Incoming>) -> Result<Authority, ProxyError> {
    if request.method() != Method::CONNECT {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "this proxy accepts CONNECT and http URLs only"));
    }
    let target = request.uri().authority().filter(|target| target.port_u16().is_some()).cloned();
    target.ok_or((StatusCode::BAD_REQUEST, "the target of CONNECT must be host:port"))
}

/// Returns the password of basic credentials (RFC 7617).
fn password(credentials: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, encoded) = credentials.to_str().ok()?.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| decoded[colon + 1..].to_vec())
}

/// Forwards bytes in both directions until both have ended.
async fn forward_bytes(upgrade: OnUpgrade, mut host: TcpStream) {
    if let Ok(client) = upgrade.await {
        // An error ends the connection for both sides, which is all that they need to know.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut host).await;
    }
}

fn tunnel_error(error: &TunnelError) -> ProxyError {
    tracing::debug!(error = %errors::chain(error), "endpoint proxy: tunnel failed");
    match error {
        TunnelError::InvalidTarget(_) => (StatusCode::BAD_REQUEST, "the target of CONNECT must be host:port"),
        TunnelError::Unreachable(_) => (StatusCode::BAD_GATEWAY, "the host cannot be reached"),
        TunnelError::TimedOut => (StatusCode::GATEWAY_TIMEOUT, "the host did not answer in time"),
    }
}

fn error_response((status, text): ProxyError) -> ProxyResponse {
    let mut response = Response::new(Either::Left(Full::from(format!("{text}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        let challenge = HeaderValue::from_static("Basic realm=\"functions\"");
        response.headers_mut().insert(PROXY_AUTHENTICATE, challenge);
    }
    response
}
