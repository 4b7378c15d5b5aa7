//! The application: three event handlers over four ports.
//!
//! Invariant: a handler's error means that the infrastructure failed, and the gateway answers for it; whatever a client
//! did wrong is answered with an `error` frame and status 200. The handlers keep no state between events.

mod presence;
mod reply;
#[cfg(test)]
pub(crate) mod world;

use std::sync::Arc;

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};

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

impl App {
    /// Handles `$connect`: records the connection and lets it in.
    ///
    /// # Errors
    /// [`HandlerError`] when the store failed; the gateway then refuses the handshake with 502.
    pub fn connect(
        &self,
        event: ApiGatewayWebsocketProxyRequest,
    ) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
        crate::connect::connect(self.clone(), &event)
    }

    /// Handles `$disconnect`: forgets the connection. Safe to repeat.
    ///
    /// # Errors
    /// [`HandlerError`] when the store failed: the record is still there and the same event again is right.
    pub fn disconnect(
        &self,
        event: ApiGatewayWebsocketProxyRequest,
    ) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
        crate::disconnect::disconnect(self.clone(), &event)
    }

    /// Handles a message on a two-way route: the answer's `body` is exactly one frame for the sender.
    ///
    /// # Errors
    /// [`HandlerError`] when the infrastructure failed; the gateway then sends its `Internal server error` frame.
    pub fn message(
        &self,
        event: ApiGatewayWebsocketProxyRequest,
    ) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
        crate::message::message(self.clone(), event)
    }
}
