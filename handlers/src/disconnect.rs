//! `$disconnect`: deletes the record of a closed connection and sends presence.
//!
//! Of several `$disconnect` events for one connection, also concurrent ones, exactly one has effects: the one whose
//! deletion returned the record. An expired or missing record is not an error.

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};

use crate::app::{HandlerError, MessagingApp, connection_id, status_response};
use crate::channel::Channel;
use crate::id::ConnectionId;

impl MessagingApp {
    /// Handles `$disconnect`: deletes the connection record and notifies of the change of presence. Idempotent.
    ///
    /// # Errors
    /// [`HandlerError`] if the store failed. The record then still exists, and the event may be retried.
    pub fn handle_disconnect(
        &self,
        event: ApiGatewayWebsocketProxyRequest,
    ) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
        disconnect(self.clone(), &event)
    }
}

fn disconnect(
    app: MessagingApp,
    event: &ApiGatewayWebsocketProxyRequest,
) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
    let id = connection_id(&event.request_context);
    async move { unregister_connection(&app, id?).await }
}

async fn unregister_connection(app: &MessagingApp, id: ConnectionId) -> Result<ApiGatewayProxyResponse, HandlerError> {
    if let Some(record) = app.connections.delete_connection(&id).await? {
        let channels: Vec<Channel> = record.channels.into_iter().collect();
        app.notify_offline(&record.id, &record.identity, &channels).await;
    }
    Ok(status_response(200))
}

#[cfg(test)]
mod tests;
