//! The contract of every port as async functions, run against every adapter.
//!
//! Each suite has an `all` that takes a factory: it is called once a case and gives a fresh adapter (or a fresh prefix of a
//! shared store). A breach panics with what was expected. Cases run many calls at once on one task, which is true
//! concurrency for adapters that wait for a network; an in-process adapter adds a test with threads of its own.

pub mod archive;
pub mod connections;
pub mod delivery;
pub mod log;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::channel::{Channel, ChannelName};
use crate::id::{ConnectionId, MessageId, TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::ports::{AppendRequest, ClientConnection, MessageSender, Timestamp};

const VALID_NAMES: &str = "the suite's own names are valid";

fn tenant_id(name: &str) -> TenantId {
    TenantId::parse(name).expect(VALID_NAMES)
}

fn channel_from_key(key: &str) -> Channel {
    Channel::from_key(key).expect(VALID_NAMES)
}

/// An id as API Gateway makes them, because adapters that own the sockets know no others.
fn connection_id(text: &str) -> ConnectionId {
    ConnectionId::parse(&format!("{text:A<15}=")).expect(VALID_NAMES)
}

/// What [`connection_id`] made the id of.
fn short_id(id: &ConnectionId) -> &str {
    id.as_str().trim_end_matches(['A', '='])
}

/// A connection without channels.
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
