//! What happens to the pods and to what they stand on.
//!
//! Invariant: when a disaster is over, everything runs again. A disaster waits until its effects on who is connected are
//! over as well, and tells how long that took.

use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::fixture::FaultFixture;
use crate::redis::free_port;

/// Longer than connecting to Redis and an answer may take together (2 s each).
const BEYOND_TIMEOUTS: Duration = Duration::from_secs(6);
/// Longer than a lease (8 s), so that a pod which cannot reach Redis is taken for dead.
const BEYOND_LEASE: Duration = Duration::from_secs(12);
/// How long Redis is gone when it is restarted, and how long a network is cut.
const OUTAGE_DURATION: Duration = Duration::from_secs(3);
/// How long between two times that Redis ends connections: new ones are in use by then.
const KILL_INTERVAL: Duration = Duration::from_secs(1);
/// How long everything may take to be as before.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InjectedFault {
    /// Pods are killed with SIGKILL in turn, and started again
    Kill,
    /// Redis is killed and started again, then paused for longer than every timeout
    Redis,
    /// A pod is cut off from Redis for longer than its lease, then all of them are
    Network,
    /// Every pod is stopped with SIGTERM and started again, one after the other
    Rolling,
    /// A pod hangs for longer than its lease, and goes on
    Hang,
    /// Redis ends the pods' subscriptions again and again, and all of their connections
    SubscriptionLoss,
    /// Redis is made a replica that nobody may write to, and is made the master again
    ReadOnly,
    /// Redis is killed and comes back empty
    DataLoss,
}

impl InjectedFault {
    /// Lets it happen. How long the application took, each time, to know who is connected.
    pub(super) async fn inject(self, stage: &mut FaultFixture, full: bool) -> anyhow::Result<Vec<Duration>> {
        match self {
            Self::Kill => kill_pods(stage, if full { stage.fleet.pods.len() } else { 1 }).await,
            Self::Redis => interrupt_redis(stage).await,
            Self::Network => partition_network(stage, full).await,
            Self::Rolling => rolling_restart(stage).await,
            Self::Hang => hang_pod(stage).await,
            Self::SubscriptionLoss => kill_subscriptions(stage, if full { 20 } else { 5 }).await,
            Self::ReadOnly => make_read_only(stage).await,
            Self::DataLoss => lose_redis_data(stage).await,
        }
    }
}

/// Kills pods in turn; the next one when the application knows again who is connected.
async fn kill_pods(stage: &mut FaultFixture, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut known = Vec::with_capacity(count);
    for number in 0..count {
        let pod = &mut stage.fleet.pods[number];
        pod.kill().await;
        let killed = Instant::now();
        pod.restart().await;
        known.push(stage.wait_for_presence(killed).await?);
    }
    Ok(known)
}

/// Kills Redis, and pauses it.
async fn interrupt_redis(stage: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    stage.fleet.redis.kill();
    sleep(OUTAGE_DURATION).await;
    let revived = tokio::task::block_in_place(|| stage.fleet.redis.restart());
    revived.context("starting Redis again")?;
    let mut known = vec![stage.wait_for_presence(Instant::now()).await?];
    stage.fleet.redis.suspend()?;
    sleep(BEYOND_TIMEOUTS).await;
    stage.fleet.redis.resume()?;
    known.push(stage.wait_for_presence(Instant::now()).await?);
    Ok(known)
}

/// Cuts one pod off, and then all.
async fn partition_network(stage: &mut FaultFixture, full: bool) -> anyhow::Result<Vec<Duration>> {
    stage.redis_proxies[0].stall();
    sleep(BEYOND_LEASE).await;
    stage.redis_proxies[0].restore();
    let mut known = vec![stage.wait_for_presence(Instant::now()).await?];
    stage.redis_proxies.iter().for_each(super::TcpProxy::disconnect);
    sleep(OUTAGE_DURATION).await;
    stage.redis_proxies.iter().for_each(super::TcpProxy::restore);
    known.push(stage.wait_for_presence(Instant::now()).await?);
    if full {
        stage.redis_proxies.iter().for_each(super::TcpProxy::stall);
        sleep(BEYOND_TIMEOUTS).await;
        stage.redis_proxies.iter().for_each(super::TcpProxy::restore);
        known.push(stage.wait_for_presence(Instant::now()).await?);
    }
    Ok(known)
}

