//! Handshakes, by the HDR, QS, CON, HS and SUB rows of the catalogue.

use proptest::prelude::*;

use super::*;
use crate::authorizer::AuthorizerOutcome;
use crate::samples::{gateway_id, handshake_request, header_map};

fn single(headers: &EventHeaders) -> serde_json::Value {
    serde_json::to_value(SingleHeaders(headers)).unwrap()
}

fn names(headers: &EventHeaders) -> Vec<String> {
    let json = serde_json::to_string(&MultiHeaders(headers)).unwrap();
    json.split('"').skip(1).step_by(4).map(str::to_owned).collect()
}

fn reply(status: u16) -> Result<IntegrationReply, IntegrationError> {
    Ok(IntegrationReply { status, headers: http::HeaderMap::new(), body: Some("ignored".to_owned()), is_base64: false })
}

fn status(result: Result<IntegrationReply, IntegrationError>) -> u16 {
    match connect_outcome(result) {
        ConnectOutcome::Accepted { .. } => 101,
        ConnectOutcome::Rejected(rejection) => rejection.status().as_u16(),
    }
}

#[test]
fn hdr_2_connection_headers_are_for_the_authorizer_only() {
    let full = EventHeaders::for_authorizer(&handshake_request(&[
        ("connection", "keep-alive, Upgrade"),
        ("content-length", "7"),
    ]));
    let shown = single(&full);
    assert_eq!(
        (&shown["Connection"], &shown["Upgrade"], &shown["content-length"]),
        (&"upgrade".into(), &"websocket".into(), &"0".into())
    );
    let connect = single(&full.into_connect());
    for name in ["Connection", "Upgrade", "content-length"] {
        assert!(connect.get(name).is_none(), "{name}");
    }
}

