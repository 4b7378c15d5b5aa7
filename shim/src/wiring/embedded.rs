//! Assembly of embedded mode: connections in memory, messages in one file (or in memory, or in PostgreSQL), local
//! delivery.

use std::sync::Arc;

use anyhow::bail;
use handlers::app::{AccessRules, MessagingApp};
use handlers::memory::{ChannelRetention, MemoryConnections, MemoryLog, MemoryRevocations};
use handlers::ports::{Clock, MessageLog, RevocationStore};
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use super::{ModeAdapters, SINGLE_NODE, ServerAssembly, action_budgets, assemble_messaging, postgres};
use crate::config::{Config, LogStorage};
use crate::connection::{ConnectionIndex, ConnectionLifecycle, DisconnectRetry};
use crate::embedded::{DataDirLock, FileLog, FileRevocations};
use crate::functions::MessagingNotices;
use crate::hub::ChannelDelivery;
use crate::metrics::ShimMetrics;
use crate::postgres::PostgresClient;

/// Maximum bytes of message bodies that one channel retains with `storage.log = memory`.
const MAX_MEMORY_CHANNEL_BYTES: usize = 16 * 1024 * 1024;

/// Assembles the server of embedded mode.
///
/// # Errors
/// An unusable data directory, unavailable PostgreSQL, an invalid key or an invalid API definition. The text is meant
/// for the operator.
pub async fn assemble_embedded(config: &Config) -> anyhow::Result<ServerAssembly> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut metrics, tasks) = (ShimMetrics::new(), TaskTracker::new());
    let OpenLog { log, data_dir_lock, postgres } = open_log(config, &clock, &mut metrics).await?;
    // Only a locked data directory belongs to this process alone.
    let revocations: Arc<dyn RevocationStore> = match &data_dir_lock {
        Some(_) => Arc::new(FileRevocations::open(&config.storage.data_dir, clock.clone())?),
        None => Arc::new(MemoryRevocations::default()),
    };
    let connections = ConnectionIndex::default();
    let delivery = ChannelDelivery::new(connections.clone(), log.clone(), tasks.clone(), metrics.delivery.clone());
    let lifecycle = ConnectionLifecycle {
        connections,
        observer: Some(Arc::new(delivery.clone())),
        notices: Some(Arc::new(MessagingNotices)),
        registry: None,
        // `$disconnect` is idempotent: only the run that removes the connection record has effects
        // (`handlers::disconnect`).
        disconnect_retry: DisconnectRetry::UntilSuccess,
        tasks,
    };
    let store = Arc::new(MemoryConnections::new(clock.clone()));
    let access = AccessRules {
        budget: action_budgets(config, &delivery),
        revocations,
        presence_names: config.auth.presence_names,
    };
    let app = MessagingApp {
        connections: store,
        log,
        delivery: Arc::new(delivery.clone()),
        clock,
        access,
        limits: config.limits,
    };
    let adapters = ModeAdapters { app, delivery, lifecycle, remote: None, metrics, node_id: SINGLE_NODE };
    let mut assembly = assemble_messaging(config, adapters)?;
    assembly.background.postgres = postgres;
    Ok(ServerAssembly { data_dir_lock, ..assembly })
}

/// An open message log with the resources that must outlive it.
struct OpenLog {
    log: Arc<dyn MessageLog>,
    data_dir_lock: Option<DataDirLock>,
    postgres: Option<PostgresClient>,
}

async fn open_log(config: &Config, clock: &Arc<dyn Clock>, metrics: &mut ShimMetrics) -> anyhow::Result<OpenLog> {
    match config.storage.log {
        LogStorage::Memory => {
            let entries = usize::try_from(config.storage.retention_entries).unwrap_or(usize::MAX);
            let retention = ChannelRetention { max_entries: entries, max_bytes: MAX_MEMORY_CHANNEL_BYTES };
            let epoch = handlers::channel::Epoch(clock.fresh_id().into());
            Ok(OpenLog { log: Arc::new(MemoryLog::new(epoch, retention)), data_dir_lock: None, postgres: None })
        }
        LogStorage::File => {
            let lock = DataDirLock::acquire(&config.storage.data_dir)?;
            let log = FileLog::open(&config.storage, clock.clone())?;
            log.metrics().register_metrics(metrics.registry_mut());
            Ok(OpenLog { log: Arc::new(log), data_dir_lock: Some(lock), postgres: None })
        }
        LogStorage::Postgres => {
            let (log, postgres) = postgres::open_postgres_log(config, clock, metrics).await?;
            Ok(OpenLog { log, data_dir_lock: None, postgres: Some(postgres) })
        }
        LogStorage::Redis => bail!("storage.log = redis is not supported in embedded mode"),
    }
}
