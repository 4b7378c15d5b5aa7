//! The upgrade: verdict first, then the `101`, then the session.
//!
//! ```text
//! rate ── path, URL length, upgrade headers ── rate, API key, signature ── authorizer ── (register) ── $connect ── 101 ── session
//!   └─ 429         └─ 403 414 426 400                └─ 429 403              └─ 401 403 500  └─ 502     └─ any status, 502 504
//! ```
//! Invariant: whoever's `$connect` succeeded gets a `$disconnect`, also when the client left before it had its `101`.

mod access_checks;
mod connect_abort;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use gateway::authorizer::{AuthorizerContext, AuthorizerInvocationError, AuthorizerOutcome};
use gateway::close::CloseCause;
use gateway::event::{AuthorizerEvent, ConnectEvent, ConnectionFacts};
use gateway::handshake::{
    ConnectOutcome, DeflateAgreement, EventHeaders, HandshakeRequest, QueryParameters, Rejection, connect_outcome,
    domain_of, negotiate_deflate, trace_id,
};
use gateway::id::{EventIds, GatewayId};
use gateway::reply::IntegrationError;
use gateway::time::EventTime;
use handlers::ports::Timestamp;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::task::TaskTracker;
use warp::reply::{Reply as _, Response};
use websocket::{SocketLimits, WebSocket};

use self::connect_abort::ConnectAbortGuard;
use super::HandshakeContext;
use super::listener::{ConnectionPermit, RemoteAddress};
use crate::connection::{Connection, RegistrationGuard, SocketStream};
use crate::functions::ApiIntegration;
use crate::metrics::HandshakeOutcome;
use crate::session::{EventStamper, Session, SessionContext, disconnect_owned};

/// What a handshake needs of its request.
pub struct UpgradeRequest {
    /// The path, as sent.
    pub path: String,
    /// The query, as sent, without `?`.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// Who sent it.
    pub remote_address: RemoteAddress,
    /// The socket's place among all.
    pub permit: ConnectionPermit,
    /// How to get at the socket; `None` when this is no upgrade.
    pub upgrade: Option<OnUpgrade>,
}

/// Answers a request for a WebSocket, and runs the session in the background when it is granted.
pub async fn handle_upgrade(context: Arc<HandshakeContext>, request: UpgradeRequest) -> Response {
    let deadline = Instant::now() + context.settings.timeout;
    let mut attempt = HandshakeAttempt::start_attempt(&context);
    let checked = access_checks::check_request_rate(&context)
        .and_then(|()| check_request(&context, &request))
        .and_then(|checked| access_checks::check_connection_rate(&context).map(|()| checked));
    let (upgrade, accept) = match checked {
        Ok(checked) => checked,
        Err(rejection) => return attempt.reject_handshake(rejection),
    };
    let (place, sessions) = (request.permit.clone(), &context.sessions);
    let deflate = negotiate_deflate(sessions.settings.compression, &request.headers);
    // Too late, the attempt is dropped as when its client leaves: what `$connect` has begun is undone.
    let admitted = match tokio::time::timeout_at(deadline, attempt.authorize_and_connect(request)).await {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(rejection)) => return attempt.reject_handshake(rejection),
        Err(_) => return attempt.reject_handshake(Rejection::Integration(IntegrationError::TimedOut)),
    };
    context.metrics.count_outcome(HandshakeOutcome::Accepted);
    let lifecycle = &sessions.lifecycle;
    let now = sessions.integration.clock.now();
    let handle = Arc::new(Connection::new(admitted.facts, sessions.settings.outbox_bytes, now));
    // Before the `101`: whoever hears from the client that it is connected can post to it at once.
    lifecycle.add_connection(&handle);
    if admitted.registration.is_some_and(|registration| !registration.mark_opened()) {
        // The pod lost its lease during the handshake. Its next one is a reconnect away.
        if let Some(registry) = lifecycle.registry.as_ref().filter(|_| lifecycle.disconnect_retry.is_allowed()) {
            registry.reclaim(&handle.facts);
        }
        handle.close(CloseCause::ServiceRestart);
    }
    let settled = lifecycle.subscribed(&handle);
    // Boxed, because a task moves its future about.
    let session = Box::pin(serve_upgraded(context.clone(), handle, attempt.ids, upgrade, deadline, deflate, place));
    match settled {
        None => {
            lifecycle.tasks.spawn(session);
        }
        Some(settled) => start_when_subscribed(&lifecycle.tasks, settled, session).await,
    }
    switching_protocols(&accept, admitted.subprotocol, deflate.as_ref())
}

