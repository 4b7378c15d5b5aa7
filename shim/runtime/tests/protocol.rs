//! Protocol tests of the Runtime API: the process only reports the address of its API, and the test acts as the
//! runtime.

#![expect(clippy::unwrap_used, reason = "a set-up that fails fails its test")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use runtime_api::{
    DEFAULT_SEARCH_PATH, FunctionDefinition, FunctionLimits, InvocationResult, InvokeError, LambdaFunction, Program,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Writes the address of its Runtime API into a pipe, then sleeps until it is stopped.
const BOOTSTRAP: &str = "#!/bin/sh\nprintf %s \"$AWS_LAMBDA_RUNTIME_API\" > \"$ADDRESS\"\nexec sleep 600\n";
const NOW_MS: u64 = 1_700_000_000_000;
const NEXT: &str = "/2018-06-01/runtime/invocation/next";

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

/// A function with one process, for which the test acts as the runtime.
struct TestFunction {
    function: Arc<LambdaFunction>,
    tasks: TaskTracker,
    directory: TempDir,
    /// Reported once by the process.
    address: OnceCell<String>,
}

struct ApiResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// A runtime's connection, and the address that it sends as `Host`.
struct Runtime(SendRequest<Body>, String);

impl TestFunction {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bootstrap = directory.path().join("bootstrap");
        std::fs::write(&bootstrap, BOOTSTRAP).unwrap();
        std::fs::set_permissions(&bootstrap, std::fs::Permissions::from_mode(0o755)).unwrap();
        let pipe = directory.path().join("address");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let definition = FunctionDefinition {
            name: "tested".to_owned(),
            program: Program::from_bootstrap(directory.path(), DEFAULT_SEARCH_PATH).unwrap(),
            partition: "aws".to_owned(),
            region: "eu-north-1".to_owned(),
            account_id: "123456789012".to_owned(),
            memory_mib: 256,
            environment: BTreeMap::from([("ADDRESS".to_owned(), pipe.display().to_string())]),
            availability_zone_id: None,
            library_path: None,
            user: None,
            supervisor: None,
            limits: FunctionLimits {
                timeout: Duration::from_secs(5),
                init_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(60),
                min_processes: 0,
                max_processes: 1,
                concurrency: 1,
                queue_capacity: 4,
            },
        };
        let function = LambdaFunction::start(definition, Arc::new(|| NOW_MS));
        Self { function: Arc::new(function), tasks: TaskTracker::new(), directory, address: OnceCell::new() }
    }

    fn invoke(&self, event: &'static str) -> JoinHandle<InvocationResult> {
        let function = self.function.clone();
        self.tasks.spawn(async move { function.invoke(Bytes::from_static(event.as_bytes())).await })
    }

    /// Returns the address of the Runtime API, once the process has reported it.
    async fn address(&self) -> String {
        let report = || tokio::fs::read_to_string(self.directory.path().join("address"));
        self.address.get_or_init(|| async { report().await.unwrap() }).await.clone()
    }

    /// Connects to the Runtime API of the process, which must have been started.
    async fn runtime(&self) -> Runtime {
        let address = self.address().await;
        let stream = TcpStream::connect(&address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(connection);
        Runtime(sender, address)
    }
}

