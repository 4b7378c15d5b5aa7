//! Tests of request conversion and of the errors that Lambda records.

use std::io;

use lambda_http::request::from_str;

use super::*;

fn event(stage: &str, path: &str, body: &str, base64: bool) -> String {
    serde_json::json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "limit=2&after=a%3Db",
        "headers": {"host": "api.example", "x-api-key": "k", "content-type": "application/json"},
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "api.example", "domainPrefix": "api", "requestId": "r",
            "routeKey": "$default", "stage": stage, "time": "21/Nov/2026:00:00:00 +0000", "timeEpoch": 0,
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "u"},
        },
        "body": body, "isBase64Encoded": base64,
    })
    .to_string()
}

#[test]
fn the_stage_is_not_part_of_the_applications_path() {
    for (stage, path) in [("$default", "/v1/messages"), ("prod", "/prod/v1/messages"), ("prod", "/v1/messages")] {
        let request = http_request(from_str(&event(stage, path, "{}", false)).unwrap());
        assert_eq!(request.uri().to_string(), "/v1/messages?limit=2&after=a%3Db", "{stage} {path}");
        assert_eq!((request.method().as_str(), &request.headers()["x-api-key"]), ("POST", &"k".parse().unwrap()));
        assert_eq!(request.body(), "{}");
    }
    let longer = http_request(from_str(&event("v1", "/v1x/messages", "", false)).unwrap());
    assert_eq!(longer.uri().path(), "/v1x/messages", "a segment with the stage as its prefix is not the stage");
}

#[test]
fn a_body_in_base64_is_decoded() {
    let request = http_request(from_str(&event("$default", "/v1/messages", "e30=", true)).unwrap());
    assert_eq!(request.body(), "{}");
}

#[test]
fn an_error_has_its_chain_and_an_exact_one_only_its_text() {
    let error = io::Error::other(io::Error::other("cause"));
    let diagnostic = Diagnostic::from(InvocationError::new("HandlerError", &error));
    assert_eq!((diagnostic.error_type.as_str(), diagnostic.error_message.as_str()), ("HandlerError", "cause"));
    let diagnostic = Diagnostic::from(InvocationError::with_exact_text("Unauthorized", "Unauthorized".to_owned()));
    assert_eq!(diagnostic.error_message, "Unauthorized");
}
