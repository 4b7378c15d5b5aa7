//! The five executables under a Runtime API: answers, malformed events, and what they say when they are told too little.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use bytes::Bytes;
use futures_util::FutureExt;
use handlers::authorizer::{Algorithm, JwtClaims, mint_hs256};
use handlers::id::{TenantId, UserId};
use handlers::identity::Role;
use http::{Method, Request, Response};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tests::eventually::with_timeout;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::counts::event;
use crate::faults::{DENIED, Failing, NO_TABLE, THROTTLED, THROUGHPUT};
use crate::stub::Stub;

const SECRET: &str = "the-secret-of-these-tests-is-long";

/// A function's process and the Runtime API that feeds it.
struct Function {
    child: Child,
    _runtime: Stub,
    answers: mpsc::Receiver<(String, Value)>,
}

impl Function {
    /// Starts an executable that will be given these events, one after the other.
    async fn start(path: &str, environment: &[(&str, &str)], events: &[Value]) -> Self {
        let (sender, answers) = mpsc::channel(16);
        let waiting = Arc::new(Mutex::new(events.iter().cloned().collect::<VecDeque<_>>()));
        let answer = move |request: Request<Bytes>| serve(waiting.clone(), sender.clone(), request).boxed();
        let runtime = Stub::start(Arc::new(answer)).await;
        let mut command = Command::new(path);
        command.env_clear().env("AWS_LAMBDA_RUNTIME_API", runtime.address.to_string()).env("AWS_REGION", "us-east-1");
        command.env("AWS_LAMBDA_FUNCTION_NAME", "test").env("AWS_LAMBDA_FUNCTION_VERSION", "1");
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128").env("AWS_LAMBDA_LOG_GROUP_NAME", "group");
        command.env("AWS_LAMBDA_LOG_STREAM_NAME", "stream").env("RUST_LOG", "info").envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), _runtime: runtime, answers }
    }

    /// What it posted next: `response` or `error`, and the body.
    async fn answer(&mut self) -> (String, Value) {
        with_timeout("the function's answer", self.answers.recv()).await.unwrap()
    }

    /// Its standard output, once it is killed.
    async fn output(mut self) -> String {
        self.child.start_kill().unwrap();
        let output = with_timeout("the function's end", self.child.wait_with_output()).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

async fn serve(
    events: Arc<Mutex<VecDeque<Value>>>,
    answers: mpsc::Sender<(String, Value)>,
    request: Request<Bytes>,
) -> Response<Bytes> {
    if request.method() == Method::POST {
        let kind = request.uri().path().rsplit('/').next().unwrap().to_owned();
        answers.send((kind, serde_json::from_slice(request.body()).unwrap_or_default())).await.unwrap();
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

#[tokio::test]
async fn the_authorizer_lets_in_whom_it_knows_and_says_unauthorized_to_the_letter() {
    let claims = JwtClaims {
        sub: UserId::parse("alice").unwrap(),
        role: Role::User,
        tenant: TenantId::default_tenant(),
        exp: Some(4_000_000_000),
        iat: None,
        iss: None,
        aud: None,
    };
    let token = mint_hs256(SECRET.as_bytes(), &claims).unwrap();
    let events = [authorization(&token), authorization("not.a.token"), json!({"type": "TOKEN"}), authorization(&token)];
    let mut function = Function::start(env!("CARGO_BIN_EXE_authorizer"), &STORES, &events).await;
    let (kind, policy) = function.answer().await;
    assert_eq!((kind.as_str(), &policy["context"]["userId"]), ("response", &json!("alice")), "{policy}");
    let (kind, refusal) = function.answer().await;
    assert_eq!((kind.as_str(), &refusal["errorMessage"]), ("error", &json!("Unauthorized")), "{refusal}");
    let (kind, refusal) = function.answer().await;
    assert_eq!(
        (kind.as_str(), &refusal["errorType"]),
        ("error", &json!("&lambda_runtime::deserializer::DeserializeError")),
        "{refusal}"
    );
    assert_eq!(function.answer().await.0, "response", "it lives on");
    let lines = function.output().await;
    let refused = lines.lines().find(|line| line.contains("connection refused")).expect("a refusal is logged");
    let refused: Value = serde_json::from_str(refused).expect("a line is JSON");
    assert_eq!(refused["span"]["requestId"], "11111111-2222-3333-4444-555555555555");
    assert!(refused["span"]["xrayTraceId"].as_str().unwrap().starts_with("Root=1-5bef4de7"), "{refused}");
    assert!(!lines.contains(&token) && !lines.contains("not.a.token"), "a token is in the log");
}

/// Tokens of an identity provider: its keys are fetched when the first token needs them, once, and its name is checked.
#[tokio::test]
async fn the_authorizer_fetches_an_identity_providers_keys() {
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
        let claims =
            json!({"sub": "alice", "role": "user", "tenant": "default", "iss": issuer, "exp": 4_000_000_000_i64});
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap()
    };
    let url = format!("{}/jwks.json", provider.endpoint());
    let given = [("TWINWAY_AUTH_JWKS_URL", url.as_str()), ("TWINWAY_AUTH_ISSUER", "https://idp.example/")];
    let good = authorization(&token("https://idp.example/"));
    let events = [good.clone(), authorization(&token("https://other.example/")), good];
    let mut function = Function::start(env!("CARGO_BIN_EXE_authorizer"), &given, &events).await;
    let (kind, policy) = function.answer().await;
    assert_eq!((kind.as_str(), &policy["context"]["userId"]), ("response", &json!("alice")), "{policy}");
    let (kind, refusal) = function.answer().await;
    assert_eq!((kind.as_str(), &refusal["errorMessage"]), ("error", &json!("Unauthorized")), "{refusal}");
    assert_eq!(function.answer().await.0, "response");
    assert_eq!(fetched.load(Ordering::SeqCst), 1, "the set is kept");
}

/// What a whole function answers when DynamoDB does not do what it is asked: a client is told what it may try again, and the
/// operator what to mend.
#[tokio::test]
async fn a_function_says_what_dynamodb_refuses() {
    for (error, told) in [
        (NO_TABLE, "there is no table 'messages'"),
        (DENIED, "the function's role needs 'dynamodb:"),
        (THROTTLED, "\"code\":\"unavailable\""),
        (THROUGHPUT, "\"code\":\"unavailable\""),
    ] {
        let failing = Failing::start(400, error, u32::MAX).await;
        let endpoint = failing.stub.endpoint();
        let credentials = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example")];
        let given: Vec<_> =
            STORES.into_iter().chain(credentials).chain([("AWS_ENDPOINT_URL_DYNAMODB", endpoint.as_str())]).collect();
        let frame = json!({"action": "send", "id": "m1", "body": "hello"}).to_string();
        let event = serde_json::to_value(event("a1", "alice", "user", "$default", Some(&frame))).unwrap();
        let mut function = Function::start(env!("CARGO_BIN_EXE_message"), &given, &[event]).await;
        let (kind, answer) = function.answer().await;
        let passing = told.contains("unavailable");
        assert_eq!(kind, if passing { "response" } else { "error" }, "{answer}");
        let text = answer[if passing { "body" } else { "errorMessage" }].as_str().unwrap();
        assert!(text.contains(told), "{text}");
        let lines = function.output().await;
        assert!(passing || lines.contains(told), "the operator is not told {told:?}: {lines}");
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
            let (kind, _) = function.answer().await;
            // A `$connect` that names nobody is refused with 401, which is an answer.
            assert!(kind == "error" || path.ends_with("connect"), "{path} answered {event} with {kind}");
        }
        assert!(function.child.try_wait().unwrap().is_none(), "{path} lives on");
    }
}

#[tokio::test]
async fn the_api_answers_problems_itself() {
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
    let (kind, answer) = function.answer().await;
    assert_eq!((kind.as_str(), &answer["statusCode"]), ("response", &json!(401)), "{answer}");
    assert!(answer["body"].as_str().unwrap().contains("\"status\":401"), "{answer}");
    assert_eq!(function.answer().await.0, "error");
}

#[tokio::test]
async fn all_mistakes_of_the_environment_are_told_at_once() {
    let given = [("TWINWAY_MANAGEMENT_ENDPOINT", "nowhere"), ("TWINWAY_AUTH_SECRET", "hush")];
    let mut function = Function::start(env!("CARGO_BIN_EXE_api"), &given, &[]).await;
    let status = with_timeout("the function to give up", function.child.wait()).await.unwrap();
    assert!(!status.success());
    let mut stderr = function.child.stderr.take().unwrap();
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut text).await.unwrap();
    for name in
        ["TWINWAY_CONNECTIONS_TABLE", "TWINWAY_MESSAGES_TABLE", "TWINWAY_MANAGEMENT_ENDPOINT", "TWINWAY_AUTH_SECRET"]
    {
        assert!(text.contains(name), "{name} is not in: {text}");
    }
    assert!(!text.contains("hush"), "{text}");
}
