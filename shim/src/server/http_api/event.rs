//! Request events of HTTP API functions: payload formats 2.0 and 1.0.
//!
//! Source: API Gateway developer guide, `http-api-develop-integrations-lambda` and, for 1.0,
//! `set-up-lambda-proxy-integrations`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway::handshake::{QueryParameters, conventional_name};
use gateway::time::EventTime;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, Request};
use serde_json::{Map, Value, json};

use super::route_table::RouteMatch;
use crate::access::client_address::ClientAddress;

/// Facts of an event in addition to its request.
pub(super) struct EventContext<'e> {
    pub account_id: &'e str,
    pub api_id: &'e str,
    pub request_id: String,
    pub time: EventTime,
    pub client: &'e ClientAddress,
    pub matched: &'e RouteMatch,
}

/// Returns the event of payload format 2.0.
pub(super) fn event_v2(request: &Request<Bytes>, context: &EventContext<'_>) -> Value {
    let (uri, headers, route) = (request.uri(), request.headers(), &context.matched.route);
    let domain = gateway::handshake::domain_of(text_of(headers, HOST));
    let mut event = json!({
        "version": "2.0",
        "routeKey": route.key,
        "rawPath": uri.path(),
        "rawQueryString": uri.query().unwrap_or_default(),
        "headers": event_headers(headers, context.client),
        "requestContext": {
            "accountId": context.account_id,
            "apiId": context.api_id,
            "domainName": domain,
            "domainPrefix": domain.split('.').next(),
            "http": {
                "method": request.method().as_str(),
                "path": uri.path(),
                "protocol": "HTTP/1.1",
                "sourceIp": context.client.ip,
                "userAgent": text_of(headers, USER_AGENT),
            },
            "requestId": context.request_id,
            "routeKey": route.key,
            "stage": route.stage,
            "time": context.time.clf.as_str(),
            "timeEpoch": context.time.epoch_ms,
        },
        "isBase64Encoded": false,
    });
    let cookies: Vec<&str> =
        text_of(headers, COOKIE).split(';').map(str::trim).filter(|cookie| !cookie.is_empty()).collect();
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
        event["queryStringParameters"] = json!(query_parameters(query));
    }
    if !context.matched.parameters.is_empty() {
        event["pathParameters"] = json!(context.matched.parameters);
    }
    if !request.body().is_empty() {
        let (body, encoded) = encode_body(headers, request.body());
        event["body"] = body.into();
        event["isBase64Encoded"] = encoded.into();
    }
    event
}

/// Returns the event of payload format 1.0, in the form of REST APIs.
pub(super) fn event_v1(request: &Request<Bytes>, context: &EventContext<'_>) -> Value {
    let (uri, headers, route) = (request.uri(), request.headers(), &context.matched.route);
    let domain = gateway::handshake::domain_of(text_of(headers, HOST));
    let (single, multiple) = headers_v1(headers, context.client);
    let query = QueryParameters::parse(uri.query().unwrap_or_default());
    let (mut last_values, mut all_values) = (Map::new(), Map::new());
    for (name, value) in query.to_multi_value_map().iter() {
        last_values.insert(name.to_owned(), value.into());
        let values = all_values.entry(name.to_owned()).or_insert_with(|| json!([]));
        values.as_array_mut().into_iter().for_each(|values| values.push(value.into()));
    }
    let parameters = &context.matched.parameters;
    let body = (!request.body().is_empty()).then(|| encode_body(headers, request.body()));
    json!({
        "version": "1.0",
        "resource": route.path,
        "path": route.path_in_stage(uri.path()),
        "httpMethod": request.method().as_str(),
        "headers": single,
        "multiValueHeaders": multiple,
        "queryStringParameters": or_null(last_values),
        "multiValueQueryStringParameters": or_null(all_values),
        "requestContext": {
            "accountId": context.account_id,
            "apiId": context.api_id,
            "domainName": domain,
            "domainPrefix": domain.split('.').next(),
            "extendedRequestId": context.request_id,
            "httpMethod": request.method().as_str(),
            "identity": {"sourceIp": context.client.ip, "userAgent": text_of(headers, USER_AGENT)},
            "path": uri.path(),
            "protocol": "HTTP/1.1",
            "requestId": context.request_id,
            "requestTime": context.time.clf.as_str(),
            "requestTimeEpoch": context.time.epoch_ms,
            "resourceId": route.key,
            "resourcePath": route.path,
            "stage": route.stage,
        },
        "pathParameters": if parameters.is_empty() { Value::Null } else { json!(parameters) },
        "stageVariables": null,
        "body": body.as_ref().map(|(text, _)| text),
        "isBase64Encoded": body.as_ref().is_some_and(|(_, encoded)| *encoded),
    })
}

