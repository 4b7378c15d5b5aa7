//! WebSocket handshake. Its steps, with the statuses of rejections:
//!
//! ```text
//! URL length, path,       → 414, 403,
//! upgrade headers         → 426, 400
//! API key, signature      → 403
//! authorizer              → 401, 403, 500
//! required parameters     → 400
//! request, connection rate → 429
//! register (in a cluster) → 502
//! $connect                → its status, 500, 502, 504
//! 101, session
//! ```
//! Handshakes that are rejected up to the authorizer count against the budget of the client's address instead of the
//! rates; above it they get 429 (`docs/adr/0026-request-budgets.md`).
//!
//! Every connection whose `$connect` succeeded gets a `$disconnect`, also when the client left before its `101`.

mod access_checks;
mod connect_abort;
mod upgrade;
mod upgraded_session;

use std::net::IpAddr;
use std::sync::Arc;

use gateway::authorizer::{AuthorizerContext, AuthorizerInvocationError, AuthorizerOutcome};
use gateway::base_path::RequestedPath;
use gateway::close::CloseCause;
use gateway::event::{AuthorizerEvent, ConnectEvent, ConnectionFacts};
use gateway::handshake::{
    ConnectOutcome, EventHeaders, HandshakeRequest, QueryParameters, Rejection, connect_outcome, domain_of,
    negotiate_deflate, trace_id,
};
use gateway::id::{EventIds, GatewayId};
use gateway::reply::IntegrationError;
use gateway::time::EventTime;
use handlers::ports::Timestamp;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;
use warp::reply::{Reply as _, Response};

use self::connect_abort::ConnectAbortGuard;
use self::upgraded_session::{serve_upgraded, start_when_subscribed};
use super::HandshakeContext;
use super::listener::ConnectionPermit;
use crate::access::client_address::ClientAddress;
use crate::connection::{Connection, RegistrationGuard};
use crate::functions::ApiIntegration;
use crate::metrics::HandshakeOutcome;
use crate::session::SessionContext;

/// The parts of an HTTP request that the handshake reads.
pub struct UpgradeRequest {
    /// The path, as sent.
    pub path: String,
    /// The query, as sent, without `?`.
    pub query: Option<String>,
    pub headers: HeaderMap,
    /// Address of the client.
    pub client: ClientAddress,
    /// The socket's permit among `max_connections`.
    pub permit: ConnectionPermit,
    /// Future of the upgraded socket; `None` when the request is not a WebSocket upgrade.
    pub upgrade: Option<OnUpgrade>,
}

/// Runs the handshake and returns its response; an accepted connection's session runs on the task tracker.
pub async fn handle_upgrade(context: Arc<HandshakeContext>, request: UpgradeRequest) -> Response {
    let deadline = Instant::now() + context.settings.timeout;
    let mut attempt = HandshakeAttempt::start_attempt(&context, &request);
    let (upgrade, accept) = match upgrade::check_request(&context, &request) {
        Ok(checked) => checked,
        Err(rejection) => return attempt.reject_handshake(rejection),
    };
    let (permit, sessions) = (request.permit.clone(), &context.sessions);
    let deflate = negotiate_deflate(sessions.settings.compression, &request.headers);
    // After the timeout the future is dropped, as when the client leaves: the guards in it run `$disconnect`.
    let accepted = match tokio::time::timeout_at(deadline, attempt.authorize_and_connect(request)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(rejection)) => return attempt.reject_handshake(rejection),
        Err(_) => return attempt.reject_handshake(Rejection::Integration(IntegrationError::TimedOut)),
    };
    context.metrics.count_outcome(HandshakeOutcome::Accepted);
    let lifecycle = &sessions.lifecycle;
    let now = sessions.integration.clock.now();
    let connection = Arc::new(Connection::new(accepted.facts, sessions.settings.outbox_bytes, now));
    // Before the `101`, so that a backend can post to the connection as soon as the client knows that it is open.
    lifecycle.add_connection(&connection);
    if accepted.registration.is_some_and(|registration| !registration.mark_opened()) {
        // The pod lost its lease during the handshake, so the client has to reconnect.
        if let Some(registry) = lifecycle.registry.as_ref().filter(|_| lifecycle.disconnect_retry.is_allowed()) {
            registry.reclaim(&connection.facts);
        }
        connection.close(CloseCause::ServiceRestart);
    }
    let subscribed = lifecycle.subscribed(&connection);
    // Boxed, because spawning moves the future.
    let session = serve_upgraded(context.clone(), connection, attempt.ids, upgrade, deadline, deflate, permit);
    let session = Box::pin(session);
    match subscribed {
        None => {
            lifecycle.tasks.spawn(session);
        }
        Some(subscribed) => start_when_subscribed(&lifecycle.tasks, subscribed, session).await,
    }
    upgrade::switching_protocols(&accept, accepted.subprotocol, deflate.as_ref())
}

/// A handshake in progress.
struct HandshakeAttempt {
    context: Arc<HandshakeContext>,
    connection: GatewayId,
    ids: EventIds,
    started_at: Timestamp,
    client_address: IpAddr,
}

/// Result of a successful `$connect`.
struct AcceptedHandshake {
    facts: Arc<ConnectionFacts>,
    subprotocol: Option<HeaderValue>,
    registration: Option<RegistrationGuard>,
}

