//! Number of DynamoDB requests per client action.
//!
//! A test compares the numbers with the table in `docs/OPERATIONS.md`. An additional request raises the cost of every
//! action in every deployment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use handlers::app::MessagingApp;
use handlers::id::ConnectionId;
use handlers_aws::retries::with_conflict_retries;
use handlers_aws::wiring;
use serde_json::{Value, json};

use crate::gateway::{GatewayStub, PostReply};
use crate::support::{Database, NOW, database, lambda_clock, sdk};

/// Number of requests by operation.
pub type Counts = BTreeMap<String, u32>;

/// Interceptor that counts requests, including retries.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Counts>>);

impl Recorder {
    /// Creates a client whose requests are counted.
    pub fn client(&self, sdk: &SdkConfig) -> Client {
        let config = aws_sdk_dynamodb::config::Builder::from(sdk).interceptor(self.clone());
        Client::from_conf(with_conflict_retries(config).build())
    }

    /// Returns the counts since the last call.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Intercept for Recorder {
    fn name(&self) -> &'static str {
        "Recorder"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default();
        *self.0.lock().unwrap().entry(operation.to_owned()).or_default() += 1;
        Ok(())
    }
}

/// The application as the functions build it, with a counting DynamoDB client.
struct World {
    app: MessagingApp,
    gateway: GatewayStub,
    recorder: Recorder,
}

impl World {
    async fn new(database: &Database) -> Self {
        let gateway = GatewayStub::start().await;
        let recorder = Recorder::default();
        let config = database.app_config(format!("{}/prod", gateway.stub.endpoint())).await;
        let management = wiring::management_client(&sdk(&gateway.stub.endpoint()).await, &config.management_endpoint);
        let app = wiring::build_app(&recorder.client(&database.sdk), management, &config, lambda_clock());
        Self { app, gateway, recorder }
    }

    async fn connect(&self, id: &str, user: &str, role: &str) -> Counts {
        self.gateway.set_reply(&ConnectionId::parse(&connection_id(id)).unwrap(), PostReply::Accepted);
        let response = self.app.handle_connect(event(id, user, role, "$connect", None)).await.unwrap();
        assert_eq!(response.status_code, 200);
        self.recorder.take()
    }

    async fn disconnect(&self, id: &str, user: &str, role: &str) -> Counts {
        let response = self.app.handle_disconnect(event(id, user, role, "$disconnect", None)).await.unwrap();
        assert_eq!(response.status_code, 200);
        self.recorder.take()
    }

    async fn send_frame(&self, id: &str, user: &str, frame: Value, reply: &str) -> Counts {
        let response =
            self.app.handle_message(event(id, user, "user", "$default", Some(&frame.to_string()))).await.unwrap();
        let text = text(response);
        assert!(text.contains(&format!("\"type\":\"{reply}\"")), "{frame} was answered {text}");
        self.recorder.take()
    }
}

fn connection_id(id: &str) -> String {
    format!("{id:A<15}=")
}

/// Returns the text of the reply frame.
pub fn text(response: ApiGatewayProxyResponse) -> String {
    match response.body {
        Some(aws_lambda_events::encodings::Body::Text(text)) => text,
        other => panic!("a reply is text, not {other:?}"),
    }
}

/// Returns an event as API Gateway sends it.
pub fn event(id: &str, user: &str, role: &str, route: &str, body: Option<&str>) -> ApiGatewayWebsocketProxyRequest {
    let event = json!({
        "requestContext": {
            "routeKey": route, "connectionId": connection_id(id), "connectedAt": NOW, "requestTimeEpoch": NOW,
            "apiId": "api", "stage": "prod", "domainName": "example", "identity": {},
            "authorizer": {"userId": user, "role": role, "tenant": "acme", "principalId": user},
        },
        "body": body, "isBase64Encoded": false,
    });
    serde_json::from_value(event).unwrap()
}

/// Returns the counts of the page's row `action`.
fn documented(action: &str) -> Counts {
    let page = include_str!("../../../../docs/OPERATIONS.md");
    let row = page.lines().find(|line| line.starts_with(&format!("| {action} |")));
    let row = row.unwrap_or_else(|| panic!("docs/OPERATIONS.md has no row '{action}'"));
    let requests = row.split('|').nth(2).unwrap().trim();
    let parse = |part: &str| {
        let (count, operation) = part.trim().split_once(' ').unwrap_or_else(|| panic!("'{part}' in row '{action}'"));
        (operation.to_owned(), count.parse().unwrap_or_else(|_| panic!("'{part}' in row '{action}'")))
    };
    if requests == "none" { Counts::new() } else { requests.split(',').map(parse).collect() }
}

fn check(differences: &mut Vec<String>, action: &str, counted: &Counts) {
    if *counted != documented(action) {
        differences.push(format!("{action}: counted {counted:?}, documented {:?}", documented(action)));
    }
}

#[tokio::test]
async fn requests_to_dynamodb_match_the_documented_numbers() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    let mut differences = Vec::new();
    check(&mut differences, "connect, first of a user", &world.connect("a1", "alice", "user").await);
    check(&mut differences, "connect, another of a user", &world.connect("a2", "alice", "user").await);
    check(&mut differences, "connect, of an admin", &world.connect("r1", "root", "admin").await);

    // The first message of a process also reads the table's epoch.
    world.send_frame("a1", "alice", json!({"action": "send", "id": "m0", "body": 0}), "ack").await;
    let send = |id: &str| json!({"action": "send", "id": id, "body": {"text": "hello"}});
    check(&mut differences, "message to a conversation", &world.send_frame("a1", "alice", send("m1"), "ack").await);
    check(
        &mut differences,
        "message to a conversation, repeated",
        &world.send_frame("a1", "alice", send("m1"), "ack").await,
    );
    let ping = json!({"action": "ping"});
    check(&mut differences, "ping", &world.send_frame("a1", "alice", ping, "pong").await);
    let typing = json!({"action": "send", "ephemeral": true, "body": 1});
    check(
        &mut differences,
        "ephemeral message to a conversation",
        &world.send_frame("a1", "alice", typing, "ack").await,
    );

    let join = json!({"action": "join", "channels": ["room:lobby"]});
    check(&mut differences, "join of a room", &world.send_frame("a1", "alice", join, "members").await);
    let to_room = json!({"action": "send", "id": "m2", "to": "room:lobby", "body": 1});
    check(&mut differences, "message to a room", &world.send_frame("a1", "alice", to_room, "ack").await);
    let history = json!({"action": "history", "channel": "conversation:alice"});
    check(&mut differences, "history", &world.send_frame("a1", "alice", history, "history").await);
    let resume = |offset: u64| {
        let channels = json!({"conversation:alice": {"offset": offset}, "everyone": {"offset": 0}});
        json!({"action": "resume", "channels": channels})
    };
    check(&mut differences, "resume, nothing missed", &world.send_frame("a2", "alice", resume(2), "resumed").await);
    check(&mut differences, "resume, one channel missed", &world.send_frame("a2", "alice", resume(0), "resumed").await);

    check(&mut differences, "disconnect, in a room", &world.disconnect("a1", "alice", "user").await);
    check(&mut differences, "disconnect, last of a user", &world.disconnect("a2", "alice", "user").await);
    check(&mut differences, "disconnect, repeated", &world.disconnect("a2", "alice", "user").await);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