async fn rolling_restart(stage: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    let rolling =
        timeout(RECOVERY_TIMEOUT, stage.fleet.rolling_restart()).await.context("the rolling restart took too long")?;
    for exit in rolling {
        stage.record_exit(&exit);
        anyhow::ensure!(exit.code == Some(0), "a pod left connections behind, exit code {:?}", exit.code);
    }
    Ok(vec![stage.wait_for_presence(Instant::now()).await?])
}

/// Stops a pod in its tracks until the others have finished its connections, and for longer than its lease at least.
async fn hang_pod(stage: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    let open = stage.metric(0, "twinway_session_open_connections").await;
    stage.fleet.pods[0].suspend().await;
    let hung = Instant::now();
    let reaped = async |stage: &FaultFixture, pod| stage.metric(pod, "twinway_cluster_reaped_connections_total").await;
    while reaped(stage, 1).await + reaped(stage, 2).await < open {
        anyhow::ensure!(hung.elapsed() < RECOVERY_TIMEOUT, "the other pods did not finish the {open} connections");
        sleep(OUTAGE_DURATION / 10).await;
    }
    let finished = hung.elapsed();
    sleep(BEYOND_LEASE.saturating_sub(finished)).await;
    stage.fleet.pods[0].resume().await;
    let back = Instant::now();
    while stage.metric(0, "twinway_cluster_lost_leases_total").await < 1.0 {
        anyhow::ensure!(back.elapsed() < RECOVERY_TIMEOUT, "the pod did not notice that it was taken for dead");
        sleep(OUTAGE_DURATION / 10).await;
    }
    Ok(vec![finished, stage.wait_for_presence(back).await?])
}

/// Ends the pods' subscriptions, as Redis does by itself when a pod does not read as fast as others publish; and the last
/// time all of their connections.
async fn kill_subscriptions(stage: &mut FaultFixture, times: usize) -> anyhow::Result<Vec<Duration>> {
    let replaced = async |stage: &FaultFixture| {
        let mut replaced = 0.0;
        for pod in 0..stage.fleet.pods.len() {
            replaced += stage.metric(pod, "twinway_bus_reconnects_total").await;
        }
        replaced
    };
    let before = replaced(stage).await;
    for number in 1..=times {
        stage.fleet.redis.run_command(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
        if number == times {
            stage.fleet.redis.run_command(&["CLIENT", "KILL", "TYPE", "normal"])?;
        }
        sleep(KILL_INTERVAL).await;
    }
    let known = vec![stage.wait_for_presence(Instant::now()).await?];
    let replaced = replaced(stage).await - before;
    anyhow::ensure!(replaced >= stage.fleet.pods.len() as f64, "{replaced} subscriptions were replaced");
    Ok(known)
}

/// Takes the right to write away, as a failover does that clients are not told of. The master that is named answers nobody, so
/// no data is replaced.
async fn make_read_only(stage: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    let nobody = free_port()?.to_string();
    stage.fleet.redis.run_command(&["REPLICAOF", "127.0.0.1", &nobody])?;
    sleep(BEYOND_LEASE).await;
    stage.fleet.redis.run_command(&["REPLICAOF", "NO", "ONE"])?;
    Ok(vec![stage.wait_for_presence(Instant::now()).await?])
}

/// Takes the data away.
async fn lose_redis_data(stage: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    stage.allow_data_loss();
    let lost = tokio::task::block_in_place(|| stage.fleet.redis.discard_data()).context("taking the data away")?;
    stage.lost.extend(lost);
    sleep(OUTAGE_DURATION).await;
    let revived = tokio::task::block_in_place(|| stage.fleet.redis.restart());
    revived.context("starting Redis again")?;
    Ok(vec![stage.wait_for_presence(Instant::now()).await?])
}
