//! Responses of HTTP API functions: payload formats 2.0 and 1.0.
//!
//! Source: API Gateway developer guide, `http-api-develop-integrations-lambda` and, for 1.0,
//! `set-up-lambda-proxy-integrations`.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::route_table::PayloadFormat;

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

/// Parses a response. In format 2.0 a result without `statusCode` is a JSON body with status 200.
pub(super) fn parse_response(result: &[u8], payload: PayloadFormat) -> Option<Response<Bytes>> {
    let value: Value = serde_json::from_slice(result).ok()?;
    let Some(status) = value.get("statusCode") else {
        if payload == PayloadFormat::V1 {
            return None;
        }
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
    if payload == PayloadFormat::V1 {
        append_multi_value_headers(&value, response.headers_mut())?;
    }
    remove_connection_headers(response.headers_mut());
    for cookie in value.get("cookies").and_then(Value::as_array).into_iter().flatten() {
        response.headers_mut().append(SET_COOKIE, header_value(cookie)?);
    }
    Some(response)
}

/// Adds the fields of `multiValueHeaders`, which replace those of `headers`.
fn append_multi_value_headers(response: &Value, headers: &mut HeaderMap) -> Option<()> {
    for (name, values) in response.get("multiValueHeaders").and_then(Value::as_object).into_iter().flatten() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.remove(&name);
        for value in values.as_array()? {
            headers.append(&name, header_value(value)?);
        }
    }
    Some(())
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
pub(super) enum ResponseFormatError {
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
    pub(super) fn of(result: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(result) else { return Self::NotJson };
        let is_parsed = |fields: Value| parse_response(fields.to_string().as_bytes(), PayloadFormat::V2).is_some();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(result: &[u8]) -> Option<Response<Bytes>> {
        parse_response(result, PayloadFormat::V2)
    }

    #[test]
    fn full_and_inferred_responses_are_parsed() {
        let full = br#"{"statusCode":"201","headers":{"X-A":1,"content-type":"text/plain"},"cookies":["a=1","b=2"],"body":"aGk=","isBase64Encoded":true}"#;
        let full = parse(full).unwrap();
        assert_eq!((full.status().as_u16(), &**full.body()), (201, &b"hi"[..]));
        assert_eq!(full.headers()["x-a"], "1");
        assert_eq!(full.headers().get_all(SET_COOKIE).iter().count(), 2);
        let inferred = parse(br#"{"hello":"world"}"#).unwrap();
        assert_eq!((inferred.status().as_u16(), &**inferred.body()), (200, &br#"{"hello":"world"}"#[..]));
        assert!(parse(b"no JSON").is_none() && parse(br#"{"statusCode":42}"#).is_none());
    }

    #[test]
    fn headers_of_the_connection_and_line_breaks_do_not_reach_the_client() {
        let response = parse(
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
            assert!(parse(format!(r#"{{"statusCode":200,"headers":{headers}}}"#).as_bytes()).is_none(), "{headers}");
        }
        assert!(parse(br#"{"statusCode":200,"cookies":["a=1\r\nx-injected: 1"]}"#).is_none());
    }

    #[test]
    fn a_status_without_a_body_has_none_and_interim_statuses_are_rejected() {
        for status in [204, 205, 304] {
            let response = parse(format!(r#"{{"statusCode":{status},"body":"x"}}"#).as_bytes()).unwrap();
            assert_eq!((response.status().as_u16(), response.body().len()), (status, 0));
        }
        for status in [100, 101, 103, 199, 600, 999] {
            assert!(parse(format!(r#"{{"statusCode":{status}}}"#).as_bytes()).is_none(), "{status}");
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
            assert!(parse(result).is_none());
            assert_eq!(ResponseFormatError::of(result), reason);
        }
    }

    #[test]
    fn format_1_0_has_repeated_headers_and_no_inference() {
        let result = br#"{"statusCode":200,"headers":{"x-a":"0"},"multiValueHeaders":{"X-A":["1","2"]},"body":"hi"}"#;
        let response = parse_response(result, PayloadFormat::V1).unwrap();
        assert_eq!(response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert!(parse_response(br#"{"hello":"world"}"#, PayloadFormat::V1).is_none());
    }
}
