//! HTTP clients of a run: a backend that publishes to a topic, and one that compares presence with the open
//! connections.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::recorder::RunRecorder;
use super::traffic_client::TrafficPhase;
use crate::client::http::HttpCaller;

/// Interval between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Timeout of a reply before the request is sent to another pod.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes to a topic at a fixed interval; repeats each message until it is accepted.
pub(super) async fn push_messages(
    backend: HttpCaller,
    topic: String,
    pace: Duration,
    recorder: Arc<RunRecorder>,
    phase: watch::Receiver<TrafficPhase>,
) {
    let mut number = 0_u64;
    while *phase.borrow() == TrafficPhase::Sending {
        number += 1;
        recorder.update_counts(|counts| counts.waiting += 1);
        let (key, body) = (format!("push-{number}"), json!({"audience": {"channel": topic}, "body": number}));
        let accepted = loop {
            // The pod that receives the request may hang.
            let reply = timeout(REPLY_TIMEOUT, backend.post_idempotent("/v1/messages", &key, &body)).await;
            match reply {
                Ok(reply) if reply.status == 200 => break reply.json(),
                Ok(_) | Err(_) => sleep(RETRY_INTERVAL).await,
            }
        };
        let position = (accepted["epoch"].as_str(), accepted["offset"].as_u64());
        let (Some(epoch), Some(offset)) = position else { panic!("a topic message has a position: {accepted}") };
        recorder.record_ack(&topic, epoch, offset, &key);
        sleep(pace).await;
    }
}

/// Waits until the application reports exactly the open connections and returns the time since `started`; `None`
/// after `limit`.
pub(super) async fn wait_for_presence(
    backend: &HttpCaller,
    recorder: &RunRecorder,
    started: Instant,
    limit: Duration,
) -> Option<Duration> {
    while started.elapsed() < limit {
        let before = recorder.open_connections();
        let reported = timeout(REPLY_TIMEOUT, connections(backend)).await.ok().flatten();
        // The report may or may not contain connections that were opened or closed during the request.
        if reported.is_some_and(|reported| reported == before) && recorder.open_connections() == before {
            return Some(started.elapsed());
        }
        sleep(RETRY_INTERVAL).await;
    }
    None
}

/// Returns every connection that the application reports; `None` without a successful reply.
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
