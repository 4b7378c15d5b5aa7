//! The application over its ports. Its event handlers are methods in `connect`, `disconnect` and `message`.
//!
//! A handler returns an error only when the infrastructure failed, and API Gateway then reports the failure to the
//! client. An error of the client is answered with an `error` frame and status 200. The handlers keep no state between
//! events.

mod presence;
mod reply;
mod revocation;
#[cfg(test)]
pub(crate) mod test_app;

use std::sync::Arc;

use crate::channel_policy::PresenceNames;
use crate::id::InvalidIdError;
use crate::identity::InvalidIdentityError;
use crate::limits::Limits;
use crate::ports::{
    ActionBudget, Clock, ConnectionStore, Delivery, DeliveryError, LogError, MessageLog, RevocationStore, StoreError,
};

pub(crate) use reply::{ActionError, EventCaller, connection_id, frame_response, status_response};

/// The messaging application with the adapters of one deployment. Clones share the adapters.
///
/// A handler copies the fields it needs from its event when it is called, and its future does not hold the event: an
/// event takes about 2 KiB, which every wrapper of the future would move.
#[derive(Clone)]
pub struct MessagingApp {
    /// Records of the open connections.
    pub connections: Arc<dyn ConnectionStore>,
    /// Messages of all channels.
    pub log: Arc<dyn MessageLog>,
    /// Sends frames to clients.
    pub delivery: Arc<dyn Delivery>,
    /// Current time and unique ids.
    pub clock: Arc<dyn Clock>,
    /// Restrictions of clients.
    pub access: AccessRules,
    /// Sizes and counts that requests may not exceed.
    pub limits: Limits,
}

/// What restricts the clients of the application in addition to its [`Limits`].
#[derive(Clone)]
pub struct AccessRules {
    /// Limits what one connection can cause.
    pub budget: Arc<dyn ActionBudget>,
    /// Tokens that are rejected before they expire.
    pub revocations: Arc<dyn RevocationStore>,
    /// Channels whose readers users may list by name.
    pub presence_names: PresenceNames,
}

/// An infrastructure or deployment failure that prevented a handler from completing.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The event lacks a field of WebSocket events: the route invokes the wrong function.
    #[error("the event has no valid '{0}'")]
    MissingField(&'static str),
    /// The authorizer's context is absent or has another format: the API is deployed without this application's
    /// authorizer.
    #[error("the authorizer context of the event is invalid")]
    Identity(#[from] InvalidIdentityError),
    /// The clock returned an id that violates the contract of [`Clock::fresh_id`].
    #[error("the clock returned an invalid message id")]
    FreshId(#[from] InvalidIdError),
    #[error("connection store operation failed")]
    Store(#[from] StoreError),
    #[error("message log operation failed")]
    Log(#[from] LogError),
    #[error("delivery failed")]
    Delivery(#[from] DeliveryError),
}
