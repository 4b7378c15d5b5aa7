//! DISCONNECT event, for the `$disconnect` integration after the connection has closed (DC-1, HDR-8).
//!
//! It has four synthetic headers, independent of the client's headers. Code and reason come from the close table,
//! [`crate::close`].

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;

use super::facts::ConnectionFacts;
use super::wire::{self, ProxyEvent, RequestContext};
use crate::handshake::EventHeaders;
use crate::id::GatewayId;
use crate::route::RouteKey;
use crate::time::EventTime;

const EVENT_TYPE: &str = "DISCONNECT";

/// A DISCONNECT event.
#[derive(Debug, Clone, Copy)]
pub struct DisconnectEvent<'e> {
    pub facts: &'e ConnectionFacts,
    /// Id of this request.
    pub request_id: GatewayId,
    /// Time of the event.
    pub time: EventTime,
    /// `disconnectStatusCode`.
    pub status_code: u16,
    /// `disconnectReason`, present even when empty.
    pub reason: &'e str,
}

impl DisconnectEvent<'_> {
    /// Converts the event to the type of `aws_lambda_events`.
    #[must_use]
    pub fn into_lambda_event(self) -> ApiGatewayWebsocketProxyRequest {
        let headers = EventHeaders::for_disconnect(&self.facts.domain_name);
        let mut request = self.facts.to_proxy_request(RouteKey::DISCONNECT, EVENT_TYPE, self.request_id, self.time);
        (request.headers, request.multi_value_headers) = headers.to_header_maps();
        request.request_context.disconnect_status_code = Some(self.status_code.into());
        request.request_context.disconnect_reason = Some(self.reason.to_owned());
        request
    }

    /// Serializes the event as API Gateway does.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let headers = EventHeaders::for_disconnect(&self.facts.domain_name);
        let mut context = RequestContext::new(self.facts, RouteKey::DISCONNECT, EVENT_TYPE, self.request_id, self.time);
        context.disconnect_status_code = Some(self.status_code);
        context.disconnect_reason = Some(self.reason);
        wire::to_bytes(&ProxyEvent::new(self.facts, context).with_headers(&headers), self.reason.len())
    }
}
