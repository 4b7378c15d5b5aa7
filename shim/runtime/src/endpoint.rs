//! Runtime API endpoint of one process: HTTP/1.1 on its own loopback port.
//!
//! Each process has its own port, because not all clients support a base path, and because the port identifies the
//! process: as on Lambda, each has its own state. Only processes of the function's user may connect, and requests of
//! web pages are rejected ([`caller`]). Requests are validated before any state changes. Every JSON response ends with
//! a line feed, as those of RAPID do (`aws-lambda-runtime-interface-emulator`, `render_json.go`).

mod body;
mod caller;
mod extensions;
mod response;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::caller::connection_uid;

use self::body::{CollectedBody, MAX_PAYLOAD_BYTES, PayloadError, collect_body};
use self::caller::{PeerUser, foreign_request, peer_user};
use self::extensions::ExtensionRegistry;
use self::response::{accepted_response, not_found, rejected_response, text_response};
use crate::definition::FunctionDefinition;
use crate::environment::SandboxFacts;
use crate::ids::request_id;
use crate::invocation::{InvocationResult, InvokeError};
use crate::pool::{PollOutcome, RuntimeCallError, SandboxId};
use crate::shared::FunctionState;

/// Connections in addition to those of the pollers: extensions, and clients that open one per request.
const SPARE_CONNECTIONS: usize = 32;
/// Maximum bytes of a request head: Python's client sends up to 1 MiB of error cause in a header.
const MAX_HEAD_BYTES: usize = 2 * 1024 * 1024;

/// Zone of a function whose definition has none.
const UNKNOWN_ZONE: &str = "local";

const ERROR_TYPE_HEADER: &str = "lambda-runtime-function-error-type";
const INVOCATION_ID_HEADER: &str = "lambda-runtime-invocation-id";
const RESPONSE_MODE_HEADER: &str = "lambda-runtime-function-response-mode";

type RuntimeApiResponse = Response<Full<Bytes>>;

/// The Runtime API of one sandbox.
pub(crate) struct RuntimeEndpoint {
    function: Arc<FunctionState>,
    /// Definition of the sandbox's process.
    definition: Arc<FunctionDefinition>,
    sandbox_id: SandboxId,
    facts: SandboxFacts,
    /// The address as clients send it in `Host`.
    host: String,
    extensions: ExtensionRegistry,
    aborted: CancellationToken,
}

/// Accepts the process's connections until `close`.
pub(crate) async fn serve_endpoint(
    listener: TcpListener,
    endpoint: Arc<RuntimeEndpoint>,
    connections: TaskTracker,
    close: CancellationToken,
) {
    let max_connections = endpoint.definition.limits.concurrency.saturating_mul(2) + SPARE_CONNECTIONS;
    let permits = Arc::new(Semaphore::new(max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = close.cancelled() => return,
        };
        // A connection beyond the limit is closed immediately; a failed `accept` concerns only the client.
        if let Ok((stream, peer)) = accepted
            && let Ok(permit) = permits.clone().try_acquire_owned()
            && endpoint.is_own_user(peer)
        {
            connections.spawn(serve_connection(stream, endpoint.clone(), permit));
        }
    }
}

async fn serve_connection(stream: TcpStream, endpoint: Arc<RuntimeEndpoint>, _permit: OwnedSemaphorePermit) {
    // Head and body are sent in one write; with Nagle's algorithm the last segment would wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let aborted = endpoint.aborted.clone();
    let service = service_fn(move |request| {
        let endpoint = endpoint.clone();
        async move { Ok::<_, Infallible>(endpoint.handle_request(request).await) }
    });
    // The client of .NET looks up header names with the case that Lambda uses, such as `Lambda-Runtime-Aws-Request-Id`.
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD_BYTES).title_case_headers(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Connection errors are ignored: only the exit of the process matters.
        _ = connection => {}
        () = aborted.cancelled() => {}
    }
}

impl RuntimeEndpoint {
    pub fn new(
        function: Arc<FunctionState>,
        definition: Arc<FunctionDefinition>,
        sandbox_id: SandboxId,
        facts: SandboxFacts,
    ) -> Self {
        let (extensions, host) = (ExtensionRegistry::new(&definition), facts.api.to_string());
        Self { function, definition, sandbox_id, facts, host, extensions, aborted: CancellationToken::new() }
    }

