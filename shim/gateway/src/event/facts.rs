//! Constant data of a connection, which all its events contain.
//!
//! The facts do not change after `$connect`. They live as long as the connection, even when that is idle, so they
//! contain no headers and no query, and connections share their common parts. `Debug` shows neither address nor
//! context.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lambda_events::apigw::{ApiGatewayWebsocketProxyRequest, ApiGatewayWebsocketProxyRequestContext};

use super::wire::MESSAGE_DIRECTION;
use crate::api::WebSocketApi;
use crate::authorizer::AuthorizerContext;
use crate::id::GatewayId;
use crate::identity::RequestIdentity;
use crate::time::EventTime;

/// Constant data of a connection.
#[derive(Clone)]
pub struct ConnectionFacts {
    /// API of the connection, which determines the ids and ARNs of its events.
    pub api: Arc<WebSocketApi>,
    /// `requestContext.connectionId`.
    pub connection_id: GatewayId,
    /// Host of the handshake without port; shared between connections.
    pub domain_name: Arc<str>,
    /// Arrival of the upgrade request, in milliseconds since 1970 (EV-14).
    pub connected_at: i64,
    /// `requestContext.identity` of the events.
    pub identity: RequestIdentity,
    /// Authorizer context; `None` without an authorizer and in the authorizer's request.
    pub authorizer: Option<Arc<AuthorizerContext>>,
}

thread_local! {
    /// Empty request to clone: `default` allocates two shared maps, which a clone shares.
    static EMPTY_REQUEST: ApiGatewayWebsocketProxyRequest = ApiGatewayWebsocketProxyRequest::default();
}

impl ConnectionFacts {
    /// Builds the type of `aws_lambda_events` with the fields that all kinds of events have.
    pub(super) fn to_proxy_request(
        &self,
        route_key: &str,
        event_type: &str,
        request_id: GatewayId,
        time: EventTime,
    ) -> ApiGatewayWebsocketProxyRequest {
        let mut request = EMPTY_REQUEST.with(Clone::clone);
        request.stage_variables = self.stage_variable_map();
        let context: &mut ApiGatewayWebsocketProxyRequestContext = &mut request.request_context;
        context.route_key = Some(route_key.to_owned());
        context.event_type = Some(event_type.to_owned());
        context.message_direction = Some(MESSAGE_DIRECTION.to_owned());
        context.extended_request_id = Some(request_id.as_str().to_owned());
        context.request_id = Some(request_id.as_str().to_owned());
        context.request_time = Some(time.clf.as_str().to_owned());
        context.request_time_epoch = time.epoch_ms;
        context.stage = Some(String::from(&*self.api.stage.name));
        context.connected_at = self.connected_at;
        context.identity = self.identity.to_lambda_identity();
        context.domain_name = Some(String::from(&*self.domain_name));
        context.connection_id = Some(self.connection_id.as_str().to_owned());
        context.apiid = Some(String::from(&*self.api.id));
        if let Some(authorizer) = &self.authorizer {
            context.authorizer = authorizer.to_lambda_authorizer();
        }
        request
    }

    pub(super) fn stage_variable_map(&self) -> HashMap<String, String> {
        let variables = &self.api.stage.variables;
        variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl fmt::Debug for ConnectionFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionFacts").field("connection_id", &self.connection_id).finish_non_exhaustive()
    }
}
