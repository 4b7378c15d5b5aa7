//! Replies, by the MSG and ERR rows of the catalogue.

use aws_lambda_events::encodings::Body;
use serde_json::{Value, json};

use super::*;
use crate::samples::{gateway_id, header_map};

fn parsed(value: &Value) -> Result<IntegrationReply, IntegrationError> {
    IntegrationReply::from_json(value.to_string().as_bytes())
}

fn two_way(value: &Value) -> MessageOutcome {
    message_outcome(parsed(value), RouteResponse::TwoWay)
}

#[test]
fn err_1_frames_are_exact() {
    let frame = |kind| error_frame(kind, gateway_id("PbTkjcISoAMCJNQ="), gateway_id("PbTk7ET8IAMFs2g="));
    let rest = r#""connectionId":"PbTkjcISoAMCJNQ=", "requestId":"PbTk7ET8IAMFs2g="}"#;
    assert_eq!(frame(ErrorFrameKind::Forbidden), format!(r#"{{"message": "Forbidden", {rest}"#));
    assert_eq!(frame(ErrorFrameKind::InternalServerError), format!(r#"{{"message": "Internal server error", {rest}"#));
    assert_eq!(
        frame(ErrorFrameKind::EndpointTimedOut),
        format!(r#"{{"message": "Endpoint request timed out", {rest}"#)
    );
    assert_eq!(frame(ErrorFrameKind::TooManyRequests), format!(r#"{{"message": "Too Many Requests", {rest}"#));
}

#[test]
fn msg_0_one_way_routes_send_no_frame_for_any_status() {
    for status in [200, 201, 301, 401, 501] {
        let result = parsed(&json!({"statusCode": status, "body": "unseen"}));
        assert_eq!(message_outcome(result, RouteResponse::OneWay), MessageOutcome::NoFrame);
    }
}

#[test]
fn msg_3_two_way_routes_send_the_body_for_any_status() {
    assert_eq!(two_way(&json!({"statusCode": 500, "body": "shown"})), MessageOutcome::Frame("shown".to_owned()));
    assert_eq!(two_way(&json!({"statusCode": 200})), MessageOutcome::Frame(String::new()));
    assert_eq!(two_way(&json!({"statusCode": 200, "body": null})), MessageOutcome::Frame(String::new()));
}

#[test]
fn msg_1_an_invalid_proxy_response_fails_on_both_kinds_of_route() {
    let malformed = [
        json!(null),
        json!("text"),
        json!([]),
        json!(7),
        json!({"ConnectionId": "x", "Data": "y", "statusCode": 200}),
        json!({"statusCode": 200, "extra": null}),
        json!({"statusCode": 200, "body": {}}),
        json!({"statusCode": 200, "body": 7}),
        json!({"statusCode": "ok"}),
        json!({"statusCode": 200.5}),
        json!({"statusCode": 99}),
        json!({"statusCode": 101}),
        json!({"statusCode": 600}),
        json!({"statusCode": 200, "headers": []}),
        json!({"statusCode": 200, "headers": {"a": {}}}),
        json!({"statusCode": 200, "headers": {"a b": "c"}}),
        json!({"statusCode": 200, "multiValueHeaders": {"a": "b"}}),
        json!({"statusCode": 200, "isBase64Encoded": "false"}),
    ];
    for value in malformed {
        for response in [RouteResponse::OneWay, RouteResponse::TwoWay] {
            let outcome = message_outcome(parsed(&value), response);
            assert_eq!(outcome, MessageOutcome::ErrorFrame(ErrorFrameKind::InternalServerError), "{value}");
        }
    }
    assert_eq!(IntegrationReply::from_json(b""), Err(IntegrationError::Malformed));
}

#[test]
fn malformed_replies_are_explained_without_their_values() {
    let long = "x".repeat(41);
    for (response, expected) in [
        ("".to_owned(), "not JSON: error in line 1, column 0"),
        ("{\"body\": private}".to_owned(), "not JSON: error in line 1, column 10"),
        (json!("private").to_string(), "the response is a string, not an object"),
        (json!(null).to_string(), "the response is null, not an object"),
        (json!({"status": "private"}).to_string(), "has the field \"status\"; only statusCode"),
        (json!({"private@example.com": 1}).to_string(), "has a field with another name"),
        (json!({ long: 1 }).to_string(), "has a field with another name"),
        (json!({"body": {"private": 1}}).to_string(), "body is an object, not a string"),
        (json!({"isBase64Encoded": "private"}).to_string(), "isBase64Encoded is a string, not a boolean"),
        (json!({"headers": ["private"]}).to_string(), "headers is an array, not an object"),
        (json!({"headers": {"private": {}}}).to_string(), "headers contains an invalid name or value"),
        (json!({"multiValueHeaders": {"private": 1}}).to_string(), "multiValueHeaders contains an invalid name"),
        (json!({"statusCode": "private"}).to_string(), "statusCode is not a number from 200 to 599"),
    ] {
        let error = IntegrationReply::parse(response.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("private"), "{response}: {error}");
    }
}

#[test]
fn msg_2_values_are_parsed_as_leniently_as_by_api_gateway() {
    for value in [json!({"statusCode": 200}), json!({"statusCode": "200"}), json!({}), json!({"statusCode": null})] {
        assert_eq!(parsed(&value).map(|reply| reply.status), Ok(200), "{value}");
    }
    let reply = parsed(&json!({"statusCode": 200, "headers": {"x-n": 7, "x-f": false, "x-z": null}})).unwrap();
    assert_eq!(reply.headers, header_map(&[("x-n", "7"), ("x-f", "false")]));
}

#[test]
fn timeouts_and_failures_have_their_error_frames() {
    use IntegrationError::{Function, NotInvokable, Throttled, TimedOut};
    for response in [RouteResponse::OneWay, RouteResponse::TwoWay] {
        let kind = |failure| message_outcome(Err(failure), response);
        assert_eq!(kind(TimedOut), MessageOutcome::ErrorFrame(ErrorFrameKind::EndpointTimedOut));
        for failure in [Function, NotInvokable, Throttled] {
            assert_eq!(kind(failure), MessageOutcome::ErrorFrame(ErrorFrameKind::InternalServerError));
        }
    }
}

#[test]
fn sub_3_and_6_the_subprotocol_is_found_in_either_map_and_any_case() {
    for value in [
        json!({"headers": {"Sec-Websocket-Protocol": "v1"}}),
        json!({"multiValueHeaders": {"sec-websocket-protocol": ["v0", "v1"]}}),
        json!({"multiValueHeaders": {"sec-websocket-protocol": ["v1"]}, "headers": {"SEC-WEBSOCKET-PROTOCOL": "v0"}}),
    ] {
        assert_eq!(parsed(&value).unwrap().chosen_subprotocol().unwrap(), "v1", "{value}");
    }
    assert_eq!(parsed(&json!({"statusCode": 200})).unwrap().chosen_subprotocol(), None);
}

#[test]
fn typed_replies_equal_their_json() {
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = 200;
    response.headers = header_map(&[("x-a", "1"), ("x-b", "2")]);
    response.multi_value_headers = header_map(&[("x-b", "3"), ("x-c", "4")]);
    for body in [None, Some(Body::Text("t".to_owned())), Some(Body::Binary(vec![1, 2, 3])), Some(Body::Empty)] {
        response.body = body;
        let json = serde_json::to_vec(&response).unwrap();
        assert_eq!(IntegrationReply::from_lambda_response(response.clone()), IntegrationReply::from_json(&json));
    }
    assert_eq!(
        IntegrationReply::from_lambda_response(response.clone()).unwrap().headers,
        header_map(&[("x-a", "1"), ("x-b", "3"), ("x-c", "4")])
    );
    response.other.insert("extra".to_owned(), json!(1));
    assert_eq!(IntegrationReply::from_lambda_response(response), Err(IntegrationError::Malformed));
}

#[test]
fn debug_hides_the_body() {
    assert!(!format!("{:?}", parsed(&json!({"body": "secret"}))).contains("secret"));
}
