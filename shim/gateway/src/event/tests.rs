//! Events compared with captures byte for byte, and the typed form with the JSON form.

use aws_lambda_events::apigw::{ApiGatewayCustomAuthorizerRequestTypeRequest, ApiGatewayWebsocketProxyRequest};
use serde_json::Value;

use super::*;
use crate::api::WebSocketApi;
use crate::authorizer::{AuthorizerContext, ContextValue};
use crate::handshake::{EventHeaders, HandshakeRequest, QueryParameters};
use crate::route::RouteKey;
use crate::samples::{api_definition, connection_facts, gateway_id, handshake_request};
use crate::time::EventTime;

const CONNECT: &str = include_str!("../../fixtures/connect.json");
const MESSAGE: &str = include_str!("../../fixtures/message.json");
const DISCONNECT: &str = include_str!("../../fixtures/disconnect.json");
const AUTHORIZER: &str = include_str!("../../fixtures/authorizer.json");
const EXTENSIONS: &str = "permessage-deflate; client_max_window_bits";

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn captured_handshake() -> HandshakeRequest {
    handshake_request(&[
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "+W5xw47OHh3OTFsWKjGu9Q=="),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-extensions", EXTENSIONS),
        ("host", "abc.execute-api.us-east-1.amazonaws.com:443"),
    ])
}

