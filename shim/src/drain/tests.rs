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

/// Stands for the sessions of four connections, which are told in two waves.
fn four() -> Vec<Arc<Connection>> {
    let (hub, _) = hub();
    (0..4).map(|number| connect_on_node(&hub, number, 1, "alice", Role::User)).collect()
}

/// When the last of the handles was told, while sessions end as `ends` says.
async fn last_told(sessions: Vec<Arc<Connection>>, ends: impl AsyncFnOnce(&mut Vec<Arc<Connection>>)) -> Duration {
    let (begun, mut held) = (Instant::now(), sessions.clone());
    let last = sessions[3].clone();
    let drain = drain();
    let waves = drain.reconnect_in_batches(sessions);
    let told = async {
        ends(&mut held).await;
        while !last.is_closing() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        begun.elapsed()
    };
    tokio::join!(waves, told).1
}

#[tokio::test(start_paused = true)]
async fn a_wave_goes_at_its_time_when_half_of_the_last_has_left() {
    let told = last_told(four(), async |sessions| drop(sessions.remove(0))).await;
    assert!(told >= INTERVAL && told < INTERVAL * 2, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wave_waits_for_half_of_the_last() {
    let told = last_told(four(), async |sessions| {
        tokio::time::sleep(INTERVAL * 20).await;
        assert!(!sessions[3].is_closing(), "the first wave is still there");
        drop(sessions.remove(0));
    });
    let told = told.await;
    assert!(told >= INTERVAL * 20 && told < INTERVAL * 21, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wave_that_never_leaves_takes_no_more_than_its_share_of_half_the_grace() {
    let told = last_told(four(), async |_| ()).await;
    assert!(told >= GRACE / 4 && told < GRACE / 4 + INTERVAL, "{told:?}");
}
