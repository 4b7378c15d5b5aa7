//! Actions one by one, on memory adapters; catching up has tests of its own.

mod channels;
mod reading;
mod sending;

use std::time::Duration;

use serde_json::json;

use crate::app::HandlerError;
use crate::app::test_app::{NOW, TestApp, websocket_event};
use crate::identity::Role;
use crate::ports::CloseReason;

#[tokio::test]
async fn a_ping_is_answered_with_the_time() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let pong = world.send_text(&alice, r#"{"action":"ping","id":"p1"}"#).await;
    assert_eq!(pong, format!(r#"{{"type":"pong","id":"p1","serverTime":{}}}"#, NOW.0));
    assert_eq!(
        world.send_text(&alice, r#"{"action":"ping"}"#).await,
        format!(r#"{{"type":"pong","serverTime":{}}}"#, NOW.0)
    );
}

#[tokio::test]
async fn a_bad_frame_is_an_error_frame_with_its_id() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let error = world.send_frame(&alice, json!({ "action": "send", "id": "m1" })).await;
    assert_eq!(
        (&error["type"], &error["code"], &error["id"]),
        (&json!("error"), &json!("missing_field"), &json!("m1"))
    );
    let error = world.send_text(&alice, "hello").await;
    assert!(
        error.starts_with(r#"{"type":"error","code":"bad_json","message":"#) && !error.contains("\"id\""),
        "{error}"
    );
}

#[tokio::test]
async fn an_event_without_an_identity_is_a_fault_of_the_deployment() {
    let world = TestApp::new();
    let alice = world.connect("a1", "alice", Role::User).await;
    let mut event = websocket_event(&alice, "$default", Some("{}"));
    event.request_context.authorizer.fields.clear();
    assert!(matches!(world.app.handle_message(event).await, Err(HandlerError::Identity(_))));
}

#[tokio::test]
async fn an_expired_token_ends_the_connection() {
    let world = TestApp::new();
    let mut alice = world.connect("a1", "alice", Role::User).await;
    alice.identity.expires_at = Some(NOW.unix_seconds() + 60);
    world.clock.advance(Duration::from_secs(59));
    assert_eq!(world.send_frame(&alice, json!({ "action": "ping" })).await["type"], "pong");
    world.clock.advance(Duration::from_secs(1));
    let error = world.send_frame(&alice, json!({ "action": "send", "id": "m1", "body": 1 })).await;
    assert_eq!((&error["code"], &error["id"]), (&json!("token_expired"), &json!("m1")));
    assert_eq!(world.delivery.close_reason(&alice.id), Some(CloseReason::TokenExpired));
    let history = world.connect("c1", "carol", Role::Admin).await;
    let history = world.send_frame(&history, json!({ "action": "history", "channel": "conversation:alice" })).await;
    assert_eq!(history["messages"], json!([]), "nothing was written");
}
