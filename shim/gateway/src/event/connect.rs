//! CONNECT event, for the `$connect` integration (EV-1, EV-3).
//!
//! It has the headers without `Connection`, `Upgrade` and `content-length`, and query keys only when there is a query.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;

use super::facts::ConnectionFacts;
use super::wire::{self, ProxyEvent, RequestContext};
use crate::handshake::{EventHeaders, QueryParameters};
use crate::id::GatewayId;
use crate::route::RouteKey;
use crate::time::EventTime;

pub(super) const EVENT_TYPE: &str = "CONNECT";

/// A CONNECT event.
#[derive(Debug, Clone, Copy)]
pub struct ConnectEvent<'e> {
    pub facts: &'e ConnectionFacts,
    /// Headers from [`EventHeaders::into_connect`].
    pub headers: &'e EventHeaders,
    /// Query parameters of the handshake.
    pub query: &'e QueryParameters,
    /// Id of this request.
    pub request_id: GatewayId,
    /// Time of the event.
    pub time: EventTime,
}

impl ConnectEvent<'_> {
    /// Converts the event to the type of `aws_lambda_events`.
    #[must_use]
    pub fn into_lambda_event(self) -> ApiGatewayWebsocketProxyRequest {
        let mut request = self.facts.to_proxy_request(RouteKey::CONNECT, EVENT_TYPE, self.request_id, self.time);
        (request.headers, request.multi_value_headers) = self.headers.to_header_maps();
        if !self.query.is_empty() {
            request.query_string_parameters = self.query.to_single_value_map();
            request.multi_value_query_string_parameters = self.query.to_multi_value_map();
        }
        request
    }

    /// Serializes the event as API Gateway does.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let context = RequestContext::new(self.facts, RouteKey::CONNECT, EVENT_TYPE, self.request_id, self.time);
        let event = ProxyEvent::new(self.facts, context).with_headers(self.headers).with_query(self.query);
        wire::to_bytes(&event, wire::TYPICAL_BYTES)
    }
}
