//! Tests of the HTTP API on memory adapters: requests, responses and delivered frames.

mod errors;
mod listings;
mod pushes;
mod revocations;

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::app::AccessRules;
use crate::authorizer::{JwtClaims, KeySet, TokenSettings, mint_hs256};
use crate::channel::{Channel, ChannelName, Epoch};
use crate::channel_policy::PresenceNames;
use crate::id::{ConnectionId, TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::limits::Limits;
use crate::memory::{ChannelRetention, ManualClock, MemoryConnections, MemoryDelivery, MemoryLog, MemoryRevocations};
use crate::ports::{ClientConnection, Clock, ConnectionStore, Timestamp, UnlimitedBudget};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const API_KEY: &str = "key-0123456789abcdef";
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// An API with its adapters.
struct Fixture {
    api: MessagingApi,
    connections: Arc<MemoryConnections>,
    delivery: Arc<MemoryDelivery>,
}

impl Fixture {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
        let connections = Arc::new(MemoryConnections::new(Arc::clone(&clock)));
        let delivery = Arc::new(MemoryDelivery::new(Arc::clone(&connections) as Arc<dyn ConnectionStore>));
        let retention = ChannelRetention { max_entries: 1_000, max_bytes: 1 << 20 };
        let log = Arc::new(MemoryLog::new(Epoch(Arc::from("e1")), retention));
        let app = MessagingApp {
            connections: Arc::clone(&connections) as Arc<dyn ConnectionStore>,
            log,
            delivery: Arc::clone(&delivery) as Arc<dyn crate::ports::Delivery>,
            clock,
            access: AccessRules {
                budget: Arc::new(UnlimitedBudget),
                revocations: Arc::new(MemoryRevocations::default()),
                presence_names: PresenceNames::default(),
            },
            limits: Limits::default(),
        };
        Self { api: api(app), connections, delivery }
    }

    /// Opens a connection of the tenant `acme` that joined `channels`.
    async fn connect(&self, id: &str, user: &str, role: Role, channels: &[&str]) -> ConnectionId {
        self.connect_to("acme", id, user, role, channels).await
    }

    async fn connect_to(&self, tenant: &str, id: &str, user: &str, role: Role, channels: &[&str]) -> ConnectionId {
        let tenant = TenantId::parse(tenant).unwrap();
        let channels: BTreeSet<Channel> =
            channels.iter().map(|name| ChannelName::parse(name).unwrap().in_tenant(tenant.clone())).collect();
        let identity =
            Identity { tenant, user: UserId::parse(user).unwrap(), role, expires_at: Some(NOW.unix_seconds()) };
        let id = ConnectionId::parse(id).unwrap();
        self.connections
            .put_connection(&ClientConnection { id: id.clone(), identity, connected_at: NOW, channels })
            .await
            .unwrap();
        id
    }

    async fn send(&self, request: http::request::Builder, body: &[u8]) -> ApiResponse {
        ApiResponse::new(self.api.handle_request(request.body(Bytes::copy_from_slice(body)).unwrap()).await)
    }

    /// Sends a request with the API key of `acme`.
    async fn call(&self, method: &str, path: &str) -> ApiResponse {
        self.send(Request::builder().method(method).uri(path).header(API_KEY_HEADER, API_KEY), b"").await
    }

    async fn push(&self, body: &Value) -> ApiResponse {
        self.send(push_request(), body.to_string().as_bytes()).await
    }

    async fn push_keyed(&self, key: &str, body: &Value) -> ApiResponse {
        self.send(push_request().header("idempotency-key", key), body.to_string().as_bytes()).await
    }

    /// Returns the frames that a connection received since the last call.
    fn frames(&self, id: &ConnectionId) -> Vec<Value> {
        self.delivery.take_frames(id).iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect()
    }
}

fn api(app: MessagingApp) -> MessagingApi {
    let verifier = TokenVerifier::new(TokenSettings::new(KeySet::default().with_secret(SECRET).unwrap()));
    let keys = ApiKeys::default()
        .with_key(API_KEY, TenantId::parse("acme").unwrap(), UserId::parse("billing").unwrap())
        .unwrap();
    MessagingApi::new(Arc::new(app), Arc::new(verifier), keys)
}

fn push_request() -> http::request::Builder {
    Request::post("/v1/messages").header(API_KEY_HEADER, API_KEY).header("content-type", "application/json")
}

fn token(role: Role, exp: i64) -> String {
    let claims = JwtClaims {
        sub: "root".to_owned(),
        role,
        tenant: "acme".to_owned(),
        exp: Some(exp),
        iat: None,
        iss: None,
        aud: None,
        channels: None,
    };
    mint_hs256(SECRET, &claims).unwrap()
}

/// A response with its parsed body.
#[derive(Debug)]
struct ApiResponse {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Value,
}

impl ApiResponse {
    fn new(response: Response<Bytes>) -> Self {
        let (parts, body) = response.into_parts();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Self { status: parts.status, headers: parts.headers, body }
    }

    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(
            (self.status, &self.headers["content-type"]),
            (StatusCode::OK, &"application/json".parse().unwrap())
        );
        self.body
    }

    /// Checks that the body is a complete problem document and returns the last part of its type.
    #[track_caller]
    fn problem(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], json!(self.status.as_u16()));
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{self:?}");
        self.body["type"].as_str().unwrap().strip_prefix("urn:twinway:problem:").unwrap()
    }
}