    /// Returns whether a client has the user of the function's processes. Where the system does not tell, all have.
    fn is_own_user(&self, peer: SocketAddr) -> bool {
        let own = self.definition.process_uid();
        match peer_user(peer, self.facts.api) {
            PeerUser::Uid(uid) if uid != own => {
                let name = self.function_name();
                tracing::warn!(function.name = name, user.id = uid, "runtime API connection of another user rejected");
                false
            }
            PeerUser::Uid(_) | PeerUser::Unknown => true,
            PeerUser::Closed => false,
        }
    }

    /// Sends SHUTDOWN to the extensions.
    pub fn notify_shutdown(&self, reason: &'static str) {
        self.extensions.notify_shutdown(reason, (self.function.clock)());
    }

    /// Waits until all external extensions are registered.
    pub async fn extensions_registered(&self) {
        self.extensions.external_registered().await;
    }

    /// Closes all connections.
    pub fn abort_connections(&self) {
        self.aborted.cancel();
    }

    /// Waits for [`Self::abort_connections`].
    pub async fn connections_aborted(&self) {
        self.aborted.cancelled().await;
    }

    /// Returns the name of the function.
    pub fn function_name(&self) -> &str {
        &self.function.name
    }

    /// Returns the request id of the process's current output; `None` when the process may run several requests.
    pub fn current_request_id(&self) -> Option<Arc<str>> {
        self.function.lock_pool().current_request_id(self.sandbox_id)
    }

