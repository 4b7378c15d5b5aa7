//! The Runtime API that one process sees: HTTP/1.1 on a loopback port of its own.
//!
//! One port per process, because clients disagree about base paths, and because the port then tells which process asks: as
//! on Lambda, each has a state of its own. Invariant: what is validated is validated before any state changes, and every
//! JSON answer ends with a line feed, as RAPID's do (`aws-lambda-runtime-interface-emulator`, `render_json.go`).

mod answer;
mod body;
mod extensions;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
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

use self::answer::{accepted, not_found, refused, text};
use self::body::{BodyError, Collected, PAYLOAD_BYTES, collect};
use self::extensions::Extensions;
use crate::ids::request_id;
use crate::invocation::{InvokeError, Outcome};
use crate::pool::{Next, Refusal, SandboxId};
use crate::shared::Shared;

/// Connections beside those that the pollers need: extensions, and clients that open one per call.
const SPARE_CONNECTIONS: usize = 32;
/// Most bytes of a request's head: Python's client sends up to 1 MiB of cause in a header.
const HEAD_BYTES: usize = 2 * 1024 * 1024;

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const INVOCATION_ID: &str = "lambda-runtime-invocation-id";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";

/// What a response is made of.
type Answer = Response<Full<Bytes>>;

/// The Runtime API of one sandbox.
pub(crate) struct Endpoint {
    function: Arc<Shared>,
    sandbox: SandboxId,
    extensions: Extensions,
    abandoned: CancellationToken,
}

/// Accepts the process's connections until `close`.
pub(crate) async fn serve(
    listener: TcpListener,
    endpoint: Arc<Endpoint>,
    connections: TaskTracker,
    close: CancellationToken,
) {
    let most = endpoint.function.definition.limits.concurrency.saturating_mul(2) + SPARE_CONNECTIONS;
    let places = Arc::new(Semaphore::new(most));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = close.cancelled() => return,
        };
        // A connection beyond the bound is closed at once; one that breaks while it is accepted is the client's affair.
        if let Ok((stream, _)) = accepted
            && let Ok(place) = places.clone().try_acquire_owned()
        {
            connections.spawn(converse(stream, endpoint.clone(), place));
        }
    }
}

async fn converse(stream: TcpStream, endpoint: Arc<Endpoint>, _place: OwnedSemaphorePermit) {
    // Head and body leave in one write; without this the last segment would wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let abandoned = endpoint.abandoned.clone();
    let service = service_fn(move |request| {
        let endpoint = endpoint.clone();
        async move { Ok::<_, Infallible>(endpoint.answer(request).await) }
    });
    let connection = http1::Builder::new().max_buf_size(HEAD_BYTES).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // How a connection to a process ends says nothing: the process's own end does.
        _ = connection => {}
        () = abandoned.cancelled() => {}
    }
}

impl Endpoint {
    pub fn new(function: Arc<Shared>, sandbox: SandboxId) -> Self {
        Self { function, sandbox, extensions: Extensions::default(), abandoned: CancellationToken::new() }
    }

    /// Tells extensions that the end is near.
    pub fn shut_down(&self, reason: &'static str) {
        self.extensions.shut_down(reason, (self.function.clock)());
    }

    /// Cuts all connections.
    pub fn abandon(&self) {
        self.abandoned.cancel();
    }

    /// Waits until everything is cut.
    pub async fn abandoned(&self) {
        self.abandoned.cancelled().await;
    }

    /// The function that the process runs.
    pub fn function_name(&self) -> &str {
        &self.function.definition.name
    }