impl HandshakeAttempt {
    fn start_attempt(context: &Arc<HandshakeContext>, request: &UpgradeRequest) -> Self {
        let client_address = request.client.ip;
        let started_at = context.sessions.integration.clock.now();
        let (connection, ids) = context.ids.next_connection();
        Self { context: context.clone(), connection, ids, started_at, client_address }
    }

    /// Checks the API key and the signature, runs the authorizer, registers the connection and runs `$connect`.
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
        access_checks::check_parameters(&self.context, &headers, &query)?;
        access_checks::check_rates(&self.context)?;
        let facts = Arc::new(facts);
        let registration = self.register(&facts).await?;
        let abort_guard = ConnectAbortGuard::for_connect(&self.context.sessions, &facts, &self.ids);
        let result = self.run_connect(&facts, headers.into_connect(), &query).await;
        abort_guard.disarm();
        match result {
            Ok(subprotocol) => Ok(AcceptedHandshake { facts, subprotocol, registration }),
            Err(rejection) => {
                // A failed handler may have stored data. Dropping the guard runs `$disconnect`, where that is
                // idempotent.
                let retry = self.sessions().lifecycle.disconnect_retry;
                let run_disconnect = matches!(rejection, Rejection::Integration(_)) && retry.is_allowed();
                if let Some(registration) = registration.filter(|_| !run_disconnect) {
                    registration.mark_rejected();
                }
                Err(rejection)
            }
        }
    }

    /// Registers the connection in Redis, in a cluster. A failure is reported to the client like a failed `$connect`,
    /// which would fail for the same reason.
    async fn register(&self, facts: &Arc<ConnectionFacts>) -> Result<Option<RegistrationGuard>, Rejection> {
        let Some(registry) = &self.sessions().lifecycle.registry else { return Ok(None) };
        registry.register(facts).await.map(Some).map_err(|error| {
            tracing::debug!(error = %errors::chain(&error), "connection registration failed");
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
        access_checks::check_authorization_rate(&self.context, self.client_address)?;
        let now = clock.now();
        let started = Instant::now();
        let request_id = self.ids.next_request_id(now.0);
        let event = AuthorizerEvent { facts, headers, query, request_id, time: EventTime::from_epoch_ms(now.0) };
        let call = functions.invoke_authorizer(event);
        let result = match tokio::time::timeout(api.quotas.authorizer_timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(AuthorizerInvocationError::TimedOut),
        };
        let latency = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let outcome = gateway::authorizer::authorizer_outcome(api, result, latency);
        if let AuthorizerOutcome::Misconfigured(Some(reason)) = &outcome {
            // A result that an authorizer in this process returned; those of Lambda functions are checked when they are
            // parsed.
            tracing::error!(error = %errors::chain(reason), "authorizer result rejected");
        }
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
        let Some(timeout) = self.sessions().integration.api.routes.connect.as_ref().map(|route| route.timeout) else {
            return Ok(None);
        };
        let now = self.sessions().integration.clock.now();
        let request_id = self.ids.next_request_id(now.0);
        let event = ConnectEvent { facts, headers: &headers, query, request_id, time: EventTime::from_epoch_ms(now.0) };
        let call = self.sessions().integration.functions.invoke_connect(event);
        let result = match tokio::time::timeout(timeout, call).await {
            Ok(result) => result,
            Err(_) => Err(IntegrationError::TimedOut),
        };
        match connect_outcome(result) {
            ConnectOutcome::Accepted { subprotocol } => Ok(subprotocol),
            ConnectOutcome::Rejected(rejection) => Err(rejection),
        }
    }

    fn handshake_request(&self, request: UpgradeRequest) -> HandshakeRequest {
        let (ids, settings) = (&self.context.ids, &self.context.settings);
        let host = request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let requested = self.sessions().integration.api.match_path(&request.path);
        let lower_case_headers = requested == Some(RequestedPath::BasePath { has_levels: true });
        let domain_name = settings.event_domain(domain_of(host));
        HandshakeRequest {
            domain_name,
            source_ip: request.client.ip.to_string().into(),
            forwarded_for: Some(request.client.forwarded_for()),
            trace_id: trace_id(self.started_at.0, ids.trace_entropy()),
            lower_case_headers,
            api_key: None,
            query: request.query,
            headers: request.headers,
        }
    }

    fn sessions(&self) -> &SessionContext {
        &self.context.sessions
    }

    fn reject_handshake(mut self, rejection: Rejection) -> Response {
        let charged = access_checks::charge_rejection(&self.context, self.client_address, rejection);
        let (rejection, retry_after) = match charged {
            Ok(()) => (rejection, None),
            Err(exceeded) => (Rejection::Throttled, Some(exceeded.retry_after_seconds())),
        };
        self.context.metrics.count_outcome(rejection_outcome(rejection));
        tracing::debug!(status = rejection.status().as_u16(), cause = ?rejection, "handshake rejected");
        let body = rejection.response_body(self.connection, self.ids.next_request_id(self.started_at.0));
        let reply = warp::reply::with_status(body, rejection.status());
        let mut response = warp::reply::with_header(reply, CONTENT_TYPE, "application/json").into_response();
        upgrade::add_upgrade_headers(&mut response, rejection);
        if let Some(error_type) = rejection.error_type() {
            response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(error_type));
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            // A flood then costs its sender a connection per request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
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
        Rejection::UnknownStage
        | Rejection::NotAnUpgrade
        | Rejection::BadUpgrade
        | Rejection::MissingParameter
        | Rejection::UrlTooLong => HandshakeOutcome::Malformed,
    }
}