fn or_null(map: Map<String, Value>) -> Value {
    if map.is_empty() { Value::Null } else { Value::Object(map) }
}

/// Returns the single-valued and the multi-valued headers of payload format 1.0.
fn headers_v1(headers: &HeaderMap, client: &ClientAddress) -> (Map<String, Value>, Map<String, Value>) {
    let (mut single, mut multiple) = (Map::new(), Map::new());
    let mut insert = |name: &str, values: Vec<String>| {
        single.insert(name.to_owned(), values.last().cloned().unwrap_or_default().into());
        multiple.insert(name.to_owned(), values.into());
    };
    for name in headers.keys() {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        insert(conventional_name(name), headers.get_all(name).iter().map(text).collect());
    }
    for (name, value) in forwarding_headers(client) {
        insert(conventional_name(&HeaderName::from_static(name)), vec![value]);
    }
    (single, multiple)
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Returns the headers of the event. Those that name the client are the server's, as in events of sockets (HDR-9): a
/// client could send any.
fn event_headers(headers: &HeaderMap, client: &ClientAddress) -> Map<String, Value> {
    let mut shown = joined_headers(headers);
    for (name, value) in forwarding_headers(client) {
        shown.insert(name.to_owned(), value.into());
    }
    shown
}

/// Returns the headers about the client, which are the server's own.
fn forwarding_headers(client: &ClientAddress) -> [(&'static str, String); 3] {
    [
        ("x-forwarded-for", client.forwarded_for()),
        ("x-forwarded-port", "443".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
    ]
}

/// Returns the headers with lower-case names; repeated headers are joined by commas. Cookies are omitted, because the
/// event has a separate field for them.
fn joined_headers(headers: &HeaderMap) -> Map<String, Value> {
    let values = |name| {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        Value::from(values.join(","))
    };
    headers.keys().filter(|name| **name != COOKIE).map(|name| (name.as_str().to_owned(), values(name))).collect()
}

/// Returns the decoded query parameters; values of repeated names are joined by commas.
fn query_parameters(query: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in QueryParameters::parse(query).to_multi_value_map().iter() {
        found
            .entry(name.to_owned())
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }
    found
}

/// Returns the body and `isBase64Encoded`: text unchanged, anything else in base64.
fn encode_body(headers: &HeaderMap, bytes: &Bytes) -> (String, bool) {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase()).unwrap_or_default();
    let textual = [&b"text/"[..], b"application/json", b"application/xml", b"application/javascript"];
    let plain = textual.iter().any(|prefix| kind.starts_with(prefix)) && !headers.contains_key(CONTENT_ENCODING);
    match std::str::from_utf8(bytes) {
        Ok(text) if plain => (text.to_owned(), false),
        _ => (STANDARD.encode(bytes), true),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn bodies_that_are_not_text_are_base64_encoded() {
        let mut headers = HeaderMap::new();
        assert_eq!(encode_body(&headers, &Bytes::from_static(b"hi")), ("aGk=".to_owned(), true));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        assert_eq!(encode_body(&headers, &Bytes::from_static(b"{}")), ("{}".to_owned(), false));
        assert!(encode_body(&headers, &Bytes::from_static(b"\xff")).1);
    }

    #[test]
    fn the_forwarding_headers_of_a_client_are_replaced() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.66"));
        headers.append("x-forwarded-proto", HeaderValue::from_static("gopher"));
        let shown = event_headers(&headers, &ClientAddress::of_peer("::ffff:192.0.2.1".parse().unwrap()));
        assert_eq!(shown["x-forwarded-for"], "192.0.2.1");
        assert_eq!((&shown["x-forwarded-proto"], &shown["x-forwarded-port"]), (&"https".into(), &"443".into()));
    }

    #[test]
    fn repeated_parameters_are_joined() {
        let found = query_parameters("a=1&b=x%20y&a=2");
        assert_eq!((found["a"].as_str(), found["b"].as_str()), ("1,2", "x y"));
    }
}