#[test]
fn hdr_4_and_5_names_keep_their_case_in_alphabetical_order() {
    let sent =
        [("x-forwarded-port", "80"), ("x-api-key", "k"), ("user-agent", "a"), ("x-custom", "c"), ("origin", "o")];
    let shown = names(&EventHeaders::for_authorizer(&handshake_request(&sent)).into_connect());
    let expected = [
        "Host",
        "Origin",
        "User-Agent",
        "X-Amzn-Trace-Id",
        "x-api-key",
        "x-custom",
        "X-Forwarded-For",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn hdr_6_the_single_valued_map_has_the_last_value() {
    let mut request = handshake_request(&[("x-a", "1")]);
    request.headers.append("x-a", "2".parse().unwrap());
    let shown = EventHeaders::for_authorizer(&request);
    assert_eq!(single(&shown)["x-a"], "2");
    assert_eq!(serde_json::to_value(MultiHeaders(&shown)).unwrap()["x-a"], serde_json::json!(["1", "2"]));
}

#[test]
fn hdr_7_subprotocols_are_shown_exactly_as_sent() {
    let shown = EventHeaders::for_authorizer(&handshake_request(&[("sec-websocket-protocol", "a-v1,  b ,c")]));
    assert_eq!(single(&shown)["Sec-WebSocket-Protocol"], "a-v1,  b ,c");
}

#[test]
fn hdr_9_the_clients_own_forwarding_headers_are_replaced() {
    let mut request = handshake_request(&[("x-forwarded-for", "10.9.8.7"), ("x-forwarded-proto", "http")]);
    assert_eq!(single(&EventHeaders::for_authorizer(&request))["X-Forwarded-For"], "166.90.225.1");
    request.forwarded_for = Some("198.51.100.1, 166.90.225.1".to_owned());
    let shown = single(&EventHeaders::for_authorizer(&request));
    assert_eq!(shown["X-Forwarded-For"], "198.51.100.1, 166.90.225.1");
    assert_eq!(shown["X-Forwarded-Proto"], "https");
}

#[test]
fn ev_16_the_domain_has_no_port() {
    for (host, domain) in
        [("a.example:8080", "a.example"), ("a.example", "a.example"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")]
    {
        assert_eq!(domain_of(host), domain);
    }
}

#[test]
fn hdr_1_trace_ids_have_the_documented_form() {
    assert_eq!(trace_id(1_731_324_924_561, [0xAB; 12]), "Root=1-6731ebfc-abababababababababababab");
}

#[test]
fn qs_2_values_are_decoded_once() {
    let query = QueryParameters::parse("&a=%2541&b=x+y&c=%zz&d=%ff&=e&a%20b=1=2&f");
    let expected = [("a", "%41"), ("b", "x y"), ("c", "%zz"), ("d", "\u{fffd}"), ("", "e"), ("a b", "1=2"), ("f", "")];
    for (name, value) in expected {
        assert_eq!(query.last_value(name), Some(value), "{name}");
    }
    assert!(QueryParameters::parse("").is_empty() && QueryParameters::parse("&&").is_empty());
}

#[test]
fn con_success_is_any_2xx_and_other_statuses_reach_the_client() {
    for code in [200, 201, 299] {
        assert_eq!(status(reply(code)), 101);
    }
    for code in [301, 400, 401, 403, 501] {
        assert_eq!(status(reply(code)), code);
    }
}

#[test]
fn con_failures_have_api_gateways_statuses() {
    use IntegrationError::{Function, Malformed, NotInvokable, Throttled, TimedOut};
    for (failure, code) in [(Function, 502), (Malformed, 502), (TimedOut, 504), (NotInvokable, 500), (Throttled, 500)] {
        assert_eq!(status(Err(failure)), code);
    }
}

#[test]
fn sub_1_only_the_chosen_subprotocol_reaches_the_client() {
    let mut answer = reply(200).unwrap();
    answer.headers = header_map(&[("sec-websocket-protocol", "v1"), ("set-cookie", "a=b")]);
    let expected = ConnectOutcome::Accepted { subprotocol: Some(HeaderValue::from_static("v1")) };
    assert_eq!(connect_outcome(Ok(answer)), expected);
    assert_eq!(connect_outcome(reply(200)), ConnectOutcome::Accepted { subprotocol: None });
}

#[test]
fn rejections_before_any_integration_have_their_statuses() {
    use Rejection::{ApiKey, BadUpgrade, NotAnUpgrade, Throttled, Unavailable, UnknownStage, UrlTooLong};
    let all = [
        (UnknownStage, 403),
        (ApiKey, 403),
        (NotAnUpgrade, 426),
        (Throttled, 429),
        (UrlTooLong, 414),
        (BadUpgrade, 400),
        (Unavailable, 503),
    ];
    for (rejection, code) in all {
        assert_eq!(rejection.status().as_u16(), code);
    }
    let refused = |outcome| Rejection::from_authorizer(&outcome).map(|rejection| rejection.status().as_u16());
    assert_eq!(refused(AuthorizerOutcome::Denied), Some(403));
    assert_eq!(refused(AuthorizerOutcome::Unauthorized), Some(401));
    assert_eq!(refused(AuthorizerOutcome::Misconfigured(None)), Some(500));
}

#[test]
fn con_13_bodies_are_json_and_426_is_empty() {
    let body =
        |rejection: Rejection| rejection.response_body(gateway_id("BFHPhfCWIAMCKlQ="), gateway_id("BFHPhFe3IAMF95g="));
    assert_eq!(body(Rejection::NotAnUpgrade), "");
    for rejection in [Rejection::Denied, Rejection::Handler(401), Rejection::Handler(599), Rejection::Unavailable] {
        let parsed: serde_json::Value = serde_json::from_str(&body(rejection)).unwrap();
        assert_eq!(parsed["message"], *rejection.message());
        assert_eq!(parsed["connectionId"], "BFHPhfCWIAMCKlQ=");
    }
}

#[test]
fn debug_shows_neither_address_nor_token() {
    let mut request = handshake_request(&[("authorization", "Bearer secret")]);
    request.query = Some("token=secret".to_owned());
    let shown = format!("{request:?} {:?} {:?}", EventHeaders::for_authorizer(&request), request.query_parameters());
    assert!(!shown.contains("secret") && !shown.contains("166.90"), "{shown}");
}

proptest! {
    #[test]
    fn qs_2_parsing_never_panics_and_loses_no_segment(query in "[a-c&=%+0-9é]{0,40}") {
        let parsed = QueryParameters::parse(&query);
        let values: usize = serde_json::to_value(MultiQuery(&parsed)).unwrap().as_object().unwrap().values()
            .map(|values| values.as_array().unwrap().len()).sum();
        prop_assert_eq!(values, query.split('&').filter(|segment| !segment.is_empty()).count());
    }
}

#[test]
fn cx_1_under_a_base_path_with_levels_all_names_are_in_lower_case() {
    let mut request = handshake_request(&[("user-agent", "a"), ("x-token", "b")]);
    request.lower_case_headers = true;
    let shown = single(&EventHeaders::for_authorizer(&request).into_connect());
    assert!(shown.as_object().unwrap().keys().all(|name| *name == name.to_ascii_lowercase()), "{shown}");
}