    /// The id of the request that what the process writes belongs to, where it works on one at a time.
    pub fn current_request(&self) -> Option<Arc<str>> {
        self.function.pool().request(self.sandbox)
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (request.method(), segments.as_slice()) {
            (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => self.next().await,
            (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
                self.response(id, request).await
            }
            (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => self.error(id, request).await,
            (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => self.init_error(request).await,
            (&Method::GET, ["2018-06-01", "ping"]) => text(StatusCode::OK, "pong"),
            (&Method::POST, ["2020-01-01", "extension", "register"]) => self.register(request).await,
            (&Method::GET, ["2020-01-01", "extension", "event", "next"]) => {
                self.extensions.next(request.headers()).await
            }
            (&Method::POST, ["2020-01-01", "extension", "init" | "exit", "error"]) => accepted(),
            (&Method::PUT, ["2020-08-15", "logs"]) => answer::unsupported("Logs"),
            (&Method::PUT, ["2022-07-01", "telemetry"]) => answer::unsupported("Telemetry"),
            _ => not_found(),
        }
    }

    /// Waits for an event as long as it takes: runtimes take an empty answer for the end of the world.
    async fn next(&self) -> Answer {
        let next = self.function.pool().poll(Instant::now(), self.sandbox);
        let delivery = match next {
            Next::Deliver(delivery) => delivery,
            Next::Wait(event) => match event.await {
                Ok(delivery) => delivery,
                Err(_) => return refused(Refusal::State),
            },
            Next::Refuse => return refused(Refusal::State),
        };
        let function = &self.function;
        let left = delivery.deadline.saturating_duration_since(Instant::now()).as_millis();
        let deadline_ms = (function.clock)().saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
        let arn = function.definition.arn();
        self.extensions.invoked(&delivery.event, &arn, deadline_ms);
        answer::event(&delivery.event, &arn, deadline_ms)
    }

    async fn response(&self, id: &str, request: Request<Incoming>) -> Answer {
        if let Err(refusal) = self.check(id, request.headers()) {
            return refused(refusal);
        }
        let mode = request.headers().get(RESPONSE_MODE).map(|mode| mode.as_bytes().to_ascii_lowercase());
        if mode.is_some_and(|mode| mode != b"streaming" && mode != b"buffered") {
            let failure = InvokeError::function("Runtime.InvalidResponseModeHeader", "");
            // The runtime hears of it below; that its caller is gone changes nothing.
            let _ = self.finish(id, Err(failure));
            return answer::invalid_mode();
        }
        match collect(request.into_body(), PAYLOAD_BYTES).await {
            Ok(Collected { bytes, trailers }) => {
                let failed =
                    header(trailers.as_ref(), ERROR_TYPE).map(|kind| InvokeError::from_runtime(Some(kind), b""));
                self.finished(id, failed.map_or(Ok(bytes), Err))
            }
            Err(BodyError::TooLarge) => {
                let text =
                    format!("Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES} bytes).");
                let _ = self.finish(id, Err(InvokeError::function("Function.ResponseSizeTooLarge", text)));
                answer::too_large()
            }
            Err(BodyError::Truncated) => answer::truncated(),
        }
    }

    async fn error(&self, id: &str, request: Request<Incoming>) -> Answer {
        if let Err(refusal) = self.check(id, request.headers()) {
            return refused(refusal);
        }
        let (parts, body) = request.into_parts();
        // Without a readable body it is an error all the same.
        let bytes = collect(body, PAYLOAD_BYTES).await.map(|collected| collected.bytes).unwrap_or_default();
        let failure = InvokeError::from_runtime(header(Some(&parts.headers), ERROR_TYPE), &bytes);
        self.finished(id, Err(failure))
    }

    async fn init_error(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let bytes = collect(body, PAYLOAD_BYTES).await.map(|collected| collected.bytes).unwrap_or_default();
        let failure = InvokeError::from_runtime(header(Some(&parts.headers), ERROR_TYPE), &bytes);
        let noted = self.function.pool().init_failed(Instant::now(), self.sandbox, failure);
        noted.map_or_else(refused, |()| accepted())
    }

    async fn register(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let Ok(Collected { bytes, .. }) = collect(body, PAYLOAD_BYTES).await else { return answer::truncated() };
        let definition = &self.function.definition;
        self.extensions.register(&parts.headers, &bytes, definition, request_id())
    }

    fn check(&self, id: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let nonce = header(Some(headers), INVOCATION_ID);
        self.function.pool().check(self.sandbox, id, nonce)
    }

    fn finish(&self, id: &str, outcome: Outcome) -> Result<(), Refusal> {
        self.function.pool().finish(Instant::now(), self.sandbox, id, outcome)
    }

    fn finished(&self, id: &str, outcome: Outcome) -> Answer {
        self.finish(id, outcome).map_or_else(refused, |()| accepted())
    }
}

fn header<'h>(headers: Option<&'h HeaderMap>, name: &str) -> Option<&'h str> {
    headers?.get(name)?.to_str().ok()
}
