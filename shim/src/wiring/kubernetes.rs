//! Assembly of Kubernetes mode: connections in Redis, messages in Redis or PostgreSQL, a lease on a node id, a bus to
//! other pods.
//!
//! A pod starts only after it has connected to Redis and acquired a lease. A later Redis outage does not stop it.

use std::sync::Arc;

use anyhow::Context as _;
use handlers::app::{AccessRules, MessagingApp};
use handlers::channel::Epoch;
use handlers::memory::{ChannelRetention, MemoryLog};
use handlers::ports::{Clock, MessageLog};
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use super::lambda::{FunctionAdapters, assemble_prepared, prepare_functions};
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

/// Components of a pod that do not depend on the application.
struct PodParts {
    clock: Arc<dyn Clock>,
    redis: RedisClient,
    connections: ConnectionIndex,
    tasks: TaskTracker,
    delivery: ChannelDelivery,
    cluster: Cluster,
    bus: Bus,
    metrics: ShimMetrics,
}

/// Assembles the server of a pod.
///
/// # Errors
/// Unavailable Redis or PostgreSQL, an invalid key or an invalid API definition. The text is meant for the operator.
pub async fn assemble_kubernetes(config: &Config) -> anyhow::Result<ServerAssembly> {
    let (clock, mut metrics, redis) = connect_redis(config).await?;
    let (log, postgres) = open_log(config, &redis, &clock, &mut metrics).await?;
    let namespace = NamespaceIdentity::from_auth(&config.auth);
    let parts = join_pods(config, clock, redis, log.clone(), namespace, metrics).await?;
    let PodParts { clock, redis, connections, tasks, delivery, cluster, bus, metrics } = parts;
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
    let revocations = Arc::new(RedisRevocations::new(redis, clock.clone()));
    cluster.connection_registry().attach_revocations(revocations.clone());
    let app = MessagingApp {
        connections: RestoringConnections::new(store, cluster.connection_registry(), delivery.clone()),
        log,
        delivery: bus.delivery(),
        access: AccessRules {
            budget: action_budgets(config, &delivery),
            revocations,
            presence_names: config.auth.presence_names,
        },
        clock,
        limits: config.limits,
    };
    let adapters =
        ModeAdapters { app, delivery, lifecycle, remote: Some(bus.remote()), metrics, node_id: cluster.node_id() };
    let mut assembly = assemble_messaging(config, adapters)?;
    assembly.background.cluster_runtime = Some(ClusterRuntime { cluster, bus });
    assembly.background.postgres = postgres;
    Ok(assembly)
}

/// Assembles the server of a pod whose functions are Lambda executables: `@connections` on any pod reaches the connections
/// of all pods, and other pods run the `$disconnect`s of a killed pod. Each of them runs at most once, because the
/// functions may not be idempotent. The functions store their own data, so there is no message log.
///
/// # Errors
/// Unavailable Redis, and those of the functions. The text is meant for the operator.
pub async fn assemble_function_pod(config: &Config) -> anyhow::Result<ServerAssembly> {
    let prepared = prepare_functions(config).await?;
    let (clock, metrics, redis) = connect_redis(config).await?;
    let epoch = Epoch(clock.fresh_id().into());
    let log = Arc::new(MemoryLog::new(epoch, ChannelRetention { max_entries: 1, max_bytes: 1 }));
    let namespace = NamespaceIdentity::from_api(&config.api.id, &config.api.stage);
    let parts = join_pods(config, clock, redis, log, namespace, metrics).await?;
    let lifecycle = ConnectionLifecycle {
        connections: parts.connections,
        registry: Some(Arc::new(parts.cluster.connection_registry())),
        ..ConnectionLifecycle::plain(parts.tasks)
    };
    let adapters = FunctionAdapters {
        lifecycle,
        remote: Some(parts.bus.remote()),
        metrics: parts.metrics,
        node_id: parts.cluster.node_id(),
    };
    let mut assembly = assemble_prepared(config, prepared, adapters)?;
    assembly.background.cluster_runtime = Some(ClusterRuntime { cluster: parts.cluster, bus: parts.bus });
    Ok(assembly)
}

async fn connect_redis(config: &Config) -> anyhow::Result<(Arc<dyn Clock>, ShimMetrics, RedisClient)> {
    let settings = config.redis.clone().context("kubernetes mode requires a redis address")?;
    let mut metrics = ShimMetrics::new();
    let redis = RedisClient::connect(settings).await?;
    redis.metrics().register(metrics.registry_mut());
    Ok((Arc::new(SystemClock), metrics, redis))
}

/// Joins the cluster and starts the bus.
async fn join_pods(
    config: &Config,
    clock: Arc<dyn Clock>,
    redis: RedisClient,
    log: Arc<dyn MessageLog>,
    namespace: NamespaceIdentity,
    mut metrics: ShimMetrics,
) -> anyhow::Result<PodParts> {
    let (connections, tasks) = (ConnectionIndex::default(), TaskTracker::new());
    let delivery = ChannelDelivery::new(connections.clone(), log.clone(), tasks.clone(), metrics.delivery.clone());
    let cluster = join_cluster(config, &redis, namespace, &clock, &mut metrics).await?;
    let bus = Bus::start(BusParts {
        redis: redis.clone(),
        hub: delivery.clone(),
        log,
        node_liveness: cluster.leased_nodes(),
        settings: BusSettings::PRODUCTION,
        metrics: BusMetrics::registered_in(metrics.registry_mut()),
    })
    .context("reading random bytes from the operating system failed")?;
    Ok(PodParts { clock, redis, connections, tasks, delivery, cluster, bus, metrics })
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
    namespace: NamespaceIdentity,
    clock: &Arc<dyn Clock>,
    metrics: &mut ShimMetrics,
) -> anyhow::Result<Cluster> {
    let cluster_metrics = Arc::new(ClusterMetrics::default());
    cluster_metrics.register(metrics.registry_mut());
    let max_unfinished = config.server.max_connections.saturating_mul(UNFINISHED_PER_CONNECTION);
    Ok(Cluster::join(redis.clone(), namespace, config.cluster.clone(), max_unfinished, clock.clone(), cluster_metrics)
        .await?)
}
