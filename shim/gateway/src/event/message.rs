//! MESSAGE event, for the integration of a message route (EV-2, BODY-1, BODY-2). This is the hot path.
//!
//! The body is the client's text, byte for byte, JSON or not. The typed form moves it and allocates the thirteen
//! strings that the type of `aws_lambda_events` owns, in addition to those of the authorizer context.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;

use super::facts::ConnectionFacts;
use super::wire::{self, ProxyEvent, RequestContext};
use crate::id::GatewayId;
use crate::route::RouteKey;
use crate::time::EventTime;

const EVENT_TYPE: &str = "MESSAGE";

/// A MESSAGE event. `Debug` shows no body.
#[derive(Clone)]
pub struct MessageEvent<'e> {
    pub facts: &'e ConnectionFacts,
    /// Key of the selected route; `$default` for the fallback (RT-7).
    pub route_key: &'e RouteKey,
    /// Id of this message.
    pub message_id: GatewayId,
    /// Id of this request.
    pub request_id: GatewayId,
    /// Time of the event.
    pub time: EventTime,
    /// Text of the message, unchanged.
    pub body: String,
}

impl MessageEvent<'_> {
    /// Converts the event to the type of `aws_lambda_events`; moves the body.
    #[must_use]
    pub fn into_lambda_event(self) -> ApiGatewayWebsocketProxyRequest {
        let mut request = self.facts.to_proxy_request(self.route_key.as_str(), EVENT_TYPE, self.request_id, self.time);
        request.request_context.message_id = Some(self.message_id.as_str().to_owned());
        request.body = Some(self.body);
        request
    }

    /// Serializes the event as API Gateway does.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let route_key = self.route_key.as_str();
        let mut context = RequestContext::new(self.facts, route_key, EVENT_TYPE, self.request_id, self.time);
        context.message_id = Some(self.message_id);
        wire::to_bytes(&ProxyEvent::new(self.facts, context).with_body(&self.body), self.body.len())
    }
}

impl std::fmt::Debug for MessageEvent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("MessageEvent");
        shown.field("facts", self.facts).field("route_key", self.route_key).field("request_id", &self.request_id);
        shown.field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}