    async fn handle_request(&self, request: Request<Incoming>) -> RuntimeApiResponse {
        if let Some(reason) = foreign_request(&self.host, request.uri(), request.headers()) {
            tracing::warn!(function.name = self.function_name(), reason, "runtime API request rejected");
            return response::foreign_request();
        }
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method(), segments.as_slice()) {
            (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => self.next_invocation().await,
            (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
                self.post_response(id, request).await
            }
            (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => self.post_error(id, request).await,
            (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => self.post_init_error(request).await,
            (&Method::GET, ["2018-06-01", "ping"]) => text_response(StatusCode::OK, "pong"),
            (&Method::POST, ["2020-01-01", "extension", "register"]) => self.register_extension(request).await,
            (&Method::GET, ["2020-01-01", "extension", "event", "next"]) => {
                self.extensions.next_event(request.headers()).await
            }
            (&Method::POST, ["2020-01-01", "extension", "init" | "exit", "error"]) => accepted_response(),
            (&Method::GET, ["2026-01-15", "metadata", "execution-environment"]) => self.metadata(request.headers()),
            (&Method::PUT, ["2020-08-15", "logs"]) => response::unsupported_api("Logs"),
            (&Method::PUT, ["2022-07-01", "telemetry"]) => response::unsupported_api("Telemetry"),
            _ => not_found(),
        }
    }

    /// Waits for an event without a timeout, because runtimes treat an empty response as a fatal error.
    async fn next_invocation(&self) -> RuntimeApiResponse {
        let next = self.function.lock_pool().poll(Instant::now(), self.sandbox_id);
        let delivery = match next {
            PollOutcome::Deliver(delivery) => delivery,
            PollOutcome::Wait(event) => match event.await {
                Ok(delivery) => delivery,
                Err(_) => return rejected_response(RuntimeCallError::InvalidState),
            },
            PollOutcome::Reject => return rejected_response(RuntimeCallError::InvalidState),
        };
        let function = &self.function;
        let left = delivery.deadline.saturating_duration_since(Instant::now()).as_millis();
        let deadline_ms = (function.clock)().saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
        let arn = self.definition.function_arn();
        self.extensions.notify_invoke(&delivery.event, &arn, deadline_ms);
        response::event_response(&delivery.event, &arn, deadline_ms)
    }

    async fn post_response(&self, id: &str, request: Request<Incoming>) -> RuntimeApiResponse {
        if let Err(error) = self.check_request(id, request.headers()) {
            return rejected_response(error);
        }
        let mode = request.headers().get(RESPONSE_MODE_HEADER).map(|mode| mode.as_bytes().to_ascii_lowercase());
        if mode.is_some_and(|mode| mode != b"streaming" && mode != b"buffered") {
            let failure = InvokeError::function_error("Runtime.InvalidResponseModeHeader", "");
            // An error means that the caller is gone; the runtime gets the same response.
            let _ = self.finish_request(id, Err(failure));
            return response::invalid_response_mode();
        }
        match collect_body(request.into_body(), MAX_PAYLOAD_BYTES).await {
            Ok(CollectedBody { bytes, trailers }) => {
                let failed = header_text(trailers.as_ref(), ERROR_TYPE_HEADER)
                    .map(|kind| InvokeError::from_runtime(Some(kind), b""));
                self.finish_and_respond(id, failed.map_or(Ok(bytes), Err))
            }
            Err(PayloadError::TooLarge) => {
                let text =
                    format!("Response payload size exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).");
                let _ =
                    self.finish_request(id, Err(InvokeError::function_error("Function.ResponseSizeTooLarge", text)));
                response::payload_too_large()
            }
            Err(PayloadError::Truncated) => response::truncated_request(),
        }
    }

    async fn post_error(&self, id: &str, request: Request<Incoming>) -> RuntimeApiResponse {
        if let Err(error) = self.check_request(id, request.headers()) {
            return rejected_response(error);
        }
        let (parts, body) = request.into_parts();
        // An unreadable body is an error without details.
        let bytes = collect_body(body, MAX_PAYLOAD_BYTES).await.map(|collected| collected.bytes).unwrap_or_default();
        let failure = InvokeError::from_runtime(header_text(Some(&parts.headers), ERROR_TYPE_HEADER), &bytes);
        self.finish_and_respond(id, Err(failure))
    }

    async fn post_init_error(&self, request: Request<Incoming>) -> RuntimeApiResponse {
        let (parts, body) = request.into_parts();
        let bytes = collect_body(body, MAX_PAYLOAD_BYTES).await.map(|collected| collected.bytes).unwrap_or_default();
        let failure = InvokeError::from_runtime(header_text(Some(&parts.headers), ERROR_TYPE_HEADER), &bytes);
        let reported = self.function.lock_pool().report_init_error(Instant::now(), self.sandbox_id, failure);
        reported.map_or_else(rejected_response, |()| accepted_response())
    }

    async fn register_extension(&self, request: Request<Incoming>) -> RuntimeApiResponse {
        let (parts, body) = request.into_parts();
        let Ok(CollectedBody { bytes, .. }) = collect_body(body, MAX_PAYLOAD_BYTES).await else {
            return response::truncated_request();
        };
        self.extensions.register(&parts.headers, &bytes, &self.definition, request_id())
    }

    /// Describes the execution environment (Lambda developer guide, "Lambda metadata endpoint").
    fn metadata(&self, headers: &HeaderMap) -> RuntimeApiResponse {
        let token = header_text(Some(headers), AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        if token != Some(&*self.facts.metadata_token) {
            return response::missing_metadata_token();
        }
        response::execution_environment(self.definition.availability_zone_id.as_deref().unwrap_or(UNKNOWN_ZONE))
    }

    fn check_request(&self, id: &str, headers: &HeaderMap) -> Result<(), RuntimeCallError> {
        let nonce = header_text(Some(headers), INVOCATION_ID_HEADER);
        self.function.lock_pool().check_request(self.sandbox_id, id, nonce)
    }

    fn finish_request(&self, id: &str, outcome: InvocationResult) -> Result<(), RuntimeCallError> {
        self.function.lock_pool().finish_request(Instant::now(), self.sandbox_id, id, outcome)
    }

    fn finish_and_respond(&self, id: &str, outcome: InvocationResult) -> RuntimeApiResponse {
        self.finish_request(id, outcome).map_or_else(rejected_response, |()| accepted_response())
    }
}

fn header_text<'h>(headers: Option<&'h HeaderMap>, name: &str) -> Option<&'h str> {
    headers?.get(name)?.to_str().ok()
}
