//! CONNECT: what the `$connect` integration gets (EV-1, EV-3).
//!
//! Invariant: headers without `Connection`, `Upgrade` and `content-length`; query keys only when there is a query.

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
    /// The connection.
    pub facts: &'e ConnectionFacts,
    /// The headers, made by [`EventHeaders::into_connect`].
    pub headers: &'e EventHeaders,
    /// The query.
    pub query: &'e QueryParameters,
    /// The id of this request.
    pub request_id: GatewayId,
    /// When the event was made.
    pub time: EventTime,
}

impl ConnectEvent<'_> {
    /// The public event type.
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

    /// API Gateway's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let context = RequestContext::new(self.facts, RouteKey::CONNECT, EVENT_TYPE, self.request_id, self.time);
        let event = ProxyEvent::new(self.facts, context).with_headers(self.headers).with_query(self.query);
        wire::to_bytes(&event, wire::TYPICAL_BYTES)
    }
}
