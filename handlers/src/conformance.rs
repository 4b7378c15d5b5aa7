//! Contract suites of the ports, run against every adapter.
//!
//! Each suite has a function `run_suite` that takes a factory. The factory is called once per case and returns a new
//! adapter, or a new prefix of a shared store. A violation panics with the expected behaviour. Cases run concurrent
//! calls on one task, which is real concurrency for adapters that wait for a network; in-process adapters add tests
//! with threads.
//!
//! ```
//! use std::sync::Arc;
//!
//! use handlers::channel::Epoch;
//! use handlers::conformance;
//! use handlers::memory::{ChannelRetention, MemoryLog};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let retention = ChannelRetention { max_entries: 1_000, max_bytes: 16 << 20 };
//! conformance::log::run_suite(async || Arc::new(MemoryLog::new(Epoch("e1".into()), retention)) as _).await;
//! # }
//! ```

pub mod archive;
pub mod budget;
pub mod connections;
pub mod delivery;
pub mod log;
pub mod revocations;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::channel::{Channel, ChannelName};
use crate::id::{ConnectionId, MessageId, TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::ports::{AppendRequest, ClientConnection, MessageSender, Timestamp};

const VALID_NAMES: &str = "names in the contract suite are valid";

fn tenant_id(name: &str) -> TenantId {
    TenantId::parse(name).expect(VALID_NAMES)
}

fn channel_from_key(key: &str) -> Channel {
    Channel::from_key(key).expect(VALID_NAMES)
}

/// Returns an id in the format of API Gateway, the only format that adapters which own sockets accept.
fn connection_id(text: &str) -> ConnectionId {
    ConnectionId::parse(&format!("{text:A<15}=")).expect(VALID_NAMES)
}

/// Returns the text that [`connection_id`] padded.
fn short_id(id: &ConnectionId) -> &str {
    id.as_str().trim_end_matches(['A', '='])
}

/// Returns a connection without channels.
fn client_connection(id: &str, of_tenant: &str, user: &str, role: Role, at: Timestamp) -> ClientConnection {
    let user = UserId::parse(user).expect(VALID_NAMES);
    let identity = Identity { tenant: tenant_id(of_tenant), user, role, expires_at: None };
    ClientConnection { id: connection_id(id), identity, connected_at: at, channels: BTreeSet::new() }
}

fn append_request(to: &Channel, user: &str, id: &str, body: &str) -> AppendRequest {
    AppendRequest {
        channel: to.clone(),
        sender: MessageSender { user: UserId::parse(user).expect(VALID_NAMES), role: Role::User },
        id: MessageId::parse(id).expect(VALID_NAMES),
        sent_at: Timestamp(1_795_000_000_000),
        body: Arc::from(RawValue::from_string(body.to_owned()).expect(VALID_NAMES)),
    }
}

fn everyone_channel(of_tenant: &str) -> Channel {
    ChannelName::Everyone.in_tenant(tenant_id(of_tenant))
}
