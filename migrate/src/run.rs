//! A whole run: plan, copy, verify; several channels at a time, and a stop between two steps when it is asked for.

use std::path::PathBuf;
use std::pin::pin;

use futures_util::{StreamExt as _, stream};
use handlers::archive::LogArchive;
use handlers::channel::Channel;
use tokio_util::sync::CancellationToken;

use crate::channel_pattern::ChannelPattern;
use crate::copy::{CopyError, copy_channel};
use crate::endpoint::StoreEndpoint;
use crate::keeping::TargetRetention;
use crate::open_store::{OpenStore, open_store};
use crate::plan::{ChannelPlan, plan_channels};
use crate::progress::Progress;
use crate::report::MigrationReport;
use crate::verify::verify_channel;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// Copy what is missing, then compare everything.
    Copy,
    /// Say what is missing.
    DryRun,
    /// Compare everything.
    VerifyOnly,
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct MigrationJob {
    /// From where.
    pub from: StoreEndpoint,
    /// To where.
    pub to: StoreEndpoint,
    /// Which channels.
    pub channels: ChannelPattern,
    /// What.
    pub mode: RunMode,
    /// How many channels at a time.
    pub max_parallel_channels: usize,
    /// The configuration file, if one is named.
    pub config: Option<PathBuf>,
}

/// Does it. After `stop` nothing new is begun; what was written is whole.
///
/// # Errors
/// A store that cannot be opened or listed, in words for the operator. What is wrong with single channels is in the report.
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
    let rest: Vec<&ChannelPlan> = planned.iter().filter(|planned| !failed(&planned.channel)).collect();
    if !stop.is_cancelled() {
        verify_all(from, to, &rest, target.retention, job, stop, &mut report).await;
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
            Err(fault) => report.copy_errors.push((channel, fault)),
        }
    }
    progress.finish();
}

async fn verify_all(
    from: &dyn LogArchive,
    to: &dyn LogArchive,
    planned: &[&ChannelPlan],
    keeping: TargetRetention,
    job: &MigrationJob,
    stop: &CancellationToken,
    report: &mut MigrationReport,
) {
    let progress = Progress::new("verifying", planned.iter().map(|planned| planned.source_messages).sum());
    let checks = planned.iter().map(|ChannelPlan { channel, .. }| {
        let progress = &progress;
        async move {
            (channel.clone(), stop.run_until_cancelled(verify_channel(from, to, channel, keeping, progress)).await)
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
