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
    ConnectionDrain { config, connections: ConnectionIndex::default(), notices: None, tasks: TaskTracker::new() }
}

/// Four connections, which are drained in two batches. The test drops them in place of their sessions.
fn four_connections() -> Vec<Arc<Connection>> {
    let (hub, _) = hub();
    (0..4).map(|number| connect_on_node(&hub, number, 1, "alice", Role::User)).collect()
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
        tokio::time::sleep(INTERVAL * 20).await;
        assert!(!sessions[3].is_closing(), "the first batch is still open");
        drop(sessions.remove(0));
    });
    let elapsed = elapsed.await;
    assert!(elapsed >= INTERVAL * 20 && elapsed < INTERVAL * 21, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_never_closes_delays_the_next_by_at_most_its_share_of_half_the_grace() {
    let elapsed = time_until_last_batch(four_connections(), async |_| ()).await;
    assert!(elapsed >= GRACE / 4 && elapsed < GRACE / 4 + INTERVAL, "{elapsed:?}");
}
