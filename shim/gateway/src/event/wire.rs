//! JSON form of events, with API Gateway's keys in API Gateway's order.
//!
//! The order of the fields is the order of the keys in captures; a key that a kind of event does not have is `None`.
//! One struct serves all kinds, because their common keys have the same order in all of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::facts::ConnectionFacts;
use crate::authorizer::AuthorizerContext;
use crate::handshake::{EventHeaders, MultiHeaders, MultiQuery, QueryParameters, SingleHeaders, SingleQuery};
use crate::id::GatewayId;
use crate::identity::RequestIdentity;
use crate::time::{ClfTime, EventTime};

/// `messageDirection` of every event captured so far.
pub(super) const MESSAGE_DIRECTION: &str = "IN";

/// Initial capacity for an event in bytes; a MESSAGE has about 600 bytes without its body.
pub(super) const TYPICAL_BYTES: usize = 1024;

/// A CONNECT, MESSAGE or DISCONNECT event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProxyEvent<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<SingleHeaders<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_headers: Option<MultiHeaders<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_string_parameters: Option<SingleQuery<'e>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_value_query_string_parameters: Option<MultiQuery<'e>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    stage_variables: &'e BTreeMap<String, String>,
    request_context: RequestContext<'e>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'e str>,
    is_base64_encoded: bool,
}

/// An authorizer's request: all maps are present, empty or not (EV-4), and there is no `isBase64Encoded`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthorizerRequest<'e> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) method_arn: String,
    pub(super) headers: SingleHeaders<'e>,
    pub(super) multi_value_headers: MultiHeaders<'e>,
    pub(super) query_string_parameters: SingleQuery<'e>,
    pub(super) multi_value_query_string_parameters: MultiQuery<'e>,
    pub(super) stage_variables: &'e BTreeMap<String, String>,
    pub(super) request_context: RequestContext<'e>,
}

/// `requestContext` of every kind of event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestContext<'e> {
    route_key: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disconnect_status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<&'e AuthorizerContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<GatewayId>,
    event_type: &'static str,
    extended_request_id: GatewayId,
    request_time: ClfTime,
    message_direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disconnect_reason: Option<&'e str>,
    stage: &'e str,
    connected_at: i64,
    request_time_epoch: i64,
    identity: &'e RequestIdentity,
    request_id: GatewayId,
    domain_name: &'e str,
    connection_id: GatewayId,
    api_id: &'e str,
}

impl<'e> RequestContext<'e> {
    /// Creates a context with the fields of all kinds; the caller sets the fields of its kind.
    pub(super) fn new(
        facts: &'e ConnectionFacts,
        route_key: &'e str,
        event_type: &'static str,
        request_id: GatewayId,
        time: EventTime,
    ) -> Self {
        Self {
            route_key,
            disconnect_status_code: None,
            authorizer: facts.authorizer.as_deref(),
            message_id: None,
            event_type,
            extended_request_id: request_id,
            request_time: time.clf,
            message_direction: MESSAGE_DIRECTION,
            disconnect_reason: None,
            stage: &facts.api.stage.name,
            connected_at: facts.connected_at,
            request_time_epoch: time.epoch_ms,
            identity: &facts.identity,
            request_id,
            domain_name: &facts.domain_name,
            connection_id: facts.connection_id,
            api_id: &facts.api.id,
        }
    }
}

impl<'e> ProxyEvent<'e> {
    /// Creates an event without headers and query, as a MESSAGE is (EV-2).
    pub(super) fn new(facts: &'e ConnectionFacts, request_context: RequestContext<'e>) -> Self {
        Self {
            headers: None,
            multi_value_headers: None,
            query_string_parameters: None,
            multi_value_query_string_parameters: None,
            stage_variables: &facts.api.stage.variables,
            request_context,
            body: None,
            is_base64_encoded: false,
        }
    }

    pub(super) fn with_headers(mut self, headers: &'e EventHeaders) -> Self {
        self.headers = Some(SingleHeaders(headers));
        self.multi_value_headers = Some(MultiHeaders(headers));
        self
    }

    /// Adds the query keys; none when there are no parameters (EV-3).
    pub(super) fn with_query(mut self, query: &'e QueryParameters) -> Self {
        if !query.is_empty() {
            self.query_string_parameters = Some(SingleQuery(query));
            self.multi_value_query_string_parameters = Some(MultiQuery(query));
        }
        self
    }

    pub(super) fn with_body(mut self, body: &'e str) -> Self {
        self.body = Some(body);
        self
    }
}

/// Serializes an event; `variable_bytes` is the size of its body or reason.
pub(super) fn to_bytes(event: &impl Serialize, variable_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TYPICAL_BYTES + variable_bytes);
    serde_json::to_writer(&mut bytes, event).expect("events have text keys only and a vector takes every byte");
    bytes
}
