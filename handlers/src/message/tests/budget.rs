//! Tests of the budget of a connection: the cost of each action, and the answer when it is used up.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::app::test_app::TestApp;
use crate::id::ConnectionId;
use crate::identity::Role;
use crate::ports::ActionBudget;

/// Records what is taken and charged, and rejects if configured.
#[derive(Default)]
struct RecordingBudget {
    taken: Mutex<u32>,
    charged: Mutex<u32>,
    rejects: Mutex<bool>,
}

impl ActionBudget for RecordingBudget {
    fn take(&self, _: &ConnectionId, cost: u32) -> Result<(), Duration> {
        if *self.rejects.lock() {
            return Err(Duration::from_micros(2_500_500));
        }
        *self.taken.lock() += cost;
        Ok(())
    }

    fn charge(&self, _: &ConnectionId, cost: u32) {
        *self.charged.lock() += cost;
    }
}

fn fixture() -> (TestApp, Arc<RecordingBudget>) {
    let (mut fixture, budget) = (TestApp::new(), Arc::new(RecordingBudget::default()));
    fixture.app.access.budget = budget.clone();
    (fixture, budget)
}

#[tokio::test]
async fn each_action_costs_its_channels_and_what_is_read_for_it() {
    let (fixture, budget) = fixture();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    fixture.append_messages("room:full", 2_000).await;
    let join = json!({ "action": "join", "channels": ["room:a", "room:b"] });
    let catch_up = json!({ "action": "join", "channels": { "room:full": { "offset": 0, "epoch": "e1" } } });
    // 2,000 messages with an average of 161 bytes are 20 units; the record of the room's only member is 1 unit.
    for (frame, taken, charged) in [
        (json!({ "action": "ping" }), 0, 0),
        (json!({ "action": "send", "body": "hello" }), 0, 0),
        (join, 2, 2),
        (json!({ "action": "presence", "channels": ["room:a", "room:b", "everyone"] }), 3, 3),
        (json!({ "action": "presence" }), 1, 8),
        (json!({ "action": "leave", "channels": ["room:a", "room:b"] }), 2, 0),
        (json!({ "action": "subscribe", "channel": "topic:t" }), 1, 0),
        (json!({ "action": "resume" }), 1, 0),
        (json!({ "action": "history", "channel": "everyone" }), 1, 1),
        (catch_up, 1, 21),
    ] {
        (*budget.taken.lock(), *budget.charged.lock()) = (0, 0);
        let answer = fixture.send_frame(&alice, frame.clone()).await;
        assert_ne!(answer["type"], "error", "{frame}: {answer}");
        assert_eq!((*budget.taken.lock(), *budget.charged.lock()), (taken, charged), "{frame}");
    }
}

#[tokio::test]
async fn an_action_beyond_the_budget_is_not_done_and_says_when_to_repeat_it() {
    let (fixture, budget) = fixture();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    *budget.rejects.lock() = true;
    let rejected = fixture.send_frame(&alice, json!({ "action": "join", "id": "j1", "channel": "room:a" })).await;
    let fields = (&rejected["type"], &rejected["code"], &rejected["id"], &rejected["retryAfterMs"]);
    assert_eq!(fields, (&json!("error"), &json!("rate_limited"), &json!("j1"), &json!(2_501)), "{rejected}");
    assert_eq!(fixture.joined_channels(&alice).await, [""; 0]);
    let sent = fixture.send_frame(&alice, json!({ "action": "send", "body": 1 })).await;
    assert_eq!((&sent["type"], sent.get("retryAfterMs")), (&json!("ack"), None::<&Value>), "sending goes on");
}
