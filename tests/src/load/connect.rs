//! Connect scenario: `concurrency` clients connect, complete the handshake and close again, as fast as the server
//! allows.
//!
//! A latency covers the TCP connect and the handshake; the closing handshake is excluded from it, but included in the
//! server's CPU time. Failures are counted; too many in a row end the run, so that the generator does not spin on a
//! closed port.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::dialer::{DialOptions, Dialer};
use super::report::{Latencies, LatencySummary, Window};

/// Number of consecutive failures that ends the run.
const FAILURES_IN_A_ROW: u32 = 100;

/// Plan of a run.
#[derive(clap::Args, Clone)]
pub struct ConnectPlan {
    #[command(flatten)]
    options: DialOptions,
    /// Concurrent clients
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    concurrency: u32,
    /// Length of the measured window in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Length of the warm-up in seconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: u64,
}

/// Results. CPU times are per connection, in microseconds.
#[derive(Debug, Deserialize, Serialize)]
pub struct ConnectReport {
    /// Number of concurrent clients.
    pub concurrency: u32,
    /// Length of the measured window in seconds.
    pub seconds: f64,
    /// Connections in the window.
    pub connects: u64,
    /// Failed connections in the whole run.
    pub failures: u64,
    /// Connections whose close the server did not confirm in time, in the whole run.
    pub unclean_closes: u64,
    /// Connections per second.
    pub connects_per_second: f64,
    /// Time from the TCP connect to the `101`.
    pub latency_us: LatencySummary,
    /// CPU time of the server per connection.
    pub server_cpu_us: Option<f64>,
    /// CPU time of this generator per connection.
    pub generator_cpu_us: f64,
}

struct Traffic {
    dialer: Dialer,
    next: Cell<usize>,
    tally: RefCell<Tally>,
}

#[derive(Default)]
struct Tally {
    connects: u64,
    failures: u64,
    failures_in_a_row: u32,
    unclean_closes: u64,
    latencies: Latencies,
}

/// Runs the plan.
///
/// # Errors
/// The server accepts no connections.
pub async fn run(plan: &ConnectPlan) -> anyhow::Result<ConnectReport> {
    let dialer = Dialer::new(&plan.options)?;
    let traffic = Rc::new(Traffic { dialer, next: Cell::new(0), tally: RefCell::default() });
    let mut clients = JoinSet::new();
    for _ in 0..plan.concurrency {
        clients.spawn_local(connect_repeatedly(Rc::clone(&traffic)));
    }
    run_clients(&mut clients, plan.warm_up).await?;
    let connects_before = {
        let mut tally = traffic.tally.borrow_mut();
        tally.latencies.reset();
        tally.connects
    };
    let window = Window::open(plan.options.server_pid)?;
    run_clients(&mut clients, plan.seconds).await?;
    let usage = window.close()?;
    let tally = traffic.tally.borrow();
    let connects = tally.connects - connects_before;
    Ok(ConnectReport {
        concurrency: plan.concurrency,
        seconds: usage.elapsed.as_secs_f64(),
        connects,
        failures: tally.failures,
        unclean_closes: tally.unclean_closes,
        connects_per_second: usage.per_second(connects),
        latency_us: tally.latencies.summary(),
        server_cpu_us: usage.server_micros_per(connects),
        generator_cpu_us: usage.own_micros_per(connects),
    })
}

async fn run_clients(clients: &mut JoinSet<anyhow::Error>, seconds: u64) -> anyhow::Result<()> {
    match timeout(Duration::from_secs(seconds), clients.join_next()).await {
        Err(_) | Ok(None) => Ok(()),
        Ok(Some(Err(panic))) => Err(panic).context("a client panicked"),
        Ok(Some(Ok(error))) => Err(error),
    }
}

/// Connects and closes until the run ends; returns only after too many consecutive failures.
async fn connect_repeatedly(traffic: Rc<Traffic>) -> anyhow::Error {
    loop {
        let number = traffic.next.replace(traffic.next.get() + 1);
        let started = Instant::now();
        match traffic.dialer.open(number).await {
            Ok(connection) => {
                traffic.tally.borrow_mut().opened(started.elapsed());
                let closed = connection.close().await;
                traffic.tally.borrow_mut().unclean_closes += u64::from(closed.is_err());
            }
            Err(error) => {
                if traffic.tally.borrow_mut().failed() >= FAILURES_IN_A_ROW {
                    return anyhow!("{error:#} ({FAILURES_IN_A_ROW} failures in a row)");
                }
            }
        }
    }
}

impl Tally {
    fn opened(&mut self, latency: Duration) {
        self.connects += 1;
        self.failures_in_a_row = 0;
        self.latencies.record(latency);
    }

    fn failed(&mut self) -> u32 {
        self.failures += 1;
        self.failures_in_a_row += 1;
        self.failures_in_a_row
    }
}