fn with_connect<T>(request: &HandshakeRequest, facts: &ConnectionFacts, then: impl Fn(ConnectEvent<'_>) -> T) -> T {
    let headers = EventHeaders::for_authorizer(request).into_connect();
    let query = request.query_parameters();
    let time = EventTime::from_epoch_ms(1_731_324_924_561);
    then(ConnectEvent { facts, headers: &headers, query: &query, request_id: gateway_id("BFHPhFe3IAMF95g="), time })
}

fn connect_json(request: &HandshakeRequest, facts: &ConnectionFacts) -> String {
    with_connect(request, facts, |event| text(event.to_json()))
}

fn connect_facts() -> ConnectionFacts {
    connection_facts("BFHPhfCWIAMCKlQ=", 1_731_324_924_553)
}

fn message<'e>(facts: &'e ConnectionFacts, route_key: &'e RouteKey, body: &str) -> MessageEvent<'e> {
    MessageEvent {
        facts,
        route_key,
        message_id: gateway_id("BFaVtfGSIAMCKug="),
        request_id: gateway_id("BFaVtH2HoAMFZEQ="),
        time: EventTime::from_epoch_ms(1_731_332_746_514),
        body: body.to_owned(),
    }
}

fn message_facts() -> ConnectionFacts {
    connection_facts("BFaT_fALIAMCKug=", 1_731_332_735_513)
}

fn disconnect<'e>(facts: &'e ConnectionFacts, status_code: u16, reason: &'e str) -> DisconnectEvent<'e> {
    let time = EventTime::from_epoch_ms(1_731_333_109_875);
    DisconnectEvent { facts, request_id: gateway_id("BFbOeE87IAMF31w="), time, status_code, reason }
}

fn with_authorizer(mut facts: ConnectionFacts) -> ConnectionFacts {
    let entries = vec![
        ("role".into(), ContextValue::Text("admin".into())),
        ("level".into(), ContextValue::Number(7.into())),
        ("beta".into(), ContextValue::Flag(true)),
    ];
    facts.authorizer = Some(AuthorizerContext::new("alice", entries, 42).into());
    facts
}

/// Checks that the typed form equals the JSON form as `aws_lambda_events` parses it.
fn assert_same(typed: &ApiGatewayWebsocketProxyRequest, json: &str) {
    let parsed: ApiGatewayWebsocketProxyRequest = serde_json::from_str(json).unwrap();
    assert_eq!(*typed, parsed);
}

#[test]
fn ev_1_connect_equals_the_capture() {
    assert_eq!(connect_json(&captured_handshake(), &connect_facts()), CONNECT.trim_end());
}

#[test]
fn ev_2_message_equals_the_capture() {
    let (facts, key) = (message_facts(), RouteKey::parse("chat").unwrap());
    let event = message(&facts, &key, "{\"action\": \"chat\", \"message\": \"Hello from client\"}");
    assert_eq!(text(event.to_json()), MESSAGE.trim_end());
}

#[test]
fn ev_1_disconnect_equals_the_capture() {
    let event = disconnect_json(&message_facts(), 1005, "Client-side close frame status not set");
    assert_eq!(event, DISCONNECT.trim_end());
}

fn disconnect_json(facts: &ConnectionFacts, code: u16, reason: &str) -> String {
    text(disconnect(facts, code, reason).to_json())
}

fn authorizer_facts() -> ConnectionFacts {
    let mut definition = api_definition();
    (definition.id, definition.stage) = ("c5jwxq709g".to_owned(), "production".to_owned());
    let mut facts = connection_facts("FDmBIeapIAMCIQg=", 1_737_995_987_617);
    facts.api = WebSocketApi::new(definition).unwrap().into();
    facts.domain_name = "c5jwxq709g.execute-api.us-east-1.amazonaws.com".into();
    facts.identity.source_ip = "192.0.2.96".into();
    facts
}

fn authorizer_handshake() -> HandshakeRequest {
    let mut request = handshake_request(&[
        ("authorization", "Leo"),
        ("sec-websocket-extensions", EXTENSIONS),
        ("sec-websocket-key", "CYZZrfNgEcgzzzwL44qytQ=="),
        ("sec-websocket-version", "13"),
        ("x-amzn-trace-id", "Root=1-6797b6d3-64f9c928577f3ac56f5368ce"),
    ]);
    request.domain_name = "c5jwxq709g.execute-api.us-east-1.amazonaws.com".into();
    request.source_ip = "192.0.2.96".into();
    request
}

fn with_authorizer_event<T>(then: impl Fn(AuthorizerEvent<'_>) -> T) -> T {
    let (facts, headers) = (authorizer_facts(), EventHeaders::for_authorizer(&authorizer_handshake()));
    let (query, time) = (QueryParameters::default(), EventTime::from_epoch_ms(1_737_995_987_617));
    then(AuthorizerEvent {
        facts: &facts,
        headers: &headers,
        query: &query,
        request_id: gateway_id("FDmBIG3EoAMEqYA="),
        time,
    })
}

#[test]
fn ev_4_authorizer_request_equals_the_capture() {
    assert_eq!(with_authorizer_event(|event| text(event.to_json())), AUTHORIZER.trim_end());
}

#[test]
fn the_typed_authorizer_request_equals_its_json() {
    let parsed: ApiGatewayCustomAuthorizerRequestTypeRequest = serde_json::from_str(AUTHORIZER).unwrap();
    assert_eq!(with_authorizer_event(|event| event.into_lambda_event()), parsed);
    assert_eq!(parsed.request_context.other["connectionId"], "FDmBIeapIAMCIQg=");
}

#[test]
fn typed_events_equal_their_json() {
    let facts = with_authorizer(message_facts());
    let key = RouteKey::parse("$default").unwrap();
    let sent = message(&facts, &key, "hello");
    assert_same(&sent.clone().into_lambda_event(), &text(sent.to_json()));
    let ended = disconnect(&facts, 1001, "");
    assert_same(&ended.into_lambda_event(), &text(ended.to_json()));

    let mut request = captured_handshake();
    request.query = Some("a=1&a=2&b=%20".to_owned());
    request.headers.append("cookie", "x=1".parse().unwrap());
    request.headers.append("cookie", "y=2".parse().unwrap());
    let facts = with_authorizer(connect_facts());
    let typed = with_connect(&request, &facts, |event| event.into_lambda_event());
    let mut parsed: ApiGatewayWebsocketProxyRequest = serde_json::from_str(&connect_json(&request, &facts)).unwrap();
    // `aws_lambda_events` appends repeated values when it parses; both forms agree on the single-valued map as well.
    parsed.headers = typed.headers.clone();
    assert_eq!(typed, parsed);
    assert_eq!(typed.headers["cookie"], "y=2");
    assert_eq!(typed.multi_value_headers.get_all("cookie").iter().count(), 2);
}

/// `lambda_http` detects the kind of an event by trying one type after the other.
#[test]
fn lambda_http_detects_websocket_events() {
    use lambda_http::RequestExt;
    use lambda_http::request::{RequestContext, from_str};
    let facts = with_authorizer(message_facts());
    let key = RouteKey::parse("chat").unwrap();
    let sent = message(&facts, &key, "hello");
    let ended = disconnect(&facts, 1001, "Going away");
    let opened =
        with_connect(&captured_handshake(), &facts, |event| (event.into_lambda_event(), text(event.to_json())));
    for (typed, json) in [
        opened,
        (sent.clone().into_lambda_event(), text(sent.to_json())),
        (ended.into_lambda_event(), text(ended.to_json())),
    ] {
        let request = from_str(&json).unwrap();
        match request.request_context_ref() {
            Some(RequestContext::WebSocket(context)) => assert_eq!(*context, typed.request_context),
            other => panic!("{json} was detected as {other:?}"),
        }
        assert_eq!(request.headers().get("host"), typed.headers.get("host"));
        assert_eq!(request.into_body(), typed.body.map_or(lambda_http::Body::Empty, lambda_http::Body::Text));
    }
}

#[test]
fn ev_3_query_keys_are_absent_without_a_query() {
    let parsed: Value = serde_json::from_str(&connect_json(&captured_handshake(), &connect_facts())).unwrap();
    for key in ["queryStringParameters", "multiValueQueryStringParameters", "stageVariables", "body", "httpMethod"] {
        assert!(parsed.get(key).is_none(), "{key} must be absent");
    }
}

#[test]
fn qs_1_the_single_valued_map_shows_the_last_value() {
    let mut request = captured_handshake();
    request.query = Some("room=a&room=b&x".to_owned());
    let json = connect_json(&request, &connect_facts());
    assert!(json.contains(
        r#""queryStringParameters":{"room":"b","x":""},"multiValueQueryStringParameters":{"room":["a","b"],"x":[""]},"requestContext""#
    ));
}

#[test]
fn ev_6_stage_variables_precede_the_context() {
    let mut definition = api_definition();
    definition.stage_variables.insert("table".to_owned(), "messages".to_owned());
    let mut facts = message_facts();
    facts.api = WebSocketApi::new(definition).unwrap().into();
    let key = RouteKey::parse("chat").unwrap();
    let event = message(&facts, &key, "");
    assert!(text(event.to_json()).starts_with(r#"{"stageVariables":{"table":"messages"},"requestContext":{"#));
    assert_eq!(event.into_lambda_event().stage_variables["table"], "messages");
}

#[test]
fn ord_1_the_authorizer_has_the_position_of_captures() {
    let context =
        r#""authorizer":{"role":"admin","level":7,"beta":true,"principalId":"alice","integrationLatency":42},"#;
    let connect = connect_json(&captured_handshake(), &with_authorizer(connect_facts()));
    assert!(connect.contains(&format!(r#""routeKey":"$connect",{context}"eventType""#)));
    let disconnect = disconnect_json(&with_authorizer(message_facts()), 1000, "Connection Closed Normally");
    assert!(disconnect.contains(&format!(r#""disconnectStatusCode":1000,{context}"eventType""#)));
}

#[test]
fn idn_1_to_3_identity_shows_key_agent_and_address() {
    let mut facts = message_facts();
    facts.identity.user_agent = Some("agent/1".into());
    facts.identity.api_key = Some(Box::new(ApiKey { key: "k".into(), id: "i".into() }));
    let key = RouteKey::parse("chat").unwrap();
    let event = message(&facts, &key, "");
    let expected = r#""identity":{"apiKey":"k","apiKeyId":"i","userAgent":"agent/1","sourceIp":"166.90.225.1"}"#;
    assert!(text(event.to_json()).contains(expected));
    let identity = event.into_lambda_event().request_context.identity;
    assert_eq!((identity.api_key.as_deref(), identity.user_agent.as_deref()), (Some("k"), Some("agent/1")));
}

#[test]
fn idn_4_identity_contains_the_signing_caller() {
    let mut facts = message_facts();
    facts.identity.iam = Some(Box::new(IamCaller {
        account_id: "123456789012".into(),
        caller: "AIDA".into(),
        access_key: "AKIA".into(),
        user_arn: "arn:aws:iam::123456789012:user/alice".into(),
        user: "AIDA".into(),
    }));
    let key = RouteKey::parse("chat").unwrap();
    let event = message(&facts, &key, "");
    let expected = r#""identity":{"accountId":"123456789012","caller":"AIDA","accessKey":"AKIA","userArn":"arn:aws:iam::123456789012:user/alice","user":"AIDA","sourceIp":"166.90.225.1"}"#;
    assert!(text(event.to_json()).contains(expected));
    let identity = event.into_lambda_event().request_context.identity;
    assert_eq!((identity.caller.as_deref(), identity.access_key.as_deref()), (Some("AIDA"), Some("AKIA")));
}

#[test]
fn body_2_any_text_passes_byte_for_byte() {
    let (facts, key) = (message_facts(), RouteKey::parse("$default").unwrap());
    for body in ["", "hello", "\u{0}\n\"\\/\u{7f}\u{2028}ü😀", r#"{"action":"x", body:"hello"}"#] {
        let event = message(&facts, &key, body);
        let parsed: Value = serde_json::from_slice(&event.to_json()).unwrap();
        assert_eq!(parsed["body"], body);
        assert_eq!(event.into_lambda_event().body.as_deref(), Some(body));
    }
}

#[test]
fn facts_are_small_and_debug_hides_personal_data() {
    let facts = with_authorizer(message_facts());
    assert!(size_of::<ConnectionFacts>() <= 104, "{}", size_of::<ConnectionFacts>());
    let key = RouteKey::parse("chat").unwrap();
    let shown = format!("{:?} {:?} {:?}", facts, facts.authorizer, message(&facts, &key, "secret"));
    assert!(!shown.contains("166.90") && !shown.contains("alice") && !shown.contains("secret"), "{shown}");
}