/// What can be said of a request without asking anyone.
fn check_request(context: &HandshakeContext, request: &UpgradeRequest) -> Result<(OnUpgrade, HeaderValue), Rejection> {
    let api = &context.sessions.integration.api;
    let url_chars = request.path.len() + request.query.as_ref().map_or(0, |query| query.len() + 1);
    if url_chars > api.quotas.url_chars {
        return Err(Rejection::UrlTooLong);
    }
    let stage = request.path.trim_start_matches('/').trim_end_matches('/');
    if stage != &*api.stage.name {
        return Err(Rejection::UnknownStage);
    }
    let upgrade = request.upgrade.clone().ok_or(Rejection::NotAnUpgrade)?;
    accept_value(&request.headers).map(|accept| (upgrade, accept)).ok_or(Rejection::BadUpgrade)
}

/// `Sec-WebSocket-Accept` for a request that keeps to RFC 6455 section 4.2.1: version 13 and a key of 16 bytes.
fn accept_value(headers: &HeaderMap) -> Option<HeaderValue> {
    let key = headers.get(SEC_WEBSOCKET_KEY)?.as_bytes();
    let sixteen_bytes = key.len() == 24 && key.ends_with(b"==");
    let version = headers.get(SEC_WEBSOCKET_VERSION)?.as_bytes();
    if !sixteen_bytes || version != b"13" {
        return None;
    }
    HeaderValue::from_str(&derive_accept_key(key)).ok()
}

/// One handshake under way.
struct HandshakeAttempt {
    context: Arc<HandshakeContext>,
    connection: GatewayId,
    ids: EventIds,
    started_at: Timestamp,
}

/// A handshake that was granted.
struct AcceptedHandshake {
    facts: Arc<ConnectionFacts>,
    subprotocol: Option<HeaderValue>,
    registration: Option<RegistrationGuard>,
}

impl HandshakeAttempt {
    fn start_attempt(context: &Arc<HandshakeContext>) -> Self {
        let begun = context.sessions.integration.clock.now();
        let (connection, ids) = context.ids.next_connection(begun);
        Self { context: context.clone(), connection, ids, started_at: begun }
    }

    /// Asks the authorizer and `$connect`.
    async fn authorize_and_connect(&mut self, request: UpgradeRequest) -> Result<AcceptedHandshake, Rejection> {
        let api_key = access_checks::key_from_header(&self.context, &request.headers)?;
        let caller = access_checks::verify_caller(&self.context, &request)?;
        let request = HandshakeRequest { api_key, ..self.handshake_request(request) };
        let query = request.query_parameters();
        let headers = EventHeaders::for_authorizer(&request);
        let mut facts = ConnectionFacts {
            api: self.sessions().integration.api.clone(),
            connection_id: self.connection,
            domain_name: request.domain_name.clone(),
            connected_at: self.started_at.0,
            identity: request.request_identity(),
            authorizer: None,
        };
        facts.identity.iam = caller.map(Box::new);
        if self.sessions().integration.api.authorizer.is_some() {
            facts.authorizer = Some(Arc::new(self.run_authorizer(&facts, &headers, &query).await?));
        }
        if let Some(key) = access_checks::key_from_authorizer(&self.context, facts.authorizer.as_deref())? {
            facts.identity.api_key = Some(Box::new(key));
        }
        let facts = Arc::new(facts);
        let registration = self.register(&facts).await?;
        let departure = ConnectAbortGuard::for_connect(&self.context.sessions, &facts, &self.ids);
        let answer = self.run_connect(&facts, headers.into_connect(), &query).await;
        departure.disarm();
        match answer {
            Ok(subprotocol) => Ok(AcceptedHandshake { facts, subprotocol, registration }),
            Err(rejection) => {
                // A handler that failed may have left something behind, which a `$disconnect` clears where it is harmless.
                let retry = self.sessions().lifecycle.disconnect_retry;
                let clear = matches!(rejection, Rejection::Integration(_)) && retry.is_allowed();
                if let Some(registration) = registration.filter(|_| !clear) {
                    registration.mark_rejected();
                }
                Err(rejection)
            }
        }
    }

