//! Fault injectors for pods, Redis and the network between them.
//!
//! Every injector restores what it broke, waits until presence is correct again, and returns how long that took.

use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::fixture::FaultFixture;
use crate::redis::{ClusterFailover, free_port};

/// Longer than a connection attempt to Redis plus a reply may take (2 s each).
const BEYOND_TIMEOUTS: Duration = Duration::from_secs(6);
/// Longer than a lease (8 s), so that a pod without Redis loses its lease.
const BEYOND_LEASE: Duration = Duration::from_secs(12);
/// Downtime of a restarted Redis, and duration of a network partition.
const OUTAGE_DURATION: Duration = Duration::from_secs(3);
/// Interval between two kills of Redis connections; their replacements are in use by then.
const KILL_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of a recovery.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// A fault to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InjectedFault {
    /// Pods are killed with SIGKILL in turn and restarted
    Kill,
    /// Redis is killed and restarted, then paused for longer than every timeout
    Redis,
    /// One pod, then every pod, is cut off from Redis for longer than its lease
    Network,
    /// Every pod is stopped with SIGTERM and restarted, one after the other
    Rolling,
    /// A pod hangs for longer than its lease, then continues
    Hang,
    /// Redis kills the pods' subscriptions repeatedly, and finally all of their connections
    SubscriptionLoss,
    /// Redis becomes a read-only replica, then the master again
    ReadOnly,
    /// Redis is killed and restarted empty
    DataLoss,
    /// Redis is killed and restarted empty, and a pod is killed before it can register its connections again
    DataLossCrash,
    /// Packets of a third of the clients are dropped for longer than the pods wait for a pong
    HalfOpen,
    /// Sentinels replace a healthy master by its replica, while the former master accepts writes for seconds
    SentinelFailover,
    /// A replica of a Redis Cluster replaces its healthy master, and is replaced by it again
    ClusterFailover,
    /// Slots of a Redis Cluster to which pods are subscribed move to a new master, and on to another one
    SlotMigration,
}

/// Redis deployment that a fault needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultTopology {
    /// One server.
    Server,
    /// A master with a replica and a Sentinel.
    Sentinels,
    /// Three masters with a replica each.
    Cluster,
}

impl InjectedFault {
    /// Returns the Redis deployment in which the fault occurs.
    pub(super) const fn topology(self) -> FaultTopology {
        match self {
            Self::SentinelFailover => FaultTopology::Sentinels,
            Self::ClusterFailover | Self::SlotMigration => FaultTopology::Cluster,
            _ => FaultTopology::Server,
        }
    }

    /// Injects the fault; returns the time until presence was correct after each step.
    pub(super) async fn inject(self, fixture: &mut FaultFixture, full: bool) -> anyhow::Result<Vec<Duration>> {
        match self {
            Self::Kill => kill_pods(fixture, if full { fixture.cluster.pods.len() } else { 1 }).await,
            Self::Redis => interrupt_redis(fixture).await,
            Self::Network => partition_network(fixture, full).await,
            Self::Rolling => rolling_restart(fixture).await,
            Self::Hang => hang_pod(fixture).await,
            Self::SubscriptionLoss => kill_subscriptions(fixture, if full { 20 } else { 5 }).await,
            Self::ReadOnly => make_read_only(fixture).await,
            Self::DataLoss => lose_redis_data(fixture, false).await,
            Self::DataLossCrash => lose_redis_data(fixture, true).await,
            Self::HalfOpen => drop_client_packets(fixture).await,
            Self::SentinelFailover => fail_over_sentinels(fixture).await,
            Self::ClusterFailover => fail_over_cluster(fixture).await,
            Self::SlotMigration => move_slots(fixture, if full { 20 } else { 3 }).await,
        }
    }
}

/// Kills pods one after the other, each after presence is correct again.
async fn kill_pods(fixture: &mut FaultFixture, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut recoveries = Vec::with_capacity(count);
    for number in 0..count {
        let pod = &mut fixture.cluster.pods[number];
        pod.kill().await;
        let killed = Instant::now();
        pod.restart().await;
        recoveries.push(fixture.wait_for_presence(killed).await?);
    }
    Ok(recoveries)
}

