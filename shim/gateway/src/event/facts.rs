//! What stays the same in all events of one connection.
//!
//! Invariant: nothing in here changes after `$connect`. It lives as long as the connection, also when that is idle, so
//! it keeps no headers and no query, and shares what connections have in common. `Debug` shows neither address nor
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

/// The constant part of a connection's events.
#[derive(Clone)]
pub struct ConnectionFacts {
    /// The API the connection belongs to.
    pub api: Arc<WebSocketApi>,
    /// The connection's id.
    pub connection_id: GatewayId,
    /// The host the client used, without port; share it between connections.
    pub domain_name: Arc<str>,
    /// When the upgrade request arrived, in milliseconds since 1970 (EV-14).
    pub connected_at: i64,
    /// Who connected.
    pub identity: RequestIdentity,
    /// What the authorizer said; `None` without an authorizer and in the authorizer's own event.
    pub authorizer: Option<Arc<AuthorizerContext>>,
}

thread_local! {
    /// An empty request to clone: the default of the public type allocates two shared maps, a clone shares them.
    static EMPTY_REQUEST: ApiGatewayWebsocketProxyRequest = ApiGatewayWebsocketProxyRequest::default();
}

impl ConnectionFacts {
    /// The public event type with all that does not depend on the kind of event.
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
        context.identity = self.identity.typed();
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