    /// Writes the connection down where there are other pods. What keeps that from succeeding would fail `$connect` too, so
    /// the client sees what it sees when that fails.
    async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<Option<RegistrationGuard>, Rejection> {
        let Some(registry) = &self.sessions().lifecycle.registry else { return Ok(None) };
        registry.register(facts).await.map(Some).map_err(|error| {
            tracing::debug!(error = %errors::chain(&error), "a connection was not written down");
            Rejection::Integration(IntegrationError::Function)
        })
    }

    async fn run_authorizer(
        &mut self,
        facts: &ConnectionFacts,
        headers: &EventHeaders,
        query: &QueryParameters,
    ) -> Result<AuthorizerContext, Rejection> {
        let sessions = self.context.sessions.clone();
        let ApiIntegration { api, functions, clock } = &sessions.integration;
        if !api.authorizer.as_ref().is_some_and(|authorizer| authorizer.may_run(api, headers, query)) {
            return Err(Rejection::Unauthorized);
        }
        let now = clock.now();
        let started = Instant::now();
        let request_id = self.ids.next_request_id(now.0);
        let event = AuthorizerEvent { facts, headers, query, request_id, time: EventTime::from_epoch_ms(now.0) };
        let call = functions.invoke_authorizer(event);
        let verdict = match tokio::time::timeout(api.quotas.authorizer_timeout, call).await {
            Ok(verdict) => verdict,
            Err(_) => Err(AuthorizerInvocationError::TimedOut),
        };
        let latency = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let outcome = gateway::authorizer::authorizer_outcome(api, verdict, latency);
        match (Rejection::from_authorizer(&outcome), outcome) {
            (None, AuthorizerOutcome::Allow(context)) => Ok(context),
            (Some(rejection), _) => Err(rejection),
            (None, _) => Err(Rejection::AuthorizerMisconfigured),
        }
    }

    async fn run_connect(
        &mut self,
        facts: &Arc<ConnectionFacts>,
        headers: EventHeaders,
        query: &QueryParameters,
    ) -> Result<Option<HeaderValue>, Rejection> {
        if !self.sessions().integration.api.routes.has_connect {
            return Ok(None);
        }
        let now = self.sessions().integration.clock.now();
        let request_id = self.ids.next_request_id(now.0);
        let event = ConnectEvent { facts, headers: &headers, query, request_id, time: EventTime::from_epoch_ms(now.0) };
        let call = self.sessions().integration.functions.invoke_connect(event);
        let answer = match tokio::time::timeout(self.sessions().integration.api.quotas.integration_timeout, call).await
        {
            Ok(answer) => answer,
            Err(_) => Err(IntegrationError::TimedOut),
        };
        match connect_outcome(answer) {
            ConnectOutcome::Accepted { subprotocol } => Ok(subprotocol),
            ConnectOutcome::Rejected(rejection) => Err(rejection),
        }
    }

    fn handshake_request(&self, request: UpgradeRequest) -> HandshakeRequest {
        let (ids, settings) = (&self.context.ids, &self.context.settings);
        let host = request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let domain_name = settings.domain_name.clone().unwrap_or_else(|| domain_of(host).into());
        let (source_ip, forwarded_for) =
            client_address_of(&request.headers, request.remote_address.0, settings.trust_forwarded_for);
        HandshakeRequest {
            domain_name,
            source_ip: source_ip.to_string().into(),
            forwarded_for,
            trace_id: trace_id(self.started_at.0, ids.trace_entropy()),
            api_key: None,
            query: request.query,
            headers: request.headers,
        }
    }

    fn sessions(&self) -> &SessionContext {
        &self.context.sessions
    }

