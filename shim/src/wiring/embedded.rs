//! Embedded mode: connections in memory, messages in one file (or in memory), local delivery.

use std::sync::Arc;

use anyhow::Context as _;
use handlers::memory::{MemoryConnections, MemoryLog, Retention};
use handlers::ports::{Clock, MessageLog};
use tokio_util::task::TaskTracker;

use super::{Adapters, SINGLE_NODE, Wired, assemble};
use crate::clock::SystemClock;
use crate::config::{Config, LogStorage};
use crate::embedded::{DataDirLock, FileLog};
use crate::hub::Hub;
use crate::metrics::Metrics;

/// Most bytes of bodies that one channel keeps where messages live in memory.
const MEMORY_CHANNEL_BYTES: usize = 16 * 1024 * 1024;

/// Wires the embedded mode.
///
/// # Errors
/// What is wrong with the data directory, a key, or the API's definition, in words for the operator.
pub fn embedded(config: &Config) -> anyhow::Result<Wired> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new().context("the system's random source does not answer")?);
    let (mut metrics, tasks) = (Metrics::new(), TaskTracker::new());
    let (log, data_dir) = open_log(config, &clock, &mut metrics)?;
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
    Ok(Wired { data_dir, ..assemble(config, adapters)? })
}

fn open_log(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &mut Metrics,
) -> anyhow::Result<(Arc<dyn MessageLog>, Option<DataDirLock>)> {
    match config.storage.log {
        LogStorage::Memory => {
            let entries = usize::try_from(config.storage.retention_entries).unwrap_or(usize::MAX);
            let retention = Retention { entries, bytes: MEMORY_CHANNEL_BYTES };
            let epoch = handlers::channel::Epoch(clock.fresh_id().into());
            Ok((Arc::new(MemoryLog::new(epoch, retention)), None))
        }
        LogStorage::File => {
            let lock = DataDirLock::take(&config.storage.data_dir)?;
            let log = FileLog::open(&config.storage, clock.clone())?;
            log.metrics().register(metrics.registry());
            Ok((Arc::new(log), Some(lock)))
        }
    }
}
