//! A migration run: plan, copy and verify, several channels in parallel; a stop takes effect between two pages.

use std::path::PathBuf;
use std::pin::pin;

use futures_util::{StreamExt as _, stream};
use handlers::archive::LogArchive;
use handlers::channel::Channel;
use tokio_util::sync::CancellationToken;

use crate::channel_pattern::ChannelPattern;
use crate::copy::{CopyError, copy_channel};
use crate::endpoint::StoreEndpoint;
use crate::open_store::{OpenStore, open_store};
use crate::plan::{ChannelPlan, plan_channels};
use crate::progress::Progress;
use crate::report::MigrationReport;
use crate::retention::TargetRetention;
use crate::verify::verify_channel;

/// Mode of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// Copies missing messages, then compares all messages.
    Copy,
    /// Counts missing messages and writes nothing.
    DryRun,
    /// Compares all messages and writes nothing.
    VerifyOnly,
}

/// Stores, channels and mode of a run.
#[derive(Debug, Clone)]
pub struct MigrationJob {
    /// Store to copy from.
    pub from: StoreEndpoint,
    /// Store to copy to.
    pub to: StoreEndpoint,
    /// Channels to copy.
    pub channels: ChannelPattern,
    /// Mode.
    pub mode: RunMode,
    /// Maximum number of channels processed in parallel.
    pub max_parallel_channels: usize,
    /// Path of the configuration file; `None` for the server's default search.
    pub config: Option<PathBuf>,
}

/// Runs a migration. After `stop` is cancelled, no further page starts; every page is written completely or not at all.
///
/// # Errors
/// If a store cannot be opened or listed, with a text for the operator. The report contains errors of single channels.
pub async fn run_migration(job: &MigrationJob, stop: &CancellationToken) -> anyhow::Result<MigrationReport> {
    let source = open_store(&job.from, job.config.as_ref()).await?;
    let target = open_store(&job.to, job.config.as_ref()).await?;
    Ok(migrate_between(&source, &target, job, stop).await?)
}

async fn migrate_between(
    source: &OpenStore,
    target: &OpenStore,
    job: &MigrationJob,
    stop: &CancellationToken,
) -> Result<MigrationReport, CopyError> {
    let (from, to) = (&*source.archive, &*target.archive);
    let planned = plan_channels(from, to, &job.channels, job.max_parallel_channels).await?;
    if job.mode == RunMode::DryRun {
        return Ok(MigrationReport { planned, ..MigrationReport::default() });
    }
    let mut report = MigrationReport::default();
    if job.mode == RunMode::Copy {
        copy_all(from, to, &planned, job, stop, &mut report).await;
    }
    let failed = |channel: &Channel| report.copy_errors.iter().any(|(other, _)| other == channel);
    let copied: Vec<&ChannelPlan> = planned.iter().filter(|planned| !failed(&planned.channel)).collect();
    if !stop.is_cancelled() {
        verify_all(from, to, &copied, target.retention, job, stop, &mut report).await;
    }
    report.interrupted = stop.is_cancelled();
    Ok(report)
}

async fn copy_all(
    from: &dyn LogArchive,
    to: &dyn LogArchive,
    planned: &[ChannelPlan],
    job: &MigrationJob,
    stop: &CancellationToken,
    report: &mut MigrationReport,
) {
    let missing = planned.iter().filter_map(|planned| planned.missing_messages.as_ref().ok()).sum();
    let progress = Progress::new("copying", missing);
    let copies = planned.iter().map(|ChannelPlan { channel, .. }| {
        let progress = &progress;
        async move { (channel.clone(), copy_channel(from, to, channel, progress, stop).await) }
    });
    let copies = stream::iter(copies).take_until(stop.cancelled()).buffer_unordered(job.max_parallel_channels);
    let mut copies = pin!(copies);
    while let Some((channel, copied)) = copies.next().await {
        match copied {
            Ok(count) => report.copied.push((channel, count)),
            Err(error) => report.copy_errors.push((channel, error)),
        }
    }
    progress.finish();
}

async fn verify_all(
    from: &dyn LogArchive,
    to: &dyn LogArchive,
    planned: &[&ChannelPlan],
    retention: TargetRetention,
    job: &MigrationJob,
    stop: &CancellationToken,
    report: &mut MigrationReport,
) {
    let progress = Progress::new("verifying", planned.iter().map(|planned| planned.source_messages).sum());
    let checks = planned.iter().map(|ChannelPlan { channel, .. }| {
        let progress = &progress;
        async move {
            (channel.clone(), stop.run_until_cancelled(verify_channel(from, to, channel, retention, progress)).await)
        }
    });
    let checks = stream::iter(checks).take_until(stop.cancelled()).buffer_unordered(job.max_parallel_channels);
    let mut checks = pin!(checks);
    while let Some((channel, checked)) = checks.next().await {
        match checked {
            Some(Ok(equal)) => report.verified.push((channel, equal)),
            Some(Err(difference)) => report.differences.push((channel, difference)),
            None => {}
        }
    }
    progress.finish();
}