impl Runtime {
    async fn call(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> ApiResponse {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", &self.1);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.ready().await.unwrap();
        let response = self.0.send_request(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        ApiResponse { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&mut self, path: &str) -> ApiResponse {
        self.call(Method::GET, path, &[], Full::default().boxed()).await
    }

    async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> ApiResponse {
        self.call(Method::POST, path, headers, Full::new(body.into()).boxed()).await
    }

    /// Gets an event and the path of its request.
    async fn next(&mut self) -> (ApiResponse, String) {
        let response = self.get(NEXT).await;
        let id = response.text("lambda-runtime-aws-request-id");
        (response, format!("/2018-06-01/runtime/invocation/{id}"))
    }
}

impl ApiResponse {
    fn text(&self, header: &str) -> String {
        self.headers[header].to_str().unwrap().to_owned()
    }

    fn is(&self, status: u16, kind: &str) {
        let value: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!((self.status.as_u16(), value["errorType"].as_str()), (status, Some(kind)), "{value}");
        assert_eq!(self.text("content-type"), "application/json");
        assert!(self.body.ends_with(b"\n"));
    }

    fn is_accepted(&self) {
        assert_eq!((self.status.as_u16(), &*self.body), (202, &b"{\"status\":\"OK\"}\n"[..]));
    }
}

#[tokio::test]
async fn an_event_has_its_headers_and_its_response_reaches_the_caller() {
    let tested = TestFunction::new();
    let outcome = tested.invoke("{\"a\":1}");
    let mut runtime = tested.runtime().await;
    assert_eq!(runtime.get("/2018-06-01/ping").await.body, "pong");
    let (event, request) = runtime.next().await;
    assert_eq!((event.status.as_u16(), &*event.body), (200, &b"{\"a\":1}"[..]));
    assert_eq!(event.text("content-type"), "application/json");
    assert_eq!(event.text("content-length"), "7");
    let deadline: u64 = event.text("lambda-runtime-deadline-ms").parse().unwrap();
    assert!((NOW_MS + 1..=NOW_MS + 5000).contains(&deadline), "{deadline}");
    let arn = "arn:aws:lambda:eu-north-1:123456789012:function:tested";
    assert_eq!(event.text("lambda-runtime-invoked-function-arn"), arn);
    assert!(event.text("lambda-runtime-trace-id").starts_with("Root=1-6553f100-"));
    let (again, _) = runtime.next().await;
    assert_eq!(again.text("lambda-runtime-invocation-id"), event.text("lambda-runtime-invocation-id"));
    runtime.post(&format!("{request}/response"), &[], "{\"b\":2}").await.is_accepted();
    assert_eq!(outcome.await.unwrap().unwrap(), "{\"b\":2}");
    tested.function.stop().await;
    assert_eq!(tested.function.process_count(), 0);
}

#[tokio::test]
async fn out_of_order_responses_are_rejected() {
    let tested = TestFunction::new();
    let outcome = tested.invoke("{}");
    let mut runtime = tested.runtime().await;
    let early = runtime.post("/2018-06-01/runtime/invocation/any/response", &[], "{}").await;
    early.is(403, "InvalidStateTransition");
    let (event, request) = runtime.next().await;
    let response = format!("{request}/response");
    runtime.post("/2018-06-01/runtime/invocation/any/response", &[], "{}").await.is(400, "InvalidRequestID");
    let old = [("lambda-runtime-invocation-id", "of-another-invocation")];
    runtime.post(&response, &old, "{}").await.is(400, "InvalidRequestID");
    runtime.post("/2018-06-01/runtime/init/error", &[], "{}").await.is(403, "InvalidStateTransition");
    let own = event.text("lambda-runtime-invocation-id");
    runtime.post(&response, &[("lambda-runtime-invocation-id", &own)], "{}").await.is_accepted();
    runtime.post(&response, &[], "{}").await.is(403, "InvalidStateTransition");
    assert!(outcome.await.unwrap().is_ok());
    assert_eq!(runtime.get("/2018-06-01/runtime/nothing").await.status, StatusCode::NOT_FOUND);
    tested.function.stop().await;
}

#[tokio::test]
async fn failures_of_every_kind_are_function_errors() {
    let tested = TestFunction::new();
    let mut outcome = tested.invoke("{}");
    let mut runtime = tested.runtime().await;
    let (_, request) = runtime.next().await;
    let body = r#"{"errorType":"KeyError","errorMessage":"no such key","stackTrace":[]}"#;
    runtime.post(&format!("{request}/error"), &[], body).await.is_accepted();
    assert_eq!(outcome.await.unwrap(), Err(function_error("KeyError", "no such key")));

    outcome = tested.invoke("{}");
    let (_, request) = runtime.next().await;
    let cause = "x".repeat(1024 * 1024);
    let headers =
        [("lambda-runtime-function-error-type", "Runtime.Oops"), ("lambda-runtime-function-xray-error-cause", &*cause)];
    runtime.post(&format!("{request}/error"), &headers, "not JSON").await.is_accepted();
    assert_eq!(outcome.await.unwrap(), Err(function_error("Runtime.Oops", "")));

    outcome = tested.invoke("{}");
    let (_, request) = runtime.next().await;
    let large = vec![b'x'; 6 * 1024 * 1024 + 101];
    runtime.post(&format!("{request}/response"), &[], large).await.is(413, "RequestEntityTooLarge");
    assert!(
        matches!(outcome.await.unwrap(), Err(InvokeError::Function { kind, .. }) if kind == "Function.ResponseSizeTooLarge")
    );

    outcome = tested.invoke("{}");
    let (_, request) = runtime.next().await;
    let mode = [("lambda-runtime-function-response-mode", "sideways")];
    runtime.post(&format!("{request}/response"), &mode, "{}").await.is(400, "InvalidFunctionResponseMode");
    assert_eq!(outcome.await.unwrap(), Err(function_error("Runtime.InvalidResponseModeHeader", "")));
    tested.function.stop().await;
}

#[tokio::test]
async fn a_streamed_response_is_read_to_its_end_with_its_trailers() {
    let tested = TestFunction::new();
    let headers = [
        ("lambda-runtime-function-response-mode", "streaming"),
        ("trailer", "Lambda-Runtime-Function-Error-Type"),
        ("transfer-encoding", "chunked"),
    ];
    let data = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
    let mut outcome = tested.invoke("{}");
    let mut runtime = tested.runtime().await;
    let (_, request) = runtime.next().await;
    let stream = chunked(vec![data("{\"status"), data("Code\":200}")]);
    runtime.call(Method::POST, &format!("{request}/response"), &headers, stream).await.is_accepted();
    assert_eq!(outcome.await.unwrap().unwrap(), "{\"statusCode\":200}");

    outcome = tested.invoke("{}");
    let (_, request) = runtime.next().await;
    let mut trailers = HeaderMap::new();
    trailers.insert("lambda-runtime-function-error-type", "Function.Broke".parse().unwrap());
    let stream = chunked(vec![data("{"), Ok(Frame::trailers(trailers))]);
    runtime.call(Method::POST, &format!("{request}/response"), &headers, stream).await.is_accepted();
    assert_eq!(outcome.await.unwrap(), Err(function_error("Function.Broke", "")));
    tested.function.stop().await;
}

#[tokio::test]
async fn an_initialization_error_reaches_the_caller() {
    let tested = TestFunction::new();
    let outcome = tested.invoke("{}");
    let mut runtime = tested.runtime().await;
    let body = r#"{"errorType":"Runtime.ImportModuleError","errorMessage":"no module named app"}"#;
    runtime.post("/2018-06-01/runtime/init/error", &[], body).await.is_accepted();
    assert_eq!(outcome.await.unwrap(), Err(function_error("Runtime.ImportModuleError", "no module named app")));
    assert_eq!(tested.function.process_count(), 0, "a process that does not exit by itself is killed");
    tested.function.stop().await;
}

#[tokio::test]
async fn internal_extensions_receive_invoke_events() {
    let tested = TestFunction::new();
    let outcome = tested.invoke("{}");
    let (mut runtime, path) = (tested.runtime().await, "/2020-01-01/extension");
    let nameless = runtime.post(&format!("{path}/register"), &[], "{\"events\":[]}").await;
    nameless.is(403, "Extension.InvalidExtensionName");
    let name = [("lambda-extension-name", "inside")];
    let shutdown = runtime.post(&format!("{path}/register"), &name, "{\"events\":[\"SHUTDOWN\"]}").await;
    shutdown.is(403, "Extension.InvalidEventType");
    let registered = runtime.post(&format!("{path}/register"), &name, "{\"events\":[\"INVOKE\"]}").await;
    let body: Value = serde_json::from_slice(&registered.body).unwrap();
    assert_eq!(body, json!({"functionName": "tested", "functionVersion": "$LATEST", "handler": "bootstrap"}));
    let identifier = registered.text("lambda-extension-identifier");
    runtime.get(&format!("{path}/event/next")).await.is(403, "Extension.InvalidExtensionIdentifier");
    let (event, request) = runtime.next().await;
    let headers = [("lambda-extension-identifier", &*identifier)];
    let received = runtime.call(Method::GET, &format!("{path}/event/next"), &headers, Full::default().boxed()).await;
    let received: Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(received["eventType"], "INVOKE");
    assert_eq!(received["requestId"], event.text("lambda-runtime-aws-request-id"));
    runtime.post(&format!("{request}/response"), &[], "{}").await.is_accepted();
    assert!(outcome.await.unwrap().is_ok());
    tested.function.stop().await;
}

#[tokio::test]
async fn header_names_have_the_case_of_lambda() {
    let tested = TestFunction::new();
    let outcome = tested.invoke("{}");
    let address = tested.address().await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET {NEXT} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n{}") {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0, "{text}");
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    for name in ["Lambda-Runtime-Aws-Request-Id", "Lambda-Runtime-Deadline-Ms", "Lambda-Runtime-Trace-Id"] {
        assert!(text.contains(&format!("\r\n{name}: ")), "{text}");
    }
    tested.function.stop().await;
    assert!(outcome.await.unwrap().is_err());
}

#[tokio::test]
async fn requests_of_web_pages_are_rejected_and_take_no_event() {
    let tested = TestFunction::new();
    let outcome = tested.invoke("{}");
    let mut page = tested.runtime().await;
    for header in [("host", "evil.example"), ("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        let rejected = page.call(Method::GET, NEXT, &[header], Full::default().boxed()).await;
        rejected.is(403, "Forbidden");
        assert!(!rejected.headers.contains_key("lambda-runtime-aws-request-id"), "{header:?}");
    }
    let (_, request) = tested.runtime().await.next().await;
    let forged = [("host", "evil.example")];
    page.post(&format!("{request}/response"), &forged, "forged").await.is(403, "Forbidden");
    page.post(&format!("{request}/response"), &[], "{}").await.is_accepted();
    assert_eq!(outcome.await.unwrap().unwrap(), "{}");
    tested.function.stop().await;
}

fn function_error(kind: &str, message: &str) -> InvokeError {
    InvokeError::Function { kind: kind.to_owned(), message: message.to_owned() }
}

/// A body of these frames, sent in chunks.
fn chunked(frames: Vec<Result<Frame<Bytes>, std::convert::Infallible>>) -> Body {
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}
