//! Lambda integration of the HTTP API: request events of payload format version 2.0, and its response format.
//!
//! Source: API Gateway developer guide, `http-api-develop-integrations-lambda`. An invalid response of the function
//! becomes a 500 with API Gateway's message; no part of the response reaches the client.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway::handshake::QueryParameters;
use gateway::time::EventTime;
use handlers::ports::Clock;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use runtime_api::{InvokeError, LambdaFunction};
use serde_json::{Map, Value, json};

use crate::access::client_address::ClientAddress;
use crate::functions::lambda::{invoke_function, log_malformed};

/// Timeout of an HTTP API's integration (developer guide, `http-api-quotas`).
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Statuses of a final response: a function cannot send an interim one (RFC 9110 section 15.2).
const FINAL_STATUSES: RangeInclusive<u16> = 200..=599;
/// Statuses whose responses have no body (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).
const BODILESS_STATUSES: [u16; 3] = [204, 205, 304];
/// Fields that an intermediary does not forward (RFC 9110 section 7.6.1), and those about the length of the message.
const CONNECTION_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A Lambda function as the integration of an HTTP API whose only route is `$default`.
pub struct LambdaApi {
    pub function: Arc<LambdaFunction>,
    /// Source of event times and request ids.
    pub clock: Arc<dyn Clock>,
    /// `requestContext.accountId`.
    pub account_id: String,
    /// `requestContext.apiId`.
    pub api_id: String,
}

impl LambdaApi {
    /// Invokes the function for one request of `client` and returns its response.
    pub async fn handle_request(&self, request: Request<Bytes>, client: &ClientAddress) -> Response<Bytes> {
        let event = Bytes::from(self.request_event(&request, client).to_string());
        match tokio::time::timeout(INTEGRATION_TIMEOUT, invoke_function(&self.function, event)).await {
            Ok(Ok(result)) => parse_response(&result).unwrap_or_else(|| {
                log_malformed(self.function.name(), &ResponseFormatError::of(&result));
                message_response(StatusCode::INTERNAL_SERVER_ERROR)
            }),
            Ok(Err(InvokeError::Throttled | InvokeError::Stopped)) | Err(_) => {
                message_response(StatusCode::SERVICE_UNAVAILABLE)
            }
            Ok(Err(_)) => message_response(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    fn request_event(&self, request: &Request<Bytes>, client: &ClientAddress) -> Value {
        let (uri, headers) = (request.uri(), request.headers());
        let now = EventTime::from_epoch_ms(self.clock.now().0);
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let domain = gateway::handshake::domain_of(text(HOST));
        let mut event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": uri.path(),
            "rawQueryString": uri.query().unwrap_or_default(),
            "headers": event_headers(headers, client),
            "requestContext": {
                "accountId": self.account_id,
                "apiId": self.api_id,
                "domainName": domain,
                "domainPrefix": domain.split('.').next(),
                "http": {
                    "method": request.method().as_str(),
                    "path": uri.path(),
                    "protocol": "HTTP/1.1",
                    "sourceIp": client.ip,
                    "userAgent": text(USER_AGENT),
                },
                "requestId": self.clock.fresh_id(),
                "routeKey": "$default",
                "stage": "$default",
                "time": now.clf.as_str(),
                "timeEpoch": now.epoch_ms,
            },
            "isBase64Encoded": false,
        });
        let cookies: Vec<&str> = text(COOKIE).split(';').map(str::trim).filter(|cookie| !cookie.is_empty()).collect();
        if !cookies.is_empty() {
            event["cookies"] = json!(cookies);
        }
        if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
            event["queryStringParameters"] = json!(query_parameters(query));
        }
        if !request.body().is_empty() {
            let (body, encoded) = encode_body(headers, request.body());
            event["body"] = body.into();
            event["isBase64Encoded"] = encoded.into();
        }
        event
    }
}

