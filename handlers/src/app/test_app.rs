//! The application on memory adapters and a manual clock, for tests of the handlers.
//!
//! Events are typed values, as the server passes them. [`FaultInjector`] makes ports fail or append messages at chosen
//! points.

mod fault_injector;

use std::sync::Arc;

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use serde_json::{Value, json};

pub(crate) use self::fault_injector::{FaultInjector, FaultyDelivery, FaultyLog};
use super::{AccessRules, MessagingApp};
use crate::channel::{Channel, ChannelName, Epoch};
use crate::channel_policy::{CHANNELS_KEY, ChannelGrants, PresenceNames};
use crate::id::{ConnectionId, MessageId, TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::limits::Limits;
use crate::memory::{ChannelRetention, ManualClock, MemoryConnections, MemoryDelivery, MemoryLog, MemoryRevocations};
use crate::ports::{AppendRequest, MessageSender, Timestamp, UnlimitedBudget};

pub(crate) const NOW: Timestamp = Timestamp(1_795_000_000_000);
const LARGE_RETENTION: ChannelRetention = ChannelRetention { max_entries: 20_000, max_bytes: 64 << 20 };

pub(crate) struct TestApp {
    pub(crate) app: MessagingApp,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) delivery: Arc<MemoryDelivery>,
    pub(crate) faults: Arc<FaultInjector>,
}

/// A connected client.
pub(crate) struct ConnectedClient {
    pub(crate) id: ConnectionId,
    pub(crate) identity: Identity,
    pub(crate) grants: ChannelGrants,
}

impl TestApp {
    pub(crate) fn new() -> Self {
        Self::with_retention(LARGE_RETENTION)
    }

    pub(crate) fn with_retention(retention: ChannelRetention) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let connections = Arc::new(MemoryConnections::new(clock.clone()));
        let delivery = Arc::new(MemoryDelivery::new(connections.clone()));
        let faults = Arc::new(FaultInjector::new(MemoryLog::new(Epoch("e1".into()), retention), clock.clone()));
        let app = MessagingApp {
            connections,
            log: Arc::new(FaultyLog(faults.clone())),
            delivery: Arc::new(FaultyDelivery { inner: delivery.clone(), faults: faults.clone() }),
            clock: clock.clone(),
            access: AccessRules {
                budget: Arc::new(UnlimitedBudget),
                revocations: Arc::new(MemoryRevocations::default()),
                presence_names: PresenceNames::default(),
            },
            limits: Limits::default(),
        };
        Self { app, clock, delivery, faults }
    }

    /// Runs `$connect` of a new connection.
    pub(crate) async fn connect(&self, id: &str, user: &str, role: Role) -> ConnectedClient {
        let identity = test_identity(user, role);
        let grants = ChannelGrants::default();
        let client = ConnectedClient { id: ConnectionId::parse(id).unwrap(), identity, grants };
        let response = self.app.handle_connect(websocket_event(&client, "$connect", None)).await.unwrap();
        assert_eq!(response.status_code, 200);
        client
    }

    pub(crate) async fn disconnect(&self, client: &ConnectedClient) {
        let response = self.app.handle_disconnect(websocket_event(client, "$disconnect", None)).await.unwrap();
        assert_eq!(response.status_code, 200);
    }

    /// Sends a frame and returns the answer as JSON.
    pub(crate) async fn send_frame(&self, client: &ConnectedClient, frame: Value) -> Value {
        serde_json::from_str(&self.send_text(client, &frame.to_string()).await).unwrap()
    }

    /// Sends a frame and returns the answer's text.
    pub(crate) async fn send_text(&self, client: &ConnectedClient, frame: &str) -> String {
        let response = self.app.handle_message(websocket_event(client, "$default", Some(frame))).await.unwrap();
        assert_eq!(response.status_code, 200);
        response_text(response)
    }

    /// Returns the frames that the client received through delivery since the last call.
    pub(crate) fn received_frames(&self, client: &ConnectedClient) -> Vec<Value> {
        self.delivery.take_frames(&client.id).iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect()
    }

    /// Appends messages to a channel without delivering them, as if no client were connected.
    pub(crate) async fn append_messages(&self, channel: &str, count: u64) {
        let channel = test_channel(channel);
        let sender = MessageSender { user: UserId::parse("writer").unwrap(), role: Role::Service };
        let start = self.app.log.heads(std::slice::from_ref(&channel)).await.unwrap()[0].offset.0;
        for number in start + 1..=start + count {
            let body = serde_json::value::to_raw_value(&json!({ "n": number })).unwrap();
            let id = MessageId::parse(&format!("w{number}")).unwrap();
            let (channel, sender) = (channel.clone(), sender.clone());
            self.app.log.append(AppendRequest { channel, sender, id, sent_at: NOW, body: body.into() }).await.unwrap();
        }
    }

    pub(crate) async fn joined_channels(&self, client: &ConnectedClient) -> Vec<String> {
        let record = self.app.connections.find_connection(&client.id).await.unwrap().unwrap();
        record.channels.iter().map(|channel| channel.name.to_string()).collect()
    }
}

pub(crate) fn test_channel(name: &str) -> Channel {
    ChannelName::parse(name).unwrap().in_tenant(TenantId::default_tenant())
}

pub(crate) fn test_identity(user: &str, role: Role) -> Identity {
    Identity { tenant: TenantId::default_tenant(), user: UserId::parse(user).unwrap(), role, expires_at: None }
}

/// Returns an event as API Gateway sends it.
pub(crate) fn websocket_event(
    client: &ConnectedClient,
    route: &str,
    body: Option<&str>,
) -> ApiGatewayWebsocketProxyRequest {
    let mut event = ApiGatewayWebsocketProxyRequest::default();
    event.request_context.connection_id = Some(client.id.to_string());
    event.request_context.route_key = Some(route.to_owned());
    event.request_context.connected_at = NOW.0;
    let granted = client.grants.context_value().map(|channels| (CHANNELS_KEY.to_owned(), Value::from(channels)));
    event.request_context.authorizer.fields = client.identity.to_context().into_iter().chain(granted).collect();
    event.body = body.map(str::to_owned);
    event
}

pub(crate) fn response_text(response: ApiGatewayProxyResponse) -> String {
    match response.body {
        Some(aws_lambda_events::encodings::Body::Text(text)) => text,
        other => panic!("the response has no text body: {other:?}"),
    }
}

/// Returns the offsets of the `message` frames among `frames`.
pub(crate) fn message_offsets(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter(|frame| frame["type"] == "message").map(|frame| frame["offset"].as_u64().unwrap()).collect()
}
