//! The application over its four ports. Its event handlers are in `connect`, `disconnect` and `message`.
//!
//! Invariant: a handler's error means that the infrastructure failed, and the gateway answers for it; whatever a client
//! did wrong is answered with an `error` frame and status 200. The handlers keep no state between events.

mod presence;
mod reply;
#[cfg(test)]
pub(crate) mod test_app;

use std::sync::Arc;

use crate::id::InvalidIdError;
use crate::identity::InvalidIdentityError;
use crate::limits::Limits;
use crate::ports::{Clock, ConnectionStore, Delivery, DeliveryError, LogError, MessageLog, StoreError};

pub(crate) use reply::{ActionError, EventCaller, connection_id, frame_response, status_response};

/// The application, wired to one deployment's adapters. Cloning shares them.
///
/// A handler reads its event when it is called; its future holds no more of it than it needs, because an event is some
/// 2 KiB that every wrapping would move.
#[derive(Clone)]
pub struct MessagingApp {
    /// Who is connected.
    pub connections: Arc<dyn ConnectionStore>,
    /// What was said.
    pub log: Arc<dyn MessageLog>,
    /// The way to the clients.
    pub delivery: Arc<dyn Delivery>,
    /// Time and fresh ids.
    pub clock: Arc<dyn Clock>,
    /// Limits of this deployment.
    pub limits: Limits,
}

/// Why an event could not be handled.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// The event is not one of a WebSocket API: the route is wired to the wrong function.
    #[error("the event has no usable '{0}'")]
    MissingField(&'static str),
    /// The authorizer's context is not there or not ours: the API is deployed without this application's authorizer.
    #[error("the event names nobody")]
    Identity(#[from] InvalidIdentityError),
    /// The clock broke its contract.
    #[error("the clock made an id that is none")]
    FreshId(#[from] InvalidIdError),
    /// The connection store failed.
    #[error("using the connection store")]
    Store(#[from] StoreError),
    /// The message log failed.
    #[error("using the message log")]
    Log(#[from] LogError),
    /// Delivery failed.
    #[error("delivering")]
    Delivery(#[from] DeliveryError),
}
