//! A whole run: plan, copy, verify; several channels at a time, and a stop between two steps when it is asked for.

use std::path::PathBuf;
use std::pin::pin;

use futures_util::{StreamExt as _, stream};
use handlers::archive::LogArchive;
use handlers::channel::Channel;
use tokio_util::sync::CancellationToken;

use crate::copy::{CopyFault, copy};
use crate::endpoint::Endpoint;
use crate::glob::Glob;
use crate::keeping::Keeping;
use crate::open::{Opened, open};
use crate::plan::{Planned, plan};
use crate::progress::Progress;
use crate::report::Report;
use crate::verify::verify;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Copy what is missing, then compare everything.
    Copy,
    /// Say what is missing.
    DryRun,
    /// Compare everything.
    VerifyOnly,
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// From where.
    pub from: Endpoint,
    /// To where.
    pub to: Endpoint,
    /// Which channels.
    pub channels: Glob,
    /// What.
    pub mode: Mode,
    /// How many channels at a time.
    pub jobs: usize,
    /// The configuration file, if one is named.
    pub config: Option<PathBuf>,
}

/// Does it. After `stop` nothing new is begun; what was written is whole.
///
/// # Errors
/// A store that cannot be opened or listed, in words for the operator. What is wrong with single channels is in the report.
pub async fn run(job: &Job, stop: &CancellationToken) -> anyhow::Result<Report> {
    let source = open(&job.from, job.config.as_ref()).await?;
    let target = open(&job.to, job.config.as_ref()).await?;
    Ok(between(&source, &target, job, stop).await?)
}

async fn between(source: &Opened, target: &Opened, job: &Job, stop: &CancellationToken) -> Result<Report, CopyFault> {
    let (from, to) = (&*source.archive, &*target.archive);
    let planned = plan(from, to, &job.channels, job.jobs).await?;
    if job.mode == Mode::DryRun {
        return Ok(Report { planned, ..Report::default() });
    }
    let mut report = Report::default();
    if job.mode == Mode::Copy {
        copy_all(from, to, &planned, job, stop, &mut report).await;
    }
    let failed = |channel: &Channel| report.faults.iter().any(|(other, _)| other == channel);
    let rest: Vec<&Planned> = planned.iter().filter(|planned| !failed(&planned.channel)).collect();
    if !stop.is_cancelled() {
        verify_all(from, to, &rest, target.keeping, job, stop, &mut report).await;
    }
    report.interrupted = stop.is_cancelled();
    Ok(report)
}

async fn copy_all(
    from: &dyn LogArchive,
    to: &dyn LogArchive,
    planned: &[Planned],
    job: &Job,
    stop: &CancellationToken,
    report: &mut Report,
) {
    let missing = planned.iter().filter_map(|planned| planned.missing.as_ref().ok()).sum();
    let progress = Progress::new("copying", missing);
    let copies = planned.iter().map(|Planned { channel, .. }| {
        let progress = &progress;
        async move { (channel.clone(), copy(from, to, channel, progress, stop).await) }
    });
    let copies = stream::iter(copies).take_until(stop.cancelled()).buffer_unordered(job.jobs);
    let mut copies = pin!(copies);
    while let Some((channel, copied)) = copies.next().await {
        match copied {
            Ok(count) => report.copied.push((channel, count)),
            Err(fault) => report.faults.push((channel, fault)),
        }
    }
    progress.finish();
}

async fn verify_all(
    from: &dyn LogArchive,
    to: &dyn LogArchive,
    planned: &[&Planned],
    keeping: Keeping,
    job: &Job,
    stop: &CancellationToken,
    report: &mut Report,
) {
    let progress = Progress::new("verifying", planned.iter().map(|planned| planned.there).sum());
    let checks = planned.iter().map(|Planned { channel, .. }| {
        let progress = &progress;
        async move { (channel.clone(), stop.run_until_cancelled(verify(from, to, channel, keeping, progress)).await) }
    });
    let checks = stream::iter(checks).take_until(stop.cancelled()).buffer_unordered(job.jobs);
    let mut checks = pin!(checks);
    while let Some((channel, checked)) = checks.next().await {
        match checked {
            Some(Ok(equal)) => report.equal.push((channel, equal)),
            Some(Err(difference)) => report.differences.push((channel, difference)),
            None => {}
        }
    }
    progress.finish();
}
