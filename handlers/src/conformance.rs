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
use crate::ports::{Append, Connection, Sender, Timestamp};

const VALID: &str = "the suite's own names are valid";

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect(VALID)
}

fn channel(key: &str) -> Channel {
    Channel::from_key(key).expect(VALID)
}

/// An id as API Gateway makes them, because adapters that own the sockets know no others.
fn connection_id(text: &str) -> ConnectionId {
    ConnectionId::parse(&format!("{text:A<15}=")).expect(VALID)
}

/// What [`connection_id`] made the id of.
fn short(id: &ConnectionId) -> &str {
    id.as_str().trim_end_matches(['A', '='])
}

/// A connection without channels.
fn connection(id: &str, of_tenant: &str, user: &str, role: Role, at: Timestamp) -> Connection {
    let user = UserId::parse(user).expect(VALID);
    let identity = Identity { tenant: tenant(of_tenant), user, role, expires_at: None };
    Connection { id: connection_id(id), identity, connected_at: at, channels: BTreeSet::new() }
}

fn append(to: &Channel, user: &str, id: &str, body: &str) -> Append {
    Append {
        channel: to.clone(),
        sender: Sender { user: UserId::parse(user).expect(VALID), role: Role::User },
        id: MessageId::parse(id).expect(VALID),
        sent_at: Timestamp(1_795_000_000_000),
        body: Arc::from(RawValue::from_string(body.to_owned()).expect(VALID)),
    }
}

fn everyone(of_tenant: &str) -> Channel {
    ChannelName::Everyone.within(tenant(of_tenant))
}
