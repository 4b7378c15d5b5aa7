//! What happens to the pods and to what they stand on.
//!
//! Invariant: when a disaster is over, everything runs again. A disaster waits until its effects on who is connected are
//! over as well, and tells how long that took.

use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::stage::Stage;

/// Longer than connecting to Redis and an answer may take together (2 s each).
const BEYOND_TIMEOUTS: Duration = Duration::from_secs(6);
/// Longer than a lease (8 s), so that a pod which cannot reach Redis is taken for dead.
const BEYOND_LEASE: Duration = Duration::from_secs(12);
/// How long Redis is gone when it is restarted, and how long a network is cut.
const BRIEFLY: Duration = Duration::from_secs(3);
/// How long everything may take to be as before.
const RECOVERY: Duration = Duration::from_secs(60);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Pods are killed with SIGKILL in turn, and started again
    Kill,
    /// Redis is killed and started again, then paused for longer than every timeout
    Redis,
    /// A pod is cut off from Redis for longer than its lease, then all of them are
    Network,
    /// Every pod is stopped with SIGTERM and started again, one after the other
    Rolling,
}

impl Fault {
    /// Lets it happen. How long the application took, each time, to know who is connected.
    pub(super) async fn strike(self, stage: &mut Stage, full: bool) -> anyhow::Result<Vec<Duration>> {
        match self {
            Self::Kill => kill(stage, if full { stage.fleet.pods.len() } else { 1 }).await,
            Self::Redis => redis(stage).await,
            Self::Network => network(stage, full).await,
            Self::Rolling => rolling(stage).await,
        }
    }
}

/// Kills pods in turn; the next one when the application knows again who is connected.
async fn kill(stage: &mut Stage, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut known = Vec::with_capacity(count);
    for number in 0..count {
        let pod = &mut stage.fleet.pods[number];
        pod.crash().await;
        let killed = Instant::now();
        pod.start_again().await;
        known.push(stage.presence_since(killed).await?);
    }
    Ok(known)
}

/// Kills Redis, and pauses it.
async fn redis(stage: &mut Stage) -> anyhow::Result<Vec<Duration>> {
    stage.fleet.redis.kill();
    sleep(BRIEFLY).await;
    let revived = tokio::task::block_in_place(|| stage.fleet.redis.revive());
    revived.context("starting Redis again")?;
    let mut known = vec![stage.presence_since(Instant::now()).await?];
    stage.fleet.redis.pause()?;
    sleep(BEYOND_TIMEOUTS).await;
    stage.fleet.redis.resume()?;
    known.push(stage.presence_since(Instant::now()).await?);
    Ok(known)
}

/// Cuts one pod off, and then all.
async fn network(stage: &mut Stage, full: bool) -> anyhow::Result<Vec<Duration>> {
    stage.cables[0].stall();
    sleep(BEYOND_LEASE).await;
    stage.cables[0].mend();
    let mut known = vec![stage.presence_since(Instant::now()).await?];
    stage.cables.iter().for_each(super::Cable::cut);
    sleep(BRIEFLY).await;
    stage.cables.iter().for_each(super::Cable::mend);
    known.push(stage.presence_since(Instant::now()).await?);
    if full {
        stage.cables.iter().for_each(super::Cable::stall);
        sleep(BEYOND_TIMEOUTS).await;
        stage.cables.iter().for_each(super::Cable::mend);
        known.push(stage.presence_since(Instant::now()).await?);
    }
    Ok(known)
}

async fn rolling(stage: &mut Stage) -> anyhow::Result<Vec<Duration>> {
    let rolling = timeout(RECOVERY, stage.fleet.roll()).await.context("the rolling restart took too long")?;
    for exit in rolling {
        stage.notice(&exit);
        anyhow::ensure!(exit.code == Some(0), "a pod left connections behind, exit code {:?}", exit.code);
    }
    Ok(vec![stage.presence_since(Instant::now()).await?])
}
