//! Embedded mode: connections in memory, messages in one file (or in memory, or in PostgreSQL), local delivery.

use std::sync::Arc;

use anyhow::bail;
use handlers::app::App;
use handlers::memory::{MemoryConnections, MemoryLog, Retention};
use handlers::ports::{Clock, MessageLog};
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use super::{Adapters, SINGLE_NODE, Wired, assemble, postgres};
use crate::config::{Config, LogStorage};
use crate::connection::{ConnectionIndex, ConnectionLifecycle, DisconnectRetry};
use crate::embedded::{DataDirLock, FileLog};
use crate::functions::MessagingNotices;
use crate::hub::ChannelDelivery;
use crate::metrics::Metrics;
use crate::postgres::Postgres;

/// Most bytes of bodies that one channel keeps where messages live in memory.
const MEMORY_CHANNEL_BYTES: usize = 16 * 1024 * 1024;

/// Wires the embedded mode.
///
/// # Errors
/// What is wrong with the data directory, PostgreSQL, a key, or the API's definition, in words for the operator.
pub async fn embedded(config: &Config) -> anyhow::Result<Wired> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut metrics, tasks) = (Metrics::new(), TaskTracker::new());
    let Kept { log, data_dir, postgres } = open_log(config, &clock, &mut metrics).await?;
    let connections = ConnectionIndex::default();
    let delivery = ChannelDelivery::new(connections.clone(), log.clone(), tasks.clone(), metrics.delivery.clone());
    let lifecycle = ConnectionLifecycle {
        connections,
        observer: Some(Arc::new(delivery.clone())),
        notices: Some(Arc::new(MessagingNotices)),
        registry: None,
        // Of several runs the one whose removal finds the record has effects (`handlers::disconnect`).
        disconnect_retry: DisconnectRetry::UntilSuccess,
        tasks,
    };
    let store = Arc::new(MemoryConnections::new(clock.clone()));
    let app = App { connections: store, log, delivery: Arc::new(delivery.clone()), clock, limits: config.limits };
    let adapters = Adapters { app, delivery, lifecycle, remote: None, metrics, node: SINGLE_NODE };
    let mut wired = assemble(config, adapters)?;
    wired.background.postgres = postgres;
    Ok(Wired { data_dir, ..wired })
}

/// An open log, and what has to live as long.
struct Kept {
    log: Arc<dyn MessageLog>,
    data_dir: Option<DataDirLock>,
    postgres: Option<Postgres>,
}

async fn open_log(config: &Config, clock: &Arc<dyn Clock>, metrics: &mut Metrics) -> anyhow::Result<Kept> {
    match config.storage.log {
        LogStorage::Memory => {
            let entries = usize::try_from(config.storage.retention_entries).unwrap_or(usize::MAX);
            let retention = Retention { entries, bytes: MEMORY_CHANNEL_BYTES };
            let epoch = handlers::channel::Epoch(clock.fresh_id().into());
            Ok(Kept { log: Arc::new(MemoryLog::new(epoch, retention)), data_dir: None, postgres: None })
        }
        LogStorage::File => {
            let lock = DataDirLock::take(&config.storage.data_dir)?;
            let log = FileLog::open(&config.storage, clock.clone())?;
            log.metrics().register(metrics.registry());
            Ok(Kept { log: Arc::new(log), data_dir: Some(lock), postgres: None })
        }
        LogStorage::Postgres => {
            let (log, postgres) = postgres::open(config, clock, metrics).await?;
            Ok(Kept { log, data_dir: None, postgres: Some(postgres) })
        }
        LogStorage::Redis => bail!("embedded mode keeps no messages in Redis"),
    }
}
