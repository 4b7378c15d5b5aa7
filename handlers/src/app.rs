//! The application over its four ports. Its event handlers are in `connect`, `disconnect` and `message`.
//!
//! Invariant: a handler's error means that the infrastructure failed, and the gateway answers for it; whatever a client
//! did wrong is answered with an `error` frame and status 200. The handlers keep no state between events.

mod presence;
mod reply;
#[cfg(test)]
pub(crate) mod world;

use std::sync::Arc;

use crate::id::InvalidId;
use crate::identity::InvalidIdentity;
use crate::limits::Limits;
use crate::ports::{Clock, ConnectionStore, Delivery, DeliveryError, LogError, MessageLog, StoreError};

pub(crate) use reply::{Caller, Failure, connection_id, respond, status};

/// The application, wired to one deployment's adapters. Cloning shares them.
///
/// A handler reads its event when it is called; its future holds no more of it than it needs, because an event is some
/// 2 KiB that every wrapping would move.
#[derive(Clone)]
pub struct App {
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
    Event(&'static str),
    /// The authorizer's context is not there or not ours: the API is deployed without this application's authorizer.
    #[error("the event names nobody")]
    Identity(#[from] InvalidIdentity),
    /// The clock broke its contract.
    #[error("the clock made an id that is none")]
    FreshId(#[from] InvalidId),
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
