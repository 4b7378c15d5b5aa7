//! Kubernetes mode: connections in Redis, messages there or in PostgreSQL, a lease on a node number, a bus to the other pods.
//!
//! Invariant: a pod that starts has reached Redis and holds a lease; when Redis goes away later it goes on.

use std::sync::Arc;

use anyhow::Context as _;
use handlers::ports::{Clock, MessageLog};
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use super::{Adapters, Wired, assemble, postgres};
use crate::bus::{Bus, BusMetrics, BusParts, BusSettings};
use crate::cluster::{Cluster, ClusterMetrics};
use crate::config::{Config, LogStorage};
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::postgres::Postgres;
use crate::redis::{Redis, RedisConnections, RedisLog, RedisRetention};
use crate::running::Pods;

/// How many unfinished connections a pod keeps for each that it may have open: those of an outage of Redis, whose end nobody
/// can be told, beside those that came in their place.
const UNFINISHED: usize = 2;

/// Wires a pod.
///
/// # Errors
/// What is wrong with Redis, PostgreSQL, a key, or the API's definition, in words for the operator.
pub async fn kubernetes(config: &Config) -> anyhow::Result<Wired> {
    let settings = config.redis.clone().context("kubernetes mode has no Redis")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut metrics, tasks) = (Metrics::new(), TaskTracker::new());
    let redis = Redis::connect(settings).await?;
    let (log, postgres) = open_log(config, &redis, &clock, &mut metrics).await?;
    let hub = Hub::new(log.clone(), tasks.clone(), metrics.delivery.clone());
    let cluster = join(config, &redis, &clock, &mut metrics).await?;
    let bus = Bus::start(BusParts {
        redis: redis.clone(),
        hub: hub.clone(),
        log: log.clone(),
        nodes: cluster.nodes(),
        settings: BusSettings::PRODUCTION,
        metrics: BusMetrics::registered(metrics.registry()),
    })
    .context("the system's random source does not answer")?;
    let adapters = Adapters {
        connections: Arc::new(RedisConnections::new(redis, clock.clone())),
        delivery: bus.delivery(),
        clock,
        metrics,
        tasks,
        log,
        hub,
        registry: Some(cluster.registry()),
        node: cluster.node(),
    };
    Ok(Wired { pods: Some(Pods { cluster, bus }), postgres, ..assemble(config, adapters)? })
}

async fn open_log(
    config: &Config,
    redis: &Redis,
    clock: &Arc<dyn Clock>,
    metrics: &mut Metrics,
) -> anyhow::Result<(Arc<dyn MessageLog>, Option<Postgres>)> {
    if config.storage.log == LogStorage::Postgres {
        let (log, postgres) = postgres::open(config, clock, metrics).await?;
        return Ok((log, Some(postgres)));
    }
    let retention = RedisRetention { entries: config.storage.retention_entries, age: config.storage.retention_age };
    let log = RedisLog::open(redis.clone(), clock.clone(), retention).await;
    Ok((Arc::new(log.context("opening the message log failed")?), None))
}

async fn join(
    config: &Config,
    redis: &Redis,
    clock: &Arc<dyn Clock>,
    metrics: &mut Metrics,
) -> anyhow::Result<Cluster> {
    let counted = Arc::new(ClusterMetrics::default());
    counted.register(metrics.registry());
    let most = config.server.max_connections.saturating_mul(UNFINISHED);
    Ok(Cluster::join(redis.clone(), config.cluster.clone(), most, clock.clone(), counted).await?)
}
