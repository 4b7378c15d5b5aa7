//! The applications of `examples/`, from their sources to two clients: installed and started as their READMEs describe,
//! unmodified, with their own SDKs and an emulator of DynamoDB.

#[cfg(test)]
mod connections_table;
#[cfg(test)]
mod example_application;

use std::process::Stdio;

use serde_json::{Value, json};
use tests::conformance::client::{ConformanceClient, HandshakeBuilder};
use tests::eventually::with_timeout;
use tokio::process::Command;

use self::connections_table::ConnectionsTable;
use self::example_application::{Example, RunningExample};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sam_in_javascript_sends_to_all() {
    let Some(app) = Example { name: "chat-sam", stage: "Prod" }.start_with_table().await else { return };
    let mut alice = app.connect(HandshakeBuilder::new().query("name=alice")).await;
    let mut bob = app.connect(HandshakeBuilder::new().query("name=bob")).await;
    send(&mut alice, json!({"action": "sendmessage", "data": "hello"})).await;
    for client in [&mut alice, &mut bob] {
        receive(client, json!({"from": "alice", "data": "hello"})).await;
    }
    leave(bob, app.table()).await;
    send(&mut alice, json!({"action": "sendmessage", "data": "alone"})).await;
    receive(&mut alice, json!({"from": "alice", "data": "alone"})).await;
    leave_last(alice, app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sam_websocket_api_sends_direct_messages() {
    let Some(app) = (Example { name: "direct-sam", stage: "v1" }).start().await else { return };
    let (mut alice, mut bob) = (app.connect(HandshakeBuilder::new()).await, app.connect(HandshakeBuilder::new()).await);
    let (alice_id, bob_id) = (who_am_i(&mut alice).await, who_am_i(&mut bob).await);
    send(&mut alice, json!({"action": "send", "to": bob_id, "text": "hello"})).await;
    receive(&mut bob, json!({"from": alice_id, "text": "hello"})).await;
    send(&mut bob, json!({"action": "other"})).await;
    receive(&mut bob, json!({"error": "send an object with the action whoami or send"})).await;
    bob.close(None).await.unwrap();
    app.wait_for_output(&format!("disconnected {bob_id}")).await;
    send(&mut alice, json!({"action": "send", "to": bob_id, "text": "hello"})).await;
    receive(&mut alice, json!({"error": format!("{bob_id} is not connected")})).await;
    app.stop().await;
}

async fn who_am_i(client: &mut ConformanceClient) -> String {
    send(client, json!({"action": "whoami"})).await;
    read(client).await["you"].as_str().expect("the reply has the connection id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serverless_in_python_authorizes_and_replies() {
    let Some(app) = Example { name: "chat-serverless", stage: "dev" }.start_with_table().await else { return };
    for (query, status) in [("", 401), ("token=alice.forged", 401)] {
        assert_eq!(app.rejection(HandshakeBuilder::new().query(query)).await, status, "{query:?}");
    }
    let mut alice = app.connect(with_token(&app, "alice").await).await;
    let mut bob = app.connect(with_token(&app, "bob").await).await;
    for client in [&mut alice, &mut bob] {
        send(client, json!({"action": "join", "room": "tea"})).await;
        receive(client, json!({"joined": "tea"})).await;
    }
    send(&mut bob, json!({"action": "send", "text": "hello"})).await;
    for client in [&mut alice, &mut bob] {
        receive(client, json!({"from": "bob", "text": "hello"})).await;
    }
    send(&mut bob, json!({"action": "other"})).await;
    receive(&mut bob, json!({"error": "the actions are join and send"})).await;
    leave(bob, app.table()).await;
    leave_last(alice, app).await;
}

/// Returns a handshake with a token that the example itself prints.
async fn with_token(app: &RunningExample, user: &str) -> HandshakeBuilder {
    let mut program = Command::new("python3");
    program.arg(app.directory().join("authorizer.py")).arg(user).env("TOKEN_SECRET", "for development only");
    let output = program.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = with_timeout("the token", output).await.expect("Python is installed");
    let token = String::from_utf8(output.stdout).expect("a token is text");
    HandshakeBuilder::new().query(&format!("token={}", token.trim()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cdk_in_typescript_sends_to_rooms() {
    let Some(app) = Example { name: "chat-cdk", stage: "live" }.start_with_table().await else { return };
    assert_eq!(app.rejection(HandshakeBuilder::new()).await, 400, "a handshake without a name");
    chat_in_rooms(app).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_sends_to_rooms() {
    let Some(app) = Example { name: "chat-go", stage: "live" }.start_with_table().await else { return };
    chat_in_rooms(app).await;
}

/// Two clients of the room `tea`, and one of another room that receives nothing.
async fn chat_in_rooms(app: RunningExample) {
    let mut alice = join(&app, "alice", "tea").await;
    let mut carol = join(&app, "carol", "coffee").await;
    let mut bob = join(&app, "bob", "tea").await;
    receive(&mut alice, json!({"joined": "bob"})).await;
    send(&mut bob, json!({"action": "send", "text": "hello"})).await;
    for client in [&mut alice, &mut bob] {
        receive(client, json!({"from": "bob", "text": "hello"})).await;
    }
    send(&mut carol, json!({"action": "send", "text": "espresso"})).await;
    receive(&mut carol, json!({"from": "carol", "text": "espresso"})).await;
    carol.close(None).await.expect("the connection is open");
    app.table().wait_for_records(2).await;
    leave(bob, app.table()).await;
    send(&mut alice, json!({"action": "send", "text": "alone"})).await;
    receive(&mut alice, json!({"from": "alice", "text": "alone"})).await;
    leave_last(alice, app).await;
}

async fn join(app: &RunningExample, name: &str, room: &str) -> ConformanceClient {
    let mut client = app.connect(HandshakeBuilder::new().query(&format!("name={name}"))).await;
    send(&mut client, json!({"action": "join", "room": room})).await;
    receive(&mut client, json!({"joined": name})).await;
    client
}

async fn send(client: &mut ConformanceClient, message: Value) {
    client.send_json(&message).await.expect("the connection is open");
}

/// Asserts that the next message is this object.
async fn receive(client: &mut ConformanceClient, expected: Value) {
    assert_eq!(read(client).await, expected);
}

async fn read(client: &mut ConformanceClient) -> Value {
    let text = client.text().await.expect("a message arrives");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text:?} is not JSON"))
}

/// Closes the second to last connection and waits until its record is removed.
async fn leave(mut client: ConformanceClient, table: &ConnectionsTable) {
    client.close(None).await.expect("the connection is open");
    table.wait_for_records(1).await;
}

/// Closes the last connection, waits until its record is removed, and stops the server.
async fn leave_last(mut client: ConformanceClient, app: RunningExample) {
    client.close(None).await.expect("the connection is open");
    app.table().wait_for_records(0).await;
    app.stop().await;
}