/// Kills and restarts Redis, then pauses it.
async fn interrupt_redis(fixture: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    fixture.cluster.redis.server()?.kill();
    sleep(OUTAGE_DURATION).await;
    let restarted = tokio::task::block_in_place(|| fixture.cluster.redis.server()?.restart());
    restarted.context("restarting Redis")?;
    let mut recoveries = vec![fixture.wait_for_presence(Instant::now()).await?];
    fixture.cluster.redis.server()?.suspend()?;
    sleep(BEYOND_TIMEOUTS).await;
    fixture.cluster.redis.server()?.resume()?;
    recoveries.push(fixture.wait_for_presence(Instant::now()).await?);
    Ok(recoveries)
}

/// Cuts one pod off from Redis, then all.
async fn partition_network(fixture: &mut FaultFixture, full: bool) -> anyhow::Result<Vec<Duration>> {
    fixture.redis_proxies[0].stall();
    sleep(BEYOND_LEASE).await;
    fixture.redis_proxies[0].restore();
    let mut recoveries = vec![fixture.wait_for_presence(Instant::now()).await?];
    fixture.redis_proxies.iter().for_each(super::TcpProxy::disconnect);
    sleep(OUTAGE_DURATION).await;
    fixture.redis_proxies.iter().for_each(super::TcpProxy::restore);
    recoveries.push(fixture.wait_for_presence(Instant::now()).await?);
    if full {
        fixture.redis_proxies.iter().for_each(super::TcpProxy::stall);
        sleep(BEYOND_TIMEOUTS).await;
        fixture.redis_proxies.iter().for_each(super::TcpProxy::restore);
        recoveries.push(fixture.wait_for_presence(Instant::now()).await?);
    }
    Ok(recoveries)
}

async fn rolling_restart(fixture: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    let rolling = timeout(RECOVERY_TIMEOUT, fixture.cluster.rolling_restart())
        .await
        .context("the rolling restart took too long")?;
    for exit in rolling {
        fixture.record_exit(&exit);
        anyhow::ensure!(exit.code == Some(0), "a pod exited with open connections, exit code {:?}", exit.code);
    }
    Ok(vec![fixture.wait_for_presence(Instant::now()).await?])
}

/// Suspends a pod until the other pods have reaped its connections, and at least for longer than its lease.
async fn hang_pod(fixture: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    let open = fixture.metric(0, "twinway_session_open_connections").await;
    fixture.cluster.pods[0].suspend().await;
    let hung = Instant::now();
    let reaped =
        async |fixture: &FaultFixture, pod| fixture.metric(pod, "twinway_cluster_reaped_connections_total").await;
    while reaped(fixture, 1).await + reaped(fixture, 2).await < open {
        anyhow::ensure!(hung.elapsed() < RECOVERY_TIMEOUT, "the other pods did not reap the {open} connections");
        sleep(OUTAGE_DURATION / 10).await;
    }
    let reaped_after = hung.elapsed();
    sleep(BEYOND_LEASE.saturating_sub(reaped_after)).await;
    fixture.cluster.pods[0].resume().await;
    let resumed = Instant::now();
    while fixture.metric(0, "twinway_cluster_lost_leases_total").await < 1.0 {
        anyhow::ensure!(resumed.elapsed() < RECOVERY_TIMEOUT, "the pod did not detect the loss of its lease");
        sleep(OUTAGE_DURATION / 10).await;
    }
    Ok(vec![reaped_after, fixture.wait_for_presence(resumed).await?])
}