    fn reject_handshake(mut self, rejection: Rejection) -> Response {
        self.context.metrics.count_outcome(rejection_outcome(rejection));
        tracing::debug!(status = rejection.status().as_u16(), cause = ?rejection, "refused a handshake");
        let body = rejection.response_body(self.connection, self.ids.next_request_id(self.started_at.0));
        let reply = warp::reply::with_status(body, rejection.status());
        let mut response = warp::reply::with_header(reply, CONTENT_TYPE, "application/json").into_response();
        if let Some(error_type) = rejection.error_type() {
            response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(error_type));
        }
        response
    }
}

/// The client's address and the `X-Forwarded-For` to show: behind a trusted proxy the list's first entry, else the peer.
fn client_address_of(headers: &HeaderMap, peer: SocketAddr, trusted: bool) -> (IpAddr, Option<String>) {
    let list = headers.get("x-forwarded-for").filter(|_| trusted).and_then(|list| list.to_str().ok());
    let first = list.and_then(|list| list.split(',').next()).and_then(|first| first.trim().parse().ok());
    match (first, list) {
        (Some(first), Some(list)) => (first, Some(list.to_owned())),
        _ => (peer.ip(), None),
    }
}

fn rejection_outcome(rejection: Rejection) -> HandshakeOutcome {
    match rejection {
        Rejection::Unauthorized | Rejection::Denied | Rejection::ApiKey | Rejection::Signature(_) => {
            HandshakeOutcome::Denied
        }
        Rejection::Handler(_) => HandshakeOutcome::Rejected,
        Rejection::Throttled | Rejection::Unavailable => HandshakeOutcome::Overloaded,
        Rejection::AuthorizerMisconfigured | Rejection::Integration(_) => HandshakeOutcome::Failed,
        Rejection::UnknownStage | Rejection::NotAnUpgrade | Rejection::BadUpgrade | Rejection::UrlTooLong => {
            HandshakeOutcome::Malformed
        }
    }
}

fn switching_protocols(
    accept: &HeaderValue,
    subprotocol: Option<HeaderValue>,
    deflate: Option<&DeflateAgreement>,
) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    if let Some(deflate) = deflate {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, deflate.response_header());
    }
    response
}

/// Starts a session whose `101` waits until what is sent on other pods reaches this one. The session's task waits for it as
/// well and comes first, so that the connection has its `$disconnect` also when the client leaves meanwhile.
async fn start_when_subscribed(
    tasks: &TaskTracker,
    settled: BoxFuture<'static, ()>,
    session: impl Future<Output = ()> + Send + 'static,
) {
    let (sender, done) = oneshot::channel();
    tasks.spawn(async move {
        settled.await;
        // Nobody is there any more when the client left.
        let _ = sender.send(());
        session.await;
    });
    let _ = done.await;
}

/// Waits for the socket behind the `101` and serves it to its end.
async fn serve_upgraded(
    context: Arc<HandshakeContext>,
    handle: Arc<Connection>,
    ids: EventIds,
    upgrade: OnUpgrade,
    deadline: Instant,
    deflate: Option<DeflateAgreement>,
    place: ConnectionPermit,
) {
    let sessions = &context.sessions;
    let quotas = &sessions.integration.api.quotas;
    let limits = SocketLimits {
        frame_bytes: quotas.frame_bytes,
        message_bytes: quotas.message_bytes,
        outbound_frame_bytes: quotas.outbound_frame_bytes,
    };
    match tokio::time::timeout_at(deadline, upgrade).await {
        Ok(Ok(upgraded)) => {
            let (stream, early) = raw_stream(upgraded);
            let socket = WebSocket::new(stream, &early, limits).with_compression(deflate.as_ref());
            Session::new(socket, handle, ids, sessions.clone()).run().await;
        }
        // The client left between the verdict and its 101.
        Ok(Err(_)) | Err(_) => {
            sessions.lifecycle.close(&handle);
            disconnect_owned(sessions, &handle, &mut EventStamper::new(ids), &CloseCause::ConnectionLost).await;
        }
    }
    drop(place);
}

/// The TCP stream beneath an upgraded connection, without hyper's wrapping, and what the client sent early.
fn raw_stream(upgraded: Upgraded) -> (SocketStream, Vec<u8>) {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => (SocketStream::Left(parts.io.into_inner()), parts.read_buf.to_vec()),
        Err(upgraded) => (SocketStream::Right(Box::new(TokioIo::new(upgraded))), Vec::new()),
    }
}