/// Returns the headers of the event. Those that name the client are the server's, as in events of sockets (HDR-9): a
/// client could send any.
fn event_headers(headers: &HeaderMap, client: &ClientAddress) -> Map<String, Value> {
    let mut shown = joined_headers(headers);
    for (name, value) in [
        ("x-forwarded-for", client.forwarded_for()),
        ("x-forwarded-port", "443".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
    ] {
        shown.insert(name.to_owned(), value.into());
    }
    shown
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

/// Parses the response format 2.0. Without a `statusCode` the whole result is a JSON body with status 200.
fn parse_response(result: &[u8]) -> Option<Response<Bytes>> {
    let value: Value = serde_json::from_slice(result).ok()?;
    let Some(status) = value.get("statusCode") else {
        let body = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut response = Response::new(Bytes::from(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Some(response);
    };
    let status = status.as_u64().or_else(|| status.as_str()?.parse().ok())?;
    let body = match (value.get("body").and_then(Value::as_str), value.get("isBase64Encoded")) {
        (Some(text), Some(Value::Bool(true))) => Bytes::from(STANDARD.decode(text).ok()?),
        (text, _) => Bytes::from(text.unwrap_or_default().to_owned()),
    };
    let status = u16::try_from(status).ok().filter(|status| FINAL_STATUSES.contains(status))?;
    let mut response = Response::new(if BODILESS_STATUSES.contains(&status) { Bytes::new() } else { body });
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    for (name, value) in value.get("headers").and_then(Value::as_object).into_iter().flatten() {
        response.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).ok()?, header_value(value)?);
    }
    remove_connection_headers(response.headers_mut());
    for cookie in value.get("cookies").and_then(Value::as_array).into_iter().flatten() {
        response.headers_mut().append(SET_COOKIE, header_value(cookie)?);
    }
    Some(response)
}

/// Removes the fields that describe the connection or the length of the message. The server sets its own: a wrong length
/// would make the client read a part of the body as the next response.
fn remove_connection_headers(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in nominated.iter().map(HeaderName::as_str).chain(CONNECTION_HEADERS) {
        headers.remove(name);
    }
}

/// Reason why a response cannot be parsed. It contains no values, which may be user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum ResponseFormatError {
    #[error("the response is not JSON")]
    NotJson,
    #[error("statusCode is not an HTTP status")]
    InvalidStatus,
    #[error("isBase64Encoded is true, but body is not base64")]
    InvalidBase64,
    #[error("headers or cookies contain an invalid name or value")]
    InvalidHeader,
}

impl ResponseFormatError {
    /// Returns the reason why [`parse_response`] has rejected `result`.
    fn of(result: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(result) else { return Self::NotJson };
        let is_parsed = |fields: Value| parse_response(fields.to_string().as_bytes()).is_some();
        let status = value.get("statusCode");
        if !is_parsed(json!({"statusCode": status})) {
            Self::InvalidStatus
        } else if !is_parsed(
            json!({"statusCode": 200, "body": value.get("body"), "isBase64Encoded": value.get("isBase64Encoded")}),
        ) {
            Self::InvalidBase64
        } else {
            Self::InvalidHeader
        }
    }
}

fn header_value(value: &Value) -> Option<HeaderValue> {
    match value {
        Value::String(text) => HeaderValue::from_str(text).ok(),
        Value::Number(_) | Value::Bool(_) => HeaderValue::from_str(&value.to_string()).ok(),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns API Gateway's JSON message for `status`, for a function that gave no valid response.
fn message_response(status: StatusCode) -> Response<Bytes> {
    let text = json!({"message": status.canonical_reason()}).to_string();
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_and_inferred_responses_are_parsed() {
        let full = br#"{"statusCode":"201","headers":{"X-A":1,"content-type":"text/plain"},"cookies":["a=1","b=2"],"body":"aGk=","isBase64Encoded":true}"#;
        let full = parse_response(full).unwrap();
        assert_eq!((full.status().as_u16(), &**full.body()), (201, &b"hi"[..]));
        assert_eq!(full.headers()["x-a"], "1");
        assert_eq!(full.headers().get_all(SET_COOKIE).iter().count(), 2);
        let inferred = parse_response(br#"{"hello":"world"}"#).unwrap();
        assert_eq!((inferred.status().as_u16(), &**inferred.body()), (200, &br#"{"hello":"world"}"#[..]));
        assert!(parse_response(b"no JSON").is_none() && parse_response(br#"{"statusCode":42}"#).is_none());
    }

    #[test]
    fn headers_of_the_connection_and_line_breaks_do_not_reach_the_client() {
        let response = parse_response(
            br#"{"statusCode":200,"body":"hello","headers":{"Content-Length":"2","Transfer-Encoding":"chunked","Connection":"close, X-Hop",
            "Keep-Alive":"timeout=5","TE":"trailers","Trailer":"x","Upgrade":"h2c","Proxy-Connection":"x","x-hop":"1","X-End":"2"}}"#,
        );
        let response = response.unwrap();
        let names: Vec<_> = response.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!((names, &response.body()[..]), (vec!["x-end"], &b"hello"[..]));
        for headers in [
            r#"{"x":"a\r\nx-injected: 1"}"#,
            r#"{"x":"a\nb"}"#,
            r#"{"x\r\ny":"a"}"#,
            r#"{"x: a":"b"}"#,
            r#"{"x":"a\u0000"}"#,
        ] {
            assert!(
                parse_response(format!(r#"{{"statusCode":200,"headers":{headers}}}"#).as_bytes()).is_none(),
                "{headers}"
            );
        }
        assert!(parse_response(br#"{"statusCode":200,"cookies":["a=1\r\nx-injected: 1"]}"#).is_none());
    }

    #[test]
    fn a_status_without_a_body_has_none_and_interim_statuses_are_rejected() {
        for status in [204, 205, 304] {
            let response = parse_response(format!(r#"{{"statusCode":{status},"body":"x"}}"#).as_bytes()).unwrap();
            assert_eq!((response.status().as_u16(), response.body().len()), (status, 0));
        }
        for status in [100, 101, 103, 199, 600, 999] {
            assert!(parse_response(format!(r#"{{"statusCode":{status}}}"#).as_bytes()).is_none(), "{status}");
        }
    }

    #[test]
    fn rejected_responses_are_explained() {
        for (result, reason) in [
            (&b"no JSON"[..], ResponseFormatError::NotJson),
            (br#"{"statusCode":42}"#, ResponseFormatError::InvalidStatus),
            (br#"{"statusCode":200,"body":"?","isBase64Encoded":true}"#, ResponseFormatError::InvalidBase64),
            (br#"{"statusCode":200,"headers":{"a b":"c"}}"#, ResponseFormatError::InvalidHeader),
            (br#"{"statusCode":200,"cookies":[[]]}"#, ResponseFormatError::InvalidHeader),
        ] {
            assert!(parse_response(result).is_none());
            assert_eq!(ResponseFormatError::of(result), reason);
        }
    }

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
