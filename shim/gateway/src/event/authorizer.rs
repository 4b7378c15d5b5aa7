//! Request of a REQUEST authorizer (EV-4, HDR-2, AU-13).
//!
//! It contains the connection id that the connection will have, all headers, and empty maps instead of absent ones. The
//! type of `aws_lambda_events` has only part of the request context; the rest is in its map `other`, under API
//! Gateway's names.

use aws_lambda_events::apigw::{
    ApiGatewayCustomAuthorizerRequestTypeRequest, ApiGatewayCustomAuthorizerRequestTypeRequestContext,
    ApiGatewayCustomAuthorizerRequestTypeRequestIdentity,
};
use serde_json::Value;

use super::connect::EVENT_TYPE;
use super::facts::ConnectionFacts;
use super::wire::{self, AuthorizerRequest, MESSAGE_DIRECTION, RequestContext};
use crate::handshake::{EventHeaders, MultiHeaders, MultiQuery, QueryParameters, SingleHeaders, SingleQuery};
use crate::id::GatewayId;
use crate::identity::{ApiKey, RequestIdentity};
use crate::route::RouteKey;
use crate::time::EventTime;

const REQUEST_TYPE: &str = "REQUEST";

/// An authorizer's request.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizerEvent<'e> {
    /// Facts of the future connection, without an authorizer context.
    pub facts: &'e ConnectionFacts,
    /// Headers from [`EventHeaders::for_authorizer`].
    pub headers: &'e EventHeaders,
    /// Query parameters of the handshake.
    pub query: &'e QueryParameters,
    /// Id of this request.
    pub request_id: GatewayId,
    /// Time of the event.
    pub time: EventTime,
}

impl AuthorizerEvent<'_> {
    /// Converts the event to the type of `aws_lambda_events`.
    #[must_use]
    pub fn into_lambda_event(self) -> ApiGatewayCustomAuthorizerRequestTypeRequest {
        let mut request = ApiGatewayCustomAuthorizerRequestTypeRequest::default();
        request.type_ = Some(REQUEST_TYPE.to_owned());
        request.method_arn = Some(self.facts.api.connect_arn());
        (request.headers, request.multi_value_headers) = self.headers.to_header_maps();
        request.query_string_parameters = self.query.to_single_value_map();
        request.multi_value_query_string_parameters = self.query.to_multi_value_map();
        request.stage_variables = self.facts.stage_variable_map();
        request.request_context = self.to_lambda_context();
        request
    }

    /// Serializes the event as API Gateway does.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let event = AuthorizerRequest {
            kind: REQUEST_TYPE,
            method_arn: self.facts.api.connect_arn(),
            headers: SingleHeaders(self.headers),
            multi_value_headers: MultiHeaders(self.headers),
            query_string_parameters: SingleQuery(self.query),
            multi_value_query_string_parameters: MultiQuery(self.query),
            stage_variables: &self.facts.api.stage.variables,
            request_context: RequestContext::new(self.facts, RouteKey::CONNECT, EVENT_TYPE, self.request_id, self.time),
        };
        wire::to_bytes(&event, wire::TYPICAL_BYTES)
    }

    fn to_lambda_context(self) -> ApiGatewayCustomAuthorizerRequestTypeRequestContext {
        let facts = self.facts;
        let mut context = ApiGatewayCustomAuthorizerRequestTypeRequestContext::default();
        context.stage = Some(String::from(&*facts.api.stage.name));
        context.request_id = Some(self.request_id.as_str().to_owned());
        context.apiid = Some(String::from(&*facts.api.id));
        context.identity = Some(to_lambda_identity(&facts.identity));
        let rest: [(&str, Value); 9] = [
            ("routeKey", RouteKey::CONNECT.into()),
            ("eventType", EVENT_TYPE.into()),
            ("extendedRequestId", self.request_id.as_str().into()),
            ("requestTime", self.time.clf.as_str().into()),
            ("messageDirection", MESSAGE_DIRECTION.into()),
            ("connectedAt", facts.connected_at.into()),
            ("requestTimeEpoch", self.time.epoch_ms.into()),
            ("domainName", (*facts.domain_name).into()),
            ("connectionId", facts.connection_id.as_str().into()),
        ];
        context.other.extend(rest.map(|(name, value)| (name.to_owned(), value)));
        context
    }
}

fn to_lambda_identity(identity: &RequestIdentity) -> ApiGatewayCustomAuthorizerRequestTypeRequestIdentity {
    let mut typed = ApiGatewayCustomAuthorizerRequestTypeRequestIdentity::default();
    typed.source_ip = Some(String::from(&*identity.source_ip));
    if let Some(ApiKey { key, id }) = identity.api_key.as_deref() {
        typed.api_key = Some(key.clone().into());
        typed.api_key_id = Some(id.clone().into());
    }
    if let Some(user_agent) = identity.user_agent.as_deref() {
        typed.other.insert("userAgent".to_owned(), user_agent.into());
    }
    typed
}
