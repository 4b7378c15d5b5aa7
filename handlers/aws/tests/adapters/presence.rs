//! Presence frames when a delivery finds a connection gone before its `$disconnect` arrives.
//!
//! After a client is gone, API Gateway answers posts with 410 immediately and calls `$disconnect` some time later:
//! usually at least once, sometimes never.

use std::sync::Arc;
use std::time::Duration;

use handlers::app::MessagingApp;
use handlers::id::ConnectionId;
use handlers::memory::ManualClock;
use handlers_aws::wiring;
use serde_json::{Value, json};

use crate::counts::event;
use crate::gateway::{GatewayStub, PostReply};
use crate::support::{Database, database, lambda_clock, sdk};

struct World {
    app: MessagingApp,
    clock: Arc<ManualClock>,
    gateway: GatewayStub,
}

impl World {
    async fn new(database: &Database) -> Self {
        let (gateway, clock) = (GatewayStub::start().await, lambda_clock());
        let config = database.app_config(format!("{}/prod", gateway.stub.endpoint())).await;
        let management = wiring::management_client(&sdk(&gateway.stub.endpoint()).await, &config.management_endpoint);
        let app = wiring::build_app(&database.client, management, &config, clock.clone());
        Self { app, clock, gateway }
    }

    async fn connect(&self, id: &str, user: &str, role: &str) {
        self.gateway.set_reply(&connection_id(id), PostReply::Accepted);
        self.app.handle_connect(event(id, user, role, "$connect", None)).await.unwrap();
    }

    async fn send_frame(&self, id: &str, user: &str, role: &str, frame: Value) {
        self.app.handle_message(event(id, user, role, "$default", Some(&frame.to_string()))).await.unwrap();
    }

    async fn disconnect(&self, id: &str, user: &str) {
        self.app.handle_disconnect(event(id, user, "user", "$disconnect", None)).await.unwrap();
    }

    /// Returns channel and state of the presence frames posted to a connection since the last call.
    fn presence_frames(&self, id: &str) -> Vec<(String, String)> {
        let frames = self.gateway.take_frames(&connection_id(id)).into_iter();
        let frames = frames.map(|frame| serde_json::from_slice::<Value>(&frame).unwrap());
        let field = |frame: &Value, name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        frames
            .filter(|frame| frame["type"] == "presence")
            .map(|frame| (field(&frame, "channel"), field(&frame, "state")))
            .collect()
    }
}

fn connection_id(id: &str) -> ConnectionId {
    ConnectionId::parse(&format!("{id:A<15}=")).unwrap()
}

fn offline_in(channel: &str) -> (String, String) {
    (channel.to_owned(), "offline".to_owned())
}

#[tokio::test]
async fn a_message_before_the_disconnect_does_not_suppress_the_offline_frame() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    world.connect("r1", "root", "admin").await;
    for (id, user) in [("a1", "alice"), ("b1", "bob")] {
        world.connect(id, user, "user").await;
        world.send_frame(id, user, "user", json!({"action": "join", "channel": "room:lobby"})).await;
    }
    world.clock.advance(Duration::from_secs(61));
    world.presence_frames("r1");
    world.presence_frames("b1");
    world.gateway.set_reply(&connection_id("a1"), PostReply::Gone);
    for channel in ["room:lobby", "conversation:alice", "room:lobby"] {
        world
            .send_frame("r1", "root", "admin", json!({"action": "send", "to": channel, "body": "are you there?"}))
            .await;
    }
    assert!(world.presence_frames("b1").is_empty(), "no presence frame before the disconnect");
    let posts = world.gateway.post_counts().0;
    world.send_frame("r1", "root", "admin", json!({"action": "send", "to": "room:lobby", "body": "hello?"})).await;
    assert_eq!(world.gateway.post_counts().0, posts + 1, "the gone connection is not posted to again");

    for _ in 0..2 {
        world.disconnect("a1", "alice").await;
    }
    assert_eq!(world.presence_frames("b1"), [offline_in("room:lobby")], "the room is notified once");
    assert_eq!(world.presence_frames("r1"), [offline_in("conversation:alice")], "and admins are notified once");
}

#[tokio::test]
async fn a_user_who_reconnects_before_the_disconnect_stays_online() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    world.connect("r1", "root", "admin").await;
    world.connect("a1", "alice", "user").await;
    world.clock.advance(Duration::from_secs(61));
    world.gateway.set_reply(&connection_id("a1"), PostReply::Gone);
    let send = json!({"action": "send", "to": "conversation:alice", "body": "are you there?"});
    world.send_frame("r1", "root", "admin", send).await;
    world.connect("a2", "alice", "user").await;
    world.presence_frames("r1");
    world.disconnect("a1", "alice").await;
    assert!(world.presence_frames("r1").is_empty(), "the user has another connection");
    world.disconnect("a2", "alice").await;
    assert_eq!(world.presence_frames("r1"), [offline_in("conversation:alice")]);
}
