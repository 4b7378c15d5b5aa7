//! The messaging application: event handlers for API Gateway's event types.
//!
//! The handlers ([`connect`], [`disconnect`], [`message`], [`authorizer`], [`api`]) take events and read and write
//! state through the [`ports`]. The crate depends on no cloud SDK, Redis client, web server, environment variable
//! or system clock, so the same code runs in Lambda functions and inside a pod.
//!
//! ```
//! use std::sync::Arc;
//!
//! use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
//! use handlers::app::{AccessRules, MessagingApp};
//! use handlers::channel::Epoch;
//! use handlers::id::{ConnectionId, TenantId, UserId};
//! use handlers::identity::{Identity, Role};
//! use handlers::channel_policy::PresenceNames;
//! use handlers::limits::Limits;
//! use handlers::memory::{
//!     ChannelRetention, ManualClock, MemoryConnections, MemoryDelivery, MemoryLog, MemoryRevocations,
//! };
//! use handlers::ports::{Timestamp, UnlimitedBudget};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Timestamp(1_800_000_000_000);
//! let clock = Arc::new(ManualClock::new(now));
//! let connections = Arc::new(MemoryConnections::new(clock.clone()));
//! let delivery = Arc::new(MemoryDelivery::new(connections.clone()));
//! let retention = ChannelRetention { max_entries: 1_000, max_bytes: 1 << 20 };
//! let log = Arc::new(MemoryLog::new(Epoch("e1".into()), retention));
//! let (budget, revocations) = (Arc::new(UnlimitedBudget), Arc::new(MemoryRevocations::default()));
//! let access = AccessRules { budget, revocations, presence_names: PresenceNames::Rooms };
//! let app = MessagingApp { connections, log, delivery: delivery.clone(), clock, access, limits: Limits::default() };
//!
//! // API Gateway adds the context of the authorizer to every event of a connection.
//! let (tenant, user) = (TenantId::default_tenant(), UserId::parse("alice")?);
//! let alice = Identity { tenant, user, role: Role::User, expires_at: None };
//! let mut event = ApiGatewayWebsocketProxyRequest::default();
//! event.request_context.connection_id = Some("abcDEF-_1234567=".to_owned());
//! event.request_context.connected_at = now.0;
//! event.request_context.authorizer.fields = alice.to_context();
//! assert_eq!(app.handle_connect(event.clone()).await?.status_code, 200);
//!
//! // The response contains the `ack`. The message itself reaches all readers of the channel, its sender included.
//! event.body = Some(r#"{"action":"send","id":"m1","body":"hello"}"#.to_owned());
//! assert_eq!(app.handle_message(event).await?.status_code, 200);
//! let received = delivery.take_frames(&ConnectionId::parse("abcDEF-_1234567=")?);
//! assert!(received[0].starts_with(br#"{"type":"message","channel":"conversation:alice","epoch":"e1","offset":1"#));
//! # Ok(())
//! # }
//! ```

pub mod api;
pub mod app;
pub mod archive;
pub mod audience;
pub mod authorizer;
pub mod channel;
pub mod channel_policy;
pub mod config_value;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod connect;
pub mod disconnect;
pub mod frame;
pub mod id;
pub mod identity;
pub mod limits;
pub mod memory;
pub mod message;
pub mod ports;
