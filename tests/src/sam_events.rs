//! Sample events for the Lambda functions in API Gateway's format, for `sam local invoke -e`.
//!
//! The four events of the WebSocket API are produced by the gateway's own event code and belong to one connection,
//! whose identity is the result of the application's authorizer for the first of them; the event of the HTTP API has
//! payload format 2.0. The events are generated, not recorded: times and ids are those of the call. This module
//! writes no files.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use gateway::api::WebSocketApi;
use gateway::authorizer::{AuthorizerOutcome, authorizer_outcome};
use gateway::close::CloseCause;
use gateway::event::{AuthorizerEvent, ConnectEvent, ConnectionFacts, DisconnectEvent, MessageEvent};
use gateway::handshake::{self, EventHeaders, HandshakeRequest};
use gateway::id::GatewayId;
use gateway::time::EventTime;
use handlers::authorizer::{Authorizer, JwtClaims, KeySet, TokenSettings, TokenVerifier, mint_hs256};
use handlers::identity::Role;
use handlers::ports::Timestamp;
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use serde_json::{Value, json};
use shim::config::{ApiConfig, Config, MessageOrdering, QuotaProfile};
use shim::wiring::api_definition;

/// API ids in the format of API Gateway, with an invented account.
const API: &str = "a1b2c3d4e5";
const HTTP_API: &str = "f6g7h8i9j0";
const REGION: &str = "eu-central-1";
const ACCOUNT: &str = "123456789012";
const STAGE: &str = "prod";
/// Address of the documentation range (RFC 5737).
const CLIENT: &str = "192.0.2.1";
/// Message of the client.
const MESSAGE: &str = r#"{"action":"send","id":"1","body":"hello"}"#;
/// Lifetime of the tokens in seconds.
const TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// Name of a function and a sample event.
pub type Sample = (&'static str, Value);

/// Returns the events of all five functions, with tokens signed by `secret`, at the time `now` (milliseconds since
/// 1970).
///
/// # Errors
/// The secret is too short, or the application rejects the samples.
pub async fn samples(secret: &str, now: i64) -> anyhow::Result<Vec<Sample>> {
    let request = handshake(&token(secret, "alice", Role::User, now)?)?;
    let query = request.query_parameters();
    let headers = EventHeaders::for_authorizer(&request);
    let mut facts = facts(&request, now)?;
    let time = EventTime::from_epoch_ms(now);
    let request_id = |entropy| GatewayId::for_request(now, entropy);

    let event = AuthorizerEvent { facts: &facts, headers: &headers, query: &query, request_id: request_id(1), time };
    let (authorizer, authorize) = (event.to_json(), authorize(event, secret, now).await?);
    facts.authorizer = Some(Arc::new(authorize));
    let headers = headers.into_connect();
    let connect = ConnectEvent { facts: &facts, headers: &headers, query: &query, request_id: request_id(2), time };
    let route = facts.api.route_for(MESSAGE).context("the API has no route for messages")?;
    let message_id = GatewayId::for_message(2, facts.connection_id);
    let body = MESSAGE.to_owned();
    let message =
        MessageEvent { facts: &facts, route_key: &route.key, message_id, request_id: request_id(3), time, body };
    let (status_code, reason) = CloseCause::ClientWithoutStatus.disconnect_status();
    let disconnect = DisconnectEvent { facts: &facts, request_id: request_id(4), time, status_code, reason };
    Ok(vec![
        ("authorizer", parsed(&authorizer)?),
        ("connect", parsed(&connect.to_json())?),
        ("message", parsed(&message.to_json())?),
        ("disconnect", parsed(&disconnect.to_json())?),
        ("api", push(&token(secret, "billing", Role::Service, now)?, &request, now)),
    ])
}

fn parsed(bytes: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(bytes).context("the event is not JSON")
}

fn token(secret: &str, user: &str, role: Role, now: i64) -> anyhow::Result<String> {
    let issued = now / 1000;
    let claims = JwtClaims {
        sub: user.to_owned(),
        role,
        tenant: "default".to_owned(),
        exp: Some(issued + TOKEN_SECONDS),
        iat: Some(issued),
        iss: None,
        aud: None,
        channels: None,
    };
    Ok(mint_hs256(secret.as_bytes(), &claims)?)
}

/// Returns a browser's handshake, which carries its token in the list of subprotocols.
fn handshake(token: &str) -> anyhow::Result<HandshakeRequest> {
    let mut headers = HeaderMap::new();
    headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
    headers.insert("sec-websocket-key", HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::try_from(format!("twinway.v1, bearer.{token}"))?);
    headers.insert(USER_AGENT, HeaderValue::from_static("sam-local"));
    Ok(HandshakeRequest {
        headers,
        query: None,
        source_ip: CLIENT.into(),
        domain_name: format!("{API}.execute-api.{REGION}.amazonaws.com").into(),
        forwarded_for: None,
        trace_id: handshake::trace_id(0, [7; 12]),
        lower_case_headers: false,
        api_key: None,
    })
}

fn facts(request: &HandshakeRequest, now: i64) -> anyhow::Result<ConnectionFacts> {
    let settings = Config::for_tests();
    let api = ApiConfig {
        id: API.to_owned(),
        region: REGION.to_owned(),
        account_id: ACCOUNT.to_owned(),
        stage: STAGE.to_owned(),
        profile: QuotaProfile::Aws,
        ordering: MessageOrdering::Concurrent,
        ..settings.api
    };
    let api = api_definition(&api, &settings.throttle);
    Ok(ConnectionFacts {
        api: Arc::new(WebSocketApi::new(api).context("invalid API definition")?),
        connection_id: GatewayId::for_connection(1, 1),
        domain_name: request.domain_name.clone(),
        connected_at: now,
        identity: request.request_identity(),
        authorizer: None,
    })
}

/// Runs the application's own authorizer on the event and returns the context that later events carry.
async fn authorize(
    event: AuthorizerEvent<'_>,
    secret: &str,
    now: i64,
) -> anyhow::Result<gateway::authorizer::AuthorizerContext> {
    let keys = KeySet::default().with_secret(secret.as_bytes()).context("invalid token secret")?;
    let authorizer = Authorizer { verifier: Arc::new(TokenVerifier::new(TokenSettings::new(keys))) };
    let response = authorizer.authorize(event.into_lambda_event(), Timestamp(now)).await?;
    match authorizer_outcome(&event.facts.api, Ok(response), 0) {
        AuthorizerOutcome::Allow(context) => Ok(context),
        other => bail!("the authorizer does not allow the connection: {other:?}"),
    }
}

/// Returns a backend's request to the HTTP API ("Payload format version 2.0", API Gateway guide).
fn push(token: &str, from: &HandshakeRequest, now: i64) -> Value {
    let domain = format!("{HTTP_API}.execute-api.{REGION}.amazonaws.com");
    let path = "/v1/messages";
    json!({
        "version": "2.0",
        "routeKey": "ANY /v1/{proxy+}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "authorization": format!("Bearer {token}"),
            "content-type": "application/json",
            "host": domain,
            "idempotency-key": "order-1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": HTTP_API,
            "domainName": domain,
            "domainPrefix": HTTP_API,
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": from.source_ip.to_string(),
                "userAgent": "sam-local",
            },
            "requestId": GatewayId::for_request(now, 5).as_str(),
            "routeKey": "ANY /v1/{proxy+}",
            "stage": "$default",
            "time": EventTime::from_epoch_ms(now).clf.as_str(),
            "timeEpoch": now,
        },
        "pathParameters": { "proxy": "messages" },
        "body": r#"{"audience":{"user":"alice"},"body":{"text":"Your parcel is on its way."}}"#,
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::apigw::{
        ApiGatewayCustomAuthorizerRequestTypeRequest, ApiGatewayV2httpRequest, ApiGatewayWebsocketProxyRequest,
    };
    use handlers::identity::Identity;

    use super::*;

    const SECRET: &str = "a secret of more than thirty-two bytes";
    const NOW: i64 = 1_795_000_000_000;

    async fn sample(name: &str) -> Value {
        let samples = samples(SECRET, NOW).await.unwrap();
        samples.into_iter().find_map(|(known, event)| (known == name).then_some(event)).unwrap()
    }

    #[tokio::test]
    async fn every_function_has_one_event() {
        let names: Vec<_> = samples(SECRET, NOW).await.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["authorizer", "connect", "message", "disconnect", "api"]);
    }

    #[tokio::test]
    async fn samples_parse_as_the_public_types_and_belong_to_one_connection() {
        let authorizer: ApiGatewayCustomAuthorizerRequestTypeRequest =
            serde_json::from_value(sample("authorizer").await).unwrap();
        assert!(authorizer.method_arn.unwrap().ends_with(":a1b2c3d4e5/prod/$connect"));
        let mut connections = Vec::new();
        for (name, route) in [("connect", "$connect"), ("message", "$default"), ("disconnect", "$disconnect")] {
            let event: ApiGatewayWebsocketProxyRequest = serde_json::from_value(sample(name).await).unwrap();
            assert_eq!(event.request_context.route_key.as_deref(), Some(route));
            connections.push(event.request_context.connection_id);
        }
        connections.dedup();
        assert_eq!(connections.len(), 1);
        let api: ApiGatewayV2httpRequest = serde_json::from_value(sample("api").await).unwrap();
        assert_eq!(api.raw_path.as_deref(), Some("/v1/messages"));
    }

    #[tokio::test]
    async fn message_events_contain_the_identity() {
        let event: ApiGatewayWebsocketProxyRequest = serde_json::from_value(sample("message").await).unwrap();
        let context = event.request_context.authorizer.fields;
        let identity = Identity::from_context(&context).unwrap();
        assert_eq!((identity.user.as_str(), identity.role), ("alice", Role::User));
    }

    #[tokio::test]
    async fn a_short_secret_is_rejected() {
        samples("short", NOW).await.unwrap_err();
    }
}
