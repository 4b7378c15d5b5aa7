//! What asks the HTTP API during a run: a backend that pushes to a topic, and one that compares who is connected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::recorder::RunRecorder;
use super::traffic_client::TrafficPhase;
use crate::client::http::HttpCaller;

/// Between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How long an answer may take before another pod is asked.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pushes to a topic at a steady pace, each message again until it is accepted.
pub(super) async fn push_messages(
    backend: HttpCaller,
    topic: String,
    pace: Duration,
    ledger: Arc<RunRecorder>,
    phase: watch::Receiver<TrafficPhase>,
) {
    let mut number = 0_u64;
    while *phase.borrow() == TrafficPhase::Sending {
        number += 1;
        ledger.update_counts(|counts| counts.waiting += 1);
        let (key, body) = (format!("push-{number}"), json!({"audience": {"channel": topic}, "body": number}));
        let accepted = loop {
            // Whoever was asked may hang.
            let asked = timeout(REPLY_TIMEOUT, backend.post_idempotent("/v1/messages", &key, &body)).await;
            match asked {
                Ok(reply) if reply.status == 200 => break reply.json(),
                Ok(_) | Err(_) => sleep(RETRY_INTERVAL).await,
            }
        };
        let place = (accepted["epoch"].as_str(), accepted["offset"].as_u64());
        let (Some(epoch), Some(offset)) = place else { panic!("what goes to a topic has a place: {accepted}") };
        ledger.record_ack(&topic, epoch, offset, &key);
        sleep(pace).await;
    }
}

/// Waits until the application says exactly those connections are open that are; answers how long that took since `begun`.
/// `None` when it did not happen within `limit`.
pub(super) async fn wait_for_presence(
    backend: &HttpCaller,
    ledger: &RunRecorder,
    begun: Instant,
    limit: Duration,
) -> Option<Duration> {
    while begun.elapsed() < limit {
        let before = ledger.open_connections();
        let told = timeout(REPLY_TIMEOUT, connections(backend)).await.ok().flatten();
        // Whoever came or went meanwhile may be in it or not.
        if told.is_some_and(|told| told == before) && ledger.open_connections() == before {
            return Some(begun.elapsed());
        }
        sleep(RETRY_INTERVAL).await;
    }
    None
}

/// Every connection that the application knows; `None` when it did not answer.
async fn connections(backend: &HttpCaller) -> Option<BTreeSet<String>> {
    let (mut all, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = backend.get(&format!("/v1/connections?limit=500{after}")).await;
        if page.status != 200 {
            return None;
        }
        let page = page.json();
        let ids = page["connections"].as_array()?.iter().filter_map(|entry| entry["connection"].as_str());
        all.extend(ids.map(str::to_owned));
        match &page["next"] {
            Value::String(next) => after = format!("&after={}", next.replace('=', "%3D")),
            _ => return Some(all),
        }
    }
}
