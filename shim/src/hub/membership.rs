//! Identity and joined channels of a connection, attached to it by the messaging application.

use gateway::authorizer::{AuthorizerContext, ContextValue};
use handlers::channel::Channel;
use handlers::identity::{EXPIRY_KEY, Identity};
use parking_lot::Mutex;

use super::action_budgets::UnitBucket;
use crate::connection::Connection;

/// Identity of the client and the channels that the connection joined.
pub(super) struct Membership {
    /// The client's identity.
    pub(super) identity: Identity,
    /// The rooms and topics that the connection joined, to remove it from their groups when it closes.
    pub(super) joined_channels: Mutex<Vec<Channel>>,
    /// Budget of the connection for actions that read much.
    pub(super) budget: UnitBucket,
}

impl Membership {
    /// Reads the identity from the context of the messaging application's authorizer. Returns `None` for other
    /// contexts.
    pub(super) fn from_context(context: &AuthorizerContext) -> Option<Self> {
        let text = |key: &str| context.value_of(key).and_then(ContextValue::as_text);
        let expires_at = context.value_of(EXPIRY_KEY).and_then(|value| match value {
            ContextValue::Text(text) => text.parse().ok(),
            ContextValue::Number(number) => number.as_i64(),
            ContextValue::Flag(_) => None,
        });
        let identity = Identity::from_fields(text, expires_at).ok()?;
        Some(Self { identity, joined_channels: Mutex::default(), budget: UnitBucket::default() })
    }

    /// Returns the membership that was attached when the connection opened.
    pub(super) fn of(connection: &Connection) -> Option<&Self> {
        connection.membership()
    }
}
