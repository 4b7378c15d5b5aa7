//! The application on memory adapters and a clock that stands still, for the handlers' tests.
//!
//! Events are typed values, as the shim hands them over. `Trouble` makes ports fail or act at chosen moments.

mod trouble;

use std::sync::Arc;

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use serde_json::{Value, json};

pub(crate) use self::trouble::{Trouble, TroubledDelivery, TroubledLog};
use super::App;
use crate::channel::{Channel, ChannelName, Epoch};
use crate::id::{ConnectionId, MessageId, TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::limits::Limits;
use crate::memory::{ManualClock, MemoryConnections, MemoryDelivery, MemoryLog, Retention};
use crate::ports::{Append, Sender, Timestamp};

pub(crate) const NOW: Timestamp = Timestamp(1_795_000_000_000);
const AMPLE: Retention = Retention { entries: 20_000, bytes: 64 << 20 };

pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) delivery: Arc<MemoryDelivery>,
    pub(crate) trouble: Arc<Trouble>,
}

/// A connected client.
pub(crate) struct Client {
    pub(crate) id: ConnectionId,
    pub(crate) identity: Identity,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::keeping(AMPLE)
    }

    pub(crate) fn keeping(retention: Retention) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let connections = Arc::new(MemoryConnections::new(clock.clone()));
        let delivery = Arc::new(MemoryDelivery::new(connections.clone()));
        let trouble = Arc::new(Trouble::new(MemoryLog::new(Epoch("e1".into()), retention), clock.clone()));
        let app = App {
            connections,
            log: Arc::new(TroubledLog(trouble.clone())),
            delivery: Arc::new(TroubledDelivery { inner: delivery.clone(), trouble: trouble.clone() }),
            clock: clock.clone(),
            limits: Limits::default(),
        };
        Self { app, clock, delivery, trouble }
    }

    /// Connects, and forgets what others were told of it.
    pub(crate) async fn connect(&self, id: &str, user: &str, role: Role) -> Client {
        let identity = identity(user, role);
        let client = Client { id: ConnectionId::parse(id).unwrap(), identity };
        let response = self.app.connect(event(&client, "$connect", None)).await.unwrap();
        assert_eq!(response.status_code, 200);
        client
    }

    pub(crate) async fn disconnect(&self, client: &Client) {
        let response = self.app.disconnect(event(client, "$disconnect", None)).await.unwrap();
        assert_eq!(response.status_code, 200);
    }

    /// Sends a frame and returns the one answer.
    pub(crate) async fn say(&self, client: &Client, frame: Value) -> Value {
        serde_json::from_str(&self.say_text(client, &frame.to_string()).await).unwrap()
    }

    /// Sends a frame and returns the answer's text.
    pub(crate) async fn say_text(&self, client: &Client, frame: &str) -> String {
        let response = self.app.message(event(client, "$default", Some(frame))).await.unwrap();
        assert_eq!(response.status_code, 200);
        text(response)
    }

    /// What a client was sent besides answers, since the last look.
    pub(crate) fn inbox(&self, client: &Client) -> Vec<Value> {
        self.delivery.take(&client.id).iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect()
    }

    /// Appends messages to a channel that nobody is delivered, as if while everyone was away.
    pub(crate) async fn write(&self, channel: &str, count: u64) {
        let channel = self::channel(channel);
        let sender = Sender { user: UserId::parse("writer").unwrap(), role: Role::Service };
        let start = self.app.log.heads(std::slice::from_ref(&channel)).await.unwrap()[0].offset.0;
        for number in start + 1..=start + count {
            let body = serde_json::value::to_raw_value(&json!({ "n": number })).unwrap();
            let id = MessageId::parse(&format!("w{number}")).unwrap();
            let (channel, sender) = (channel.clone(), sender.clone());
            self.app.log.append(Append { channel, sender, id, sent_at: NOW, body: body.into() }).await.unwrap();
        }
    }

    pub(crate) async fn joined(&self, client: &Client) -> Vec<String> {
        let record = self.app.connections.find(&client.id).await.unwrap().unwrap();
        record.channels.iter().map(|channel| channel.name.to_string()).collect()
    }
}

pub(crate) fn channel(name: &str) -> Channel {
    ChannelName::parse(name).unwrap().within(TenantId::default_tenant())
}

pub(crate) fn identity(user: &str, role: Role) -> Identity {
    Identity { tenant: TenantId::default_tenant(), user: UserId::parse(user).unwrap(), role, expires_at: None }
}

/// An event as the gateway makes it.
pub(crate) fn event(client: &Client, route: &str, body: Option<&str>) -> ApiGatewayWebsocketProxyRequest {
    let mut event = ApiGatewayWebsocketProxyRequest::default();
    event.request_context.connection_id = Some(client.id.to_string());
    event.request_context.route_key = Some(route.to_owned());
    event.request_context.connected_at = NOW.0;
    event.request_context.authorizer.fields = client.identity.to_context();
    event.body = body.map(str::to_owned);
    event
}

pub(crate) fn text(response: ApiGatewayProxyResponse) -> String {
    match response.body {
        Some(aws_lambda_events::encodings::Body::Text(text)) => text,
        other => panic!("the answer has no text: {other:?}"),
    }
}

/// Offsets of the `message` frames among some frames.
pub(crate) fn offsets(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter(|frame| frame["type"] == "message").map(|frame| frame["offset"].as_u64().unwrap()).collect()
}
