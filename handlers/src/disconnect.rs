//! `$disconnect`: forgetting a connection.
//!
//! Invariant: of any number of events for one connection, also at once, exactly one has effects: the one whose removal
//! returned the record. A record that expired or never was is fine.

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};

use crate::app::{HandlerError, MessagingApp, connection_id, status_response};
use crate::channel::Channel;
use crate::id::ConnectionId;

impl MessagingApp {
    /// Handles `$disconnect`: forgets the connection. Safe to repeat.
    ///
    /// # Errors
    /// [`HandlerError`] when the store failed: the record is still there and the same event again is right.
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