/// Kills the pods' subscriptions, as Redis does when a pod reads more slowly than others publish; the last time kills
/// all of their connections.
async fn kill_subscriptions(fixture: &mut FaultFixture, times: usize) -> anyhow::Result<Vec<Duration>> {
    let replaced = async |fixture: &FaultFixture| {
        let mut replaced = 0.0;
        for pod in 0..fixture.cluster.pods.len() {
            replaced += fixture.metric(pod, "twinway_bus_subscriber_reconnects_total").await;
        }
        replaced
    };
    let before = replaced(fixture).await;
    for number in 1..=times {
        fixture.cluster.redis.server()?.run_command(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
        if number == times {
            fixture.cluster.redis.server()?.run_command(&["CLIENT", "KILL", "TYPE", "normal"])?;
        }
        sleep(KILL_INTERVAL).await;
    }
    let recoveries = vec![fixture.wait_for_presence(Instant::now()).await?];
    let replaced = replaced(fixture).await - before;
    anyhow::ensure!(replaced >= fixture.cluster.pods.len() as f64, "{replaced} subscriptions were replaced");
    Ok(recoveries)
}

/// Makes Redis read-only, like a failover that clients are not notified of. The configured master does not exist, so
/// no data is replaced.
async fn make_read_only(fixture: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    let unused_port = free_port()?.to_string();
    fixture.cluster.redis.server()?.run_command(&["REPLICAOF", "127.0.0.1", &unused_port])?;
    sleep(BEYOND_LEASE).await;
    fixture.cluster.redis.server()?.run_command(&["REPLICAOF", "NO", "ONE"])?;
    Ok(vec![fixture.wait_for_presence(Instant::now()).await?])
}

/// Kills Redis, discards its data, and restarts it empty. `crash` kills a pod in between and restarts it.
async fn lose_redis_data(fixture: &mut FaultFixture, crash: bool) -> anyhow::Result<Vec<Duration>> {
    fixture.allow_data_loss();
    let lost = tokio::task::block_in_place(|| fixture.cluster.redis.server()?.discard_data())
        .context("discarding the data")?;
    fixture.lost.extend(lost);
    sleep(OUTAGE_DURATION).await;
    if crash {
        fixture.cluster.pods[0].kill().await;
    }
    let restarted = tokio::task::block_in_place(|| fixture.cluster.redis.server()?.restart());
    restarted.context("restarting Redis")?;
    if crash {
        fixture.cluster.pods[0].restart().await;
    }
    Ok(vec![fixture.wait_for_presence(Instant::now()).await?])
}

/// Drops the packets of a third of the clients until the pods have closed their connections and presence no longer
/// lists them.
async fn drop_client_packets(fixture: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    let proxy = fixture.client_proxy.as_ref().context("the run has no proxy for clients")?;
    proxy.stall();
    let stalled = Instant::now();
    // The clients behind the proxy give up when no reply arrives, and cannot connect again.
    fixture.wait_for_unreachable_clients().await?;
    let mut recoveries = vec![fixture.wait_for_presence(stalled).await?];
    proxy.restore();
    recoveries.push(fixture.wait_for_presence(Instant::now()).await?);
    Ok(recoveries)
}

/// Fails over by Sentinels, and waits until the former master follows the new one, about ten seconds later.
async fn fail_over_sentinels(fixture: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    fixture.allow_epoch_change();
    let sentinels = fixture.cluster.redis.sentinels()?;
    let former = sentinels.master_port()?;
    sentinels.begin_planned_failover()?;
    tokio::task::block_in_place(|| sentinels.wait_demoted(former))?;
    Ok(vec![fixture.wait_for_presence(Instant::now()).await?])
}

/// Promotes the replica of every master of a Cluster, one after the other.
async fn fail_over_cluster(fixture: &mut FaultFixture) -> anyhow::Result<Vec<Duration>> {
    fixture.allow_epoch_change();
    let mut recoveries = Vec::new();
    for replica in 3..6 {
        let cluster = fixture.cluster.redis.cluster()?;
        tokio::task::block_in_place(|| cluster.promote(replica, ClusterFailover::Coordinated))?;
        let promoted = Instant::now();
        tokio::task::block_in_place(|| cluster.wait_replicas())?;
        recoveries.push(fixture.wait_for_presence(promoted).await?);
    }
    Ok(recoveries)
}

/// Moves slots of subscribed Redis channels to a new master, then to an old one. Only slots without keys: the
/// append-only files of the masters must show every write of a key.
async fn move_slots(fixture: &mut FaultFixture, count: usize) -> anyhow::Result<Vec<Duration>> {
    fixture.allow_epoch_change();
    let mut recoveries = Vec::new();
    let cluster = fixture.cluster.redis.cluster()?;
    let added = tokio::task::block_in_place(|| {
        let added = cluster.add_node()?;
        let id = cluster.nodes()[added].run_command(&["CLUSTER", "MYID"])?;
        let replica = cluster.add_node()?;
        cluster.attach_replica(replica, &id)?;
        anyhow::Ok(added)
    })?;
    for target in [added, 0] {
        let cluster = fixture.cluster.redis.cluster()?;
        let moved = tokio::task::block_in_place(|| cluster.move_subscribed_slots(target, count))?;
        anyhow::ensure!(moved > 0, "no subscribed slot without keys");
        recoveries.push(fixture.wait_for_presence(Instant::now()).await?);
    }
    // Each pod has channels of its own, so the moved slots need not be those of the first pod.
    let mut revoked = 0.0;
    for pod in 0..fixture.cluster.pods.len() {
        revoked += fixture.metric(pod, "twinway_bus_revoked_subscriptions_total").await;
    }
    anyhow::ensure!(revoked > 0.0, "the pods did not notice that their slots moved");
    Ok(recoveries)
}
