//! Idle: opens many connections at a bounded rate, waits until the server's memory has settled, and divides.
//!
//! Invariant: the difference is taken only while every connection is open; one that ends early fails the run. Pings are
//! answered meanwhile, nothing else is sent.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{Connection, ReadBuffer};
use super::dialer::{DialOptions, Dialer};
use super::process;

/// How often the server's memory is looked at while it settles.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks in a row that must agree within one part in 200 before the memory counts as settled.
const LOOKS_ALIKE: u32 = 3;

/// What to run.
#[derive(clap::Args, Clone)]
pub struct IdlePlan {
    #[command(flatten)]
    opening: DialOptions,
    /// Connections
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    connections: u32,
    /// Most connections opened in a second
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Longest wait in seconds for the server's memory to settle, before and after
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=120))]
    settle: u64,
}

/// What came out. Memory is resident, in bytes.
#[derive(Debug, Deserialize, Serialize)]
pub struct IdleReport {
    /// Connections that were open.
    pub connections: u32,
    /// Connections opened in a second.
    pub opened_per_second: f64,
    /// The server's memory before the first connection.
    pub resident_before: u64,
    /// The server's memory with all of them open.
    pub resident_after: u64,
    /// Whether it had settled by then; if not, it is the last value seen.
    pub settled: bool,
    /// The difference for each connection.
    pub bytes_per_connection: f64,
}

/// Runs the plan.
///
/// # Errors
/// When the server's process id is not given, a connection cannot be opened, or one ends early.
pub async fn run(plan: &IdlePlan) -> anyhow::Result<IdleReport> {
    let server = plan.opening.server_pid.context("--server-pid is needed: its memory is what is measured")?;
    let dialer = Dialer::new(&plan.opening)?;
    let patience = Duration::from_secs(plan.settle);
    let (resident_before, _) = settled_memory(server, patience).await?;
    let mut idlers = JoinSet::new();
    let began = Instant::now();
    open_all(plan, &dialer, &mut idlers, began).await?;
    let opened_per_second = f64::from(plan.connections) / began.elapsed().as_secs_f64();
    let (resident_after, settled) = settled_memory(server, patience).await?;
    if let Some(ended) = idlers.try_join_next() {
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
    idlers: &mut JoinSet<anyhow::Error>,
    began: Instant,
) -> anyhow::Result<()> {
    let buffer = ReadBuffer::new();
    for number in 0..plan.connections {
        sleep_until(began + Duration::from_secs(1) * number / plan.rate).await;
        let connection = dialer.open(number as usize).await.with_context(|| format!("opening connection {number}"))?;
        idlers.spawn_local(idle(connection, buffer.clone()));
    }
    Ok(())
}

async fn idle(mut connection: Connection, buffer: ReadBuffer) -> anyhow::Error {
    connection.read_until_closed(&buffer).await
}

/// The server's resident memory once it has stopped changing, and whether it did within `patience`.
async fn settled_memory(server: u32, patience: Duration) -> anyhow::Result<(u64, bool)> {
    let until = Instant::now() + patience;
    let mut last = process::resident_bytes(server)?;
    let mut alike = 0;
    while Instant::now() < until {
        sleep(LOOK_EVERY).await;
        let current = process::resident_bytes(server)?;
        alike = if current.abs_diff(last) <= last / 200 { alike + 1 } else { 0 };
        last = current;
        if alike >= LOOKS_ALIKE {
            return Ok((last, true));
        }
    }
    Ok((last, false))
}
