//! Embedded mode: connections in memory, messages in one file (or in memory, or in PostgreSQL), local delivery.

use std::sync::Arc;

use anyhow::bail;
use handlers::memory::{MemoryConnections, MemoryLog, Retention};
use handlers::ports::{Clock, MessageLog};
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use super::{Adapters, SINGLE_NODE, Wired, assemble, postgres};
use crate::config::{Config, LogStorage};
use crate::embedded::{DataDirLock, FileLog};
use crate::hub::Hub;
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
    let hub = Hub::new(log.clone(), tasks.clone(), metrics.delivery.clone());
    let adapters = Adapters {
        connections: Arc::new(MemoryConnections::new(clock.clone())),
        delivery: Arc::new(hub.clone()),
        clock,
        metrics,
        tasks,
        log,
        hub,
        registry: None,
        node: SINGLE_NODE,
    };
    Ok(Wired { data_dir, postgres, ..assemble(config, adapters)? })
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
