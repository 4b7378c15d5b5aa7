//! Assembly of Kubernetes mode: connections in Redis, messages in Redis or PostgreSQL, a lease on a node id, a bus to
//! other pods.
//!
//! A pod starts only after it has connected to Redis and acquired a lease. A later Redis outage does not stop it.

use std::sync::Arc;

use anyhow::Context as _;
use handlers::app::MessagingApp;
use handlers::ports::{Clock, MessageLog};
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use super::{ModeAdapters, ServerAssembly, action_budgets, assemble_messaging, postgres};
use crate::bus::{Bus, BusMetrics, BusParts, BusSettings};
use crate::cluster::{Cluster, ClusterMetrics, NamespaceIdentity, RestoringConnections};
use crate::config::{Config, LogStorage};
use crate::connection::{ConnectionIndex, ConnectionLifecycle, DisconnectRetry};
use crate::functions::MessagingNotices;
use crate::hub::ChannelDelivery;
use crate::metrics::ShimMetrics;
use crate::postgres::PostgresClient;
use crate::redis::{RedisClient, RedisConnections, RedisLog, RedisRetention, RedisRevocations};
use crate::running::ClusterRuntime;

/// Maximum unfinished connections that a pod keeps, per connection that it may have open: connections that closed
/// during a Redis outage and still need their `$disconnect`, in addition to the clients that reconnected.
const UNFINISHED_PER_CONNECTION: usize = 2;

/// Assembles the server of a pod.
///
/// # Errors
/// Unavailable Redis or PostgreSQL, an invalid key or an invalid API definition. The text is meant for the operator.
pub async fn assemble_kubernetes(config: &Config) -> anyhow::Result<ServerAssembly> {
    let settings = config.redis.clone().context("kubernetes mode requires a redis address")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut metrics, tasks) = (ShimMetrics::new(), TaskTracker::new());
    let redis = RedisClient::connect(settings).await?;
    redis.metrics().register(metrics.registry_mut());
    let (log, postgres) = open_log(config, &redis, &clock, &mut metrics).await?;
    let connections = ConnectionIndex::default();
    let delivery = ChannelDelivery::new(connections.clone(), log.clone(), tasks.clone(), metrics.delivery.clone());
    let cluster = join_cluster(config, &redis, &clock, &mut metrics).await?;
    let bus = Bus::start(BusParts {
        redis: redis.clone(),
        hub: delivery.clone(),
        log: log.clone(),
        node_liveness: cluster.leased_nodes(),
        settings: BusSettings::PRODUCTION,
        metrics: BusMetrics::registered_in(metrics.registry_mut()),
    })
    .context("reading random bytes from the operating system failed")?;
    let notices = Arc::new(MessagingNotices);
    bus.notify_clients(notices.clone());
    let lifecycle = ConnectionLifecycle {
        connections,
        observer: Some(Arc::new(delivery.clone())),
        notices: Some(notices),
        registry: Some(Arc::new(cluster.connection_registry())),
        // `$disconnect` is idempotent: only the run that removes the connection record has effects
        // (`handlers::disconnect`).
        disconnect_retry: DisconnectRetry::UntilSuccess,
        tasks,
    };
    let store = RedisConnections::new(redis.clone(), clock.clone());
    let app = MessagingApp {
        connections: RestoringConnections::new(store, cluster.connection_registry(), delivery.clone()),
        log,
        delivery: bus.delivery(),
        budget: action_budgets(config, &delivery),
        revocations: Arc::new(RedisRevocations::new(redis, clock.clone())),
        clock,
        limits: config.limits,
        presence_names: config.auth.presence_names,
    };
    let adapters =
        ModeAdapters { app, delivery, lifecycle, remote: Some(bus.remote()), metrics, node_id: cluster.node_id() };
    let mut assembly = assemble_messaging(config, adapters)?;
    assembly.background.cluster_runtime = Some(ClusterRuntime { cluster, bus });
    assembly.background.postgres = postgres;
    Ok(assembly)
}

async fn open_log(
    config: &Config,
    redis: &RedisClient,
    clock: &Arc<dyn Clock>,
    metrics: &mut ShimMetrics,
) -> anyhow::Result<(Arc<dyn MessageLog>, Option<PostgresClient>)> {
    if config.storage.log == LogStorage::Postgres {
        let (log, postgres) = postgres::open_postgres_log(config, clock, metrics).await?;
        return Ok((log, Some(postgres)));
    }
    let retention =
        RedisRetention { max_messages: config.storage.retention_entries, max_age: config.storage.retention_age };
    let log = RedisLog::open_log(redis.clone(), clock.clone(), retention).await;
    Ok((Arc::new(log.context("opening the message log failed")?), None))
}

async fn join_cluster(
    config: &Config,
    redis: &RedisClient,
    clock: &Arc<dyn Clock>,
    metrics: &mut ShimMetrics,
) -> anyhow::Result<Cluster> {
    let cluster_metrics = Arc::new(ClusterMetrics::default());
    cluster_metrics.register(metrics.registry_mut());
    let max_unfinished = config.server.max_connections.saturating_mul(UNFINISHED_PER_CONNECTION);
    let namespace = NamespaceIdentity::from_auth(&config.auth);
    Ok(Cluster::join(redis.clone(), namespace, config.cluster.clone(), max_unfinished, clock.clone(), cluster_metrics)
        .await?)
}
