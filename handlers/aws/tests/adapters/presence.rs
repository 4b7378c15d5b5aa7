//! Who is told that a user left, when a message meets the connection's end before its `$disconnect` comes.
//!
//! API Gateway answers posts with 410 from the moment when a client is gone, and calls `$disconnect` some time later, at
//! least once as a rule and sometimes never.

use std::sync::Arc;
use std::time::Duration;

use handlers::app::MessagingApp;
use handlers::id::ConnectionId;
use handlers::memory::ManualClock;
use handlers_aws::wiring;
use serde_json::{Value, json};

use crate::counts::event;
use crate::gateway::{Gateway, Mood};
use crate::support::{Database, database, lambda_clock, sdk};

struct World {
    app: MessagingApp,
    clock: Arc<ManualClock>,
    gateway: Gateway,
}

impl World {
    async fn new(database: &Database) -> Self {
        let (gateway, clock) = (Gateway::start().await, lambda_clock());
        let stores = database.stores(format!("{}/prod", gateway.stub.endpoint())).await;
        let management = wiring::management_client(&sdk(&gateway.stub.endpoint()).await, &stores.management_endpoint);
        let app = wiring::build_app(&database.client, management, &stores, clock.clone());
        Self { app, clock, gateway }
    }

    async fn connect(&self, id: &str, user: &str, role: &str) {
        self.gateway.set(&full(id), Mood::Open);
        self.app.handle_connect(event(id, user, role, "$connect", None)).await.unwrap();
    }

    async fn say(&self, id: &str, user: &str, role: &str, frame: Value) {
        self.app.handle_message(event(id, user, role, "$default", Some(&frame.to_string()))).await.unwrap();
    }

    async fn disconnect(&self, id: &str, user: &str) {
        self.app.handle_disconnect(event(id, user, "user", "$disconnect", None)).await.unwrap();
    }

    /// The presence frames that a connection was posted since the last look, as channel and state.
    fn told(&self, id: &str) -> Vec<(String, String)> {
        let frames = self.gateway.take(&full(id)).into_iter();
        let frames = frames.map(|frame| serde_json::from_slice::<Value>(&frame).unwrap());
        let field = |frame: &Value, name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        frames
            .filter(|frame| frame["type"] == "presence")
            .map(|frame| (field(&frame, "channel"), field(&frame, "state")))
            .collect()
    }
}

fn full(id: &str) -> ConnectionId {
    ConnectionId::parse(&format!("{id:A<15}=")).unwrap()
}

fn left(channel: &str) -> (String, String) {
    (channel.to_owned(), "offline".to_owned())
}

#[tokio::test]
async fn a_message_that_comes_before_the_disconnect_does_not_swallow_the_goodbye() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    world.connect("r1", "root", "admin").await;
    for (id, user) in [("a1", "alice"), ("b1", "bob")] {
        world.connect(id, user, "user").await;
        world.say(id, user, "user", json!({"action": "join", "channel": "room:lobby"})).await;
    }
    world.clock.advance(Duration::from_secs(61));
    world.told("r1");
    world.told("b1");
    world.gateway.set(&full("a1"), Mood::Gone);
    for channel in ["room:lobby", "conversation:alice", "room:lobby"] {
        world.say("r1", "root", "admin", json!({"action": "send", "to": channel, "body": "are you there?"})).await;
    }
    assert!(world.told("b1").is_empty(), "nobody is told before the end");
    let posts = world.gateway.posts().0;
    world.say("r1", "root", "admin", json!({"action": "send", "to": "room:lobby", "body": "hello?"})).await;
    assert_eq!(world.gateway.posts().0, posts + 1, "the gone connection is not posted to again");

    for _ in 0..2 {
        world.disconnect("a1", "alice").await;
    }
    assert_eq!(world.told("b1"), [left("room:lobby")], "the room is told, once");
    assert_eq!(world.told("r1"), [left("conversation:alice")], "and so are admins");
}

#[tokio::test]
async fn a_user_who_is_back_before_the_disconnect_has_not_left() {
    let Some(database) = database().await else { return };
    let world = World::new(&database).await;
    world.connect("r1", "root", "admin").await;
    world.connect("a1", "alice", "user").await;
    world.clock.advance(Duration::from_secs(61));
    world.gateway.set(&full("a1"), Mood::Gone);
    let send = json!({"action": "send", "to": "conversation:alice", "body": "are you there?"});
    world.say("r1", "root", "admin", send).await;
    world.connect("a2", "alice", "user").await;
    world.told("r1");
    world.disconnect("a1", "alice").await;
    assert!(world.told("r1").is_empty(), "another connection of hers is there");
    world.disconnect("a2", "alice").await;
    assert_eq!(world.told("r1"), [left("conversation:alice")]);
}
