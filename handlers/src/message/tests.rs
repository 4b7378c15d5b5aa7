//! Tests of the actions on memory adapters. Catch-up has separate tests.

mod budget;
mod channels;
mod reading;
mod sending;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::app::HandlerError;
use crate::app::test_app::{NOW, TestApp, websocket_event};
use crate::frame::ClientAction;
use crate::identity::Role;
use crate::ports::CloseReason;

const PROTOCOL: &str = include_str!("../../../docs/PROTOCOL.md");

/// Runs every example of a client's frame in the protocol page. A new action fails here until the page has an example.
#[tokio::test]
async fn every_action_has_an_example_in_the_protocol_page_that_succeeds() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let mut actions = BTreeSet::new();
    for example in PROTOCOL.split(['\n', '`']).filter(|text| text.starts_with(r#"{"action":""#)) {
        let frame: Value = serde_json::from_str(example).unwrap_or_else(|error| panic!("{example}: {error}"));
        let answer = fixture.send_text(&alice, example).await;
        assert!(!answer.starts_with(r#"{"type":"error""#), "{example} is answered with {answer}");
        actions.insert(frame["action"].as_str().unwrap().to_owned());
    }
    assert_eq!(actions, ClientAction::names().map(str::to_owned).collect());
}

#[tokio::test]
async fn a_ping_is_answered_with_the_time() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let pong = fixture.send_text(&alice, r#"{"action":"ping","id":"p1"}"#).await;
    assert_eq!(pong, format!(r#"{{"type":"pong","id":"p1","serverTime":{}}}"#, NOW.0));
    assert_eq!(
        fixture.send_text(&alice, r#"{"action":"ping"}"#).await,
        format!(r#"{{"type":"pong","serverTime":{}}}"#, NOW.0)
    );
}

#[tokio::test]
async fn an_invalid_frame_is_answered_with_an_error_frame_and_its_id() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let error = fixture.send_frame(&alice, json!({ "action": "send", "id": "m1" })).await;
    assert_eq!(
        (&error["type"], &error["code"], &error["id"]),
        (&json!("error"), &json!("missing_field"), &json!("m1"))
    );
    let error = fixture.send_text(&alice, "hello").await;
    assert!(
        error.starts_with(r#"{"type":"error","code":"bad_json","message":"#) && !error.contains("\"id\""),
        "{error}"
    );
}

#[tokio::test]
async fn an_event_without_an_identity_is_a_handler_error() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let mut event = websocket_event(&alice, "$default", Some("{}"));
    event.request_context.authorizer.fields.clear();
    assert!(matches!(fixture.app.handle_message(event).await, Err(HandlerError::Identity(_))));
}

#[tokio::test]
async fn an_expired_token_closes_the_connection() {
    let fixture = TestApp::new();
    let mut alice = fixture.connect("a1", "alice", Role::User).await;
    alice.identity.expires_at = Some(NOW.unix_seconds() + 60);
    fixture.clock.advance(Duration::from_secs(59));
    assert_eq!(fixture.send_frame(&alice, json!({ "action": "ping" })).await["type"], "pong");
    fixture.clock.advance(Duration::from_secs(1));
    let error = fixture.send_frame(&alice, json!({ "action": "send", "id": "m1", "body": 1 })).await;
    assert_eq!((&error["code"], &error["id"]), (&json!("token_expired"), &json!("m1")));
    assert_eq!(fixture.delivery.close_reason(&alice.id), Some(CloseReason::TokenExpired));
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    let history = fixture.send_frame(&admin, json!({ "action": "history", "channel": "conversation:alice" })).await;
    assert_eq!(history["messages"], json!([]), "nothing was written");
}
