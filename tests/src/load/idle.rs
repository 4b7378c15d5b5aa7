//! Idle scenario: opens many connections at a bounded rate, waits until the server's memory is stable, and divides
//! the increase by their number.
//!
//! Memory is measured only while every connection is open; one that ends early fails the run. Pings are answered,
//! nothing else is sent.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Connection, ReadBuffer};
use super::dialer::{DialOptions, Dialer};
use super::process;

/// Interval between two memory readings.
const READING_INTERVAL: Duration = Duration::from_millis(500);

/// Number of consecutive readings that must agree within 0.5 % for the memory to count as stable.
const STABLE_READINGS: u32 = 3;

/// Plan of a run.
#[derive(clap::Args, Clone)]
pub struct IdlePlan {
    #[command(flatten)]
    options: DialOptions,
    /// Connections
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    connections: u32,
    /// Maximum number of connections opened per second
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Maximum wait in seconds for stable server memory, before and after opening the connections
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=120))]
    settle: u64,
}

/// Results. Memory is resident memory in bytes.
#[derive(Debug, Deserialize, Serialize)]
pub struct IdleReport {
    /// Number of open connections.
    pub connections: u32,
    /// Connections opened per second.
    pub opened_per_second: f64,
    /// Server memory before the first connection.
    pub resident_before: u64,
    /// Server memory with all connections open.
    pub resident_after: u64,
    /// Whether the memory was stable; if not, `resident_after` is the last reading.
    pub settled: bool,
    /// Memory per connection.
    pub bytes_per_connection: f64,
}

/// Runs the plan.
///
/// # Errors
/// The server's process id is not given, a connection cannot be opened, or one ends early.
pub async fn run(plan: &IdlePlan) -> anyhow::Result<IdleReport> {
    let server = plan.options.server_pid.context("--server-pid is required to measure the server's memory")?;
    let dialer = Dialer::new(&plan.options)?;
    let limit = Duration::from_secs(plan.settle);
    let (resident_before, _) = settled_memory(server, limit).await?;
    let mut idle_connections = JoinSet::new();
    let started = Instant::now();
    open_all(plan, &dialer, &mut idle_connections, started).await?;
    let opened_per_second = f64::from(plan.connections) / started.elapsed().as_secs_f64();
    let (resident_after, settled) = settled_memory(server, limit).await?;
    if let Some(ended) = idle_connections.try_join_next() {
        bail!("a connection ended while it was idle: {:#}", ended.context("an idle connection panicked")?);
    }
    Ok(IdleReport {
        connections: plan.connections,
        opened_per_second,
        resident_before,
        resident_after,
        settled,
        bytes_per_connection: (resident_after as f64 - resident_before as f64) / f64::from(plan.connections),
    })
}

async fn open_all(
    plan: &IdlePlan,
    dialer: &Dialer,
    idle_connections: &mut JoinSet<anyhow::Error>,
    started: Instant,
) -> anyhow::Result<()> {
    let buffer = ReadBuffer::new();
    for number in 0..plan.connections {
        sleep_until(started + Duration::from_secs(1) * number / plan.rate).await;
        let connection = dialer.open(number as usize).await.with_context(|| format!("opening connection {number}"))?;
        idle_connections.spawn_local(idle(connection, buffer.clone()));
    }
    Ok(())
}

async fn idle(mut connection: Connection, buffer: ReadBuffer) -> anyhow::Error {
    connection.read_until_closed(&buffer).await
}

/// Returns the server's resident memory once it is stable, and whether it became stable within `limit`.
async fn settled_memory(server: u32, limit: Duration) -> anyhow::Result<(u64, bool)> {
    let until = Instant::now() + limit;
    let mut last = process::resident_bytes(server)?;
    let mut equal_readings = 0;
    while Instant::now() < until {
        sleep(READING_INTERVAL).await;
        let current = process::resident_bytes(server)?;
        equal_readings = if current.abs_diff(last) <= last / 200 { equal_readings + 1 } else { 0 };
        last = current;
        if equal_readings >= STABLE_READINGS {
            return Ok((last, true));
        }
    }
    Ok((last, false))
}
