//! What the messaging application keeps for each connection.

use gateway::authorizer::{AuthorizerContext, ContextValue};
use handlers::channel::Channel;
use handlers::identity::{EXPIRY_KEY, Identity};
use parking_lot::Mutex;

use crate::connection::Connection;

/// Whose connection it is, and which channels it joined.
pub(super) struct Membership {
    /// Who the client is.
    pub(super) identity: Identity,
    /// The rooms and topics it joined, so that its end can be taken out of every group.
    pub(super) joined: Mutex<Vec<Channel>>,
}

impl Membership {
    /// The membership of a connection that the messaging application's authorizer let in.
    pub(super) fn from_context(context: &AuthorizerContext) -> Option<Self> {
        let text = |key: &str| context.value_of(key).and_then(ContextValue::as_text);
        let expires_at = context.value_of(EXPIRY_KEY).and_then(|value| match value {
            ContextValue::Text(text) => text.parse().ok(),
            ContextValue::Number(number) => number.as_i64(),
            ContextValue::Flag(_) => None,
        });
        let identity = Identity::from_fields(text, expires_at).ok()?;
        Some(Self { identity, joined: Mutex::default() })
    }

    /// The membership that was set when the connection opened.
    pub(super) fn of(connection: &Connection) -> Option<&Self> {
        connection.membership()
    }
}
