//! The API and the connections of the tests.
//!
//! They reproduce the captured connections of `fixtures/`, so that events built from them can be compared byte for
//! byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::api::{Api, ApiDefinition, ApiSettings, RouteDefinition};
use crate::event::{ConnectionFacts, Identity};
use crate::handshake::HandshakeRequest;
use crate::id::{self, GatewayId};
use crate::quotas::Quotas;
use crate::route::{Ordering, RouteResponse};

pub fn id(text: &str) -> GatewayId {
    id::check(text).unwrap()
}

pub fn definition() -> ApiDefinition {
    ApiDefinition {
        id: "abc".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "123456789012".to_owned(),
        stage: "prod".to_owned(),
        stage_variables: BTreeMap::new(),
        routes: ["$connect", "$disconnect", "$default", "chat"].map(route).into(),
        selection: "$request.body.action".to_owned(),
        authorizer: None,
        api_key_required: false,
        quotas: Quotas::aws(),
        settings: ApiSettings::default(),
    }
}

pub fn route(key: &str) -> RouteDefinition {
    RouteDefinition { key: key.to_owned(), response: RouteResponse::OneWay, ordering: Ordering::Connection }
}

pub fn api() -> Arc<Api> {
    Arc::new(Api::new(definition()).unwrap())
}

pub fn facts(connection: &str, connected_at: i64) -> ConnectionFacts {
    ConnectionFacts {
        api: api(),
        connection_id: id(connection),
        domain_name: "abc.execute-api.us-east-1.amazonaws.com".into(),
        connected_at,
        identity: Identity { iam: None, api_key: None, user_agent: None, source_ip: "166.90.225.1".into() },
        authorizer: None,
    }
}

pub fn headers(sent: &[(&'static str, &'static str)]) -> HeaderMap {
    sent.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

pub fn handshake(sent: &[(&'static str, &'static str)]) -> HandshakeRequest {
    HandshakeRequest {
        headers: headers(sent),
        query: None,
        source_ip: "166.90.225.1".into(),
        domain_name: "abc.execute-api.us-east-1.amazonaws.com".into(),
        forwarded_for: None,
        trace_id: "Root=1-6731ebfc-08e1e656421db73c5d2eef31".to_owned(),
        api_key: None,
    }
}
