//! The five executables against a Runtime API stub: responses, malformed events, and errors of an incomplete
//! environment.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use bytes::Bytes;
use futures_util::FutureExt;
use handlers::authorizer::{Algorithm, JwtClaims, mint_hs256};
use handlers::identity::Role;
use http::{Method, Request, Response};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tests::eventually::with_timeout;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::counts::event;
use crate::faults::{DENIED, FailingDynamo, TABLE_NOT_FOUND, THROTTLED, THROUGHPUT};
use crate::stub::Stub;

const SECRET: &str = "the-secret-of-these-tests-is-long";

/// Process of a function and the Runtime API that sends it events.
struct Function {
    child: Child,
    _runtime: Stub,
    responses: mpsc::Receiver<(String, Value)>,
}

impl Function {
    /// Starts an executable that receives these events one after the other.
    async fn start(path: &str, environment: &[(&str, &str)], events: &[Value]) -> Self {
        let (sender, responses) = mpsc::channel(16);
        let pending = Arc::new(Mutex::new(events.iter().cloned().collect::<VecDeque<_>>()));
        let serve_request = move |request: Request<Bytes>| serve(pending.clone(), sender.clone(), request).boxed();
        let runtime = Stub::start(Arc::new(serve_request)).await;
        let mut command = Command::new(path);
        command.env_clear().env("AWS_LAMBDA_RUNTIME_API", runtime.address.to_string()).env("AWS_REGION", "us-east-1");
        command.env("AWS_LAMBDA_FUNCTION_NAME", "test").env("AWS_LAMBDA_FUNCTION_VERSION", "1");
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128").env("AWS_LAMBDA_LOG_GROUP_NAME", "group");
        command.env("AWS_LAMBDA_LOG_STREAM_NAME", "stream").env("RUST_LOG", "info").envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), _runtime: runtime, responses }
    }

    /// Returns the next posted result: `response` or `error`, and the body.
    async fn next_response(&mut self) -> (String, Value) {
        with_timeout("the function's response", self.responses.recv()).await.unwrap()
    }

    /// Kills the process and returns its standard output.
    async fn output(mut self) -> String {
        self.child.start_kill().unwrap();
        let output = with_timeout("the function to exit", self.child.wait_with_output()).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

async fn serve(
    events: Arc<Mutex<VecDeque<Value>>>,
    responses: mpsc::Sender<(String, Value)>,
    request: Request<Bytes>,
) -> Response<Bytes> {
    if request.method() == Method::POST {
        let kind = request.uri().path().rsplit('/').next().unwrap().to_owned();
        responses.send((kind, serde_json::from_slice(request.body()).unwrap_or_default())).await.unwrap();
        return Response::builder().status(202).body(Bytes::new()).unwrap();
    }
    let Some(event) = events.lock().unwrap().pop_front() else { return std::future::pending().await };
    Response::builder()
        .header("lambda-runtime-aws-request-id", "11111111-2222-3333-4444-555555555555")
        .header("lambda-runtime-deadline-ms", "4102444800000")
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:test")
        .header("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
        .body(Bytes::from(event.to_string()))
        .unwrap()
}

const STORES: [(&str, &str); 4] = [
    ("TWINWAY_CONNECTIONS_TABLE", "connections"),
    ("TWINWAY_MESSAGES_TABLE", "messages"),
    ("TWINWAY_MANAGEMENT_ENDPOINT", "http://127.0.0.1:1/prod"),
    ("TWINWAY_AUTH_SECRET", SECRET),
];

fn authorization(token: &str) -> Value {
    json!({
        "type": "REQUEST", "methodArn": "arn:aws:execute-api:us-east-1:123456789012:api/prod/$connect",
        "headers": {"Authorization": format!("Bearer {token}")}, "requestContext": {},
    })
}

/// Functions use the system's clock. Tokens with an `exp` in the far future are rejected.
fn in_an_hour() -> i64 {
    system_clock::current_time().unix_seconds() + 3_600
}

#[tokio::test]
async fn the_authorizer_accepts_valid_tokens_and_rejects_others_with_exactly_unauthorized() {
    let claims = JwtClaims {
        sub: "alice".to_owned(),
        role: Role::User,
        tenant: "default".to_owned(),
        exp: Some(in_an_hour()),
        iat: None,
        iss: None,
        aud: None,
        channels: None,
    };
    let token = mint_hs256(SECRET.as_bytes(), &claims).unwrap();
    let events = [authorization(&token), authorization("not.a.token"), json!({"type": "TOKEN"}), authorization(&token)];
    let mut function = Function::start(env!("CARGO_BIN_EXE_authorizer"), &STORES, &events).await;
    let (kind, policy) = function.next_response().await;
    assert_eq!((kind.as_str(), &policy["context"]["userId"]), ("response", &json!("alice")), "{policy}");
    let (kind, error) = function.next_response().await;
    assert_eq!((kind.as_str(), &error["errorMessage"]), ("error", &json!("Unauthorized")), "{error}");
    let (kind, error) = function.next_response().await;
    assert_eq!(
        (kind.as_str(), &error["errorType"]),
        ("error", &json!("&lambda_runtime::deserializer::DeserializeError")),
        "{error}"
    );
    assert_eq!(function.next_response().await.0, "response", "the process continues");
    let lines = function.output().await;
    let record = lines.lines().find(|line| line.contains("handshake rejected")).expect("a rejection is logged");
    let record: Value = serde_json::from_str(record).expect("a record is JSON");
    assert_eq!(record["span"]["requestId"], "11111111-2222-3333-4444-555555555555");
    assert!(record["span"]["xrayTraceId"].as_str().unwrap().starts_with("Root=1-5bef4de7"), "{record}");
    assert!(!lines.contains(&token) && !lines.contains("not.a.token"), "a token is in the log");
}

/// Tokens of an identity provider: the first token triggers fetching the keys, once, and the issuer is checked.
#[tokio::test]
async fn the_authorizer_fetches_the_keys_of_an_identity_provider() {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
    let key = EncodingKey::from_ed_der(pkcs8.as_ref());
    let set = json!({"keys": [Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap()]}).to_string();
    let fetched = Arc::new(AtomicU32::new(0));
    let counter = fetched.clone();
    let provider = move |_: Request<Bytes>| {
        counter.fetch_add(1, Ordering::SeqCst);
        let set = Bytes::from(set.clone());
        async move { Response::new(set) }.boxed()
    };
    let provider = Stub::start(Arc::new(provider)).await;
    let token = |issuer: &str| {
        let claims = json!({"sub": "alice", "role": "user", "tenant": "default", "iss": issuer, "exp": in_an_hour()});
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap()
    };
    let url = format!("{}/jwks.json", provider.endpoint());
    let environment = [
        ("TWINWAY_AUTH_JWKS_URL", url.as_str()),
        ("TWINWAY_AUTH_ISSUER", "https://idp.example/"),
        ("TWINWAY_AUTH_AUDIENCE", "*"),
    ];
    let valid = authorization(&token("https://idp.example/"));
    let events = [valid.clone(), authorization(&token("https://other.example/")), valid];
    let mut function = Function::start(env!("CARGO_BIN_EXE_authorizer"), &environment, &events).await;
    let (kind, policy) = function.next_response().await;
    assert_eq!((kind.as_str(), &policy["context"]["userId"]), ("response", &json!("alice")), "{policy}");
    let (kind, error) = function.next_response().await;
    assert_eq!((kind.as_str(), &error["errorMessage"]), ("error", &json!("Unauthorized")), "{error}");
    assert_eq!(function.next_response().await.0, "response");
    assert_eq!(fetched.load(Ordering::SeqCst), 1, "the key set is cached");
}

/// Response of a whole function when DynamoDB fails: a client receives `unavailable` and may retry, the operator finds
/// the cause in the log.
#[tokio::test]
async fn a_function_reports_errors_of_dynamodb() {
    for (error, expected) in [
        (TABLE_NOT_FOUND, "table 'messages' (or its index) does not exist"),
        (DENIED, "the function's role needs 'dynamodb:"),
        (THROTTLED, "\"code\":\"unavailable\""),
        (THROUGHPUT, "\"code\":\"unavailable\""),
    ] {
        let failing = FailingDynamo::start(400, error, u32::MAX).await;
        let endpoint = failing.stub.endpoint();
        let credentials = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example")];
        let environment: Vec<_> =
            STORES.into_iter().chain(credentials).chain([("AWS_ENDPOINT_URL_DYNAMODB", endpoint.as_str())]).collect();
        let frame = json!({"action": "send", "id": "m1", "body": "hello"}).to_string();
        let event = serde_json::to_value(event("a1", "alice", "user", "$default", Some(&frame))).unwrap();
        let mut function = Function::start(env!("CARGO_BIN_EXE_message"), &environment, &[event]).await;
        let (kind, response) = function.next_response().await;
        let unavailable = expected.contains("unavailable");
        assert_eq!(kind, if unavailable { "response" } else { "error" }, "{response}");
        let text = response[if unavailable { "body" } else { "errorMessage" }].as_str().unwrap();
        assert!(text.contains(expected), "{text}");
        let lines = function.output().await;
        assert!(unavailable || lines.contains(expected), "the log lacks {expected:?}: {lines}");
        assert!(!lines.contains("hello"), "a body is in the log");
    }
}

#[tokio::test]
async fn malformed_events_are_errors_of_the_invocation_and_not_of_the_process() {
    let malformed =
        [json!("text"), json!({}), json!([]), json!({"requestContext": {"connectedAt": 1, "requestTimeEpoch": 1}})];
    for path in [env!("CARGO_BIN_EXE_connect"), env!("CARGO_BIN_EXE_disconnect"), env!("CARGO_BIN_EXE_message")] {
        let mut function = Function::start(path, &STORES, &malformed).await;
        for event in &malformed {
            let (kind, _) = function.next_response().await;
            // `$connect` rejects an event without a user with 401, which is a response.
            assert!(kind == "error" || path.ends_with("connect"), "{path} returned {kind} for {event}");
        }
        assert!(function.child.try_wait().unwrap().is_none(), "{path} continues");
    }
}

#[tokio::test]
async fn the_api_responds_to_invalid_requests_itself() {
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/v1/status", "rawQueryString": "",
        "headers": {"host": "api.example"}, "isBase64Encoded": false,
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "api.example", "domainPrefix": "api", "requestId": "r",
            "routeKey": "$default", "stage": "$default", "time": "21/Nov/2026:00:00:00 +0000", "timeEpoch": 0,
            "http": {"method": "GET", "path": "/v1/status", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "u"},
        },
    });
    let mut function = Function::start(env!("CARGO_BIN_EXE_api"), &STORES, &[event, json!({"no": "event"})]).await;
    let (kind, response) = function.next_response().await;
    assert_eq!((kind.as_str(), &response["statusCode"]), ("response", &json!(401)), "{response}");
    assert!(response["body"].as_str().unwrap().contains("\"status\":401"), "{response}");
    assert_eq!(function.next_response().await.0, "error");
}

#[tokio::test]
async fn all_errors_of_the_environment_are_reported_together() {
    let environment = [
        ("TWINWAY_MANAGEMENT_ENDPOINT", "nowhere"),
        ("TWINWAY_AUTH_SECRET", "hush"),
        ("TWINWAY_LIMITS_BODY_BYTE", "4KiB"),
    ];
    let mut function = Function::start(env!("CARGO_BIN_EXE_api"), &environment, &[]).await;
    let status = with_timeout("the function to exit", function.child.wait()).await.unwrap();
    assert!(!status.success());
    let mut stderr = function.child.stderr.take().unwrap();
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut text).await.unwrap();
    for name in [
        "TWINWAY_CONNECTIONS_TABLE",
        "TWINWAY_MESSAGES_TABLE",
        "TWINWAY_MANAGEMENT_ENDPOINT",
        "TWINWAY_AUTH_SECRET",
        "TWINWAY_LIMITS_BODY_BYTE is not",
    ] {
        assert!(text.contains(name), "{name} is not in: {text}");
    }
    assert!(!text.contains("hush"), "{text}");
}
