//! Grammar of Lambda proxy responses (developer guide, `set-up-lambda-proxy-integrations`; MSG-1).
//!
//! The only keys are `statusCode`, `headers`, `multiValueHeaders`, `body` and `isBase64Encoded`. API Gateway is more
//! lenient than `aws_lambda_events` about their values: the status may be a string or absent (then 200, as for REST
//! APIs), header values may be numbers or booleans, and `null` means absent for all five keys.

use aws_lambda_events::apigw::ApiGatewayProxyResponse;
use aws_lambda_events::encodings::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::{IntegrationReply, ReplyFormatError};

/// Final statuses of HTTP responses, without the informational ones.
const VALID_STATUSES: std::ops::RangeInclusive<u16> = 200..=599;

pub(super) fn reply_from_response(response: ApiGatewayProxyResponse) -> Option<IntegrationReply> {
    let status = u16::try_from(response.status_code).ok().filter(|status| VALID_STATUSES.contains(status))?;
    if !response.other.is_empty() {
        return None;
    }
    let body = match response.body {
        Some(Body::Text(text)) => Some(text),
        Some(Body::Binary(bytes)) => Some(STANDARD.encode(bytes)),
        _ => None,
    };
    let mut headers = response.headers;
    merge_headers(&mut headers, response.multi_value_headers);
    Some(IntegrationReply { status, headers, body, is_base64: response.is_base64_encoded })
}

pub(super) fn reply_from_json(value: Value) -> Result<IntegrationReply, ReplyFormatError> {
    let Value::Object(members) = value else { return Err(ReplyFormatError::NotAnObject(kind_of(&value))) };
    let mut reply = IntegrationReply { status: 200, headers: HeaderMap::new(), body: None, is_base64: false };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("statusCode" | "headers" | "multiValueHeaders" | "body" | "isBase64Encoded", Value::Null) => {}
            ("statusCode", value) => {
                reply.status = parse_status(&value).ok_or(ReplyFormatError::InvalidStatus)?;
            }
            ("headers", Value::Object(headers)) => {
                add_single_values(&mut reply.headers, &headers).ok_or(ReplyFormatError::InvalidHeader("headers"))?;
            }
            ("multiValueHeaders", Value::Object(headers)) => {
                let invalid = ReplyFormatError::InvalidHeader("multiValueHeaders");
                add_multi_values(&mut reply.headers, &headers).ok_or(invalid)?;
            }
            ("body", Value::String(text)) => reply.body = Some(text),
            ("isBase64Encoded", Value::Bool(flag)) => reply.is_base64 = flag,
            (name, value) => return Err(field_error(name, &value)),
        }
    }
    Ok(reply)
}

fn field_error(name: &str, value: &Value) -> ReplyFormatError {
    let (field, expected) = match name {
        "headers" => ("headers", "an object"),
        "multiValueHeaders" => ("multiValueHeaders", "an object"),
        "body" => ("body", "a string"),
        "isBase64Encoded" => ("isBase64Encoded", "a boolean"),
        _ => return ReplyFormatError::UnknownField(loggable_name(name)),
    };
    ReplyFormatError::WrongType { field, expected, found: kind_of(value) }
}

/// Returns the name of a field if it is one that code has, rather than data of a client.
fn loggable_name(name: &str) -> Option<Box<str>> {
    const MAX_BYTES: usize = 40;
    let is_name = name.len() <= MAX_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    is_name.then(|| name.into())
}

/// Returns the name of a JSON type.
pub(crate) const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn parse_status(value: &Value) -> Option<u16> {
    let number = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    u16::try_from(number).ok().filter(|status| VALID_STATUSES.contains(status))
}

/// Adds the multi-valued headers to the single-valued ones; for a name in both, the multi-valued map takes precedence.
fn merge_headers(headers: &mut HeaderMap, multi: HeaderMap) {
    if headers.is_empty() {
        *headers = multi;
        return;
    }
    for name in multi.keys() {
        headers.remove(name);
    }
    for (name, value) in &multi {
        headers.append(name, value.clone());
    }
}

fn add_single_values(headers: &mut HeaderMap, members: &Map<String, Value>) -> Option<()> {
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = parse_header_value(value)?;
        // The multi-valued map takes precedence and may have been parsed before.
        headers.entry(name).or_insert(value);
    }
    Some(())
}

fn add_multi_values(headers: &mut HeaderMap, members: &Map<String, Value>) -> Option<()> {
    for (name, values) in members.iter().filter(|(_, values)| !values.is_null()) {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.remove(&name);
        for value in values.as_array()? {
            headers.append(&name, parse_header_value(value)?);
        }
    }
    Some(())
}

fn parse_header_value(value: &Value) -> Option<HeaderValue> {
    match value {
        Value::String(text) => HeaderValue::from_str(text).ok(),
        Value::Number(number) => HeaderValue::from_str(&number.to_string()).ok(),
        Value::Bool(flag) => Some(HeaderValue::from_static(if *flag { "true" } else { "false" })),
        _ => None,
    }
}
