//! Sample API and connections for tests.
//!
//! They reproduce the captured connections of `fixtures/`, so that events built from them can be compared byte for
//! byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::api::{ApiDefinition, ApiSettings, RouteDefinition, WebSocketApi};
use crate::event::{ConnectionFacts, RequestIdentity};
use crate::handshake::HandshakeRequest;
use crate::id::{self, GatewayId};
use crate::quotas::Quotas;
use crate::route::RouteOrdering;

pub fn gateway_id(text: &str) -> GatewayId {
    id::parse_gateway_id(text).unwrap()
}

pub fn api_definition() -> ApiDefinition {
    ApiDefinition {
        id: "abc".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "123456789012".to_owned(),
        stage: "prod".to_owned(),
        stage_variables: BTreeMap::new(),
        routes: ["$connect", "$disconnect", "$default", "chat"].map(route_definition).into(),
        selection: "$request.body.action".to_owned(),
        authorizer: None,
        api_key_required: false,
        quotas: Quotas::aws_profile(),
        settings: ApiSettings::default(),
    }
}

pub fn route_definition(key: &str) -> RouteDefinition {
    RouteDefinition { ordering: RouteOrdering::Connection, ..RouteDefinition::lambda(key, "function") }
}

pub fn websocket_api() -> Arc<WebSocketApi> {
    Arc::new(WebSocketApi::new(api_definition()).unwrap())
}

pub fn connection_facts(connection: &str, connected_at: i64) -> ConnectionFacts {
    ConnectionFacts {
        api: websocket_api(),
        connection_id: gateway_id(connection),
        domain_name: "abc.execute-api.us-east-1.amazonaws.com".into(),
        connected_at,
        identity: RequestIdentity { iam: None, api_key: None, user_agent: None, source_ip: "166.90.225.1".into() },
        authorizer: None,
    }
}

pub fn header_map(sent: &[(&'static str, &'static str)]) -> HeaderMap {
    sent.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

pub fn handshake_request(sent: &[(&'static str, &'static str)]) -> HandshakeRequest {
    HandshakeRequest {
        headers: header_map(sent),
        query: None,
        source_ip: "166.90.225.1".into(),
        domain_name: "abc.execute-api.us-east-1.amazonaws.com".into(),
        forwarded_for: None,
        trace_id: "Root=1-6731ebfc-08e1e656421db73c5d2eef31".to_owned(),
        lower_case_headers: false,
        api_key: None,
    }
}
