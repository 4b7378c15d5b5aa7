use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use handlers::identity::Role;
use tokio::time::Instant;

use super::*;
use crate::hub::tests::{connect_on_node, hub};

const INTERVAL: Duration = Duration::from_millis(100);
const GRACE: Duration = Duration::from_secs(10);

fn drain() -> ConnectionDrain {
    let config = DrainConfig {
        delay: Duration::ZERO,
        batch_size: 2,
        batch_interval: INTERVAL,
        grace: GRACE,
        termination_grace: None,
    };
    let (connections, tasks) = (ConnectionIndex::default(), TaskTracker::new());
    ConnectionDrain { config, connections, notices: None, tasks, peers: None }
}

/// Connections, which are drained in batches of two. The test drops them in place of their sessions.
fn open_connections(count: u32) -> Vec<Arc<Connection>> {
    let (hub, _) = hub();
    (0..count).map(|number| connect_on_node(&hub, number, 1, "alice", Role::User)).collect()
}

fn four_connections() -> Vec<Arc<Connection>> {
    open_connections(4)
}

/// Returns the time until the last connection was asked to reconnect, while `end_sessions` drops connections.
async fn time_until_last_batch(
    sessions: Vec<Arc<Connection>>,
    end_sessions: impl AsyncFnOnce(&mut Vec<Arc<Connection>>),
) -> Duration {
    let (started_at, mut open) = (Instant::now(), sessions.clone());
    let last = sessions[3].clone();
    let drain = drain();
    let batches = drain.reconnect_in_batches(sessions);
    let elapsed = async {
        end_sessions(&mut open).await;
        while !last.is_closing() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        started_at.elapsed()
    };
    tokio::join!(batches, elapsed).1
}

#[tokio::test(start_paused = true)]
async fn a_batch_starts_after_the_interval_when_half_of_the_previous_one_has_closed() {
    let elapsed = time_until_last_batch(four_connections(), async |sessions| drop(sessions.remove(0))).await;
    assert!(elapsed >= INTERVAL && elapsed < INTERVAL * 2, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_half_of_the_previous_one() {
    let elapsed = time_until_last_batch(four_connections(), async |sessions| {
        tokio::time::sleep(INTERVAL * 10).await;
        assert!(!sessions[3].is_closing(), "the first batch is still open");
        drop(sessions.remove(0));
    });
    let elapsed = elapsed.await;
    assert!(elapsed >= INTERVAL * 10 && elapsed < INTERVAL * 11, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_never_closes_delays_the_next_by_at_most_a_quarter_of_the_time_that_is_left() {
    let elapsed = time_until_last_batch(four_connections(), async |_| ()).await;
    let longest = INTERVAL + (GRACE * 3 / 4 - INTERVAL * 2) / 4;
    assert!(elapsed >= longest && elapsed < longest + INTERVAL, "{elapsed:?}");
}

/// Other servers, which accept clients when the test says so.
struct OtherServers(AtomicU64);

#[async_trait]
impl PeerConnections for OtherServers {
    async fn count_connections(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed))
    }
}

/// Returns the times at which three batches of two connections start, which close at once and of which the other
/// servers accept `accepted` clients each, `delay` after a batch.
async fn batch_times(delay: Duration, accepted: u64) -> Vec<Duration> {
    let sessions = open_connections(6);
    let servers = Arc::new(OtherServers(AtomicU64::new(100)));
    let drain = ConnectionDrain { peers: Some(servers.clone()), ..drain() };
    let started_at = Instant::now();
    let mut open = sessions.clone();
    let batches = drain.reconnect_in_batches(sessions);
    let sessions = async {
        let mut times = Vec::new();
        while !open.is_empty() {
            let closing = open.extract_if(.., |connection| connection.is_closing()).count();
            if closing > 0 {
                times.push(started_at.elapsed());
                let servers = servers.clone();
                TaskTracker::new().spawn(async move {
                    tokio::time::sleep(delay).await;
                    servers.0.fetch_add(accepted, Ordering::Relaxed);
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times
    };
    tokio::join!(batches, sessions).1
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_until_other_servers_have_accepted_half_of_the_previous_one() {
    let delay = INTERVAL * 10;
    let times = batch_times(delay, 2).await;
    assert_eq!(times.len(), 3);
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= delay && pair[1] - pair[0] < delay + INTERVAL, "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_never_come_back_delay_one_batch_only() {
    let times = batch_times(Duration::ZERO, 0).await;
    assert!(times[1] - times[0] >= GRACE / 8, "{times:?}");
    assert!(times[2] - times[1] < INTERVAL * 2, "{times:?}");
}
